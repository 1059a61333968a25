"""What optimizers do at each step, and what each mistake would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpcnn._xp import Array

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
        return s["lr"] * m / (v**root + s["eps"])

    return rule


def nesterov(grads: list[Any], s: dict[str, float]) -> Array:
    """Return Nesterov's step, which looks ahead."""
    return s["lr"] * (s["rho"] * average(grads, s["rho"], 1.0) + grads[-1])


def adadelta(grads: list[Any], s: dict[str, float]) -> Array:
    """Return Adadelta's step: scaled by the size of past steps over that of past gradients."""
    past, square, step = 0.0 * grads[0], 0.0 * grads[0], grads[0]
    for g in grads:
        square = s["rho"] * square + (1 - s["rho"]) * g * g
        step = g * np.sqrt(past + s["eps"]) / np.sqrt(square + s["eps"])
        past = s["rho"] * past + (1 - s["rho"]) * step * step
    return s["lr"] * step


RIGHT: dict[str, list[Rule]] = {
    "sgd": [lambda g, s: s["lr"] * g[-1]],
    "momentum": [
        lambda g, s: s["lr"] * average(g, s["rho"], 1.0),
        lambda g, s: s["lr"] * average(g, s["rho"]),
        nesterov,
    ],
    "nesterov": [nesterov],
    "adagrad": [
        lambda g, s: s["lr"] * g[-1] / (np.sqrt(sum(squared(g))) + s["eps"]),
        lambda g, s: s["lr"] * g[-1] / np.sqrt(sum(squared(g)) + s["eps"]),
    ],
    "rmsprop": [
        lambda g, s: s["lr"] * g[-1] / (np.sqrt(average(squared(g), s["rho"])) + s["eps"]),
        lambda g, s: s["lr"] * g[-1] / np.sqrt(average(squared(g), s["rho"]) + s["eps"]),
    ],
    "adadelta": [adadelta],
    "adam": [adam(lambda n: n)],
    "adamw": [adam(lambda n: n)],  # the decay comes on top
}
WRONG: dict[str, list[tuple[str, Rule]]] = {
    "sgd": [("learning_rate_missing", lambda g, s: g[-1])],
    "momentum": [
        ("momentum_not_kept", lambda g, s: s["lr"] * g[-1]),
        ("momentum_sign", lambda g, s: s["lr"] * average(g, -s["rho"], 1.0)),
        ("learning_rate_missing", lambda g, s: average(g, s["rho"], 1.0)),
        ("twice_too_large", lambda g, s: 2 * s["lr"] * average(g, s["rho"], 1.0)),
    ],
    "nesterov": [("momentum_not_kept", lambda g, s: s["lr"] * g[-1])],
    "adadelta": [("learning_rate_missing", lambda g, s: adadelta(g, s) / s["lr"])],
    "adagrad": [
        ("squares_not_accumulated", lambda g, s: s["lr"] * g[-1] / np.abs(g[-1])),
        ("root_missing", lambda g, s: s["lr"] * g[-1] / sum(squared(g))),
        ("learning_rate_missing", lambda g, s: g[-1] / np.sqrt(sum(squared(g)))),
    ],
    "rmsprop": [
        ("new_gradient_not_weighted",
         lambda g, s: s["lr"] * g[-1] / np.sqrt(average(squared(g), s["rho"], 1.0))),
        ("squares_not_accumulated", lambda g, s: s["lr"] * g[-1] / np.abs(g[-1])),
        ("squares_not_accumulated",
         lambda g, s: s["lr"] * g[-1] / np.sqrt((1 - s["rho"]) * g[-1] ** 2)),
        ("new_gradient_not_weighted", lambda g, s: s["lr"] * g[-1] / np.sqrt(sum(squared(g)))),
        ("root_missing", lambda g, s: s["lr"] * g[-1] / average(squared(g), s["rho"])),
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
WRONG["adamw"] = WRONG["adam"]
SETTINGS = {
    "lr": "lr learningrate eta stepsize",
    "rho": "momentum mu rho decayrate decay beta alpha gamma m",
    "beta1": "beta1 rho1 b1 betaone",
    "beta2": "beta2 rho2 b2 betatwo",
    "eps": "eps epsilon",
    "decay": "weightdecay wd lambd",
}
"""Names of the settings, as they are without underscores and in lower case."""
DEFAULTS: dict[str, dict[str, float]] = {
    "rmsprop": {"rho": 0.99},
    "adadelta": {"eps": 1e-6},
    "adamw": {"decay": 0.01},
}


def usual_settings(kind: str, decay: float = 0.0) -> dict[str, float]:
    """Return the settings that courses have."""
    usual = {"rho": 0.9, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "decay": decay}
    return usual | DEFAULTS.get(kind, {})


def settings_of(names: dict[str, Any], rates: set[str] | None = None) -> dict[str, float]:
    """Read settings from attributes or from a dict, under any usual name.

    `rates` are names that are those of the learning rate here, such as ``"alpha"``.
    """
    found = {}
    for name, value in names.items():
        flat = name.replace("_", "").lower()
        if flat in (rates or ()):
            found["lr"] = value
            continue
        for setting, spellings in SETTINGS.items():
            if flat in spellings.split() and isinstance(value, (int, float)):
                found[setting] = float(value)
        if flat == "betas" and isinstance(value, (tuple, list)):
            found["beta1"], found["beta2"] = map(float, value)
    return found
