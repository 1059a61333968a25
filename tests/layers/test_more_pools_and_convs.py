"""Transposed and separable convolution, adaptive and power-mean pooling, against PyTorch.

Randomly drawn in float64: outputs and all gradients.
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
    draw_spatial,
    possible,
    torch_pad,
)

torch = pytest.importorskip("torch")
nn = torch.nn

PER_TEST = 40


def layers(name):
    return getattr(xpcnn, name), getattr(nn, name)


# -- Transposed convolution ------------------------------------------------------------------------


def transposed_options(rng):
    """Draw the arguments that Conv transposes take, extreme ones often, and an input shape."""
    ndim = draw_rank(rng)
    kernel, stride = draw(rng, ndim, 1, 3), draw(rng, ndim, 1, 5 if ndim < 3 else 3)
    dilation = draw(rng, ndim, 1, 4 if ndim < 3 else 2)
    extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
    groups = int(rng.choice([1, 1, 2, 3]))
    widths = tuple(groups * int(rng.integers(1, 4)) for _ in range(2))
    options = {
        "stride": argument(rng, stride),
        "output_padding": argument(rng, extra),
        "groups": groups,
        "bias": bool(rng.random() < 0.7),
        "dilation": argument(rng, dilation),
    }
    shape = (int(rng.integers(1, 4)), widths[0], *draw(rng, ndim, 1, 5 if ndim < 3 else 3))
    return ndim, widths, kernel, options, shape


def conv_transpose(rng):
    ndim, widths, kernel, options, shape = transposed_options(rng)
    padding = argument(rng, draw(rng, ndim, 0, 4))
    ours, theirs = layers(f"ConvTranspose{ndim}d")
    given = widths if rng.random() < 0.7 else (None, widths[1])
    return Pair(
        ours(*given, argument(rng, kernel), padding=padding, **options),
        theirs(*widths, kernel, padding=padding, **options),
        shape,
    )


class _Cut(nn.Module):
    """A module, and of what it returns only a part along the spatial axes."""

    def __init__(self, module, sides):
        super().__init__()
        self.module, self.sides = module, sides

    def forward(self, x):
        y = self.module(x)
        for axis, (before, after) in enumerate(self.sides, start=2):
            if y.shape[axis] <= before + after:
                raise RuntimeError("nothing is left")
            y = y.narrow(axis, before, y.shape[axis] - before - after)
        return y


def conv_transpose_sides(rng):
    """Sides of their own: PyTorch's output without padding, cut."""
    ndim, widths, kernel, options, shape = transposed_options(rng)
    sides = tuple(draw(rng, 2, 0, 4) for _ in range(ndim))
    ours, theirs = layers(f"ConvTranspose{ndim}d")
    return Pair(
        ours(*widths, kernel, padding=sides, **options),
        _Cut(theirs(*widths, kernel, **options), sides),
        shape,
    )


