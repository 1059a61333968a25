"""Pooling of every kind against PyTorch in float64, and cases by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from tests import reference
from tests.pytorch import (
    Pair,
    argument,
    compare_draws,
    draw,
    draw_rank,
    draw_spatial,
    drawn,
    gradients,
    nn,
    pair_of,
    torch,
    torch_gradients,
    torch_pad,
)
from xpcnn import functional as F
from xpcnn import kernels


def max_pool(rng):
    ndim = draw_rank(rng)
    kernel, dilation = draw(rng, ndim, 1, 4 if ndim < 3 else 3), draw(rng, ndim, 1, 2)
    stride = None if rng.random() < 0.4 else draw(rng, ndim, 1, 3)
    spatial = draw_spatial(rng, kernel, dilation, ndim, 8)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)), *spatial)
    ours, theirs = getattr(xpcnn, f"MaxPool{ndim}d"), getattr(nn, f"MaxPool{ndim}d")
    kind = str(rng.choice(["integers", "integers", "pairs", "same"]))
    if kind == "integers":
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        ceil_mode = bool(rng.random() < 0.5)
        arguments = (kernel, stride, argument(rng, padding), dilation)
        return Pair(
            ours(*arguments, ceil_mode=ceil_mode), theirs(*arguments, ceil_mode=ceil_mode), shape
        )
    if kind == "same":
        stride = stride or kernel
        sides = tuple(
            reference.same_sides(*a) for a in zip(spatial, kernel, stride, dilation, strict=True)
        )
        padding = "same"
    else:
        padding = sides = tuple(draw(rng, 2, 0, k // 2) for k in kernel)
    inner = theirs(kernel, stride, 0, dilation)
    return Pair(
        ours(kernel, stride, padding, dilation),
        lambda x: inner(torch_pad(x, sides, "constant", -np.inf)),
        shape,
    )


def avg_pool(rng):
    ndim = draw_rank(rng)
    kernel = draw(rng, ndim, 1, 4 if ndim < 3 else 3)
    stride = None if rng.random() < 0.4 else draw(rng, ndim, 1, 3)
    spatial = draw_spatial(rng, kernel, (1,) * ndim, ndim, 8)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)), *spatial)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    divisor = None if rng.random() < 0.6 else int(rng.integers(1, 7))
    arguments = {
        "padding": padding,
        "ceil_mode": bool(rng.random() < 0.5),
        "count_include_pad": bool(rng.random() < 0.5),
    }
    ours = getattr(xpcnn, f"AvgPool{ndim}d")(kernel, stride, divisor_override=divisor, **arguments)
    if ndim > 1:
        theirs = getattr(nn, f"AvgPool{ndim}d")
        return Pair(ours, theirs(kernel, stride, divisor_override=divisor, **arguments), shape)
    # AvgPool1d has no divisor_override, so one dimension is taken as two
    arguments["padding"] = (0, *padding)
    flat = nn.AvgPool2d(
        (1, *kernel), (1, *(stride or kernel)), divisor_override=divisor, **arguments
    )
    return Pair(ours, lambda x: flat(x[:, :, None])[:, :, 0], shape)


def avg_pool_beyond_torch(rng):
    """Sides of their own, "same" and dilation: a depthwise convolution with ones."""
    ndim = draw_rank(rng)
    kernel, dilation = draw(rng, ndim, 1, 3), draw(rng, ndim, 1, 2)
    stride = draw(rng, ndim, 1, 3)
    # long enough that no window sees padding alone
    spatial = tuple(n + 2 for n in draw_spatial(rng, kernel, dilation, ndim, 6))
    if rng.random() < 0.5:
        padding: Any = "same"
        sides = tuple(
            reference.same_sides(*a) for a in zip(spatial, kernel, stride, dilation, strict=True)
        )
    else:
        padding = sides = tuple(draw(rng, 2, 0, k // 2) for k in kernel)
    include = bool(rng.random() < 0.5)
    channels = int(rng.integers(1, 4))
    run = getattr(nn.functional, f"conv{ndim}d")
    ones = torch.ones((channels, 1, *kernel), dtype=torch.float64)

    def theirs(x):
        def sums(values):
            return run(torch_pad(values, sides), ones, None, stride, 0, dilation, channels)

        return sums(x) / (np.prod(kernel) if include else sums(torch.ones_like(x)))

    ours = getattr(xpcnn, f"AvgPool{ndim}d")(
        kernel, stride, padding, count_include_pad=include, dilation=dilation
    )
    return Pair(ours, theirs, (2, channels, *spatial))


def global_pool(rng):
    ndim, kind = draw_rank(rng), str(rng.choice(["Avg", "Max"]))
    keepdims = bool(rng.random() < 0.5)
    theirs = getattr(nn, f"Adaptive{kind}Pool{ndim}d")(1)
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 5)), *draw(rng, ndim, 1, 5))
    return Pair(
        getattr(xpcnn, f"Global{kind}Pool{ndim}d")(keepdims),
        theirs if keepdims else lambda x: theirs(x).flatten(1),
        shape,
    )


def adaptive_pool(rng):
    ndim, kind = draw_rank(rng), str(rng.choice(["Avg", "Max"]))
    ours, theirs = pair_of(f"Adaptive{kind}Pool{ndim}d")
    most = 12 if ndim < 3 else 6
    size: Any = draw(rng, ndim, 1, most)
    if ndim > 1:
        size = tuple(None if rng.random() < 0.2 else m for m in size)
    if None not in size:
        size = argument(rng, size)
    spatial = draw(rng, ndim, 1, most)
    if rng.random() < 0.2 and isinstance(size, tuple) and None not in size:
        spatial = tuple(m * int(rng.integers(1, 4)) for m in size)  # windows that are all alike
    return Pair(
        ours(size), theirs(size), (int(rng.integers(1, 3)), int(rng.integers(1, 3)), *spatial)
    )


def lp_pool(rng):
    ndim = draw_rank(rng)
    kernel = draw(rng, ndim, 1, 4 if ndim < 3 else 3)
    stride = None if rng.random() < 0.4 else draw(rng, ndim, 1, 4)
    p = [1, 2, 2.0, 4, 6, float("inf"), -float("inf")][rng.integers(7)]
    ceil_mode = bool(rng.random() < 0.5)
    ours, theirs = pair_of(f"LPPool{ndim}d")
    shape = (2, int(rng.integers(1, 4)), *draw_spatial(rng, kernel, (1,) * ndim, ndim, 8))
    bare = kernel[0] if ndim == 1 else kernel, stride[0] if stride and ndim == 1 else stride
    return Pair(ours(p, kernel, stride, ceil_mode), theirs(p, *bare, ceil_mode), shape)


FAMILIES = {
    max_pool: 4,
    avg_pool: 3,
    avg_pool_beyond_torch: 1,
    global_pool: 1,
    adaptive_pool: 6,
    lp_pool: 3,
}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_adaptive_max_pool_with_ties(size):
    """The first of equal elements wins, in the order of rows."""
    rng = np.random.default_rng(size)
    x = rng.integers(0, 2, size=(2, 3, 5, 5)).astype(float)
    dy = rng.normal(size=(2, 3, size, size))
    _, dx = gradients(xpcnn.AdaptiveMaxPool2d(size), x, dy)
    _, expected = torch_gradients(nn.AdaptiveMaxPool2d(size), x, dy)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["Avg", "Max"])
def test_adaptive_pools_send_gradients_past_what_is_not_finite(kind, value):
    x = np.random.default_rng(1).normal(size=(1, 2, 7, 5))
    x[0, 0, 2:4, 1:3] = value
    x[0, 1] = value
    dy = np.random.default_rng(2).normal(size=(1, 2, 3, 3))
    dy[0, 0, 1, 1] = np.inf
    ours = gradients(getattr(xpcnn, f"Adaptive{kind}Pool2d")(3), x, dy)
    theirs = torch_gradients(getattr(nn, f"Adaptive{kind}Pool2d")(3), x, dy)
    for actual, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3, 0.5, -1, float("inf"), -float("inf")])
def test_lp_pool_where_the_sum_is_zero(p):
    """All zeros, zeros beside others, and what cancels out; the gradient is PyTorch's."""
    x = np.array([[[0, 0, 0, 3, 4, 0, 2, -2, 5, 5]]], float)
    with np.errstate(all="ignore"):
        ours = gradients(xpcnn.LPPool1d(p, 2), x, [[[1, 2, 3, 4, 5]]])
    theirs = torch_gradients(nn.LPPool1d(p, 2), x, [[[1, 2, 3, 4, 5]]])
    for actual, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-14, atol=0)


