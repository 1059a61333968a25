"""The public functions on arrays: values, and the errors of what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xpcnn
from tests import reference
from xpcnn import _xp
from xpcnn import functional as F


def equal(actual, expected):
    np.testing.assert_allclose(_xp.to_numpy(actual), expected, rtol=1e-12, atol=1e-12)


# -- im2col and col2im -----------------------------------------------------------------------------


def test_im2col_by_hand(device):
    x = device.asarray(np.array([[[1, 2, 3, 4]]]))
    np.testing.assert_array_equal(_xp.to_numpy(F.im2col(x, 3)), [[[1, 2], [2, 3], [3, 4]]])
    np.testing.assert_array_equal(
        _xp.to_numpy(F.im2col(x, 2, stride=3, padding=1)), [[[0, 3], [1, 4]]]
    )
    image = device.asarray(np.arange(9.0).reshape(1, 1, 3, 3))
    expected = [[[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]]
    np.testing.assert_array_equal(_xp.to_numpy(F.im2col(image, 2)), expected)


def test_col2im_by_hand(device):
    columns = device.asarray(np.array([[[1, 2], [2, 3], [3, 4]]]))
    np.testing.assert_array_equal(_xp.to_numpy(F.col2im(columns, (4,), 3)), [[[1, 4, 6, 4]]])


geometries = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)),
    min_size=1,
    max_size=3,
)


@given(geometries, st.integers(0, 2**32 - 1))
def test_im2col_and_col2im_are_transposes(drawn, seed):
    """<im2col(x), c> = <x, col2im(c)> for all x and c."""
    rng = np.random.default_rng(seed)
    kernel, stride, padding, dilation = zip(*drawn, strict=True)
    spatial = tuple(d * (k - 1) + 1 + int(rng.integers(0, 4)) for k, _, _, d in drawn)
    x = rng.normal(size=(2, 3, *spatial))
    columns = F.im2col(x, kernel, stride, padding, dilation)
    c = rng.normal(size=columns.shape)
    back = F.col2im(c, spatial, kernel, stride, padding, dilation)
    assert back.shape == x.shape
    np.testing.assert_allclose((columns * c).sum(), (x * back).sum(), rtol=1e-10, atol=1e-10)


@given(geometries.filter(lambda drawn: len(drawn) == 2), st.integers(0, 2**32 - 1))
def test_im2col_and_col2im_are_pytorchs_unfold_and_fold(drawn, seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    kernel, stride, padding, dilation = zip(*drawn, strict=True)
    spatial = tuple(d * (k - 1) + 1 + int(rng.integers(0, 4)) for k, _, _, d in drawn)
    x = rng.normal(size=(2, 3, *spatial))
    columns = F.im2col(x, kernel, stride, padding, dilation)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    expected = torch.nn.functional.unfold(torch.from_numpy(x), kernel, **options)
    np.testing.assert_array_equal(columns, expected.numpy())
    back = torch.nn.functional.fold(expected, spatial, kernel, **options)
    equal(F.col2im(columns, spatial, kernel, stride, padding, dilation), back.numpy())


def test_column_errors():
    with pytest.raises(ValueError, match="im2col: expected 4 dimensions"):
        F.im2col(np.ones((2, 3)), 2)
    with pytest.raises(ValueError, match="im2col: the kernel covers"):
        F.im2col(np.ones((1, 1, 3)), 4)
    with pytest.raises(ValueError, match=r"col2im: expected columns of shape \(N, C \* 3, 2\)"):
        F.col2im(np.ones((1, 4, 2)), (4,), 3)
    with pytest.raises(ValueError, match="col2im: expected columns"):
        F.col2im(np.ones((1, 3, 3)), (4,), 3)
    with pytest.raises(TypeError, match="im2col: expected an array"):
        F.im2col([[1.0]], 1)


# -- Convolution, pooling, padding -----------------------------------------------------------------


def test_conv(device, rng):
    x, w, b = rng.normal(size=(2, 4, 6)), rng.normal(size=(4, 2, 3)), rng.normal(size=4)
    geometry = {"stride": (2,), "padding": ((1, 2),), "dilation": (2,)}
    y, *_ = reference.conv(x, w, b, np.zeros, groups=2, **geometry)
    moved = [device.asarray(a) for a in (x, w, b)]
    equal(F.conv(*moved, stride=2, padding=((1, 2),), dilation=2, groups=2), y)
    # "same" needs two elements for a kernel of three
    y, *_ = reference.conv(
        x, w[:, :, :], None, np.zeros, stride=(1,), padding=((1, 1),), dilation=(1,), groups=2
    )
    equal(F.conv(moved[0], moved[1], padding="same", groups=2), y)


def test_conv_errors():
    x, w, b = np.ones((2, 4, 6)), np.ones((4, 2, 3)), np.ones(4)
    for arguments, error, match in (
        ((x, np.ones((4, 3)), b), ValueError, "conv weight: expected 4 dimensions"),
        ((x[0, 0], w, b), ValueError, r"conv: expected 3 dimensions laid out as \(N, C, L\)"),
        ((x, w, b), ValueError, "conv: expected 2 input channels.*got 4"),
        ((x, w, b, 1, 0, 1, 3), ValueError, "4 input and 4 output channels.*groups=3"),
        ((x, w, np.ones(3), 1, 0, 1, 2), ValueError, r"a bias of shape \(4,\), got \(3,\)"),
        ((x, w.astype("float32"), b, 1, 0, 1, 2), TypeError, "float64 but the weight float32"),
        ((x, w, b.astype("float32"), 1, 0, 1, 2), TypeError, "float64 but the bias float32"),
        ((x.astype(int), w, b, 1, 0, 1, 2), TypeError, "conv: expected dtype float32.*got int64"),
        ((x[:0], w, b, 1, 0, 1, 2), ValueError, "conv: got an empty array"),
        ((x, w, b, 1, 0, 3, 2), ValueError, "conv: the kernel covers"),
        ((x, w, b, 0, 0, 1, 2), ValueError, "conv: stride must be at least 1, got 0"),
        ((x, w, b, 1, "sane", 1, 2), ValueError, "conv: padding must be 'same'"),
        ((x, w, b, 1, 0, 1, 0), ValueError, "conv: groups must be at least 1"),
    ):
        with pytest.raises(error, match=match):
            F.conv(*arguments)


def test_pools(device, rng):
    x = rng.normal(size=(2, 2, 5, 6))
    geometry = {"kernel": (3, 2), "stride": (2, 2), "padding": ((1, 1), (1, 1)), "ceil_mode": True}
    y, _ = reference.max_pool(x, np.zeros, dilation=(1, 1), **geometry)
    equal(F.max_pool(device.asarray(x), (3, 2), 2, 1, ceil_mode=True), y)
    for include in (True, False):
        y, _ = reference.avg_pool(x, np.zeros, count_include_pad=include, **geometry)
        got = F.avg_pool(device.asarray(x), (3, 2), 2, 1, ceil_mode=True, count_include_pad=include)
        equal(got, y)


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 9)), min_size=1, max_size=2
    ),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_average_pool_counts(drawn, ceil_mode, include, seed):
    """What is padding and what only ceil_mode added, against counting one by one."""
    rng = np.random.default_rng(seed)
    kernel, stride, _ = zip(*drawn, strict=True)
    spatial = tuple(k + extra for k, _, extra in drawn)
    sides = tuple(
        (int(rng.integers(0, k // 2 + 1)), int(rng.integers(0, k // 2 + 1))) for k in kernel
    )
    x = rng.normal(size=(1, 1, *spatial))
    y, _ = reference.avg_pool(
        x,
        np.zeros,
        kernel=kernel,
        stride=stride,
        padding=sides,
        ceil_mode=ceil_mode,
        count_include_pad=include,
    )
    equal(F.avg_pool(x, kernel, stride, sides, ceil_mode, include), y)


def test_pool_errors():
    for pool in (F.max_pool, F.avg_pool):
        who = pool.__name__
        with pytest.raises(ValueError, match=f"{who}: expected 4 dimensions"):
            pool(np.ones((2, 3)), 2)
        with pytest.raises(ValueError, match=f"{who}: padding may be at most half the window"):
            pool(np.ones((2, 3, 8)), 2, padding=2)
        with pytest.raises(ValueError, match=f"{who}: the kernel covers"):
            pool(np.ones((2, 3, 4)), 5)
        with pytest.raises(TypeError, match=f"{who}: expected dtype float32"):
            pool(np.ones((2, 3, 4), int), 2)
        with pytest.raises(ValueError, match=f"{who}: got an empty array"):
            pool(np.ones((0, 3, 4)), 2)
        with pytest.raises(ValueError, match=f"{who}: kernel_size must be at least 1"):
            pool(np.ones((2, 3, 4)), 0)


def test_pad():
    x = np.arange(6.0).reshape(1, 1, 2, 3)
    equal(F.pad(x, ((0, 1), (1, 0)), "circular"), [[[[2, 0, 1, 2], [5, 3, 4, 5], [2, 0, 1, 2]]]])
    with pytest.raises(ValueError, match="pad: mode must be one of 'constant', 'reflect', 'rep"):
        F.pad(x, ((0, 1), (1, 0)), "zeros")
    with pytest.raises(ValueError, match="'reflect' can add at most 1 elements.*asked for .0, 2."):
        F.pad(x, ((0, 2), (0, 0)), "reflect")
    with pytest.raises(ValueError, match="'circular' can add at most 3"):
        F.pad(x, ((0, 0), (4, 0)), "circular")
    with pytest.raises(ValueError, match="one .before, after. pair for each of 2 spatial axes"):
        F.pad(x, ((0, 1),), "circular")


def test_average_of_padding_only_is_zero():
    """A dilated window of two taps around a single element sees none of it."""
    layer = xpcnn.AvgPool1d(2, 1, 1, dilation=2, count_include_pad=False)
    equal(layer(np.ones((1, 1, 1))), [[[0.0]]])


# -- The rest --------------------------------------------------------------------------------------


def test_linear(device):
    x, w, b = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]]), np.array([7.0])
    moved = [device.asarray(a) for a in (x, w, b)]
    equal(F.linear(*moved), [[20]])
    equal(F.linear(*moved[:2]), [[13]])
    with pytest.raises(ValueError, match="linear: expected 2 input features.*got 3"):
        F.linear(np.ones((1, 3)), w)
    with pytest.raises(ValueError, match="put a Flatten layer in front"):
        F.linear(np.ones((1, 2, 3)), np.ones((1, 6)))


def test_one_hot(device):
    labels = device.asarray(np.array([2, 0]))
    y = F.one_hot(labels, 3, device.dtype("float32"))
    assert _xp.dtype_name(y) == "float32"
    equal(y, [[0, 0, 1], [1, 0, 0]])
    maps = F.one_hot(device.asarray(np.array([[1, 0], [0, 0]])), 2, device.dtype("float64"))
    equal(maps, [[[0, 1], [1, 0]], [[1, 1], [0, 0]]])


def test_activations(device):
    x = device.asarray(np.array([[-1.0, 0.0, 2.0]]))
    equal(F.relu(x), [[0, 0, 2]])
    equal(F.tanh(x), np.tanh([[-1.0, 0.0, 2.0]]))
    sigmoid = 1 / (1 + np.exp([[1.0, 0.0, -2.0]]))
    equal(F.sigmoid(x), sigmoid)
    equal(F.silu(x), sigmoid * [[-1.0, 0.0, 2.0]])
    share = np.exp([[-1.0, 0.0, 2.0]]) / np.exp([-1.0, 0.0, 2.0]).sum()
    equal(F.softmax(x), share)
    equal(F.log_softmax(x, axis=-1), np.log(share))
    for function in (F.relu, F.tanh, F.sigmoid, F.silu, F.softmax, F.log_softmax):
        assert function.__doc__
        with pytest.raises(TypeError, match=f"{function.__name__}: expected dtype"):
            function(np.ones((2, 2), int))
