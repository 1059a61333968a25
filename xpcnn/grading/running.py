"""The plan that all layers share: find the dialect, compare every number, name the mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.grading.calling import NotOfferedError, TheirError, UnrecognisedError
from xpcnn.grading.dialects import Layout
from xpcnn.grading.mistakes import MISTAKES
from xpcnn.grading.players import Player
from xpcnn.grading.report import Check, Report
from xpcnn.grading.trials import Trial, run_ours
from xpcnn.grading.words import number, say, title
from xpcnn.layers.layer import Layer

Hypotheses = Iterator[tuple[str, Any]]
"""Names of mistakes, each with a function that computes what the mistake would give."""
Accepted = Iterator[Array]
COARSE = {"float16": 2e-2, "float32": 2e-4}


class Family:
    """What is particular to one kind of layer."""

    preferred: tuple[str, ...] = ()
    layouts: tuple[Layout, ...] = (Layout(),)
    make_example = "make=lambda W, b, stride, pad: TheirClass(W, b, stride, pad)"

    def layer(self, trial: Trial) -> Layer:
        """Return the library's layer for a trial."""
        raise NotImplementedError

    def trials(self, layout: Layout) -> list[Trial]:
        """Return what is tried; the first tells whether the dialect is understood."""
        raise NotImplementedError

    def hypotheses(self, trial: Trial, quantity: str) -> Hypotheses:
        """Yield what each mistake would give."""
        yield from ()

    def accepted(self, trial: Trial, quantity: str) -> Accepted:
        """Yield other values that are as right."""
        yield from ()

    def finish(self, grading: Grading, layout: Layout) -> None:
        """Check what only this kind of layer has, after the trials were right."""

    def solved(self, trial: Trial) -> Trial:
        """Return the trial with the numbers that are right."""

        def dout(shape: tuple[int, ...]) -> Array:
            return trial.dout.ravel()[: int(np.prod(shape))].reshape(shape)

        right = run_ours(self.layer(trial), trial.x, dout, trial.params)
        return replace(trial, dout=right.pop("dout"), right=right)


def close(got: Array, right: Array, tolerance: float) -> bool:
    """Compare arrays, as exactly as their dtype allows."""
    if got.shape != right.shape:
        return False
    tolerance = max(tolerance, COARSE.get(str(got.dtype), 0.0))
    with np.errstate(all="ignore"):
        size = float(np.abs(right[np.isfinite(right)]).max(initial=0.0))
        # where both are infinite, the difference is NaN
        off = np.abs(got - right)
        return bool(np.all((off <= tolerance * (size + 1e-3)) | (got == right)))


