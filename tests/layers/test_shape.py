"""Layers that rearrange: cases by hand, PyTorch at random, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.layers.by_hand import assert_refused, run
from tests.pytorch import (
    both,
    compare_draws,
    draw,
    draw_rank,
    drawn,
)

# -- By hand, on every library ---------------------------------------------------------------------


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


# -- PyTorch, at random ----------------------------------------------------------------------------


def rearranging(rng):
    r, n, channels = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(1, 4))
    h, w = draw(rng, 2, 1, 4)
    kind = int(rng.integers(5))
    if kind == 0:
        return both("PixelShuffle", (n, channels * r * r, h, w), r)
    if kind == 1:
        return both("PixelUnshuffle", (n, channels, h * r, w * r), r)
    if kind == 2:
        return both("ChannelShuffle", (n, channels * r, *draw(rng, draw_rank(rng), 1, 4)), r)
    if kind == 3:
        return both("Identity", (n, channels, h, w))
    dim = int(rng.integers(-3, 3))
    shape = [n, channels, h]
    shape[dim] = r * h * w
    sizes = [(r, h, w), (-1, w), (r, -1, w), (r * h * w,)][rng.integers(4)]
    return both("Unflatten", tuple(shape), dim, sizes)


FAMILIES = {rearranging: 1}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)


# -- What is refused -------------------------------------------------------------------------------

REFUSED = [
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
    (lambda: xc.PixelShuffle(2), (1, 6, 2, 2), r"expected channels \(axis 1\) divisible by 4"),
    (lambda: xc.PixelUnshuffle(2), (1, 6, 2, 3), "divisible by downscale_factor=2, got an input"),
    (lambda: xc.ChannelShuffle(2), (1, 3, 3), "divisible by groups=2, got 3 in an input"),
    (lambda: xc.Unflatten(1, (2, -1)), (1, 3), r"an axis 1 that can be cut into \(2, -1\), got le"),
    (lambda: xc.Unflatten(3, (2, -1)), (1, 3), "dim=3 is out of range for an input of shape"),
]


@pytest.mark.parametrize(("make", "shape", "match"), NOT_FITTING)
def test_input_that_does_not_fit(make, shape, match):
    assert_refused(make(), shape, match)
