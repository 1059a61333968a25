"""Normalisation, padding, resizing and rearranging layers, drawn at random, against PyTorch.

As in test_against_torch.py, whose comparison is used: float64, outputs and all gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.layers.test_against_torch import (
    Pair,
    argument,
    check,
    draw,
    draw_rank,
    maybe_bias,
    possible,
)

torch = pytest.importorskip("torch")
nn = torch.nn

PER_TEST = 40


def both(name: str, shape: tuple[int, ...], *arguments: Any, **options: Any) -> Pair:
    """The same layer twice."""
    ours, theirs = getattr(xpcnn, name), getattr(nn, name)
    return Pair(ours(*arguments, **options), theirs(*arguments, **options), shape)


def channels_and_spatial(rng, channels=None, low=1, high=6):
    channels = int(rng.integers(1, 5)) if channels is None else channels
    return (int(rng.integers(1, 4)), channels, *draw(rng, draw_rank(rng), low, high))


# -- Normalisation ---------------------------------------------------------------------------------


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
        xpcnn.GroupNorm(groups, given, eps, affine, **options),
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
    return Pair(
        getattr(xpcnn, name)(given, **options), getattr(nn, name)(shape[1], **options), shape
    )


def local_response_norm(rng):
    shape = channels_and_spatial(rng, channels=int(rng.integers(1, 9)), high=4)
    numbers = (float(v) for v in rng.uniform(0.2, 1.5, size=3))
    return both("LocalResponseNorm", shape, int(rng.integers(1, 7)), *numbers)


# -- Padding ---------------------------------------------------------------------------------------


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


# -- Resizing --------------------------------------------------------------------------------------


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
    recompute = [None, False, True][rng.integers(3)]
    options["recompute_scale_factor"] = recompute
    return both("Upsample", shape, None, argument(rng, factors), **options)


def upsampling_2d(rng):
    name = str(rng.choice(["UpsamplingNearest2d", "UpsamplingBilinear2d"]))
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 3)), *draw(rng, 2, 1, 6))
    if rng.random() < 0.5:
        return both(name, shape, argument(rng, draw(rng, 2, 1, 9)))
    return both(name, shape, scale_factor=int(rng.integers(1, 4)))


# -- Rearranging -----------------------------------------------------------------------------------


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


FAMILIES = {
    group_norm: 2,
    layer_norm: 1,
    rms_norm: 1,
    instance_norm: 2,
    local_response_norm: 1,
    padding: 4,
    upsample: 5,
    upsampling_2d: 1,
    rearranging: 1,
}
TESTS = [(family, i) for family, count in FAMILIES.items() for i in range(count)]


@pytest.mark.parametrize(("family", "number"), TESTS, ids=[f"{f.__name__}-{i}" for f, i in TESTS])
def test_agrees_with_torch(family, number):
    rng = np.random.default_rng([number, *family.__name__.encode()])
    torch.manual_seed(number)
    refused = 0
    for _ in range(PER_TEST):
        pair = family(rng)
        if not possible(pair):
            refused += 1
            continue
        try:
            check(rng, pair)
        except Exception as error:
            error.add_note(f"{pair.ours} on shape {pair.shape}")
            raise
    # PyTorch does not wrap round what it crops on the other side
    assert refused < (PER_TEST // 4 if family is padding else 1)


def test_nearest_positions_are_pytorchs_in_float32_too():
    """There it decides about whole elements how a position is rounded."""
    for mode in ("nearest", "nearest-exact"):
        for n in (1, 2, 3, 7, 24, 49, 100):
            x = np.arange(n, dtype="float32")[None, None]
            sizes = [{"size": out} for out in (*range(1, 60), 98, 123, 147, 343)]
            factors = [{"scale_factor": f} for f in (1.1, 1.3, 2.5, 3, 3.3, 7)]
            for how in sizes + factors:
                expected = nn.Upsample(mode=mode, **how)(torch.from_numpy(x)).numpy()
                np.testing.assert_array_equal(xpcnn.Upsample(mode=mode, **how)(x), expected)


@pytest.mark.parametrize(
    ("dtype", "scale", "rtol"),
    # numbers whose squares are near the epsilon, where the dtype has them
    [("float16", 1e-2, 5e-3), ("float32", 1e-4, 1e-5), ("float64", 1e-8, 1e-12)],
)
def test_epsilon_of_rms_norm_that_was_left_out(dtype, scale, rtol):
    x = (np.array([[1.0, 3.0], [10.0, 0.0]]) * scale).astype(dtype)
    expected = nn.RMSNorm(2, elementwise_affine=False)(torch.from_numpy(x)).numpy()
    y = xpcnn.RMSNorm(2, elementwise_affine=False)(x)
    np.testing.assert_allclose(y, expected, rtol=rtol)
