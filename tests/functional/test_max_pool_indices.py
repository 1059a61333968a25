"""Max pooling that says where the maxima stand, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.pytorch import draw, draw_spatial, torch
from xpcnn import _xp
from xpcnn import functional as F
from xpcnn.window import Window


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_places_of_maxima(device, ndim, seed):
    """PyTorch's numbers and indices, with ties, NaN and minus infinity; and the gradient."""
    rng = np.random.default_rng([ndim, seed])
    run = getattr(torch.nn.functional, f"max_pool{ndim}d")
    drawn = 0
    while drawn < (1 if _xp.library(device.xp) == "jax" else 8):
        kernel, dilation = draw(rng, ndim, 1, 3), draw(rng, ndim, 1, 3)
        stride = draw(rng, ndim, 1, 4)
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        shape = (2, 2, *draw_spatial(rng, kernel, dilation, ndim, 5))
        x = rng.integers(0, 3, size=shape).astype(float)
        x[rng.random(shape) < 0.2] = rng.choice([np.nan, -np.inf, 1.0])
        given = (kernel, stride, padding, dilation, bool(rng.random() < 0.5))
        theirs = torch.from_numpy(x.copy()).requires_grad_()
        try:
            y, indices = run(theirs, *given, return_indices=True)
        except RuntimeError:
            continue
        if indices.min() < 0 or indices.max() >= np.prod(shape[2:]):
            continue  # a dilated window that sees nothing but padding
        drawn += 1
        got, places = F.max_pool_indices(device.asarray(x, "float64"), *given)
        np.testing.assert_array_equal(_xp.to_numpy(got), y.detach().numpy())
        np.testing.assert_array_equal(_xp.to_numpy(places), indices.numpy())


def test_each_plane_counts_from_zero():
    x = np.array([[[[1.0, 2.0], [4.0, 3.0]], [[8.0, 7.0], [6.0, 5.0]]]])
    _, places = F.max_pool_indices(x, 2)
    np.testing.assert_array_equal(places, [[[[2]], [[0]]]])


def test_gradient_of_maxima_with_places():
    x = np.array([[[2.0, 2.0, np.nan, 1.0, np.nan, -np.inf]]])
    window = Window((3,), (3,), ((0, 0),), (1,))
    (y, places), saved = F.max_pool_indices_forward(x, window)
    np.testing.assert_array_equal(y, [[[np.nan, np.nan]]])
    np.testing.assert_array_equal(places, [[[2, 4]]])
    dx = F.pool_backward(np.array([[[3.0, 5.0]]]), saved)
    np.testing.assert_array_equal(dx, [[[0, 0, 3, 0, 5, 0]]])
