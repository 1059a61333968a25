"""Dropout: the mask follows from (seed, step) alone, and its statistics are what they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn import _xp


def dropped(layer, seed, step, shape, device=None):
    """Return the output for an input of ones, as NumPy array."""
    layer.seed, layer.step = seed, step
    ones = np.ones(shape, dtype="float32")
    x = ones if device is None else device.asarray(ones)
    return _xp.to_numpy(layer.forward(x, training=True))


def test_same_bits_on_every_library(device):
    for layer, shape in (
        (xpcnn.Dropout(0.3), (4, 50)),
        (xpcnn.Dropout1d(0.5), (3, 8, 4)),
        (xpcnn.Dropout2d(0.5), (3, 8, 2, 2)),
        (xpcnn.Dropout3d(0.5), (3, 8, 2, 2, 1)),
        (xpcnn.StochasticDepth(0.5), (50, 2, 2)),
        (xpcnn.AlphaDropout(0.3), (4, 50)),
    ):
        for step in (0, 17):
            np.testing.assert_array_equal(
                dropped(layer, 5, step, shape, device), dropped(layer, 5, step, shape)
            )


def test_mask_follows_from_seed_and_step_alone():
    first = dropped(xpcnn.Dropout(0.5), 1, 0, (4, 100))
    used = xpcnn.Dropout(0.5)
    dropped(used, 9, 3, (2, 7))
    np.testing.assert_array_equal(dropped(used, 1, 0, (4, 100)), first)
    for seed, step in ((1, 1), (2, 0)):
        assert (dropped(used, seed, step, (4, 100)) != first).mean() > 0.3


def test_on_its_own_it_counts_its_training_steps():
    layer = xpcnn.Dropout(0.5)
    layer.seed = 3
    x = np.ones((2, 100), dtype="float32")
    masks = [layer.forward(x, training=True) for _ in range(2)]
    assert layer.step == 2
    layer.forward(x)
    assert layer.step == 2
    for step, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, dropped(layer, 3, step, (2, 100)))


def test_two_layers_of_a_model_drop_differently():
    net = xpcnn.Sequential(xpcnn.Dropout(0.5), xpcnn.Dropout(0.5))
    net.build((2, 10), rng=np.random.default_rng(0))
    assert net[0].seed != net[1].seed
    same = xpcnn.Sequential(xpcnn.Dropout(0.5), xpcnn.Dropout(0.5))
    same.build((2, 10), rng=np.random.default_rng(0))
    assert [layer.seed for layer in same] == [layer.seed for layer in net]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_kept_elements_are_scaled_and_the_share_is_right(p):
    n = 40_000
    y = dropped(xpcnn.Dropout(p), 11, 0, (4, n // 4))
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-6)
    # within five standard deviations of a binomial distribution
    assert abs(kept.sum() - n * (1 - p)) < 5 * math.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_channels_are_dropped_whole(ndim):
    layer = getattr(xpcnn, f"Dropout{ndim}d")(0.5)
    y = dropped(layer, 1, 0, (20, 30, *[(12,), (3, 4), (3, 2, 2)][ndim - 1]))
    per_channel = y.reshape(600, 12)
    assert (per_channel == per_channel[:, :1]).all()
    kept = (per_channel[:, 0] != 0).sum()
    assert abs(kept - 300) < 5 * math.sqrt(600 / 4)


@pytest.mark.parametrize("cls", [xpcnn.Dropout, xpcnn.Dropout2d, xpcnn.AlphaDropout])
def test_nothing_and_everything(cls, rng):
    x = rng.normal(size=(2, 3, 4, 4))
    dy = rng.normal(size=x.shape)
    layer = cls(0.0)
    np.testing.assert_array_equal(layer.forward(x, training=True), x)
    np.testing.assert_array_equal(layer.backward(dy), dy)
    layer = cls(1.0)
    np.testing.assert_array_equal(layer.forward(x, training=True), np.zeros_like(x))
    np.testing.assert_array_equal(layer.backward(dy), np.zeros_like(x))
    layer = cls(0.7)
    np.testing.assert_array_equal(layer(x), x)


def test_gradient_goes_where_the_input_went(rng):
    layer = xpcnn.Dropout(0.4)
    layer.seed = 1
    x, dy = rng.normal(size=(3, 20)), rng.normal(size=(3, 20))
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(layer.backward(dy) * x, y * dy, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_alpha_dropout_keeps_mean_and_variance(p, rng):
    """Selu's limit at minus infinity, -1.0507 * 1.67326, stands for what is dropped."""
    n, left = 40_000, -1.0507009873554804934 * 1.6732632423543772848
    x = rng.normal(size=(4, n // 4))
    x = (x - x.mean()) / x.std()
    layer = xpcnn.AlphaDropout(p)
    layer.seed = 3
    y = layer.forward(x, training=True)
    # as published: a = (q + left^2 q (1 - q))^(-1/2) and b = -a (1 - q) left, for q = 1 - p
    a = (1 - p + left**2 * p * (1 - p)) ** -0.5
    b = -a * p * left
    is_dropped = np.isclose(y, a * left + b, rtol=0, atol=1e-12)
    assert abs(is_dropped.sum() - n * p) < 5 * math.sqrt(n * p * (1 - p))
    np.testing.assert_allclose(y[~is_dropped], a * x[~is_dropped] + b, rtol=1e-12, atol=1e-12)
    assert abs(y.mean()) < 5 / math.sqrt(n)
    assert abs(y.var() - 1) < 5 * math.sqrt(3 / n)
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(layer.backward(dy), dy * a * ~is_dropped, rtol=1e-12, atol=1e-12)


# For half of the channels dropped, and ones, as published: with left = -1.75810 and so left^2 =
# 3.09091, a = (1/2 + 0.77273)^(-1/2) = 0.88640 and b = -a left / 2 = 0.77919. A kept channel
# becomes a + b, a dropped one a left + b = -b.
HALF_DROPPED = [-0.77919, 1.66560]


def feature_alpha_dropout(run):
    """Return the values that a training forward makes of ones, with all of a channel alike."""
    y = np.asarray(run(np.ones((20, 30, 3, 4)))).reshape(600, 12)
    assert (y == y[:, :1]).all()
    return np.unique(y.round(12))


def test_feature_alpha_dropout_by_hand():
    layer = xpcnn.FeatureAlphaDropout(0.5)
    layer.seed = 3
    values = feature_alpha_dropout(lambda x: layer.forward(x, training=True))
    np.testing.assert_allclose(values, HALF_DROPPED, atol=1e-5)
    with pytest.raises(ValueError, match="FeatureAlphaDropout: expected 4 dimensions"):
        layer(np.ones(3))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_feature_alpha_dropout_has_the_values_of_torch(p):
    theirs = nn.FeatureAlphaDropout(p)
    expected = feature_alpha_dropout(lambda x: theirs(torch.from_numpy(x)))
    layer = xpcnn.FeatureAlphaDropout(p)
    layer.seed = 3
    values = feature_alpha_dropout(lambda x: layer.forward(x, training=True))
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_errors():
    for cls in (xpcnn.Dropout, xpcnn.Dropout2d, xpcnn.AlphaDropout, xpcnn.Dropout3d):
        for wrong in (-0.1, 1.5, float("nan")):
            with pytest.raises(ValueError, match=f"{cls.__name__}: p must be between 0 and 1, got"):
                cls(wrong)


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth_drops_whole_samples(mode):
    layer = xpcnn.StochasticDepth(0.25, mode)
    seen, n = [], 40 if mode == "row" else 1
    for step in range(400 // n):
        y = dropped(layer, 5, step, (n if mode == "row" else 3, 2, 4))
        per_sample = y.reshape(len(y), -1)
        assert (per_sample == per_sample[:, :1]).all()
        if mode == "batch":
            assert (y == y[0]).all()
            per_sample = per_sample[:1]
        seen += per_sample[:, 0].tolist()
    assert set(np.round(seen, 5)) == {0.0, np.round(4 / 3, 5)}
    assert np.mean(np.array(seen) == 0.0) == pytest.approx(0.25, abs=0.07)
    with pytest.raises(ValueError, match="mode must be one of 'row', 'batch'"):
        xpcnn.StochasticDepth(0.5, "column")
