"""Binary cross-entropy on logits: by hand and PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.pytorch import compare_loss, nn, torch
from xpcnn import losses
from xpcnn._xp import to_numpy
from xpcnn.device import Device


def test_bce_with_logits_by_hand(device: Device) -> None:
    x = device.asarray(np.array([[0.0, 1000.0, -1000.0, 1000.0]]))
    target = device.asarray(np.array([[1.0, 1.0, 1.0, 0.0]]))
    loss = losses.BCEWithLogitsLoss(reduction="none", pos_weight=2.0)
    np.testing.assert_allclose(
        to_numpy(loss(x, target)), [[2 * math.log(2), 0.0, 2000.0, 1000.0]], rtol=1e-14
    )
    np.testing.assert_allclose(to_numpy(loss.backward()), [[-1.0, 0.0, -2.0, 1.0]], rtol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, (4,), (1, 4), (5, 1)])
@pytest.mark.parametrize("pos_weight", [None, (4,)])
def test_bce_with_logits_as_pytorch(
    rng: np.random.Generator,
    reduction: str,
    weight: tuple[int, ...] | None,
    pos_weight: tuple[int, ...] | None,
) -> None:
    x, target = rng.normal(size=(5, 4)) * 20, rng.random((5, 4))
    factors = [None if shape is None else rng.random(shape) for shape in (weight, pos_weight)]
    first, second = (None if f is None else torch.tensor(f) for f in factors)
    theirs = nn.BCEWithLogitsLoss(first, reduction=reduction, pos_weight=second)
    compare_loss(losses.BCEWithLogitsLoss(factors[0], reduction, factors[1]), theirs, x, target)