class _Gradient(nn.Module):
    """What a "same" convolution does to gradients, and the bias."""

    def __init__(self, ndim, widths, kernel, stride, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(widths[0], widths[1], *kernel))
        self.bias = nn.Parameter(torch.zeros(widths[1])) if bias else None
        self.ndim, self.kernel, self.stride = ndim, kernel, stride

    def forward(self, x):
        out = [n * s for n, s in zip(x.shape[2:], self.stride, strict=True)]
        image = torch.zeros(x.shape[0], self.weight.shape[1], *out, dtype=x.dtype)
        image.requires_grad_()
        sides = [
            (max(k - s, 0) // 2, max(k - s, 0) - max(k - s, 0) // 2)
            for k, s in zip(self.kernel, self.stride, strict=True)
        ]
        run = getattr(nn.functional, f"conv{self.ndim}d")
        with torch.enable_grad():
            seen = run(torch_pad(image, sides), self.weight, None, self.stride)
            (y,) = torch.autograd.grad(seen, image, x, create_graph=True)
        y = y if torch.is_grad_enabled() else y.detach()
        return y if self.bias is None else y + self.bias.reshape(-1, *(1,) * self.ndim)


def conv_transpose_same(rng):
    ndim, widths, kernel, options, shape = transposed_options(rng)
    stride, bias = draw(rng, ndim, 1, 4), options["bias"]
    ours, _ = layers(f"ConvTranspose{ndim}d")
    return Pair(
        ours(*widths, kernel, stride, "same", bias=bias),
        _Gradient(ndim, widths, kernel, stride, bias),
        shape,
    )


# -- Separable convolution -------------------------------------------------------------------------


class _Separable(nn.Module):
    def __init__(self, ndim, widths, kernel, multiplier, bias, options):
        super().__init__()
        between = widths[0] * multiplier
        self.depthwise_weight = nn.Parameter(torch.zeros(between, 1, *kernel))
        self.pointwise_weight = nn.Parameter(torch.zeros(widths[1], between, *(1,) * ndim))
        self.bias = nn.Parameter(torch.zeros(widths[1])) if bias else None
        self.run, self.options = getattr(nn.functional, f"conv{ndim}d"), options

    def forward(self, x):
        x = self.run(x, self.depthwise_weight, groups=x.shape[1], **self.options)
        return self.run(x, self.pointwise_weight, self.bias)


def separable(rng):
    ndim = int(rng.integers(1, 3))
    kernel, dilation = draw(rng, ndim, 1, 4), draw(rng, ndim, 1, 3)
    widths, multiplier = draw(rng, 2, 1, 4), int(rng.integers(1, 4))
    options = {
        "stride": argument(rng, draw(rng, ndim, 1, 4)),
        "padding": draw(rng, ndim, 0, 3),
        "dilation": dilation,
    }
    bias = bool(rng.random() < 0.7)
    given = widths if rng.random() < 0.7 else (None, widths[1])
    ours = getattr(xpcnn, f"SeparableConv{ndim}d")
    shape = (int(rng.integers(1, 4)), widths[0], *draw_spatial(rng, kernel, dilation, ndim, 5))
    return Pair(
        ours(*given, kernel, depth_multiplier=multiplier, bias=bias, **options),
        _Separable(ndim, widths, kernel, multiplier, bias, options),
        shape,
    )


# -- Pooling ---------------------------------------------------------------------------------------


def adaptive_pool(rng):
    ndim, kind = draw_rank(rng), str(rng.choice(["Avg", "Max"]))
    ours, theirs = layers(f"Adaptive{kind}Pool{ndim}d")
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
    ours, theirs = layers(f"LPPool{ndim}d")
    shape = (2, int(rng.integers(1, 4)), *draw_spatial(rng, kernel, (1,) * ndim, ndim, 8))
    bare = kernel[0] if ndim == 1 else kernel, stride[0] if stride and ndim == 1 else stride
    return Pair(ours(p, kernel, stride, ceil_mode), theirs(p, *bare, ceil_mode), shape)


FAMILIES = {
    conv_transpose: 6,
    conv_transpose_sides: 3,
    conv_transpose_same: 1,
    separable: 2,
    adaptive_pool: 6,
    lp_pool: 3,
}
TESTS = [(family, i) for family, count in FAMILIES.items() for i in range(count)]


@pytest.mark.parametrize(("family", "number"), TESTS, ids=[f"{f.__name__}-{i}" for f, i in TESTS])
def test_agrees_with_torch(family, number):
    rng = np.random.default_rng([number, *family.__name__.encode()])
    torch.manual_seed(number)
    before = xpcnn.get_workspace_limit()
    drawn = 0
    while drawn < PER_TEST:
        pair = family(rng)
        if not possible(pair):
            continue
        drawn += 1
        # with a small limit the batch goes through the kernels in pieces
        limit = before if rng.random() < 0.6 else int(rng.integers(1, 5_000))
        try:
            xpcnn.set_workspace_limit(limit)
            check(rng, pair)
        except Exception as error:
            error.add_note(f"{pair.ours} on shape {pair.shape}, workspace limit {limit}")
            raise
        finally:
            xpcnn.set_workspace_limit(before)
