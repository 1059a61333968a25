"""Normalisation, padding, resizing and rearranging layers: cases by hand, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from xpcnn import _xp
from xpcnn import functional as F


def run(layer, x, device):
    """Return the output and, for a gradient of 1, 2, 3, ..., the gradient of the input."""
    y = layer.forward(device.asarray(np.asarray(x, dtype="float64")), training=True)
    shape = tuple(y.shape)
    dy = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape)
    return _xp.to_numpy(y), _xp.to_numpy(layer.backward(device.asarray(dy)))


def line(*values):
    return np.array([[values]], dtype=np.float64)


# -- Values ----------------------------------------------------------------------------------------


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


def test_padding_by_hand(device):
    for layer, expected, gradient in (
        (xc.ConstantPad1d((1, 2), 7), line(7, 1, 2, 3, 7, 7), line(2, 3, 4)),
        (xc.ZeroPad1d((-1, 1)), line(2, 3, 0), line(0, 1, 2)),
        (xc.ReflectionPad1d((-1, 2)), line(2, 3, 2, 1), line(4, 1 + 3, 2)),
        (xc.ReplicationPad1d((2, -1)), line(1, 1, 1, 2), line(1 + 2 + 3, 4, 0)),
        (xc.CircularPad1d((2, -1)), line(1, 2, 1, 2), line(1 + 3, 2 + 4, 0)),
    ):
        y, dx = run(layer, line(1, 2, 3), device)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(dx, gradient)


def test_the_last_axis_comes_first():
    x = np.ones((1, 1, 2, 3))
    y = xc.ZeroPad2d((1, 2, 0, 3))(x)
    assert y.shape == (1, 1, 5, 6)
    np.testing.assert_array_equal(y[0, 0, 0], [0, 1, 1, 1, 0, 0])
    assert xc.ZeroPad3d((1, 0, 0, 2, 3, 3)).output_shape((1, 1, 2, 2, 2)) == (1, 1, 8, 4, 3)


def test_padding_function_has_a_constant_too():
    np.testing.assert_array_equal(F.pad(line(1, 2), ((1, 1),), "constant", 5), line(5, 1, 2, 5))
    with pytest.raises(ValueError, match="mode must be one of 'constant', 'reflect', .*got 'zero'"):
        F.pad(line(1, 2), ((1, 1),), "zero")


def test_resizing_by_hand(device):
    for options, expected, gradient in (
        ({"size": 4}, line(1, 1, 3, 3), line(1 + 2, 3 + 4)),
        ({"size": 1}, line(1), line(1, 0)),
        ({"size": 4, "mode": "linear"}, line(1, 1.5, 2.5, 3), line(3.25, 6.75)),
        (
            {"size": 3, "mode": "linear", "align_corners": True},
            line(1, 2, 3),
            line(1 + 2 / 2, 3 + 2 / 2),
        ),
    ):
        y, dx = run(xc.Upsample(**options), line(1, 3), device)
        np.testing.assert_allclose(y, expected, rtol=1e-12)
        np.testing.assert_allclose(dx, gradient, rtol=1e-12)


def test_rearranging_by_hand(device):
    x = np.arange(8.0).reshape(1, 8, 1, 1)
    y, dx = run(xc.PixelShuffle(2), x, device)
    np.testing.assert_array_equal(y, [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]])
    np.testing.assert_array_equal(dx, x + 1)
    y, dx = run(xc.PixelUnshuffle(2), y, device)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, np.arange(1.0, 9.0).reshape(1, 2, 2, 2))
    y, dx = run(xc.ChannelShuffle(2), np.arange(6.0).reshape(1, 6, 1), device)
    np.testing.assert_array_equal(y[0, :, 0], [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(dx[0, :, 0], [1, 3, 5, 2, 4, 6])
    y, dx = run(xc.Unflatten(1, (2, -1)), np.arange(6.0).reshape(1, 6), device)
    np.testing.assert_array_equal(y, [[[0, 1, 2], [3, 4, 5]]])
    np.testing.assert_array_equal(dx, [[1, 2, 3, 4, 5, 6]])


# -- What is refused -------------------------------------------------------------------------------

REFUSED = [
    (lambda: xc.GroupNorm(3, 4), ValueError, "num_channels=4 must be divisible by num_groups=3"),
    (lambda: xc.GroupNorm(0, 4), ValueError, "GroupNorm: num_groups must be at least 1, got 0"),
    (lambda: xc.LayerNorm(()), ValueError, "LayerNorm: normalized_shape must name at least one"),
    (lambda: xc.LayerNorm((3, 0)), ValueError, "normalized_shape must be at least 1, got 0"),
    (lambda: xc.RMSNorm(2.5), TypeError, "RMSNorm: normalized_shape must be an integer, got 2.5"),
    (lambda: xc.LocalResponseNorm(0), ValueError, "LocalResponseNorm: size must be at least 1"),
    (lambda: xc.InstanceNorm2d(0), ValueError, "InstanceNorm2d: num_features must be at least 1"),
    (lambda: xc.ZeroPad2d((1, 2)), ValueError, r"one integer, or 4: before and.*got \(1, 2\)"),
    (lambda: xc.ZeroPad1d("12"), TypeError, "ZeroPad1d: padding must be an integer, got '12'"),
    (lambda: xc.ReflectionPad1d(1.0), TypeError, "padding must be an integer, got 1.0"),
    (lambda: xc.Upsample(), ValueError, "Upsample: give either size or scale_factor, got None"),
    (lambda: xc.Upsample(3, 2.0), ValueError, "give either size or scale_factor, got 3 and 2.0"),
    (lambda: xc.Upsample(3, mode="area"), ValueError, "mode must be one of 'nearest',.*got 'area'"),
    (lambda: xc.Upsample(3, align_corners=False), ValueError, "align_corners is only for modes"),
    (
        lambda: xc.Upsample(3, recompute_scale_factor=True),
        ValueError,
        "recompute_scale_factor needs scale_factor",
    ),
    (lambda: xc.Upsample((3, 0)), ValueError, "Upsample: size must be at least 1, got 0"),
    (lambda: xc.Upsample(scale_factor=-1), ValueError, "scale_factor must be positive and fin"),
    (lambda: xc.Upsample(scale_factor=(2, np.inf)), ValueError, "scale_factor must be positive"),
    (lambda: xc.Upsample(scale_factor="2"), TypeError, "scale_factor must be a number, got '2'"),
    (lambda: xc.PixelShuffle(0), ValueError, "PixelShuffle: upscale_factor must be at least 1"),
    (lambda: xc.Unflatten(1, (2, -1, -1)), ValueError, "one of them -1 at most; got"),
    (lambda: xc.Unflatten(1, ()), ValueError, "unflattened_size must be positive lengths"),
    (lambda: xc.Unflatten(1, 4), TypeError, "unflattened_size must be a tuple of integers"),
]


@pytest.mark.parametrize(("make", "error", "match"), REFUSED, ids=[r[2][:30] for r in REFUSED])
def test_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


NOT_FITTING = [
    (lambda: xc.GroupNorm(2), (2, 3, 4), "num_channels=3 must be divisible by num_groups=2"),
    (lambda: xc.GroupNorm(4), (1, 4), "expected more than one value per group"),
    (lambda: xc.LayerNorm((2, 3)), (2, 2), r"expected an input whose last axes are \(2, 3\), got"),
    (lambda: xc.ReflectionPad1d((0, 3)), (1, 1, 3), "'reflect' can add at most 2 elements"),
    (lambda: xc.CircularPad1d((4, 0)), (1, 1, 3), "'circular' can add at most 3 elements"),
    (lambda: xc.CircularPad1d((-1, 3)), (1, 1, 3), "'circular' can add at most 2 elements"),
    (lambda: xc.ZeroPad2d((0, 0, -2, -1)), (1, 1, 3, 9), r"padding \(-2, -1\) leaves nothing of"),
    (lambda: xc.Upsample(scale_factor=0.3), (1, 1, 3), "0.3 leaves nothing of an input of shape"),
    (lambda: xc.Upsample((2, 2)), (1, 1, 3), "expected one size, or 1 for this input, got .2, 2"),
    (lambda: xc.Upsample(2, mode="linear"), (1, 1, 2, 2), r"laid out as \(N, C, L\), got 4"),
    (lambda: xc.UpsamplingNearest2d(2), (1, 1, 2), r"laid out as \(N, C, H, W\), got 3"),
    (lambda: xc.PixelShuffle(2), (1, 6, 2, 2), r"expected channels \(axis 1\) divisible by 4"),
    (lambda: xc.PixelUnshuffle(2), (1, 6, 2, 3), "divisible by downscale_factor=2, got an input"),
    (lambda: xc.ChannelShuffle(2), (1, 3, 3), "divisible by groups=2, got 3 in an input"),
    (lambda: xc.Unflatten(1, (2, -1)), (1, 3), r"an axis 1 that can be cut into \(2, -1\), got le"),
    (lambda: xc.Unflatten(3, (2, -1)), (1, 3), "dim=3 is out of range for an input of shape"),
]


@pytest.mark.parametrize(("make", "shape", "match"), NOT_FITTING)
def test_input_that_does_not_fit(make, shape, match):
    layer = make()
    layer.name = "first"
    for attempt in (lambda: layer(np.ones(shape, "float32")), lambda: layer.output_shape(shape)):
        with pytest.raises(ValueError, match=f"{type(layer).__name__} 'first': .*{match}"):
            attempt()


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
