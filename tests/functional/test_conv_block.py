"""A convolution, a ReLU and perhaps a pooling in one go: against the three steps one by one."""

import numpy as np
import pytest

from xpcnn import functional as F

WINDOW = F.pool_window((6, 6), (3, 3), (1, 1), (1, 1), (1, 1), False, "test")
POOL = F.pool_window((6, 6), (2, 2), (2, 2), (0, 0), (1, 1), False, "test")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("need_dx", [False, True])
def test_gradients_are_those_of_the_steps(dtype, groups, pooled, biased, need_dx, rng):
    shapes = (2, 4, 6, 6), (4, 4 // groups, 3, 3), (4,)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    b = b if biased else None
    pool = POOL if pooled else None
    inner, of_conv = F.conv_forward(x, w, b, WINDOW, groups)
    active = np.maximum(inner, 0)
    wanted, of_pool = F.max_pool_forward(active, pool) if pooled else (active, None)
    dy = rng.standard_normal(wanted.shape).astype(dtype)

    y, saved = F.conv_block_forward(x, w, b, WINDOW, groups, pool)
    got = F.conv_block_backward(dy, saved, need_dx=need_dx)

    d_active = F.pool_backward(dy, of_pool) if pooled else dy
    d_inner = np.where(inner > 0, d_active, 0).astype(dtype)
    gradients = F.conv_backward(d_inner, of_conv, need_dx=need_dx)
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(y, wanted, rtol=tolerance, atol=tolerance)
    assert (got[0] is None) is not need_dx
    assert (got[2] is None) is not biased
    for mine, theirs in zip(got, gradients, strict=True):
        if theirs is not None:
            np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)
