"""The compiled LeakyReLU, against the generic one: they must agree to the last bit."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, leaky_relu
from xpcnn.ops.activation import LEAKY_RELU

needs_compiled_kernels()

XP = numpy_namespace()
SHAPES = [(2, 4), (5, 9), (3, 1, 7), (2, 3, 5, 4), (2, 30, 6, 7), (3, 64, 5, 5), (1, 9001)]


def draw(shape, seed):
    x = np.random.default_rng(seed).standard_normal(shape).astype("float32")
    x.reshape(-1)[[0, 3, -1]] = np.nan, np.inf, -np.inf
    x.reshape(-1)[[1, -2]] = 0.0, -0.0
    return x


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    bits = [np.ascontiguousarray(a).view(np.uint32) for a in (actual, expected)]
    np.testing.assert_array_equal(*bits)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slope", [0.01, 0.3, 0.0, -1.0, 2.0])
def test_same_bits_as_the_generic_pair(shape, slope):
    x, dy = draw(shape, 0), np.flip(draw(shape, 1))  # NaN and infinity in other places
    with np.errstate(invalid="ignore"):  # infinity times 0
        expected, state = LEAKY_RELU.forward(XP, x, slope)
        gradient = LEAKY_RELU.backward(XP, dy, state)
    for how in range(7):
        y, saved = leaky_relu.leaky_relu_forward(XP, lay(x, how), slope)
        assert_same_bits(y, expected)
        for other in (how, 0, 1):
            dx = leaky_relu.leaky_relu_backward(XP, lay(dy, other), saved)
            assert_same_bits(dx, gradient)


def test_it_runs_where_the_layer_does():
    x = draw((2, 8, 4, 4), 2)
    layer = xpcnn.LeakyReLU(0.1)
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
        dx = layer.backward(x)
    assert [(d.op, d.kernel_set) for d in decisions] == [("leaky_relu", "cpu")]
    with kernels.force("generic"):
        assert_same_bits(y, layer.forward(x, training=True))
        assert_same_bits(dx, layer.backward(x))


def test_memory_order_stays_and_inputs_are_left_alone():
    x = np.moveaxis(draw((2, 6, 7, 30), 3), -1, 1)
    before = x.copy()
    y, saved = leaky_relu.leaky_relu_forward(XP, x, 0.1)
    assert y.strides == x.strides == leaky_relu.leaky_relu_backward(XP, x, saved).strides
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, y)


def test_what_is_declined():
    x = np.ones((2, 8, 2), np.float32)
    given = (x.astype("float64"), x[:0], x[0, 0])
    assert [leaky_relu.leaky_relu_forward(XP, a, 0.1).reason for a in given] == [
        "float64 arrays", "arrays of shape (0, 8, 2)", "arrays of shape (2,)",
    ]  # fmt: skip


def test_a_gradient_of_another_dtype_keeps_it():
    _, saved = leaky_relu.leaky_relu_forward(XP, draw((3, 9), 4), 0.1)
    dy = draw((3, 9), 5).astype("float64")
    expected = LEAKY_RELU.backward(XP, dy, saved)
    np.testing.assert_array_equal(leaky_relu.leaky_relu_backward(XP, dy, saved), expected)


def test_same_bits_for_any_number_of_threads():
    x = draw((40, 30, 40, 41), 6)
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            seen.add(leaky_relu.leaky_relu_forward(XP, x, 0.1)[0].tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_written_outside(shape, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    x = draw(shape, 7)
    y, _ = leaky_relu.leaky_relu_forward(XP, x, 0.1)
    assert_same_bits(y, LEAKY_RELU.forward(XP, x, 0.1)[0])
    guards.assert_whole(1)
