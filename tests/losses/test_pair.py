"""Losses of two predictions: by hand, PyTorch, targets, and training."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn import losses
from xpcnn._xp import device_of, dtype_name, to_numpy


def test_gaussian_by_hand(device):
    mean = device.asarray(np.array([[1.0, 3.0], [0.0, 0.0]]))
    target = device.asarray(np.array([[3.0, 3.0], [0.0, 1.0]]))
    var = device.asarray(np.array([[4.0], [1.0]]))
    loss = losses.GaussianNLLLoss(reduction="sum")
    # rows: (log 4 + 4 / 4) / 2 + log(4) / 2, and 0 + 1 / 2
    for value in (loss((mean, var), target), loss(mean, target, var)):
        np.testing.assert_allclose(float(value), math.log(4) + 1.0, rtol=1e-14)
    by_mean, by_var = loss.backward()
    np.testing.assert_allclose(to_numpy(by_mean), [[-0.5, 0.0], [0.0, -1.0]], rtol=1e-14)
    # (1 / v - d^2 / v^2) / 2, summed over the row
    np.testing.assert_allclose(to_numpy(by_var), [[0.125], [0.5]], rtol=1e-14)
    assert dtype_name(by_var) == "float64"
    assert device_of(by_var) == device_of(mean)


def test_variances_below_eps_keep_their_gradient(device):
    loss = losses.GaussianNLLLoss(eps=0.5)
    one = device.asarray(np.array([[1.0]]))
    value = loss((one, one * 0.0), one)
    np.testing.assert_allclose(float(value), 0.5 * math.log(0.5), rtol=1e-14)
    np.testing.assert_allclose(to_numpy(loss.backward()[1]), [[1.0]], rtol=1e-14)


def test_a_number_for_the_variance(rng):
    mean, target = rng.normal(size=(2, 3, 2))
    expected = nn.GaussianNLLLoss()(torch.tensor(mean), torch.tensor(target), 0.7)
    np.testing.assert_allclose(losses.GaussianNLLLoss()(mean, target, 0.7), expected, rtol=1e-13)


def test_cosine_embedding_by_hand(device):
    x1 = device.asarray(np.array([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [1.0, 2.0]]))
    x2 = device.asarray(np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0], [2.0, 1.0]]))
    target = device.asarray(np.array([1, -1, -1, 0]))
    loss = losses.CosineEmbeddingLoss(0.5, "none")
    for value in (loss((x1, x2), target), loss(x1, x2, target)):
        np.testing.assert_allclose(to_numpy(value), [0.4, 0.1, 0.0, 0.0], atol=1e-11)
    first, second = (to_numpy(g) for g in loss.backward())
    # d cos / d x1 = x2 / (|x1| |x2|) - cos * x1 / |x1|^2
    a = np.array([1 / 5 - 0.6 * 3 / 25, -0.6 * 4 / 25])
    b = np.array([3 / 5 - 0.6, 4 / 5])
    np.testing.assert_allclose(first, [-a, b, [0, 0], [0, 0]], atol=1e-11)
    np.testing.assert_allclose(second, [-b, a, [0, 0], [0, 0]], atol=1e-11)


def test_losses_of_two_predictions_say_so_in_fit():
    model = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu")
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1))
    for name in ("gaussian_nll", "cosine_embedding"):
        with pytest.raises(ValueError, match=r"has 1 output.*Loss takes 2"):
            model.fit(x, y, loss=name, optimizer="sgd", verbose=0)


def test_targets_of_a_pair():
    loss = losses.GaussianNLLLoss()
    prepared = loss.prepare_target(((8, 3), (8, 1)), np.ones((4, 3), int), "float32")
    assert prepared.dtype == np.float32
    with pytest.raises(ValueError, match="GaussianNLLLoss: expected targets of shape"):
        loss.prepare_target(((8, 3), (8, 1)), np.ones((4, 2)), "float32")
    loss = losses.CosineEmbeddingLoss()
    prepared = loss.prepare_target(((8, 3), (8, 3)), np.array([1, -1]), "float32")
    np.testing.assert_array_equal(prepared, [1.0, -1.0])
    with pytest.raises(ValueError, match="must be 1 or -1, got 0; turn 0 and 1"):
        loss.prepare_target(((8, 3), (8, 3)), np.array([1, 0]), "float32")


def test_backward_of_a_pair_needs_a_forward():
    with pytest.raises(RuntimeError, match="CosineEmbeddingLoss: backward needs a forward"):
        losses.CosineEmbeddingLoss().backward()


def test_triplets_may_be_swapped_by_hand(device):
    # One row where the anchor is nearer to the negative, one where the positive is, and a tie.
    anchor, positive, negative = (
        device.asarray(np.array(x)[:, None])
        for x in ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [-0.5, 3.0, 0.5])
    )
    loss = losses.TripletMarginLoss(2.0, eps=0.0, swap=True, reduction="none")
    terms = loss((anchor, positive, negative))
    np.testing.assert_allclose(to_numpy(terms), [2.5, 1.0, 2.5], rtol=1e-12)
    found = loss.backward(device.asarray(np.ones(3)))
    expected = [-2.0, -1.0, -0.5], [1.0, 2.0, 0.5], [1.0, -1.0, 0.0]
    for gradient, own in zip(found, expected, strict=True):
        np.testing.assert_allclose(to_numpy(gradient)[:, 0], own, atol=1e-12)
