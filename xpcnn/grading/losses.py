"""Losses: cross-entropy and squared errors, of scores or probabilities, labels or one-hot rows."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np

from xpcnn._checked import copied
from xpcnn._xp import Array
from xpcnn.grading.calling import TheirError, UnrecognisedError, guarded, to_host
from xpcnn.grading.dialects import Layout, method, roles_of, signature
from xpcnn.grading.functions import LossPair, is_pair
from xpcnn.grading.players import Player
from xpcnn.grading.report import Report
from xpcnn.grading.running import Family, Grading, close

N, K = 4, 3
PLAIN = Layout("plain")


class Dialect(NamedTuple):
    """What a loss is given: scores or probabilities, one-hot rows or labels."""

    scores: bool
    one_hot: bool

    def __str__(self) -> str:
        x = "scores" if self.scores else "probabilities"
        return f"{x}, {'one-hot targets' if self.one_hot else 'labels'}"


class LossGrading(Grading):
    """Finds what a loss takes and how it is scaled, and compares value and gradient."""

    def __init__(self, report: Report, theirs: Any, make: Any, *, squares: bool) -> None:
        theirs = LossPair(theirs) if is_pair(theirs) else theirs
        super().__init__(report, Player(theirs, make, ("y", "t", "x")), Family())
        self.theirs, self.make, self.squares = theirs, make, squares
        report.subject = self.player.name
        generator = np.random.default_rng(6)
        self.scores = generator.normal(size=(N, K)).round(2)
        self.labels = np.array([2, 0, 1, 2])
        self.rows = np.eye(K)[self.labels]
        if squares:
            self.rows = generator.normal(size=(N, K)).round(2)

    # -- what is right

    def _x(self, dialect: Dialect) -> Array:
        return self.scores if dialect.scores else softmax(self.scores)

    def _total(self, dialect: Dialect) -> float:
        """Return the loss summed over everything."""
        if self.squares:
            return float(((self.scores - self.rows) ** 2).sum())
        return float(-(self.rows * np.log(softmax(self.scores))).sum())

    def _gradient(self, dialect: Dialect) -> Array:
        """Return the gradient of the sum."""
        if self.squares:
            return 2 * (self.scores - self.rows)
        p = softmax(self.scores)
        return p - self.rows if dialect.scores else -self.rows / p

    def _scales(self) -> dict[str, float]:
        if self.squares:
            return {"mean": 1 / (N * K), "sum / N": 1 / N, "sum / 2N": 0.5 / N, "sum / 2": 0.5,
                    "sum": 1.0, "mean / 2": 0.5 / (N * K)}  # fmt: skip
        return {"mean": 1 / N, "sum": 1.0}

    # -- calling

    def _made(self) -> Any:
        if self.player.is_function:
            return self.theirs
        if self.make is not None:
            return guarded("make()", self.make)
        if self.player.is_class:
            return guarded(f"{self.player.name}()", self.theirs)
        return copied(self.theirs)

    def _value(self, obj: Any, x: Array, t: Array) -> tuple[Any, Any]:
        """Return the loss, and its gradient where a function returns both."""
        forward = obj if self.player.is_function else method(obj, "forward", "loss", "__call__")
        if forward is None:
            raise UnrecognisedError(f"{self.player.name} has no forward(x, t)")
        roles = list(roles_of(forward, ("y", "t", "x")).values())
        swapped = bool(roles) and roles[0] == "t"
        result = guarded("forward(x, t)", forward, *((t, x) if swapped else (x, t)))
        if isinstance(result, tuple) and len(result) == 2:
            return to_host(result[0]), to_host(result[1])
        return to_host(result), None

    def _backward(self, obj: Any) -> Any:
        backward = method(obj, "backward", "bwd", "gradient", "backprop")
        if backward is None or self.player.is_function:
            return None
        needed = [p for p in signature(backward).values() if p.default is inspect.Parameter.empty]
        needed = [p for p in needed if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return to_host(guarded("backward()", backward, *([1.0] * min(len(needed), 1))))

    # -- the plan

    def run(self) -> None:
        """Check value and gradient."""
        dialects = [Dialect(True, True)] if self.squares else [
            Dialect(True, True), Dialect(True, False), Dialect(False, True), Dialect(False, False)
        ]  # fmt: skip
        answers: dict[Dialect, float] = {}
        reason = ""
        for dialect in dialects:
            t = self.rows if dialect.one_hot else self.labels
            try:
                value, _ = self._value(self._made(), self._x(dialect).copy(), t.copy())
            except (TheirError, UnrecognisedError) as error:
                reason = reason or str(error)
                continue
            if value is None or value.size != 1:
                shape = None if value is None else value.shape
                reason = reason or self.say("shape", what="loss", got=shape, right=())
                continue
            answers[dialect] = float(value.reshape(()))
            for scale, factor in self._scales().items():
                if np.isclose(answers[dialect], factor * self._total(dialect), rtol=1e-5):
                    self._matched(dialect, scale, factor)
                    return
        if not answers:
            make = "make=lambda: TheirClass()"
            self.add("call", "wrong", self.say("unknown", why=reason, make=make))
            return
        self._mismatched(answers)

    def _mismatched(self, answers: dict[Dialect, float]) -> None:
        """Say what a value that is wrong looks like."""
        for dialect, value in answers.items():
            total = self._total(dialect)
            known = {-total: "wrong_sign", -total / N: "wrong_sign"}
            if not self.squares:
                known[total / (N * K)] = "loss_also_divided_by_classes"
                known[total / N**2] = "divided_by_batch_twice"
            else:
                known[float(np.abs(self.scores - self.rows).mean())] = "absolute_value"
            for wrong, mistake in known.items():
                if np.isclose(value, wrong, rtol=1e-5):
                    self._value_is_wrong(value, dialect, mistake)
                    return
        finite = [d for d, value in answers.items() if np.isfinite(value)]
        dialect = (finite or list(answers))[0]
        x = self.scores
        everything = np.exp(x) / np.exp(x).sum()
        over_batch = np.exp(x) / np.exp(x).sum(0, keepdims=True)
        found: str | None = None
        wrong_axes = {"softmax_over_everything": everything, "softmax_over_wrong_axis": over_batch}
        for name, p in wrong_axes.items():
            wrong = -(self.rows * np.log(p)).sum()
            values = [v for d, v in answers.items() if d.scores]
            if any(np.isclose(v, wrong * f, rtol=1e-5) for v in values for f in (1, 1 / N)):
                found = name
        self._value_is_wrong(answers[dialect], dialect, found)

    def _value_is_wrong(self, value: float, dialect: Dialect, mistake: str | None) -> None:
        right = self._total(dialect) * next(iter(self._scales().values()))
        message = self.say("number", what="loss", got=f"{value:.6g}", right=f"{right:.6g}")
        self.add("loss", "wrong", message, mistake)

    def _matched(self, dialect: Dialect, scale: str, factor: float) -> None:
        self.report.called = self.say("called", what="y, t" if self.squares else dialect)
        self.right("loss")
        self.add("loss", "note", self.say("loss kind", what=scale))
        obj = self._made()
        x, t = self._x(dialect).copy(), (self.rows if dialect.one_hot else self.labels).copy()
        kept = x.copy(), t.copy()
        _, dx = self._value(obj, x, t)
        if not np.array_equal(x, kept[0]) or not np.array_equal(t, kept[1]):
            self.add("x unchanged", "wrong", "", "forward_changes_x")
        try:
            dx = self._backward(obj) if dx is None else dx
            again = None
            if not self.player.is_function and dx is not None:
                dx = np.array(dx)
                again = self._backward(obj)
        except TheirError as error:
            self.add("gradient", "wrong", str(error))
            return
        if dx is None:
            self.add("gradient", "not tested", self.say("no backward"))
        else:
            self._compare_gradient(np.array(dx), dialect, factor)
            if again is not None and not close(np.asarray(again), dx, 1e-6):
                self.add("second call", "wrong", "", "changes_with_calls")
        self._extremes(dialect)

    def _compare_gradient(self, dx: Array, dialect: Dialect, factor: float) -> None:
        total = self._gradient(dialect)
        right = factor * total
        p = softmax(self.scores)
        combined = (p - self.rows) * factor  # softmax and its loss in one
        if close(dx, right, 1e-5):
            self.right("gradient")
            return
        if not self.squares and not dialect.scores and close(dx, combined, 1e-5):
            self.right("gradient")
            self.add("gradient", "note", self.say("combined", how="y - t"))
            return
        message = self.difference("dx", dx, right, PLAIN, 1e-5)
        self.add("gradient", "wrong", message, self._gradient_mistake(dx, total, factor, dialect))

    def _gradient_mistake(
        self, dx: Array, total: Array, factor: float, dialect: Dialect
    ) -> str | None:
        right = factor * total
        known: list[tuple[str, Array]] = [("wrong_sign", -right), ("all_zero", right * 0)]
        if not np.isclose(factor, 1.0):
            known += [("gradient_not_divided_by_batch", right * N)]
            known += [("divided_by_batch_twice", right / N)]
        else:
            known += [("loss_not_divided_by_batch", right / N)]
        if not self.squares and dialect.scores:
            p = softmax(self.scores)
            known += [("target_not_subtracted", p * factor), ("target_not_subtracted", p)]
        known += [("half_too_small", right / 2), ("twice_too_large", right * 2)]
        for name, value in known:
            if close(dx, value, 1e-5):
                return name
        with np.errstate(all="ignore"):
            ratio = dx / right if dx.shape == right.shape else np.zeros(2)
        ratio = (
            ratio[np.isfinite(ratio) & (np.abs(right) > 1e-9)] if dx.shape == right.shape else ratio
        )
        if dx.shape == right.shape and ratio.size and np.allclose(ratio, ratio[0], rtol=1e-5):
            return "gradient_of_another_scale"
        return None

    def _extremes(self, dialect: Dialect) -> None:
        """A probability of 0 for the class that is right."""
        if self.squares:
            return
        x = np.zeros((N, K))
        x[:, 0] = 1000.0 if dialect.scores else 1.0
        labels = np.ones(N, dtype=int)
        try:
            value, _ = self._value(
                self._made(), x, np.eye(K)[labels] if dialect.one_hot else labels
            )
        except TheirError as error:
            self.add("zero probability", "wrong", str(error))
            return
        if value is not None and np.isfinite(value).all():
            self.right("zero probability")
            return
        if dialect.scores:
            x = np.array([[800.0, 801.0, 799.0]] * N)
            value, _ = self._value(
                self._made(), x, np.eye(K)[labels] if dialect.one_hot else labels
            )
            if value is None or not np.isfinite(value).all():
                self.add("zero probability", "wrong", "", "softmax_overflows")
                return
        # A plain log is the formula as courses write it, right at every score that occurs.
        self.add("zero probability", "note", "", "log_of_zero")


def softmax(x: Array) -> Array:
    """Return the softmax of rows."""
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
