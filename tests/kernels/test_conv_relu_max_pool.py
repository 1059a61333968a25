"""The fused convolution + ReLU + max pooling against the three operations one by one.

Most cases hold small integers: sums of them are exact, so both ways must agree to the last bit,
and equal elements under a pooling window are frequent.
"""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests import reference
from xpcnn import _xp, kernels
from xpcnn.kernels.dispatch import OPS
from xpcnn.window import Window

OP = "conv_relu_max_pool"


def singly(xp, x, w, b, window, pool, dy_of, need_dx=True):
    """Run the generic operations one after the other; returns (y, dy, dx, dw, db)."""
    conv, relu, max_pool = (OPS[op] for op in ("conv", "relu", "max_pool"))
    z, conv_state = conv.forward(xp, x, w, b, window, 1)
    a, relu_state = relu.forward(xp, z)
    y, pool_state = max_pool.forward(xp, a, pool)
    dy = dy_of(y)
    da = max_pool.backward(xp, dy, pool_state, pool)
    dz = relu.backward(xp, da, relu_state)
    return y, dy, *conv.backward(xp, dz, conv_state, window, 1, need_dx)


def integers(rng, *shape):
    return rng.integers(-2, 3, size=shape).astype(np.float64)


@pytest.fixture
def device(device):
    """The generic kernel is asked, also of libraries whose own convolution is preferred to it."""
    with kernels.force(None if kernels.select(device.xp, OP) else "generic"):
        yield device


def compare(device, rng, x, w, b, window, pool, need_dx=True, may_decline=False):
    """Both ways must give the same bits."""
    x, w = device.asarray(x), device.asarray(w)
    b = None if b is None else device.asarray(b)

    def dy_of(y):
        return device.asarray(integers(rng, *y.shape))

    result = kernels.run(device.xp, OP, x, w, b, window, 1, pool)
    if result is None and may_decline:
        return
    fused, saved = result
    y, dy, *gradients = singly(device.xp, x, w, b, window, pool, dy_of, need_dx)
    np.testing.assert_array_equal(_xp.to_numpy(fused), _xp.to_numpy(y))
    found = saved(dy, need_dx)
    for actual, expected in zip(found, gradients, strict=True):
        if expected is None:
            assert actual is None
        else:
            np.testing.assert_array_equal(_xp.to_numpy(actual), _xp.to_numpy(expected))


def pool_of(*kernel):
    return Window(kernel, kernel, ((0, 0),) * len(kernel), (1,) * len(kernel))


# x, w, stride, padding, dilation, pool; the sizes are such that pooling cuts something off
CASES = {
    "1d": ((2, 2, 12), (3, 2, 3), (1,), ((0, 0),), (1,), (3,)),
    "1d, strided and padded": ((2, 2, 16), (3, 2, 3), (2,), ((2, 1),), (2,), (2,)),
    "2d": ((3, 2, 8, 9), (4, 2, 3, 3), (1, 1), ((0, 0),) * 2, (1, 1), (2, 2)),
    "2d, same": ((2, 3, 7, 7), (2, 3, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), (2, 2)),
    "2d, uneven": ((2, 1, 11, 9), (2, 1, 2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2), (2, 3)),
    "3d": ((1, 2, 5, 6, 5), (2, 2, 2, 2, 2), (1, 1, 1), ((1, 0),) * 3, (1, 1, 1), (2, 2, 2)),
}


def check_case(device, rng, name):
    shape, kernel, stride, padding, dilation, pool = CASES[name]
    x, w, b = integers(rng, *shape), integers(rng, *kernel), integers(rng, kernel[0])
    window = Window(kernel[2:], stride, padding, dilation)
    compare(device, rng, x, w, b, window, pool_of(*pool))


@pytest.mark.parametrize("name", CASES)
def test_same_bits_as_the_single_operations(rng, name):
    check_case(xpcnn.device.resolve("cpu"), rng, name)


@pytest.mark.parametrize("name", ["1d, strided and padded", "2d, uneven"])
def test_same_bits_on_every_library(device, rng, name):
    check_case(device, rng, name)


def test_without_bias_or_dx(rng):
    device = xpcnn.device.resolve("cpu")
    x, w = integers(rng, 2, 2, 7, 7), integers(rng, 3, 2, 2, 2)
    window = Window((2, 2), (1, 1), ((0, 0),) * 2, (1, 1))
    compare(device, rng, x, w, None, window, pool_of(2, 2))
    compare(device, rng, x, w, integers(rng, 3), window, pool_of(2, 2), need_dx=False)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_constant_images_are_all_ties(rng, value):
    device = xpcnn.device.resolve("cpu")
    x, w, b = np.full((2, 1, 6, 6), value), np.ones((2, 1, 3, 3)), np.array([0.0, 0.5])
    window = Window((3, 3), (1, 1), ((0, 0),) * 2, (1, 1))
    compare(device, rng, x, w, b, window, pool_of(2, 2))


def test_nan_goes_through_and_stays_in_its_window(device, rng):
    x, w, b = integers(rng, 2, 1, 6, 6), integers(rng, 2, 1, 1, 1), integers(rng, 2)
    x[0, 0, 2, 3] = np.nan
    x[1, 0, 5, 5] = np.nan
    window = Window((1, 1), (1, 1), ((0, 0),) * 2, (1, 1))
    moved = [device.asarray(a) for a in (x, w, b)]
    y, _ = kernels.run(device.xp, OP, *moved, window, 1, pool_of(2, 2))
    expected = np.zeros((2, 2, 3, 3), dtype=bool)
    expected[0, :, 1, 1] = expected[1, :, 2, 2] = True
    np.testing.assert_array_equal(np.isnan(_xp.to_numpy(y)), expected)
    single, *_ = singly(device.xp, *moved, window, pool_of(2, 2), lambda y: y)
    np.testing.assert_array_equal(_xp.to_numpy(y), _xp.to_numpy(single))