def test_lp_pool_keeps_signs():
    """An odd power of negative numbers has no root."""
    x = np.array([[[-3.0, 1.0, 4.0, -1.0]]])
    y, _ = gradients(xpcnn.LPPool1d(1, 2), x, 1)
    np.testing.assert_array_equal(y, [[[-2, 3]]])
    with pytest.warns(RuntimeWarning, match="invalid value"):
        y = xpcnn.LPPool1d(3, 2)(x)
    np.testing.assert_allclose(y, [[[np.nan, 63 ** (1 / 3)]]], rtol=1e-14)


def test_lp_pool_beyond_torch():
    """Zeros around and gaps: a convolution of the powers with ones."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 1, 7, 6)), rng.normal(size=(2, 1, 4, 5))
    layer = xpcnn.LPPool2d(2, (2, 3), (2, 1), padding=((1, 1), (0, 1)), dilation=(2, 1))
    ones = torch.ones((1, 1, 2, 3), dtype=torch.float64)

    def theirs(x):
        padded = torch_pad(x, ((1, 1), (0, 1)))
        return nn.functional.conv2d(padded**2, ones, None, (2, 1), 0, (2, 1)) ** 0.5

    for actual, expected in zip(
        gradients(layer, x, dy), torch_gradients(theirs, x, dy), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_adaptive_pools_use_other_operations_where_they_can():
    x = np.ones((1, 2, 6, 9))
    with kernels.trace() as decisions:
        for size in (1, (3, 3), (None, 1), 4, (5, 9)):
            for kind in ("avg", "max"):
                getattr(F, f"adaptive_{kind}_pool")(x, size)
    assert [d.op for d in decisions] == [
        f"{name}_{kind}_pool" if name else f"{kind}_pool"
        for name in ("global", "", "", "adaptive", "adaptive")
        for kind in ("avg", "max")
    ]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_functions_are_the_layers(ndim):
    x = np.random.default_rng(ndim).normal(size=(2, 4, *(5,) * ndim))
    for kind in ("avg", "max"):
        pool = getattr(xpcnn, f"Adaptive{kind.capitalize()}Pool{ndim}d")(3)
        np.testing.assert_array_equal(getattr(F, f"adaptive_{kind}_pool")(x, 3), pool(x))
    pool = getattr(xpcnn, f"LPPool{ndim}d")(2, 2, 3, True)
    np.testing.assert_array_equal(F.lp_pool(x, 2, 2, 3, True), pool(x))
