"""Separable convolution: PyTorch at random, Keras' weights, and counts by hand."""

from __future__ import annotations

import numpy as np

import xpcnn
from tests.pytorch import Pair, argument, compare_draws, draw, draw_spatial, drawn, module_of, nn


def separate(module, x, options):
    run = getattr(nn.functional, f"conv{x.ndim - 2}d")
    x = run(x, module.depthwise_weight, groups=x.shape[1], **options)
    return run(x, module.pointwise_weight, module.bias)


def separable(rng):
    ndim = int(rng.integers(1, 3))
    kernel, dilation = draw(rng, ndim, 1, 4), draw(rng, ndim, 1, 3)
    widths, multiplier = draw(rng, 2, 1, 4), int(rng.integers(1, 4))
    options = {
        "stride": argument(rng, draw(rng, ndim, 1, 4)),
        "padding": draw(rng, ndim, 0, 3),
        "dilation": dilation,
    }
    between, bias = widths[0] * multiplier, bool(rng.random() < 0.7)
    given = widths if rng.random() < 0.7 else (None, widths[1])
    ours = getattr(xpcnn, f"SeparableConv{ndim}d")
    shape = (int(rng.integers(1, 4)), widths[0], *draw_spatial(rng, kernel, dilation, ndim, 5))
    return Pair(
        ours(*given, kernel, depth_multiplier=multiplier, bias=bias, **options),
        module_of(
            lambda module, x: separate(module, x, options),
            depthwise_weight=(between, 1, *kernel),
            pointwise_weight=(widths[1], between, *(1,) * ndim),
            bias=widths[1:] if bias else None,
        ),
        shape,
    )


FAMILIES = {separable: 2}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)


def test_keras_weights_of_a_separable_convolution():
    """As its documentation maps them; the channels are last there."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 5, 3))
    depthwise, pointwise = rng.normal(size=(3, 2, 3, 4)), rng.normal(size=(1, 1, 12, 5))
    between = np.zeros((2, 4, 4, 12))
    for c, m in np.ndindex(3, 4):
        for i, j in np.ndindex(3, 2):
            between[..., 4 * c + m] += x[:, i : i + 4, j : j + 4, c] * depthwise[i, j, c, m]
    expected = np.moveaxis(between @ pointwise[0, 0], -1, 1)
    layer = xpcnn.SeparableConv2d(3, 5, (3, 2), depth_multiplier=4, bias=False)
    layer.load_state_dict(
        {
            "depthwise_weight": np.moveaxis(depthwise.reshape(3, 2, 12, 1), (-2, -1), (0, 1)),
            "pointwise_weight": np.moveaxis(pointwise, (-1, -2), (0, 1)),
        }
    )
    np.testing.assert_allclose(layer(np.moveaxis(x, -1, 1)), expected, rtol=0, atol=1e-12)


def test_multiply_adds():
    """Counted one by one: every product of a tap and a number."""
    layer = xpcnn.SeparableConv1d(4, 6, 3, depth_multiplier=2)
    assert layer.multiply_adds((5, 4, 7)) == 5 * 5 * (8 * 3 + 8 * 6)
