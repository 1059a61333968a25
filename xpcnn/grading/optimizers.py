"""Optimizers: four updates of two parameters, compared with the formulas and their mistakes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.grading.calling import TheirError, UnrecognisedError, guarded, to_host
from xpcnn.grading.dialects import Layout, arguments, method, plain, signature
from xpcnn.grading.players import Player
from xpcnn.grading.report import Report
from xpcnn.grading.running import Family, Grading

LR = 0.1
STEPS = 4
Rule = Callable[[list[Any], dict[str, float]], Array]
"""From the gradients so far and the settings to the step, which is subtracted."""


# -- The formulas ----------------------------------------------------------------------------------


def average(grads: list[Any], rho: float, weight: float | None = None) -> Array:
    """Return rho * old + (1 - rho) * new, from 0."""
    value: Any = 0.0
    for g in grads:
        value = rho * value + (1 - rho if weight is None else weight) * g
    return value


def squared(grads: list[Any]) -> list[Any]:
    """Return the squares."""
    return [g * g for g in grads]


def adam(count: Callable[[int], float], root: float = 0.5) -> Rule:
    """Return Adam with steps counted as told; 0 for no correction."""

    def rule(grads: list[Any], s: dict[str, float]) -> Array:
        t = count(len(grads))
        m, v = average(grads, s["beta1"]), average(squared(grads), s["beta2"])
        if t > 0:
            m, v = m / (1 - s["beta1"] ** t), v / (1 - s["beta2"] ** t)
        return LR * m / (v**root + 1e-8)

    return rule


RIGHT: dict[str, list[Rule]] = {
    "sgd": [lambda g, s: LR * g[-1]],
    "momentum": [
        lambda g, s: LR * average(g, s["rho"], 1.0),
        lambda g, s: LR * average(g, s["rho"]),
        lambda g, s: LR * (s["rho"] * average(g, s["rho"], 1.0) + g[-1]),
    ],
    "adagrad": [lambda g, s: LR * g[-1] / np.sqrt(sum(squared(g)) + 1e-12)],
    "rmsprop": [lambda g, s: LR * g[-1] / np.sqrt(average(squared(g), s["rho"]) + 1e-12)],
    "adam": [adam(lambda n: n)],
}
WRONG: dict[str, list[tuple[str, Rule]]] = {
    "sgd": [("learning_rate_missing", lambda g, s: g[-1])],
    "momentum": [
        ("momentum_not_kept", lambda g, s: LR * g[-1]),
        ("momentum_sign", lambda g, s: LR * average(g, -s["rho"], 1.0)),
        ("learning_rate_missing", lambda g, s: average(g, s["rho"], 1.0)),
        ("twice_too_large", lambda g, s: 2 * LR * average(g, s["rho"], 1.0)),
    ],
    "adagrad": [
        ("squares_not_accumulated", lambda g, s: LR * g[-1] / np.abs(g[-1])),
        ("root_missing", lambda g, s: LR * g[-1] / sum(squared(g))),
        ("learning_rate_missing", lambda g, s: g[-1] / np.sqrt(sum(squared(g)))),
    ],
    "rmsprop": [
        ("new_gradient_not_weighted",
         lambda g, s: LR * g[-1] / np.sqrt(average(squared(g), s["rho"], 1.0))),
        ("squares_not_accumulated", lambda g, s: LR * g[-1] / np.abs(g[-1])),
        ("squares_not_accumulated",
         lambda g, s: LR * g[-1] / np.sqrt((1 - s["rho"]) * g[-1] ** 2)),
        ("new_gradient_not_weighted", lambda g, s: LR * g[-1] / np.sqrt(sum(squared(g)))),
        ("root_missing", lambda g, s: LR * g[-1] / average(squared(g), s["rho"])),
    ],
    "adam": [
        ("no_bias_correction", adam(lambda n: 0)),
        ("step_not_counted", adam(lambda n: 1)),
        ("steps_counted_from_zero", adam(lambda n: n - 1)),
        ("steps_counted_from_zero", adam(lambda n: n + 1)),
        ("step_counted_per_parameter", adam(lambda n: 2 * n - 1)),
        ("step_counted_per_parameter", adam(lambda n: 2 * n)),
        ("root_missing", adam(lambda n: n, 1.0)),
    ],
}  # fmt: skip
SETTINGS = {
    "rho": "momentum mu rho decayrate decay beta alpha gamma m",
    "beta1": "beta1 rho1 b1 betaone beta_1",
    "beta2": "beta2 rho2 b2 betatwo beta_2",
}
DEFAULTS = {"momentum": 0.9, "rmsprop": 0.99}


class Holder:
    """A layer with parameters and gradients, for optimizers that are given a layer."""

    def __init__(self, params: dict[str, Array]) -> None:
        self.W, self.b = params["W"], params["b"]
        self.dW: Any = None
        self.db: Any = None


class OptimizerGrading(Grading):
    """Runs four updates."""

    def __init__(self, report: Report, theirs: Any, make: Any, kind: str) -> None:
        super().__init__(report, Player(theirs, make, ("lr",)), Family())
        self.theirs, self.make, self.kind = theirs, make, kind
        report.subject = self.player.name
        generator = np.random.default_rng(7)
        shapes = {"W": (2, 3), "b": (3,)}
        self.start = {name: generator.normal(size=s).round(2) for name, s in shapes.items()}
        self.grads = [
            {name: (generator.uniform(0.5, 1.5, s) * generator.choice([-1, 1], s)).round(2)
             for name, s in shapes.items()}
            for _ in range(STEPS)
        ]  # fmt: skip

    def run(self) -> None:
        """Check every update of both parameters."""
        try:
            optimizer = self._made()
            path = self._dicts_or_lists(optimizer)
        except (TheirError, UnrecognisedError) as error:
            why = str(error)
            if isinstance(error, UnrecognisedError):
                why = self.say("unknown", why=why, make="make=lambda lr: TheirClass(lr)")
            mistake = "steps_counted_from_zero" if "ZeroDivisionError" in why else None
            self.add("call", "wrong", why, mistake if self.kind == "adam" else None)
            return
        settings = self._settings(optimizer)
        for name in self.start:
            self._compare(name, [step[name] for step in path], settings)

    def _dicts_or_lists(self, optimizer: Any) -> list[dict[str, Array]]:
        """Give dicts, or the lists of arrays that some courses have."""
        fresh = copy.deepcopy(optimizer)
        try:
            return self._run(optimizer)
        except TheirError:
            try:
                return self._run(fresh, lists=True)
            except TheirError:
                pass
            raise

    def _made(self) -> Any:
        if self.player.is_object and not self.player.is_class:
            obj = copy.deepcopy(self.theirs)
            for name in vars(obj):
                if "lr" in roles_of_name(name):
                    setattr(obj, name, LR)
            return obj
        if self.player.is_function and not hasattr(self.theirs, "update"):
            return self.theirs
        if not isinstance(self.theirs, type) and self.make is None:
            obj = copy.deepcopy(self.theirs)
            for name in vars(obj):
                if "lr" in roles_of_name(name):
                    setattr(obj, name, LR)
            return obj
        build = self.make or self.theirs
        chosen = arguments(build, {"lr": LR}, ("lr",), (), f"{self.player.name}(...)")
        obj = guarded(f"{self.player.name}(...)", build, **chosen)
        for name in vars(obj) if hasattr(obj, "__dict__") else ():
            if "lr" in roles_of_name(name) and not chosen:
                setattr(obj, name, LR)
        return obj

    def _run(self, optimizer: Any, *, lists: bool = False) -> list[dict[str, Array]]:
        """Return the parameters after each update."""
        params = {name: a.copy() for name, a in self.start.items()}
        update = optimizer
        if not self.player.is_function or hasattr(optimizer, "update"):
            update = method(optimizer, "update", "step", "apply", "__call__")
        if update is None:
            raise UnrecognisedError(f"{self.player.name} has no update(params, grads)")
        takes = [p for p in signature(update).values() if p.default is p.empty]
        holder = Holder(params) if len(takes) == 1 else None
        path = []
        for grads in self.grads:
            given = {name: g.copy() for name, g in grads.items()}
            if holder is not None:
                holder.dW, holder.db = given["W"], given["b"]
                guarded("update(layer)", update, holder)
                params = {"W": holder.W, "b": holder.b}
            else:
                result = self._update(update, params, given, lists=lists)
                if isinstance(result, dict) and set(result) == set(params):
                    params = result
            path.append({name: np.array(to_host(a)) for name, a in params.items()})
        return path

    def _update(self, update: Any, params: Any, grads: Any, *, lists: bool) -> Any:
        names = [n for n in signature(update) if "lr" in roles_of_name(n)]
        extra = dict.fromkeys(names, LR)
        if not lists:
            return guarded("update(params, grads)", update, params, grads, **extra)
        arrays = list(params.values())
        guarded("update(params, grads)", update, arrays, list(grads.values()), **extra)
        return dict(zip(params, arrays, strict=True))

    def _settings(self, optimizer: Any) -> dict[str, float]:
        found = {"rho": DEFAULTS.get(self.kind, 0.9), "beta1": 0.9, "beta2": 0.999}
        attributes = vars(optimizer) if hasattr(optimizer, "__dict__") else {}
        for name, value in attributes.items():
            for setting, names in SETTINGS.items():
                if plain(name) in names.split() and isinstance(value, (int, float)):
                    found[setting] = float(value)
            if plain(name) == "betas" and isinstance(value, (tuple, list)):
                found["beta1"], found["beta2"] = map(float, value)
        return found

    def _compare(self, name: str, path: list[Array], settings: dict[str, float]) -> None:
        grads = [step[name] for step in self.grads]
        if all(np.array_equal(p, self.start[name]) for p in path):
            self.add(name, "wrong", "", "parameters_not_updated")
            return
        settled = [settings]
        if self.kind == "rmsprop":
            settled += [settings | {"rho": rho} for rho in (0.9, 0.95, 0.99, 0.999)]
        for values in settled:
            for rule in RIGHT[self.kind]:
                if _near(path, self._path(name, rule, grads, values), self.start[name]):
                    self.right(name)
                    return
        right = self._path(name, RIGHT[self.kind][0], grads, settings)
        step = next(
            (i for i in range(STEPS) if not np.allclose(path[i], right[i], rtol=1e-3)), STEPS - 1
        )
        plain_layout = Layout("plain")
        message = self.difference(name, path[step], right[step], plain_layout, 1e-4)
        for mistake, wrong in self._hypotheses():
            if _near(path, self._path(name, wrong, grads, settings), self.start[name]):
                self.add(name, "wrong", message, mistake)
                return
        infinite = not all(np.isfinite(p).all() for p in path)  # 1 - beta ** 0 is 0
        counted = infinite and self.kind == "adam"
        self.add(name, "wrong", message, "steps_counted_from_zero" if counted else None)

    def _hypotheses(self) -> Iterator[tuple[str, Rule]]:
        for rule in RIGHT[self.kind]:
            yield "ascends", partial(_negative, rule)
        yield from WRONG[self.kind]

    def _path(
        self, name: str, rule: Rule, grads: list[Array], settings: dict[str, float]
    ) -> list[Array]:
        value, path = self.start[name], []
        with np.errstate(all="ignore"):
            for i in range(STEPS):
                value = value - rule(grads[: i + 1], settings)
                path.append(value)
        return path


def roles_of_name(name: str) -> list[str]:
    """Return ["lr"] for a name of the learning rate."""
    return ["lr"] if plain(name) in ("lr", "learningrate", "eta", "stepsize") else []


def _negative(rule: Rule, grads: list[Any], settings: dict[str, float]) -> Array:
    return -rule(grads, settings)


def _near(path: list[Array], right: list[Array], start: Array) -> bool:
    """Compare updates: epsilon differs from course to course."""
    size = max(np.abs(wanted - start).max() for wanted in right)
    for got, wanted in zip(path, right, strict=True):
        if got.shape != wanted.shape or not np.abs(got - wanted).max() <= 1e-3 * size:
            return False
    return True
