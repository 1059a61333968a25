"""The compiled ReLU and sums, against NumPy: they must agree to the last bit."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, elementwise, layout, sums

needs_compiled_kernels()

XP = numpy_namespace()


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def with_gaps(x):
    """Channels-last with room between the pixels."""
    wide = np.full((x.shape[0], *x.shape[2:], x.shape[1] + 3), np.nan, np.float32)
    wide[..., : x.shape[1]] = np.moveaxis(x, 1, -1)
    return np.moveaxis(wide[..., : x.shape[1]], -1, 1)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def reverse(x):
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


LAYOUTS = [np.ascontiguousarray, channels_last, with_gaps, read_only, reverse]
SHAPES = [(5, 9), (3, 1, 7), (2, 3, 5, 4), (2, 30, 6, 7), (3, 64, 5, 5), (1, 8, 2, 3, 4), (1, 9000)]


def draw(shape, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape).astype("float32")
    x.reshape(-1)[[0, 3, -1]] = np.nan, np.inf, -np.inf
    x.reshape(-1)[[1, -2]] = 0.0, -0.0
    return x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_agrees_with_numpy(shape, first, second):
    x, other, dy = draw(shape), draw(shape, 1), draw(shape, 2)
    a, b, d = first(x), second(other), second(dy)
    y, saved = elementwise.relu_forward(XP, a)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(
        elementwise.relu_backward(XP, d, saved), np.where(x <= 0, np.float32(0), dy)
    )
    with np.errstate(invalid="ignore"):
        total = x + other
    y, saved = elementwise.add_forward(XP, a, b)
    np.testing.assert_array_equal(y, total)
    assert all(g is d for g in elementwise.add_backward(XP, d, saved))
    y, saved = elementwise.add_relu_forward(XP, a, b)
    np.testing.assert_array_equal(y, np.maximum(total, 0))
    for g in elementwise.add_relu_backward(XP, d, saved):
        np.testing.assert_array_equal(g, np.where(total <= 0, np.float32(0), dy))
    assert y.dtype == g.dtype == np.float32


@pytest.mark.parametrize("lay", [np.ascontiguousarray, channels_last])
def test_memory_order_stays(lay):
    x = lay(draw((2, 30, 6, 7)))
    y, saved = elementwise.relu_forward(XP, x)
    assert y.strides == x.strides
    assert elementwise.relu_backward(XP, x, saved).strides == x.strides


def test_inputs_are_left_alone():
    x = draw((4, 9))
    before = x.copy()
    y, _ = elementwise.relu_forward(XP, x)
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, y)


def test_what_is_declined():
    x = np.ones((2, 8, 2), np.float32)
    declined = [
        elementwise.relu_forward(XP, x.astype("float64")),
        elementwise.relu_forward(XP, x[:0]),
        elementwise.relu_forward(XP, x[0, 0]),
        elementwise.add_forward(XP, x, x[:1]),
        elementwise.add_relu_forward(XP, x, x.astype("float64")),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays",
        "arrays of shape (0, 8, 2)",
        "arrays of shape (2,)",
        "arrays of shape (2, 8, 2) and (1, 8, 2)",
        "float64 arrays",
    ]


def test_same_bits_for_any_number_of_threads():
    x, other = (channels_last(draw((40, 30, 40, 40), seed)) for seed in (0, 1))
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            y, _ = elementwise.add_relu_forward(XP, x, other)
            seen.add(np.ascontiguousarray(y).tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_written_outside(shape, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    for layout_of in LAYOUTS:
        x = layout_of(draw(shape))
        y, _ = elementwise.relu_forward(XP, x)
        np.testing.assert_array_equal(y, np.maximum(x, 0))
    guards.assert_whole(len(LAYOUTS))


@pytest.mark.parametrize("shape", [(3, 1, 7), (2, 3, 5, 4), (2, 30, 6, 7), (1, 64, 1, 5)])
@pytest.mark.parametrize("how", range(7))
def test_images_are_brought_in_order(shape, how):
    x = draw(shape)
    y = layout.in_order(XP, lay(x, how))
    if isinstance(y, tuple):
        assert y[0].flags.c_contiguous
        np.testing.assert_array_equal(y[0], x)
    assert isinstance(y, tuple) or how == 3


@pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 33])
@pytest.mark.parametrize("rows", [1, 3, 32, 33, 500])
def test_gated_rows_and_their_sums(rows, width):
    rng = np.random.default_rng(rows * width)
    y = np.maximum(rng.standard_normal((rows, width), dtype="float32"), 0)
    y[0, 0] = np.nan  # opens the gate
    for padded in (0, 5):
        dy = rng.standard_normal((rows, width + padded), dtype="float32")[:, :width]
        found, total = sums.gated_rows(dy, y)
        expected = np.where(y <= 0, np.float32(0), dy)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(total, sums.sum_rows(expected))
        np.testing.assert_allclose(total, expected.sum(0, dtype="float64"), rtol=1e-6, atol=1e-6)