class Grading:
    """One run of the plan; writes into a report."""

    def __init__(self, report: Report, player: Player, family: Family) -> None:
        self.report, self.player, self.family = report, player, family
        self.lang = report.lang
        self.wrong: set[str] = set()  # quantities that were wrong already
        self.averages: set[str] = set()  # gradients that are averages over the batch, by intention
        self.backward_runs = True

    # -- what is written into the report

    def add(self, name: str, state: str, message: str = "", mistake: str | None = None) -> None:
        if mistake is not None:
            what = MISTAKES[mistake].what(self.lang)
            message = f"{message}: {what}" if message else what
        self.report.checks.append(Check(title(self.lang, name), state, message, mistake))

    def say(self, key: str, **values: Any) -> str:
        return say(self.lang, key, **values)

    def right(self, name: str) -> None:
        self.add(name, "right")

    # -- the plan

    def run(self) -> None:
        layout = self._find_layout()
        if layout is None:
            return
        first, *others = self.family.trials(layout)
        if not self._thorough(first, layout) and "y" in self.wrong:
            return
        for trial in others:
            self._brief(trial, layout)
        if "y" not in self.wrong:
            self.family.finish(self, layout)

    def _find_layout(self) -> Layout | None:
        """Return the layout that gives the right numbers, or the one that comes nearest."""
        best: tuple[int, Layout] | None = None
        reasons: dict[str, Layout] = {}
        crashed = False  # it could be made and called, and raised an exception
        for layout in self.family.layouts:
            trial = self.family.trials(layout)[0]
            try:
                run = self.player.made(trial, layout)
                y = run.forward(layout.theirs("x", trial.x))
            except (TheirError, UnrecognisedError, NotOfferedError) as error:
                asked = isinstance(error, NotOfferedError)
                crashed |= isinstance(error, TheirError) and not reasons
                reasons.setdefault(self.say("asked", what=error) if asked else str(error), layout)
                continue
            grade = 2 * (y.shape == trial.right["y"].shape)
            if self._is_right(trial, "y", y):
                grade = 4
            elif self._diagnose(trial, "y", y):
                grade = 3
            if best is None or grade > best[0]:
                best = (grade, layout)
            if grade == 4:
                break
        if best is None:
            why = next(iter(reasons))
            tried = "; ".join(dict.fromkeys(str(layout) for layout in self.family.layouts))
            message = why
            if not crashed:
                message = self.say("unknown", why=why, make=self.family.make_example)
            if len(self.family.layouts) > 1:
                message = f"{message} ({self.say('tried', what=tried)})"
            self.add("call", "wrong", message)
            return None
        self.report.called = self.say("called", what=best[1])
        return best[1]

    def _is_right(self, trial: Trial, quantity: str, got: Array) -> bool:
        share = trial.x.shape[0] if quantity in self.averages else 1
        if close(got, trial.right[quantity] / share, trial.tolerance):
            return True
        return any(close(got, a, trial.tolerance) for a in self.family.accepted(trial, quantity))

    def _diagnose(self, trial: Trial, quantity: str, got: Array) -> list[str]:
        """Return the mistakes that give just these numbers: one, if the sizes tell them apart."""
        return [name for name, fits in self._hypotheses(trial, quantity, got).items() if fits]

    def _hypotheses(self, trial: Trial, quantity: str, got: Array) -> dict[str, bool]:
        """Return what each mistake that is possible here would give: these numbers or others."""
        found: dict[str, bool] = {}
        size_is_right = got.shape == trial.right[quantity].shape
        for source in (self.family.hypotheses, self._general):
            for name, compute in source(trial, quantity):
                if found.get(name):
                    continue
                if size_is_right and name.startswith("output_size"):
                    found[name] = False
                    continue
                try:
                    with np.errstate(all="ignore"):
                        value = np.asarray(compute())
                except (ValueError, IndexError):  # does not go with these sizes
                    continue
                found[name] = close(got, value, trial.tolerance)
        return found

    def _told_apart(self, found: list[str], trial: Trial, quantity: str, layout: Layout) -> Any:
        """Leave of several mistakes those that the numbers of other sizes look like as well."""
        for other in self.family.trials(layout):
            if len(found) < 2:
                break
            if other.name == trial.name or other.x.shape[0] != trial.x.shape[0]:
                continue
            try:
                run = self.player.made(other, layout)
                got = {"y": run.forward(layout.theirs("x", other.x))}
                if quantity != "y":
                    got = run.backward(layout.theirs("dout", other.dout))
            except (TheirError, UnrecognisedError, NotOfferedError):
                continue
            if quantity in got:
                here = self._hypotheses(other, quantity, got[quantity])
                right = self._is_right(other, quantity, got[quantity])
                found = [name for name in found if here.get(name, right)] or found
        return found

    def _general(self, trial: Trial, quantity: str) -> Hypotheses:
        """Mistakes that any quantity may have."""
        right = trial.right[quantity]
        n = trial.x.shape[0]
        yield "all_zero", lambda: right * 0.0
        yield "wrong_sign", lambda: -right
        if quantity == "y":
            return
        if n > 1:
            yield "averaged_over_batch", lambda: right / n
            yield "times_batch_size", lambda: right * n
            yield "divided_by_batch_twice", lambda: right / n**2
        yield "twice_too_large", lambda: right * 2.0
        yield "half_too_small", lambda: right / 2.0
        yield "gradient_transposed", lambda: right.T
        layer = self.family.layer(trial)

        def of_sample(i: int) -> Array:
            one = slice(i, i + 1)
            return run_ours(layer, trial.x[one], trial.dout[one], trial.params)[quantity]

        if quantity != "dx" and n > 1:
            yield "only_last_sample", lambda: of_sample(n - 1)
            yield "only_first_sample", lambda: of_sample(0)
            yield "only_last_sample", lambda: of_sample(n - 1) / n
            yield "batch_not_summed", lambda: np.stack([of_sample(i) for i in range(n)])
        yield (
            "dout_ignored",
            lambda: run_ours(layer, trial.x, np.ones_like(trial.dout), trial.params)[quantity],
        )
        if quantity == "dx":
            yield "dout_passed_through", lambda: trial.dout

    def compare(self, name: str, trial: Trial, quantity: str, got: Array, layout: Layout) -> bool:
        """Check one array, and say what is wrong with it."""
        if self._is_right(trial, quantity, got):
            return True
        self.wrong.add(quantity)
        message = self.difference(quantity, got, trial.right[quantity], layout, trial.tolerance)
        found = self._told_apart(self._diagnose(trial, quantity, got), trial, quantity, layout)
        if len(found) > 1:
            looks = "; ".join(MISTAKES[mistake].what(self.lang) for mistake in found)
            message = f"{message}: {self.say('one of', what=looks)}"
        self.add(name, "wrong", message, found[0] if len(found) == 1 else None)
        return False

    def difference(
        self, quantity: str, got: Array, right: Array, layout: Layout, tolerance: float
    ) -> str:
        """Name the first number that is wrong, in the order of the axes that the learner has."""
        what = "out" if quantity == "y" else quantity
        if got.shape != right.shape:
            return self.say("shape", what=what, got=got.shape, right=right.shape)
        images = Layout("first") if layout.images in ("rows",) else layout
        got, right = images.theirs(quantity, got), images.theirs(quantity, right)
        tolerance = max(tolerance, COARSE.get(str(got.dtype), 0.0))
        with np.errstate(all="ignore"):
            off = ~(np.abs(got - right) <= tolerance * (float(np.abs(right).max()) + 1e-3))
        place = tuple(int(i) for i in np.argwhere(off)[0])
        index = f"[{', '.join(map(str, place))}]" if place else ""
        return self.say(
            "number", what=f"{what}{index}", got=number(got[place]), right=number(right[place])
        )

    # -- one trial

    def _thorough(self, trial: Trial, layout: Layout) -> bool:
        """Check everything on one trial, each number by itself; return whether all is right."""
        run = self.player.made(trial, layout)
        before = run.parameters()
        x = layout.theirs("x", trial.x)
        kept = x.copy()
        try:
            y = run.forward(x)
        except TheirError as error:
            self.wrong.add("y")
            self.add("forward", "wrong", str(error))
            return False
        if self.compare("forward", trial, "y", y, layout):
            self.right("forward")
        if np.array_equal(x, kept, equal_nan=True):
            self.right("x unchanged")
        else:
            self.add("x unchanged", "wrong", "", "forward_changes_x")
        if not run.has_backward:
            self.add("backward", "not tested", self.say("no backward"))
            return not self.wrong
        if "y" in self.wrong:
            self.add("backward", "not tested", self.say("mend first"))
            return False
        self._check_backward(run, trial, layout, before)
        return not self.wrong

    def _check_backward(
        self, run: Any, trial: Trial, layout: Layout, before: dict[str, Array]
    ) -> None:
        dout = layout.theirs("dout", trial.dout)
        kept = dout.copy()
        try:
            found = run.backward(dout)
        except (TheirError, UnrecognisedError) as error:
            self.wrong |= {"dx", *(f"d{name}" for name in trial.params)}
            self.backward_runs = False
            self.add("backward", "wrong", str(error))
            return
        found = {name: np.array(array) for name, array in found.items()}
        if not found:
            self.backward_runs = False
            self.wrong |= {"dx", *(f"d{name}" for name in trial.params)}
            self.add("backward", "wrong", self.say("no gradients"))
            return
        self._compare_gradients(found, trial, layout)
        if np.array_equal(dout, kept):
            self.right("dout unchanged")
        else:
            self.add("dout unchanged", "wrong", "", "backward_changes_dout")
        after = run.parameters()
        if any(not np.array_equal(before[name], after[name]) for name in before):
            self.add("parameters unchanged", "wrong", "", "changes_parameters")
            return
        self._second_call(run, trial, layout, found)

    def _compare_gradients(self, found: dict[str, Array], trial: Trial, layout: Layout) -> None:
        gradients = [f"d{name}" for name in trial.params]
        n = trial.x.shape[0]
        if (
            n > 1
            and len(gradients) > 1
            and all(
                name in found and close(found[name], trial.right[name] / n, trial.tolerance)
                for name in gradients
            )
        ):
            self.add(" / ".join(gradients), "note", self.say("averages"))
            self.averages = set(gradients)
            gradients = []
        for name in ("dx", *gradients):
            if name == "db" and not layout.has_bias:
                continue
            if name not in found:
                self.wrong.add(name)
                self.add(name, "not tested", self.say("missing", what=name))
            elif self.compare(name, trial, name, found[name], layout):
                self.right(name)

    def _second_call(self, run: Any, trial: Trial, layout: Layout, found: dict[str, Array]) -> None:
        """Run the same object once more with the same numbers."""
        try:
            y = run.forward(layout.theirs("x", trial.x))
            again = run.backward(layout.theirs("dout", trial.dout))
        except (TheirError, UnrecognisedError) as error:
            self.add("second call", "wrong", str(error))
            return
        if not close(y, trial.right["y"], trial.tolerance) and not self._is_right(trial, "y", y):
            message = self.difference("y", y, trial.right["y"], layout, trial.tolerance)
            self.add("second call", "wrong", message, "changes_with_calls")
            return
        for name, array in found.items():
            if close(again[name], array, trial.tolerance):
                continue
            piled = close(again[name], 2 * array, trial.tolerance)
            message = self.difference(name, again[name], array, layout, trial.tolerance)
            mistake = "accumulates_over_calls" if piled else "changes_with_calls"
            self.add("second call", "wrong", message, mistake)
            return
        self.right("second call")

    def _brief(self, trial: Trial, layout: Layout) -> None:
        """Check all numbers of a trial at once; only those that were right so far."""
        try:
            run = self.player.made(trial, layout)
        except NotOfferedError as error:
            self.add(trial.name, "not tested", self.say("not offered", what=error))
            return
        except (TheirError, UnrecognisedError) as error:
            self.add(trial.name, "not tested", str(error))
            return
        try:
            got = {"y": run.forward(layout.theirs("x", trial.x))}
            if (unread := run.unread()) is not None:
                self.add(trial.name, "not tested", self.say("not offered", what=unread))
                return
            fits = self._is_right(trial, "y", got["y"])
            if fits and run.has_backward and self.backward_runs:
                got |= run.backward(layout.theirs("dout", trial.dout))
        except (TheirError, UnrecognisedError) as error:
            square = trial.name in ("image not square", "kernel not square")
            self.add(trial.name, "wrong", str(error), "square_only" if square else None)
            return
        known = self.wrong.copy()
        for name, array in got.items():
            if name not in known and not self.compare(trial.name, trial, name, array, layout):
                self.wrong = known  # only here: the other trials are compared in full
                return
        untested = [g for g in ("dx", *(f"d{name}" for name in trial.params)) if g in known]
        if untested and run.has_backward:
            message = self.say("mend gradients", what=", ".join(untested))
            self.add(trial.name, "not tested", message)
        else:
            self.right(trial.name)
