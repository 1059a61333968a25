"""Transposed convolution: PyTorch in float64, drawn at random, and cases by hand."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.pytorch import (
    Pair,
    argument,
    compare_draws,
    draw,
    draw_rank,
    drawn,
    gradients,
    module_of,
    nn,
    pair_of,
    torch,
    torch_gradients,
    torch_pad,
)
from xpcnn import functional as F


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
    ours, theirs = pair_of(f"ConvTranspose{ndim}d")
    given = widths if rng.random() < 0.7 else (None, widths[1])
    return Pair(
        ours(*given, argument(rng, kernel), padding=padding, **options),
        theirs(*widths, kernel, padding=padding, **options),
        shape,
    )


def cut(y, sides):
    """Return a part of PyTorch's array along the spatial axes."""
    for axis, (before, after) in enumerate(sides, start=2):
        if y.shape[axis] <= before + after:
            raise RuntimeError("nothing is left")
        y = y.narrow(axis, before, y.shape[axis] - before - after)
    return y


def conv_transpose_sides(rng):
    """Sides of their own: PyTorch's output without padding, cut."""
    ndim, widths, kernel, options, shape = transposed_options(rng)
    sides = tuple(draw(rng, 2, 0, 4) for _ in range(ndim))
    ours, theirs = pair_of(f"ConvTranspose{ndim}d")
    return Pair(
        ours(*widths, kernel, padding=sides, **options),
        module_of(
            lambda self, x: cut(self.conv(x), sides), conv=theirs(*widths, kernel, **options)
        ),
        shape,
    )


def gradient_of_same(module, x, kernel, stride):
    """Return what a "same" convolution does to gradients, and the bias."""
    ndim = len(kernel)
    out = [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
    image = torch.zeros(x.shape[0], module.weight.shape[1], *out, dtype=x.dtype)
    image.requires_grad_()
    sides = [
        (max(k - s, 0) // 2, max(k - s, 0) - max(k - s, 0) // 2)
        for k, s in zip(kernel, stride, strict=True)
    ]
    with torch.enable_grad():
        seen = getattr(nn.functional, f"conv{ndim}d")(
            torch_pad(image, sides), module.weight, None, stride
        )
        (y,) = torch.autograd.grad(seen, image, x, create_graph=True)
    y = y if torch.is_grad_enabled() else y.detach()
    return y if module.bias is None else y + module.bias.reshape(-1, *(1,) * ndim)


def conv_transpose_same(rng):
    ndim, widths, kernel, options, shape = transposed_options(rng)
    stride, bias = draw(rng, ndim, 1, 4), options["bias"]
    ours, _ = pair_of(f"ConvTranspose{ndim}d")
    return Pair(
        ours(*widths, kernel, stride, "same", bias=bias),
        module_of(
            lambda module, x: gradient_of_same(module, x, kernel, stride),
            weight=(*widths, *kernel),
            bias=widths[1:] if bias else None,
        ),
        shape,
    )


FAMILIES = {conv_transpose: 6, conv_transpose_sides: 3, conv_transpose_same: 1}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)


def test_transposed_convolution_by_hand():
    """Input elements lie three apart, the filter is two wide, and one position stays empty."""
    layer = xpcnn.ConvTranspose1d(1, 1, 2, stride=3, output_padding=1)
    layer.load_state_dict({"weight": np.array([[[2.0, 5.0]]]), "bias": np.array([10.0])})
    y, dx = gradients(layer, np.array([[[1.0, -1.0]]]), [[[1, 2, 3, 4, 5, 6]]])
    np.testing.assert_array_equal(y, [[[12, 15, 10, 8, 5, 10]]])
    np.testing.assert_array_equal(dx, [[[2 * 1 + 5 * 2, 2 * 4 + 5 * 5]]])
    np.testing.assert_array_equal(layer.weight.grad, [[[1 - 4, 2 - 5]]])
    np.testing.assert_array_equal(layer.bias.grad, [21])


def test_output_padding_may_be_as_large_as_the_dilation_allows():
    """More of it than the stride: a convolution would find room for further windows there."""
    options = {"stride": 1, "dilation": 4, "output_padding": 3, "padding": 1}
    ours = xpcnn.ConvTranspose1d(2, 3, 2, **options)
    x = np.random.default_rng(0).normal(size=(2, 2, 3))
    ours.build(x.shape, dtype="float64")
    theirs = nn.ConvTranspose1d(2, 3, 2, **options).double()
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    for actual, expected in zip(
        gradients(ours, x, np.arange(8.0)), torch_gradients(theirs, x, np.arange(8.0)), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_first_values_are_drawn_as_in_torch():
    """PyTorch calls what a filter adds to its fan-in: output channels of a group, times taps."""
    ours = xpcnn.ConvTranspose2d(64, 32, 3, groups=2)
    ours.build((1, 64, 4, 4), rng=np.random.default_rng(0))
    theirs = nn.ConvTranspose2d(64, 32, 3, groups=2)
    bound = 1 / np.sqrt(32 // 2 * 9)
    for values in (ours.weight.data, theirs.weight.detach().numpy()):
        assert bound * 0.99 < np.abs(values).max() <= bound * (1 + 1e-6)
    assert bound / 2 < np.abs(ours.bias.data).max() <= bound


def test_multiply_adds():
    """Counted one by one: every product of a tap and a number."""
    assert xpcnn.ConvTranspose2d(4, 6, 3, 2, groups=2).multiply_adds((5, 4, 2, 3)) == (
        5 * 4 * 2 * 3 * 9 * 3
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_function_is_the_layer(ndim):
    rng = np.random.default_rng(ndim)
    x = rng.normal(size=(2, 4, *(5,) * ndim))
    w, b = rng.normal(size=(4, 3, *(3,) * ndim)), rng.normal(size=6)
    options = {"stride": 2, "padding": ((1, 0),) * ndim, "output_padding": 1, "groups": 2}
    layer = getattr(xpcnn, f"ConvTranspose{ndim}d")(4, 6, 3, dilation=2, **options)
    layer.load_state_dict({"weight": w, "bias": b})
    np.testing.assert_array_equal(F.conv_transpose(x, w, b, dilation=2, **options), layer(x))
