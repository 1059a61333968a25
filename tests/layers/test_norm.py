"""Normalising layers: cases by hand, PyTorch at random, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.layers.by_hand import assert_refused, line, run
from tests.pytorch import (
    Pair,
    argument,
    both,
    channels_and_spatial,
    compare_draws,
    draw,
    drawn,
    maybe_bias,
    nn,
    torch,
)
from xpcnn import _xp

# -- By hand, on every library ---------------------------------------------------------------------


def test_normalisation_by_hand(device):
    # (1 3) has mean 2 and variance 1, (10 50) mean 30 and variance 400
    x = device.asarray(np.array([[[1.0, 3.0], [10.0, 50.0]]]))
    for layer in (
        xc.InstanceNorm1d(2, eps=0.0),
        xc.GroupNorm(2, 2, eps=0.0),
        xc.LayerNorm(2, eps=0.0),
    ):
        np.testing.assert_allclose(_xp.to_numpy(layer(x)), [[[-1, 1], [-1, 1]]], rtol=1e-12)
    # mean 16 and mean square (1 + 9 + 100 + 2500) / 4
    variance = 652.5 - 256
    for layer in (xc.GroupNorm(1, eps=1.5), xc.LayerNorm((2, 2), eps=1.5)):
        expected = np.array([[[-15, -13], [-6, 34]]]) / np.sqrt(variance + 1.5)
        np.testing.assert_allclose(_xp.to_numpy(layer(x)), expected, rtol=1e-12)
    y = xc.RMSNorm(2, eps=4.0)(x)
    expected = [[[1 / 3, 1], [10 / np.sqrt(1304), 50 / np.sqrt(1304)]]]
    np.testing.assert_allclose(_xp.to_numpy(y), expected, rtol=1e-12)


def test_scale_and_shift_are_per_channel_or_per_element():
    x = np.array([[[1.0, 3.0], [10.0, 50.0]]])
    state = {"weight": np.array([2.0, 3.0]), "bias": np.array([10.0, 20.0])}
    for layer in (xc.GroupNorm(2, eps=0.0), xc.InstanceNorm1d(eps=0.0, affine=True)):
        layer.load_state_dict(state)
        np.testing.assert_allclose(layer(x), [[[8, 12], [17, 23]]])
    layer = xc.LayerNorm(2, eps=0.0)
    layer.load_state_dict(state)
    np.testing.assert_allclose(layer(x), [[[8, 23], [8, 23]]])


@pytest.mark.parametrize("rows", [2, 3000])
def test_the_mean_of_a_channel_with_infinity_is_infinite(rows):
    x = np.ones((rows, 10), "float32")
    x[1, 1], x[1, 2], x[1, 3] = np.inf, -np.inf, np.nan
    x[0, 4], x[1, 4] = np.inf, -np.inf
    layer = xc.BatchNorm1d(10, momentum=1.0)
    with np.errstate(invalid="ignore"):
        layer.forward(x, training=True)
    expected = [1, np.inf, -np.inf, np.nan, np.nan, *[1] * 5]
    np.testing.assert_array_equal(layer.running_mean.data, expected)
    np.testing.assert_array_equal(layer.running_var.data[1:5], [np.nan] * 4)
    np.testing.assert_array_equal(layer.running_var.data[[0, *range(5, 10)]], 0)


def test_running_statistics_of_instance_norm():
    layer = xc.InstanceNorm1d(1, momentum=0.5, track_running_stats=True, eps=0.0)
    x = np.array([[[1.0, 3.0]], [[10.0, 50.0]]])
    np.testing.assert_allclose(layer.forward(x, training=True), [[[-1, 1]], [[-1, 1]]])
    # means 2 and 30, unbiased variances 2 and 800; half of that and half of the first values
    np.testing.assert_allclose(layer.running_mean.data, [8])
    np.testing.assert_allclose(layer.running_var.data, [0.5 + 401 / 2])
    assert int(layer.num_batches_tracked.data) == 0
    np.testing.assert_allclose(layer(line(8.0)), line(0.0))
    layer = xc.InstanceNorm1d(1, momentum=None, track_running_stats=True)
    layer.forward(x, training=True)
    np.testing.assert_array_equal(layer.running_mean.data, [0])


def test_local_response_by_hand(device):
    # of two channels the one in front and the own one: squares 1, 1 + 4, 4 + 9
    layer = xc.LocalResponseNorm(2, alpha=2.0, beta=1.0, k=1.0)
    y, dx = run(layer, [[[1.0], [2.0], [3.0]]], device)
    np.testing.assert_allclose(y, [[[1 / 2], [2 / 6], [3 / 14]]])
    # dy (1 2 3): dy / d - 2 x (what lies in each divisor: the own, and the next channel's)
    own = [1 / 2, 2 / 6, 3 / 14]
    through = [1 * 1 / 4, 2 * 2 / 36, 3 * 3 / 196]
    expected = [own[i] - 2 * (i + 1) * sum(through[i : i + 2]) for i in range(3)]
    np.testing.assert_allclose(dx[0, :, 0], expected)


def test_one_position_per_channel():
    layer = xc.InstanceNorm2d(3, track_running_stats=True)
    x = np.ones((2, 3, 1, 1), "float32")
    assert layer(x).shape == x.shape  # by the running statistics
    for refusing, training in ((layer, True), (xc.InstanceNorm2d(3), False)):
        with pytest.raises(ValueError, match="InstanceNorm2d: expected more than one position per"):
            refusing.forward(x, training=training)


def test_widths_are_inferred():
    for layer, name in (
        (xc.GroupNorm(2), "num_channels"),
        (xc.InstanceNorm1d(affine=True), "num_features"),
    ):
        assert getattr(layer, name) is None
        layer(np.ones((2, 4, 3), "float32"))
        assert getattr(layer, name) == 4
        with pytest.raises(ValueError, match="expected 4 channels"):
            layer(np.ones((2, 6, 3), "float32"))
    layer = xc.GroupNorm(2)
    layer.load_state_dict({"weight": np.ones(6), "bias": np.ones(6)})
    assert layer.num_channels == 6


# -- PyTorch, at random ----------------------------------------------------------------------------


def batch_norm(rng):
    ndim = int(rng.integers(0, 4))
    channels = int(rng.integers(1, 5))
    options = {
        "eps": float(rng.choice([1e-5, 1e-3, 0.1])),
        "momentum": [0.1, 0.5, None][rng.integers(3)],
        "affine": bool(rng.random() < 0.7),
        "track_running_stats": bool(rng.random() < 0.7),
        **maybe_bias(rng),
    }
    name = f"BatchNorm{max(ndim, 1)}d"
    given = channels if rng.random() < 0.7 else None
    shape = (int(rng.integers(3, 6)), channels, *(draw(rng, ndim, 1, 4) if ndim else ()))
    return Pair(getattr(xc, name)(given, **options), getattr(nn, name)(channels, **options), shape)


def group_norm(rng):
    groups = int(rng.integers(1, 4))
    channels = groups * int(rng.integers(1, 4))
    # with one element more than one per group, at least
    spatial = draw(rng, int(rng.integers(1, 5)), 1, 4)
    spatial = (*spatial[:-1], spatial[-1] + 1)
    eps, affine = float(rng.choice([1e-5, 1e-2])), bool(rng.random() < 0.7)
    given = channels if rng.random() < 0.7 else None
    options = maybe_bias(rng)
    return Pair(
        xc.GroupNorm(groups, given, eps, affine, **options),
        nn.GroupNorm(groups, channels, eps, affine, **options),
        (int(rng.integers(1, 4)), channels, *spatial),
    )


def layer_norm(rng):
    shape = draw(rng, int(rng.integers(2, 6)), 2, 4)
    last = shape[int(rng.integers(1, len(shape))) :]
    options = {
        "elementwise_affine": bool(rng.random() < 0.7),
        "bias": bool(rng.random() < 0.7),
        "eps": float(rng.choice([1e-5, 1e-2])),
    }
    return both("LayerNorm", shape, argument(rng, last) if len(last) == 1 else last, **options)


def rms_norm(rng):
    shape = draw(rng, int(rng.integers(2, 6)), 1, 4)
    last = shape[int(rng.integers(1, len(shape))) :]
    eps = None if rng.random() < 0.5 else float(rng.uniform(1e-6, 0.1))
    return both("RMSNorm", shape, last, eps, bool(rng.random() < 0.7))


def instance_norm(rng):
    shape = channels_and_spatial(rng, low=2, high=4)
    options = {
        "eps": float(rng.choice([1e-5, 1e-2])),
        "momentum": [0.1, 0.5, None][rng.integers(3)],
        "affine": bool(rng.random() < 0.5),
        "track_running_stats": bool(rng.random() < 0.6),
        **maybe_bias(rng),
    }
    name = f"InstanceNorm{len(shape) - 2}d"
    given = shape[1] if rng.random() < 0.7 else None
    return Pair(getattr(xc, name)(given, **options), getattr(nn, name)(shape[1], **options), shape)


def local_response_norm(rng):
    shape = channels_and_spatial(rng, channels=int(rng.integers(1, 9)), high=4)
    numbers = (float(v) for v in rng.uniform(0.2, 1.5, size=3))
    return both("LocalResponseNorm", shape, int(rng.integers(1, 7)), *numbers)


FAMILIES = {
    batch_norm: 2,
    group_norm: 2,
    layer_norm: 1,
    rms_norm: 1,
    instance_norm: 2,
    local_response_norm: 1,
}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)


@pytest.mark.parametrize(
    ("dtype", "scale", "rtol"),
    # numbers whose squares are near the epsilon, where the dtype has them
    [("float16", 1e-2, 5e-3), ("float32", 1e-4, 1e-5), ("float64", 1e-8, 1e-12)],
)
def test_epsilon_of_rms_norm_that_was_left_out(dtype, scale, rtol):
    x = (np.array([[1.0, 3.0], [10.0, 0.0]]) * scale).astype(dtype)
    expected = nn.RMSNorm(2, elementwise_affine=False)(torch.from_numpy(x)).numpy()
    y = xc.RMSNorm(2, elementwise_affine=False)(x)
    np.testing.assert_allclose(y, expected, rtol=rtol)


# -- What is refused -------------------------------------------------------------------------------

REFUSED = [
    (lambda: xc.GroupNorm(3, 4), ValueError, "num_channels=4 must be divisible by num_groups=3"),
    (lambda: xc.GroupNorm(0, 4), ValueError, "GroupNorm: num_groups must be at least 1, got 0"),
    (lambda: xc.LayerNorm(()), ValueError, "LayerNorm: normalized_shape must name at least one"),
    (lambda: xc.LayerNorm((3, 0)), ValueError, "normalized_shape must be at least 1, got 0"),
    (lambda: xc.RMSNorm(2.5), TypeError, "RMSNorm: normalized_shape must be an integer, got 2.5"),
    (lambda: xc.LocalResponseNorm(0), ValueError, "LocalResponseNorm: size must be at least 1"),
    (lambda: xc.InstanceNorm2d(0), ValueError, "InstanceNorm2d: num_features must be at least 1"),
]


@pytest.mark.parametrize(("make", "error", "match"), REFUSED, ids=[r[2][:30] for r in REFUSED])
def test_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


NOT_FITTING = [
    (lambda: xc.GroupNorm(2), (2, 3, 4), "num_channels=3 must be divisible by num_groups=2"),
    (lambda: xc.GroupNorm(4), (1, 4), "expected more than one value per group"),
    (lambda: xc.LayerNorm((2, 3)), (2, 2), r"expected an input whose last axes are \(2, 3\), got"),
]


@pytest.mark.parametrize(("make", "shape", "match"), NOT_FITTING)
def test_input_that_does_not_fit(make, shape, match):
    assert_refused(make(), shape, match)
