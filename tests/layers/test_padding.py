"""Padding layers: cases by hand, PyTorch at random, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.layers.by_hand import assert_refused, line, run
from tests.pytorch import (
    argument,
    both,
    channels_and_spatial,
    compare_draws,
    drawn,
)
from xpcnn import functional as F

# -- By hand, on every library ---------------------------------------------------------------------


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


# -- PyTorch, at random ----------------------------------------------------------------------------


def padding(rng):
    shape = channels_and_spatial(rng, high=5)
    kind = str(rng.choice(["Constant", "Zero", "Reflection", "Replication", "Circular"]))
    sides: list[int] = []
    for n in reversed(shape[2:]):
        most = {"Reflection": n - 1, "Circular": n}.get(kind, 4)
        least = -2 if rng.random() < 0.3 else 0
        sides += [int(v) for v in rng.integers(least, most + 1, size=2)]
    value = (float(rng.normal()),) if kind == "Constant" else ()
    if kind == "Circular":  # what is wrapped round is what cropping left
        for first in range(0, len(sides), 2):
            n = shape[-1 - first // 2]
            cropped = sum(max(-side, 0) for side in sides[first : first + 2])
            sides[first : first + 2] = [min(s, n - cropped) for s in sides[first : first + 2]]
    grown = [
        n + b + a for n, b, a in zip(reversed(shape[2:]), sides[::2], sides[1::2], strict=True)
    ]
    if min(grown) < 1:
        return padding(rng)
    return both(f"{kind}Pad{len(shape) - 2}d", shape, argument(rng, tuple(sides)), *value)


FAMILIES = {padding: 4}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)


# -- What is refused -------------------------------------------------------------------------------

REFUSED = [
    (lambda: xc.ZeroPad2d((1, 2)), ValueError, r"one integer, or 4: before and.*got \(1, 2\)"),
    (lambda: xc.ZeroPad1d("12"), TypeError, "ZeroPad1d: padding must be an integer, got '12'"),
    (lambda: xc.ReflectionPad1d(1.0), TypeError, "padding must be an integer, got 1.0"),
]


@pytest.mark.parametrize(("make", "error", "match"), REFUSED, ids=[r[2][:30] for r in REFUSED])
def test_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


NOT_FITTING = [
    (lambda: xc.ReflectionPad1d((0, 3)), (1, 1, 3), "'reflect' can add at most 2 elements"),
    (lambda: xc.CircularPad1d((4, 0)), (1, 1, 3), "'circular' can add at most 3 elements"),
    (lambda: xc.CircularPad1d((-1, 3)), (1, 1, 3), "'circular' can add at most 2 elements"),
    (lambda: xc.ZeroPad2d((0, 0, -2, -1)), (1, 1, 3, 9), r"padding \(-2, -1\) leaves nothing of"),
]


@pytest.mark.parametrize(("make", "shape", "match"), NOT_FITTING)
def test_input_that_does_not_fit(make, shape, match):
    assert_refused(make(), shape, match)
