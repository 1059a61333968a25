"""Kullback-Leibler divergence: its mean over the batch."""

from __future__ import annotations

import math

import numpy as np

from tests.pytorch import nn, torch
from xpcnn import losses
from xpcnn._xp import to_numpy

LOG2 = math.log(2.0)


def test_batchmean_by_hand(device):
    x = device.asarray(np.log(np.full((2, 2), 0.5)))
    target = device.asarray(np.array([[1.0, 0.0], [0.5, 0.5]]))
    loss = losses.KLDivLoss("batchmean")
    np.testing.assert_allclose(float(loss(x, target)), LOG2 / 2, rtol=1e-14)
    np.testing.assert_allclose(to_numpy(loss.backward()), [[-0.5, 0.0], [-0.25, -0.25]], rtol=1e-14)


def test_kl_div_batchmean_is_that_of_torch(rng):
    x, y = rng.random((2, 3, 4))
    expected = nn.KLDivLoss(reduction="batchmean")(torch.tensor(np.log(x)), torch.tensor(y))
    np.testing.assert_allclose(losses.KLDivLoss("batchmean")(np.log(x), y), expected, rtol=1e-13)
