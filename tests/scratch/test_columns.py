"""im2col and col2im in the courses' layout, against loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn._xp import to_numpy
from xpcnn.scratch import deep_conv_net, simple_conv_net

GEOMETRIES = [
    # (height, width), (filter_h, filter_w), stride, pad
    ((4, 5), (2, 3), 1, 0),
    ((5, 4), (3, 2), 2, 1),
    ((7, 6), (2, 2), 3, 0),
    ((3, 3), (3, 3), 1, 2),
]


def naive(x, filter_h, filter_w, stride, pad, value) -> np.ndarray:
    """Write down every window, row by row: (N * OH * OW, C * FH * FW)."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=value)
    rows = []
    for image in x:
        for i in range(0, x.shape[2] - filter_h + 1, stride):
            for j in range(0, x.shape[3] - filter_w + 1, stride):
                rows.append(image[:, i : i + filter_h, j : j + filter_w].ravel())
    return np.array(rows)


@pytest.mark.parametrize(("size", "kernel", "stride", "pad"), GEOMETRIES)
def test_im2col_against_loops(rng, size, kernel, stride, pad) -> None:
    x = rng.normal(size=(2, 3, *size))
    expected = naive(x, *kernel, stride, pad, 0)
    np.testing.assert_array_equal(simple_conv_net.im2col(x, *kernel, stride, pad), expected)
    np.testing.assert_array_equal(deep_conv_net.im2col(x, *kernel, stride, pad), expected)
    expected = naive(x, *kernel, stride, pad, -np.inf)
    got = deep_conv_net.im2col(x, *kernel, stride=stride, pad=pad, constant_values=-np.inf)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("size", "kernel", "stride", "pad"), GEOMETRIES)
def test_col2im_is_the_transpose(rng, size, kernel, stride, pad) -> None:
    x = rng.normal(size=(2, 3, *size))
    col = naive(x, *kernel, stride, pad, 0)
    other = rng.normal(size=col.shape)
    for back in (
        simple_conv_net.col2im(other, x.shape, *kernel, stride, pad),
        deep_conv_net.col2im(other, x.shape, *kernel, stride, pad, is_backward=True),
    ):
        assert back.shape == x.shape
        np.testing.assert_allclose((back * x).sum(), (other * col).sum(), rtol=1e-12)


@pytest.mark.parametrize(("size", "kernel", "stride", "pad"), GEOMETRIES)
def test_col2im_gives_the_image_back(rng, size, kernel, stride, pad) -> None:
    x = rng.normal(size=(2, 3, *size))
    col = naive(x, *kernel, stride, pad, 0)
    seen = naive(np.ones((1, 1, *size)), *kernel, stride, pad, 0)
    back = deep_conv_net.col2im(col, x.shape, *kernel, stride, pad)
    covered = np.zeros(size, dtype=bool)
    oh = (size[0] + 2 * pad - kernel[0]) // stride + 1
    ow = (size[1] + 2 * pad - kernel[1]) // stride + 1
    assert len(seen) == oh * ow
    for i in range(oh):
        for j in range(ow):
            top, left = i * stride - pad, j * stride - pad
            covered[max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]] = True
    np.testing.assert_array_equal(back, np.where(covered, x, 0.0))


def test_by_hand_on_every_device(device) -> None:
    x = device.asarray(np.arange(9.0).reshape(1, 1, 3, 3))
    col = deep_conv_net.im2col(x, 2, 2)
    by_hand = [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    np.testing.assert_array_equal(to_numpy(col), by_hand)
    image = deep_conv_net.col2im(col, (1, 1, 3, 3), 2, 2)
    np.testing.assert_array_equal(to_numpy(image), np.arange(9).reshape(1, 1, 3, 3))
    summed = deep_conv_net.col2im(col, (1, 1, 3, 3), 2, 2, is_backward=True)
    np.testing.assert_array_equal(to_numpy(summed), [[[[0, 2, 2], [6, 16, 10], [6, 14, 8]]]])


def test_integers_stay_integers_unless_the_padding_is_infinite() -> None:
    x = np.ones((1, 1, 2, 2), dtype=np.uint8)
    assert deep_conv_net.im2col(x, 2, 2, pad=1).dtype == np.uint8
    assert deep_conv_net.im2col(x, 2, 2, pad=1, constant_values=-np.inf).dtype == np.float64


def test_contradicting_overlaps_are_assigned_not_averaged() -> None:
    col = np.array([[1.0, 2.0], [30.0, 40.0]])
    image = deep_conv_net.col2im(col, (1, 1, 1, 3), 1, 2)
    # the middle pixel is the second tap of the first window and the first tap of the second;
    # tap after tap is written, so the second tap stays
    np.testing.assert_array_equal(image, [[[[1, 2, 40]]]])


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"im2col: expected 4 dimensions laid out as \(N, C, H, W"):
        simple_conv_net.im2col(np.ones((3, 4, 4)), 2, 2)
    with pytest.raises(ValueError, match="smaller kernel or more padding"):
        simple_conv_net.im2col(np.ones((1, 1, 4, 4)), 5, 2)
    with pytest.raises(ValueError, match=r"shape \(9, 4\) for images of shape \(1, 1, 4, 4\)"):
        simple_conv_net.col2im(np.ones((9, 3)), (1, 1, 4, 4), 2, 2)
    with pytest.raises(ValueError, match="input_shape"):
        deep_conv_net.col2im(np.ones((9, 4)), (4, 4), 2, 2)
