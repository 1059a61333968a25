"""Optimizers in more styles: with a config per parameter, step(), and settings from `like`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import optim


class Keeping:
    """Keeps arrays of zeros for each parameter."""

    kept: Any = None

    def zeros(self, params: Any) -> Any:
        if self.kept is None:
            self.kept = {k: [np.zeros_like(v), np.zeros_like(v)] for k, v in params.items()}
        return self.kept


class Adam(Keeping):
    """With the correction in the rate, and the averages written as steps towards the new value."""

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self.lr, self.beta1, self.beta2, self.iter = lr, beta1, beta2, 0

    def update(self, params: Any, grads: Any) -> None:
        self.iter += 1
        t = self.iter
        rate = self.lr * np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        for k, kept in self.zeros(params).items():
            kept[0] += (1 - self.beta1) * (grads[k] - kept[0])
            kept[1] += (1 - self.beta2) * (grads[k] ** 2 - kept[1])
            params[k] -= rate * kept[0] / (np.sqrt(kept[1]) + 1e-7)


class FixedAdam(Adam):
    def __init__(self, lr: float = 0.001) -> None:
        super().__init__(lr)
        self.b = self.beta1, self.beta2
        del self.beta1, self.beta2

    def update(self, params: Any, grads: Any) -> None:
        self.iter += 1
        for k, kept in self.zeros(params).items():
            kept[0] = 0.9 * kept[0] + 0.1 * grads[k]
            kept[1] = 0.999 * kept[1] + 0.001 * grads[k] ** 2
            m, v = kept[0] / (1 - 0.9**self.iter), kept[1] / (1 - 0.999**self.iter)
            params[k] -= self.lr * m / (np.sqrt(v) + 1e-8)


class AdamW(Adam):
    def __init__(self, lr: float, weight_decay: float) -> None:
        super().__init__(lr)
        self.weight_decay = weight_decay

    def update(self, params: Any, grads: Any) -> None:
        for k in params:
            params[k] *= 1 - self.lr * self.weight_decay
        super().update(params, grads)


class Momentum(Keeping):
    """v = mu v - lr g."""

    def __init__(self, lr: float, mu: float) -> None:
        self.lr, self.mu = lr, mu

    def update(self, params: Any, grads: Any) -> None:
        for k, kept in self.zeros(params).items():
            kept[0] = self.mu * kept[0] - self.lr * grads[k]
            params[k] += kept[0]


class Alpha(Keeping):
    """v = beta v + g, with a rate called alpha."""

    def __init__(self, beta: float = 0.9, alpha: float = 0.01) -> None:
        self.beta, self.alpha = beta, alpha

    def update(self, params: Any, grads: Any) -> None:
        for k, kept in self.zeros(params).items():
            kept[0] = self.beta * kept[0] + grads[k]
            params[k] -= self.alpha * kept[0]


class Nesterov(Momentum):
    def update(self, params: Any, grads: Any) -> None:
        for k, kept in self.zeros(params).items():
            params[k] += self.mu * self.mu * kept[0] - (1 + self.mu) * self.lr * grads[k]
            kept[0] = self.mu * kept[0] - self.lr * grads[k]


class NesterovTooLate(Momentum):
    """Updates v first, and looks ahead from there: an error of an early version of a book."""

    def update(self, params: Any, grads: Any) -> None:
        for k, kept in self.zeros(params).items():
            kept[0] = self.mu * kept[0] - self.lr * grads[k]
            params[k] += self.mu * self.mu * kept[0] - (1 + self.mu) * self.lr * grads[k]


class Adadelta(Keeping):
    def __init__(self, rho: float = 0.95) -> None:
        self.rho, self.epsilon = rho, 1e-6

    def update(self, params: Any, grads: Any) -> None:
        for k, kept in self.zeros(params).items():
            kept[0] = self.rho * kept[0] + (1 - self.rho) * grads[k] ** 2
            step = np.sqrt((kept[1] + self.epsilon) / (kept[0] + self.epsilon)) * grads[k]
            kept[1] = self.rho * kept[1] + (1 - self.rho) * step**2
            params[k] -= step


class AdadeltaUp(Adadelta):
    def update(self, params: Any, grads: Any) -> None:
        super().update(params, {k: -g for k, g in grads.items()})


class Stepping:
    """Made with parameters that have data and grad."""

    def __init__(self, params: Any, lr: float = 0.01) -> None:
        self.params, self.lr = list(params), lr

    def step(self) -> None:
        for p in self.params:
            p.data = p.data - self.lr * p.grad


def configured(w: Any, dw: Any, config: Any = None) -> Any:
    config.setdefault("momentum", 0.9)
    v = config.get("velocity", np.zeros_like(w))
    config["velocity"] = config["momentum"] * v - config["learning_rate"] * dw
    return w + config["velocity"], config


def configured_adam(w: Any, dw: Any, config: Any = None, *, moves: int = 1) -> Any:
    for name, value in {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "t": 0}.items():
        config.setdefault(name, value)
    m, v = config.get("m", np.zeros_like(w)), config.get("v", np.zeros_like(w))
    config["t"] += moves
    config["m"] = config["beta1"] * m + (1 - config["beta1"]) * dw
    config["v"] = config["beta2"] * v + (1 - config["beta2"]) * dw**2
    t = max(config["t"], 1)
    step = config["m"] / (1 - config["beta1"] ** t)
    scale = np.sqrt(config["v"] / (1 - config["beta2"] ** t)) + config["epsilon"]
    return w - config["learning_rate"] * step / scale, config


@pytest.mark.parametrize(
    ("theirs", "like"),
    [
        (Adam, "adam"), (Adam(), "adam"), (Adam, optim.Adam(lr=0.5, betas=(0.5, 0.6))),
        (FixedAdam, optim.Adam(lr=0.5)), (AdamW, "adamw"), (AdamW, optim.AdamW(weight_decay=0.2)),
        (Momentum, "momentum"), (Momentum, optim.SGD(lr=0.2, momentum=0.5)), (Alpha, "momentum"),
        (Alpha, optim.SGD(lr=0.2, momentum=0.5)), (Nesterov, "nesterov"),
        (Nesterov, optim.SGD(lr=0.1, momentum=0.8, nesterov=True)), (Nesterov, "momentum"),
        (Adadelta, "adadelta"), (Adadelta, optim.Adadelta(rho=0.8)), (Stepping, "sgd"),
        (Stepping, optim.SGD(lr=0.3)), (configured, "momentum"), (configured_adam, "adam"),
        (configured_adam, optim.Adam(lr=0.5, betas=(0.5, 0.6), eps=0.1)),
    ],
)  # fmt: skip
def test_right_optimizers_pass(theirs: Any, like: Any) -> None:
    report = xpcnn.check(theirs, like=like)
    assert report.passed, report.text
    assert [check.state for check in report.checks] == ["right", "right"]


@pytest.mark.parametrize(
    ("theirs", "like", "named"),
    [
        (Momentum, "nesterov", None), (NesterovTooLate, "momentum", None),
        (NesterovTooLate, "nesterov", None), (Adam, optim.AdamW, None),
        (AdadeltaUp, "adadelta", "ascends"), (Stepping, "momentum", "momentum_not_kept"),
        (Stepping, optim.SGD(lr=0.1, momentum=0.9, nesterov=True), "momentum_not_kept"),
        (lambda w, dw, config: configured_adam(w, dw, config, moves=0), "adam",
         "step_not_counted"),
        (lambda w, dw, config: (w + config["learning_rate"] * dw, config), "sgd", "ascends"),
    ],
)  # fmt: skip
def test_wrong_optimizers(theirs: Any, like: Any, named: str | None) -> None:
    report = xpcnn.check(theirs, like=like)
    assert not report.passed
    assert report.mistakes == ([] if named is None else [named]), report.text


def test_settings_of_like_are_asked_for() -> None:
    """A class that has its betas written into the formulas cannot have others."""
    report = xpcnn.check(FixedAdam, like=optim.Adam(betas=(0.5, 0.6)))
    assert [check.state for check in report.checks] == ["wrong"]
    assert report.checks[0].message == "like= asks for beta1=0.5, and no argument takes it"


def test_an_epsilon_that_is_asked_for_is_used() -> None:
    """With 0.1 the steps are other than with 1e-7, which is written into the class."""
    report = xpcnn.check(Adam, like=optim.Adam(eps=0.1))
    assert report.checks[0].message == "like= asks for eps=0.1, and no argument takes it"


@pytest.mark.parametrize(
    "like",
    [
        optim.SGD(momentum=0.9, dampening=0.5), optim.RMSprop(momentum=0.5),
        optim.RMSprop(centered=True), optim.Adam(amsgrad=True), optim.Adagrad(lr_decay=0.1),
        optim.Adam(weight_decay=0.1), optim.Adagrad(initial_accumulator_value=0.1),
    ],
)  # fmt: skip
def test_what_is_not_looked_at_is_refused(like: Any) -> None:
    with pytest.raises(ValueError, match="which is not checked; leave it out"):
        xpcnn.check(Adam, like=like)