def test_more_than_256_places_under_a_pooling_window(rng):
    # the number of the winner needs more than eight bits
    device = xpcnn.device.resolve("cpu")
    x = rng.permutation(1400).reshape(2, 1, 700).astype(float)
    window = Window((1,), (1,), ((0, 0),), (1,))
    compare(device, rng, x, np.ones((1, 1, 1)), np.zeros(1), window, pool_of(300), may_decline=True)
    x = rng.permutation(2 * 36 * 36).reshape(2, 1, 36, 36).astype(float)
    window = Window((1, 1), (1, 1), ((0, 0),) * 2, (1, 1))
    compare(device, rng, x, np.ones((1, 1, 1, 1)), None, window, pool_of(17, 17), may_decline=True)


def test_against_loops(rng):
    x, w, b = rng.normal(size=(2, 2, 7, 6)), rng.normal(size=(3, 2, 3, 2)), rng.normal(size=3)
    geometry = {"stride": (1, 1), "padding": ((1, 0), (0, 1)), "dilation": (1, 1)}
    pooling = {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 0),) * 2, "dilation": (1, 1)}
    z, *_ = reference.conv(x, w, b, np.zeros, **geometry)
    y, _ = reference.max_pool(np.maximum(z, 0), np.zeros, **pooling)
    dy = rng.normal(size=y.shape)
    _, da = reference.max_pool(np.maximum(z, 0), dy, **pooling)
    expected = reference.conv(x, w, b, da * (z > 0), **geometry)[1:]

    xp, window, pool = _xp.numpy_namespace(), Window((3, 2), *geometry.values()), pool_of(2, 2)
    fused, saved = kernels.run(xp, OP, x, w, b, window, 1, pool)
    np.testing.assert_allclose(fused, y, rtol=1e-12, atol=1e-12)
    gradients = saved(dy, True)
    for actual, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12)


def test_inference_gives_the_same_output(rng):
    xp = _xp.numpy_namespace()
    x, w, b = (rng.normal(size=s).astype("float32") for s in ((3, 2, 9, 9), (4, 2, 3, 3), (4,)))
    window = Window((3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    y, _ = kernels.run(xp, OP, x, w, b, window, 1, pool_of(2, 2))
    again, _ = kernels.run(xp, OP, x, w, b, window, 1, pool_of(2, 2), training=False)
    assert y.dtype == again.dtype == np.float32
    np.testing.assert_array_equal(again, y)


DECLINED = {
    "overlapping": (Window((3, 3), (2, 2), ((0, 0),) * 2, (1, 1)), 1),
    "gaps": (Window((2, 2), (3, 3), ((0, 0),) * 2, (1, 1)), 1),
    "padded": (Window((2, 2), (2, 2), ((1, 1),) * 2, (1, 1)), 1),
    "rounded up": (pool_of(2, 2).with_ceil((5, 5)), 1),
    "dilated": (Window((2, 2), (2, 2), ((0, 0),) * 2, (2, 2)), 1),
    "groups": (pool_of(2, 2), 2),
}


@pytest.mark.parametrize("name", DECLINED)
def test_declines(rng, name):
    pool, groups = DECLINED[name]
    xp = _xp.numpy_namespace()
    x, w = integers(rng, 1, 2, 7, 7), integers(rng, 2, 2 // groups, 3, 3)
    window = Window((3, 3), (1, 1), ((0, 0),) * 2, (1, 1))
    pair = OPS[OP]
    assert pair.forward(xp, x, w, None, window, groups, pool) is NotImplemented
    with kernels.force("generic"), kernels.trace() as decisions:
        y, _ = kernels.run(xp, OP, x, w, None, window, groups, pool)
    one_by_one, _ = kernels.run(xp, "conv", x, w, None, window, groups)
    one_by_one, _ = kernels.run(xp, "max_pool", np.maximum(one_by_one, 0.0), pool)
    np.testing.assert_array_equal(y, one_by_one)
    taken = [(d.op, d.kernel_set) for d in decisions]
    assert taken[:2] == [(OP, None), ("conv_relu", None)]
    assert taken[2:] == [("conv", "generic"), ("relu", "generic"), ("max_pool", "generic")]


def test_the_operands_are_left_alone(device, rng):
    x, w, b = integers(rng, 2, 2, 5, 5), integers(rng, 3, 2, 2, 2), integers(rng, 3)
    moved = [device.asarray(a.copy()) for a in (x, w, b)]
    window, pool = Window((2, 2), (1, 1), ((0, 0),) * 2, (1, 1)), pool_of(2, 2)
    y, saved = kernels.run(device.xp, OP, *moved, window, 1, pool)
    dy = integers(rng, *y.shape)
    moved.append(device.asarray(dy.copy()))
    saved(moved[-1], True)
    for array, before in zip(moved, (x, w, b, dy), strict=True):
        np.testing.assert_array_equal(_xp.to_numpy(array), before)


@pytest.fixture
def small_workspace():
    """One sample at a time."""
    limit = xpcnn.get_workspace_limit()
    xpcnn.set_workspace_limit(1)
    yield
    xpcnn.set_workspace_limit(limit)


@pytest.mark.usefixtures("small_workspace")
@pytest.mark.parametrize("name", CASES)
def test_in_pieces(rng, name):
    check_case(xpcnn.device.resolve("cpu"), rng, name)
