"""The courses' optimizers: three steps by hand, and who sees the new values."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from xpcnn._xp import to_numpy
from xpcnn.scratch import conv1d, deep_conv_net, simple_conv_net

GRADIENTS = (0.5, -2.0, 0.25)
START = 1.0


def sgd(gradients, lr=0.1) -> Iterator[float]:
    p = START
    for g in gradients:
        p -= lr * g
        yield p


def momentum(gradients, lr=0.1, share=0.9) -> Iterator[float]:
    p, v = START, 0.0
    for g in gradients:
        v = share * v - lr * g
        p += v
        yield p


def adagrad(gradients, lr=0.1) -> Iterator[float]:
    p, h = START, 0.0
    for g in gradients:
        h += g * g
        p -= lr * g / (math.sqrt(h) + 1e-7)
        yield p


def rmsprop(gradients, lr=0.1, rho=0.8) -> Iterator[float]:
    p, h = START, 0.0
    for g in gradients:
        h = rho * h + (1 - rho) * g * g
        p -= lr * g / math.sqrt(h + 1e-6)
        yield p


def adadelta(gradients, rho=0.95) -> Iterator[float]:
    p, h, r = START, 0.0, 0.0
    for g in gradients:
        h = rho * h + (1 - rho) * g * g
        step = -math.sqrt(r + 1e-6) / math.sqrt(h + 1e-6) * g
        p += step
        r = rho * r + (1 - rho) * step * step
        yield p


def adam_rho(gradients, lr=0.1, rho1=0.9, rho2=0.999) -> Iterator[float]:
    p, m, v = START, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m = rho1 * m + (1 - rho1) * g
        v = rho2 * v + (1 - rho2) * g * g
        p -= lr * (m / (1 - rho1**t)) / (math.sqrt(v / (1 - rho2**t)) + 1e-8)
        yield p


def adam_beta(gradients, lr=0.1, beta1=0.9, beta2=0.999) -> Iterator[float]:
    p, m, v = START, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        lr_t = lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        p -= lr_t * m / (math.sqrt(v) + 1e-7)
        yield p


CASES = {
    "SGD": (deep_conv_net.SGD, (0.1,), sgd),
    "Momentum": (deep_conv_net.Momentum, (0.1, 0.9), momentum),
    "AdaGrad": (deep_conv_net.AdaGrad, (0.1,), adagrad),
    "RMSProp": (deep_conv_net.RMSProp, (0.1, 0.8), rmsprop),
    "Adadelta": (deep_conv_net.Adadelta, (0.95,), adadelta),
    "Adam": (deep_conv_net.Adam, (0.1, 0.9, 0.999), adam_rho),
    "simple Adam": (simple_conv_net.Adam, (0.1, 0.9, 0.999), adam_beta),
    "simple SGD": (simple_conv_net.SGD, (0.1,), sgd),
    "1d AdaGrad": (conv1d.AdaGrad, (0.1,), adagrad),
    "1d Adam": (conv1d.Adam, (0.1, 0.9, 0.999), adam_beta),
}


@pytest.mark.parametrize("case", CASES)
def test_three_steps_by_hand(case) -> None:
    cls, arguments, by_hand = CASES[case]
    optimizer = cls(*arguments)
    params = {"W1": np.full((2, 3), START), "b1": np.full(2, START)}
    for g, expected in zip(GRADIENTS, by_hand(GRADIENTS), strict=True):
        grads = {"W1": np.full((2, 3), g), "b1": np.full(2, -g), "other": np.ones(1)}
        optimizer.update(params, grads)
        np.testing.assert_allclose(params["W1"], expected, rtol=1e-12)
    # every parameter has a memory of its own
    *_, expected = by_hand([-g for g in GRADIENTS])
    np.testing.assert_allclose(params["b1"], expected, rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_defaults_are_those_of_the_courses(case) -> None:
    optimizer = CASES[case][0]()
    expected = {"Adam": {"lr": 0.001, "rho1": 0.9, "rho2": 0.999}}
    expected["simple Adam"] = {"lr": 0.001, "beta1": 0.9, "beta2": 0.999}
    expected["1d Adam"] = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999}
    expected["Adadelta"] = {"rho": 0.95}
    expected["RMSProp"] = {"lr": 0.01, "rho": 0.9}
    expected["Momentum"] = {"lr": 0.01, "momentum": 0.9}
    for name, value in expected.get(case, {"lr": 0.01}).items():
        assert getattr(optimizer, name) == value


def test_adam_on_every_device(device) -> None:
    params = {"W": device.asarray(np.full((2,), START))}
    optimizer = deep_conv_net.Adam(0.1)
    for g, expected in zip(GRADIENTS, adam_rho(GRADIENTS), strict=True):
        optimizer.update(params, {"W": device.asarray(np.full((2,), g))})
        np.testing.assert_allclose(to_numpy(params["W"]), expected, rtol=1e-12)


def test_new_values_reach_whoever_holds_the_arrays() -> None:
    W = np.ones((2, 2))
    params, grads = {"W": W}, {"W": np.full((2, 2), 2.0)}
    for optimizer in (deep_conv_net.SGD(0.5), deep_conv_net.Adam(), deep_conv_net.RMSProp()):
        before = W.copy()
        optimizer.update(params, grads)
        assert params["W"] is W
        assert (before != W).all()
    np.testing.assert_array_equal(grads["W"], 2.0)


def test_arrays_that_cannot_be_written_to_are_replaced() -> None:
    W = np.ones(3)
    W.flags.writeable = False
    params = {"W": W}
    deep_conv_net.SGD(0.5).update(params, {"W": np.ones(3)})
    np.testing.assert_array_equal(params["W"], 0.5)
    np.testing.assert_array_equal(W, 1.0)


def test_integers_and_numbers_become_floats() -> None:
    params = {"W": np.array([1, 2]), "b": 3.0}
    deep_conv_net.SGD(0.5).update(params, {"W": np.array([1, 1]), "b": 1})
    np.testing.assert_array_equal(params["W"], [0.5, 1.5])
    assert params["b"] == 2.5


def test_float32_stays_float32() -> None:
    params = {"W": np.ones(3, dtype="float32")}
    deep_conv_net.Adam().update(params, {"W": np.ones(3)})
    assert params["W"].dtype == np.float32


def test_errors() -> None:
    with pytest.raises(ValueError, match="SGD.update: no gradient for 'W2', 'b2' in grads"):
        deep_conv_net.SGD().update({"W2": np.ones(1), "b2": np.ones(1)}, {"W1": np.ones(1)})
    with pytest.raises(ValueError, match=r"'W' has shape \(2, 3\) but its gradient \(3,\)"):
        deep_conv_net.SGD().update({"W": np.ones((2, 3))}, {"W": np.ones(3)})
