"""Upsampling layers: cases by hand, PyTorch at random, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn as xc
from tests.layers.by_hand import assert_refused, line, run
from tests.pytorch import (
    argument,
    both,
    compare_draws,
    draw,
    draw_rank,
    drawn,
    nn,
    torch,
)

# -- By hand, on every library ---------------------------------------------------------------------


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


# -- PyTorch, at random ----------------------------------------------------------------------------


def upsample(rng):
    mode = str(
        rng.choice(["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic"])
    )
    rank = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}.get(mode, draw_rank(rng))
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 3)), *draw(rng, rank, 1, 7))
    options: dict[str, Any] = {"mode": mode}
    if not mode.startswith("nearest"):
        options["align_corners"] = [None, False, True][rng.integers(3)]
    if rng.random() < 0.5:
        return both("Upsample", shape, argument(rng, draw(rng, rank, 1, 12)), **options)
    factors = tuple(float(v) for v in rng.choice([0.5, 0.7, 1.0, 1.3, 1.5, 2.0, 2.6, 3.0], rank))
    if any(int(n * f) < 1 for n, f in zip(shape[2:], factors, strict=True)):
        factors = (2.0,) * rank
    if mode == "nearest" and rank != 2 and 1.3 in factors:
        # where the length stays, PyTorch's backward copies, whatever its forward took
        factors = (1.5,) * rank
    recompute = [None, False, True][rng.integers(3)]
    options["recompute_scale_factor"] = recompute
    return both("Upsample", shape, None, argument(rng, factors), **options)


def upsampling_2d(rng):
    name = str(rng.choice(["UpsamplingNearest2d", "UpsamplingBilinear2d"]))
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 3)), *draw(rng, 2, 1, 6))
    if rng.random() < 0.5:
        return both(name, shape, argument(rng, draw(rng, 2, 1, 9)))
    return both(name, shape, scale_factor=int(rng.integers(1, 4)))


FAMILIES = {upsample: 5, upsampling_2d: 1}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)


def test_nearest_positions_are_pytorchs_in_float32_too():
    """There it decides about whole elements how a position is rounded."""
    for mode in ("nearest", "nearest-exact"):
        for n in (1, 2, 3, 7, 24, 49, 100):
            x = np.arange(n, dtype="float32")[None, None]
            sizes = [{"size": out} for out in (*range(1, 60), 98, 123, 147, 343)]
            factors = [{"scale_factor": f} for f in (1.1, 1.3, 2.5, 3, 3.3, 7)]
            for how in sizes + factors:
                expected = nn.Upsample(mode=mode, **how)(torch.from_numpy(x)).numpy()
                np.testing.assert_array_equal(xc.Upsample(mode=mode, **how)(x), expected)


@pytest.mark.parametrize(
    ("rank", "factor", "n", "expected"),
    [
        (2, 1.3, 3, [0, 1, 2]),
        (2, 2.1, 3, [0, 0, 1, 1, 2, 2]),
        (2, 2.1, 5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (1, 1.3, 3, [0, 0, 1]),
        (1, 2.1, 3, [0, 0, 0, 1, 1, 2]),
        (1, 2.0, 3, [0, 0, 1, 1, 2, 2]),
        (3, 1.3, 3, [0, 0, 1]),
    ],
)
def test_nearest_follows_pytorch_rank_by_rank(rank, factor, n, expected, device):
    """In two dimensions a length that stays, or doubles, repeats elements evenly."""
    x = np.broadcast_to(np.arange(float(n)).reshape(n, *(1,) * (rank - 1)), (1, 1, *(n,) * rank))
    layer = xc.Upsample(scale_factor=factor)
    y, dx = run(layer, x, device)
    first = y[(0, 0, slice(None), *(0,) * (rank - 1))]
    np.testing.assert_array_equal(first, expected)
    if rank == 1:  # 1, 2, 3, ... go back to where the elements came from
        gradient = np.bincount(expected, np.arange(1.0, 1.0 + len(expected)), n)
        np.testing.assert_array_equal(dx[0, 0], gradient)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_agrees_with_torch_for_all_small_sizes(rank, mode):
    for n in range(1, 8):
        x = np.random.default_rng(n).normal(size=(1, 2, *(n,) * rank))
        for factor in (0.5, 0.9, 1.01, 1.3, 1.99, 2.0, 2.1, 2.3, 2.5, 3.3):
            if int(n * factor):
                for given in (factor, (factor, 2.0, 1.0)[:rank]):
                    expected = nn.Upsample(scale_factor=given, mode=mode)(torch.from_numpy(x))
                    found = xc.Upsample(scale_factor=given, mode=mode)(x)
                    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nearest_agrees_with_torch_for_small_and_large_images(mode, dtype):
    """PyTorch has one rule for up to 128 new rows and columns together, and one for more."""
    rng = np.random.default_rng(5)
    for number in range(300):
        n = tuple(int(v) for v in rng.integers(1, 90, 2))
        if number % 2:
            how = {"size": tuple(int(v) for v in rng.integers(1, 130, 2))}
        else:
            factors = rng.choice([0.5, 0.7, 0.9, 1, 1.01, 1.1, 1.3, 1.99, 2, 2.1, 2.6, 3.3], 2)
            how = {"scale_factor": tuple(np.where(np.floor(n * factors), factors, 2.0))}
        x = np.arange(float(n[0] * n[1]), dtype=dtype).reshape(1, 1, *n)
        expected = nn.Upsample(mode=mode, **how)(torch.from_numpy(x)).numpy()
        np.testing.assert_array_equal(xc.Upsample(mode=mode, **how)(x), expected, str((n, how)))


def test_large_images_are_not_repeated_evenly():
    x = np.broadcast_to(np.arange(3.0)[:, None], (1, 1, 3, 125)).copy()
    for width, expected in ((125, [0, 1, 2]), (126, [0, 0, 1])):
        layer = xc.Upsample(scale_factor=(1.3, width / 125))
        assert layer.output_shape(x.shape) == (1, 1, 3, width)
        np.testing.assert_array_equal(layer(x)[0, 0, :, 0], expected)


# -- What is refused -------------------------------------------------------------------------------

REFUSED = [
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
]


@pytest.mark.parametrize(("make", "error", "match"), REFUSED, ids=[r[2][:30] for r in REFUSED])
def test_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


NOT_FITTING = [
    (lambda: xc.Upsample(scale_factor=0.3), (1, 1, 3), "0.3 leaves nothing of an input of shape"),
    (lambda: xc.Upsample((2, 2)), (1, 1, 3), "expected one size, or 1 for this input, got .2, 2"),
    (lambda: xc.Upsample(2, mode="linear"), (1, 1, 2, 2), r"laid out as \(N, C, L\), got 4"),
    (lambda: xc.UpsamplingNearest2d(2), (1, 1, 2), r"laid out as \(N, C, H, W\), got 3"),
]


@pytest.mark.parametrize(("make", "shape", "match"), NOT_FITTING)
def test_input_that_does_not_fit(make, shape, match):
    assert_refused(make(), shape, match)
