"""Losses of differences: by hand, PyTorch, and targets that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.pytorch import compare_loss, nn
from xpcnn import losses
from xpcnn._xp import to_numpy
from xpcnn.device import Device


@pytest.mark.parametrize(
    ("loss", "value", "gradient"),
    [
        (losses.MSELoss(), (0.25 + 9.0) / 2, [[0.5], [-3.0]]),
        (losses.L1Loss(), (0.5 + 3.0) / 2, [[0.5], [-0.5]]),
        (losses.HuberLoss(delta=2.0), (0.125 + 2 * (3 - 1)) / 2, [[0.25], [-1.0]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_differences_by_hand(
    device: Device, loss: losses.Loss, value: float, gradient: list[list[float]]
) -> None:
    x = device.asarray(np.array([[1.5], [-1.0]]))
    target = device.asarray(np.array([[1.0], [2.0]]))
    assert float(loss(x, target)) == value
    np.testing.assert_array_equal(to_numpy(loss.backward()), gradient)
    # Sample weights multiply; the mean still divides by the number of terms.
    weights = device.asarray(np.array([2.0, 0.0]))
    loss(x, target, sample_weight=weights)
    np.testing.assert_array_equal(to_numpy(loss.backward()), [[2 * gradient[0][0]], [0.0]])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_regression_as_pytorch(rng: np.random.Generator, reduction: str) -> None:
    x, target = rng.normal(size=(2, 5, 3, 2))
    target[0, 0, 0] = x[0, 0, 0]  # the kink of the absolute value
    compare_loss(losses.MSELoss(reduction), nn.MSELoss(reduction=reduction), x, target)
    compare_loss(losses.L1Loss(reduction), nn.L1Loss(reduction=reduction), x, target)
    for delta in (0.3, 1.0, 10.0):
        theirs = nn.HuberLoss(reduction=reduction, delta=delta)
        compare_loss(losses.HuberLoss(reduction, delta), theirs, x, target)


def test_mse_on_class_labels_speaks_of_one_hot() -> None:
    labels, rows = np.array([0, 1]), np.eye(3)[:2]
    loss = losses.MSELoss()
    with pytest.raises(ValueError, match="one-hot rows with numpy.eye\\(3\\)"):
        loss.prepare_target((2, 3), labels, "float32")
    with pytest.raises(ValueError, match="one-hot rows"):
        loss(np.zeros((2, 3)), labels)
    with pytest.raises(ValueError, match="target\\[:, None\\]"):
        loss.prepare_target((2, 1), np.array([0.5, 1.0]), "float32")
    np.testing.assert_array_equal(loss.prepare_target((9, 3), rows.astype(int), "float32"), rows)


@pytest.mark.parametrize("base", [losses.MSELoss, losses.CrossEntropyLoss, losses.BCELoss])
def test_the_terms_of_a_subclass_count(base):
    """No kernel of the class above takes their place."""

    class Mine(base):
        def _terms(self, xp, prediction, target):
            return prediction[:, 0] * 3.0, prediction.shape[0], prediction

        def _gradient(self, xp, saved, scale):
            return scale * saved

    class Same(base):
        pass

    x, target = np.full((4, 9), 0.5, np.float32), np.ones((4, 9), np.float32)
    loss = Mine()
    assert loss(x, target) == 1.5
    np.testing.assert_array_equal(loss.backward(), x / 4)
    assert Same()(x, target) == base()(x, target)
