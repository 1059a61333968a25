"""Losses of sure answers in float32: what is small keeps its digits, on both sides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpcnn import functional as F
from xpcnn import kernels, losses
from xpcnn._xp import dtype_name, to_numpy
from xpcnn.device import Device

SIZES = [5.0, 17.0, 40.0, 80.0]
EPS = float(np.finfo("float32").eps)


def one(value: Any) -> float:
    return float(to_numpy(value).ravel()[0])


@pytest.mark.parametrize("size", SIZES)
def test_yes_and_no(device: Device, size: float) -> None:
    # log(1 + exp(-size)), and 1 / (1 + exp(size)) as its derivative, on both sides
    term, slope = math.log1p(math.exp(-size)), 1.0 / (1.0 + math.exp(size))
    for positive, loss in (
        (1.0, losses.BCEWithLogitsLoss()),
        (3.0, losses.BCEWithLogitsLoss(pos_weight=3.0)),
        (1.0, losses.SoftMarginLoss()),
    ):
        no = -1.0 if isinstance(loss, losses.SoftMarginLoss) else 0.0
        for x, target, factor in ((-size, no, 1.0), (size, 1.0, positive)):
            prediction = device.asarray(np.array([[x]]), "float32")
            value = loss(prediction, device.asarray(np.array([[target]]), "float32"))
            gradient = loss.backward()
            assert dtype_name(value) == dtype_name(gradient) == "float32"
            assert one(value) == pytest.approx(factor * term, rel=4 * EPS)
            assert one(gradient) == pytest.approx(math.copysign(factor * slope, -x), rel=4 * EPS)


@pytest.mark.parametrize("loss", [losses.CrossEntropyLoss(), losses.CrossEntropyLoss([1.0] * 3)])
@pytest.mark.parametrize("size", SIZES)
def test_classes(device: Device, loss: losses.Loss, size: float) -> None:
    # The other two have exp(-size) each beside 1.
    others = 2.0 * math.exp(-size)
    prediction = device.asarray(np.array([[3.0 + size, 3.0, 3.0]]), "float32")
    sets = ["generic", None] if isinstance(prediction, np.ndarray) else [None]
    for name in sets:
        with kernels.force(name):
            value = loss(prediction, device.asarray(np.array([0])))
            gradient = to_numpy(loss.backward())
        # Where the exponent is rounded, so is the power: by `size` times the rounding.
        rel = (4 + size) * EPS
        assert one(value) == pytest.approx(math.log1p(others), rel=rel)
        share = others / (1.0 + others)
        np.testing.assert_allclose(gradient, [[-share, share / 2, share / 2]], rtol=rel)


def test_nll_of_log_softmax(device: Device) -> None:
    import xpcnn

    layer, loss = xpcnn.LogSoftmax(1), losses.NLLLoss()
    x = device.asarray(np.array([[17.0, 0.0]]), "float32")
    value = loss(layer.forward(x, training=True), device.asarray(np.array([0])))
    gradient = to_numpy(layer.backward(loss.backward()))
    share = 1.0 / (1.0 + math.exp(17.0))
    assert one(value) == pytest.approx(math.log1p(math.exp(-17.0)), rel=20 * EPS)
    np.testing.assert_allclose(gradient, [[-share, share]], rtol=20 * EPS)


def test_log_softmax_of_equals(device: Device) -> None:
    for classes in (1, 2, 7):
        y = F.log_softmax(device.asarray(np.full((2, classes), 3.5), "float32"), axis=1)
        np.testing.assert_allclose(to_numpy(y), -math.log(classes), rtol=2 * EPS)


@pytest.mark.parametrize("x", [[math.inf, 0.0], [math.nan, 0.0], [-math.inf, -math.inf]])
def test_not_finite_scores_are_not_hidden(device: Device, x: list[float]) -> None:
    loss = losses.CrossEntropyLoss()
    with np.errstate(invalid="ignore"):
        value = loss(device.asarray(np.array([x]), "float32"), device.asarray(np.array([0])))
    assert math.isnan(one(value))


def test_counts_near_their_expectation(device: Device) -> None:
    # 1 - t / (x + eps) for x = 1 + 2^-23, t = 1, eps = 1e-8
    loss = losses.PoissonNLLLoss(log_input=False)
    x = np.float32(1.0 + 2.0**-23)
    loss(device.asarray(np.array([[x]])), device.asarray(np.array([[1.0]]), "float32"))
    exact = (2.0**-23 + 1e-8) / (1.0 + 2.0**-23 + 1e-8)
    assert one(loss.backward()) == pytest.approx(exact, rel=4 * EPS)
