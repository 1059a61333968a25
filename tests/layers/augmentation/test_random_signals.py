"""Signals that are moved, scaled and masked at random."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn as xc
from tests.layers import by_hand
from tests.layers.augmentation.drawing import assert_even, assert_mean, drawn, images, seeded
from xpcnn import _xp

LINES = (16, 2, 7)


def test_what_is_drawn():
    assert_even(drawn(xc.RandomShift(4), (1, 9)) + 4, 9)
    assert_mean(drawn(xc.RandomScale((0.5, 2.5)), (1, 9)), 1.5, 2 / math.sqrt(12))
    first, length = drawn(xc.TimeMask(4), (1, 9))
    assert_even(length, 5)
    for n in range(5):
        assert_even(first[length == n], 9 - n + 1)
    _, length = drawn(xc.TimeMask(4, p=0.25), (1, 9))
    assert_mean(length > 0, 0.2, math.sqrt(0.16))


@pytest.mark.parametrize("mode", ["constant", "edge", "circular"])
def test_shifts_by_hand(mode, device):
    x = images(LINES)
    fill = {"fill": (5.0, 6.0)} if mode == "constant" else {}
    layer = xc.RandomShift(5, padding_mode=mode, **fill)
    shifts = seeded(layer).draw(LINES)
    y, dx = by_hand.run(seeded(layer), x, device)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    expected = np.zeros_like(dx)
    for n, shift in enumerate(shifts):
        for i in range(7):
            old = i - shift
            if mode == "constant" and not 0 <= old < 7:
                np.testing.assert_array_equal(y[n, :, i], [5.0, 6.0])
                continue
            old = old % 7 if mode == "circular" else min(max(old, 0), 6)
            np.testing.assert_array_equal(y[n, :, i], x[n, :, old])
            expected[n, :, old] += dy[n, :, i]
    np.testing.assert_array_equal(dx, expected)


def test_scale_and_mask_by_hand(device):
    x = images(LINES)
    factors = seeded(xc.RandomScale()).draw(LINES).reshape(-1, 1, 1)
    y, dx = by_hand.run(seeded(xc.RandomScale()), x, device)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    np.testing.assert_allclose(y, x * factors, rtol=1e-12)
    np.testing.assert_allclose(dx, dy * factors, rtol=1e-12)
    layer = xc.TimeMask(6, (7.0, 8.0))
    places = seeded(layer).draw(LINES)
    y, dx = by_hand.run(seeded(layer), x, device)
    for n, (first, length) in enumerate(places.T):
        inside = (np.arange(7) >= first) & (np.arange(7) < first + length)
        np.testing.assert_array_equal(y[n], np.where(inside, [[7.0], [8.0]], x[n]))
        np.testing.assert_array_equal(dx[n], np.where(inside, 0.0, dy[n]))


@pytest.mark.parametrize("layer", [xc.RandomShift(3), xc.RandomScale(), xc.TimeMask(3)], ids=repr)
def test_without_training_nothing_happens(layer, device):
    x = images(LINES, "float32")
    np.testing.assert_array_equal(_xp.to_numpy(layer(device.asarray(x))), x)


WRONG = {
    "RandomShift: max_shift must be an integer, got 0.5": lambda: xc.RandomShift(0.5),
    "RandomShift: max_shift must be at least 0": lambda: xc.RandomShift(-1),
    "RandomShift: padding_mode must be": lambda: xc.RandomShift(1, padding_mode="reflect"),
    "RandomShift: fill is for padding_mode='constant'": lambda: xc.RandomShift(1, 2.0, "edge"),
    "RandomScale: scale must be a pair": lambda: xc.RandomScale(2),
    "TimeMask: max_length must be at least 1": lambda: xc.TimeMask(0),
    "TimeMask: value must be a number": lambda: xc.TimeMask(2, "mean"),
    "TimeMask: p must be from 0 to 1": lambda: xc.TimeMask(2, p=-1),
}


@pytest.mark.parametrize("message", WRONG)
def test_arguments_are_checked(message):
    with pytest.raises((TypeError, ValueError), match=message):
        WRONG[message]()


def test_short_signals_are_refused():
    by_hand.assert_refused(xc.RandomShift(5), (1, 2, 5), "expected signals of more than 5 pos")
    by_hand.assert_refused(xc.TimeMask(5), (1, 2, 4), "expected signals of at least 5 positions")
    by_hand.assert_refused(xc.TimeMask(5, (1, 2)), (1, 3, 9), "expected 2 channels, as value has")
