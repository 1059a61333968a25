"""The compiled padding, against NumPy's own and the generic one."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error32, lay
from xpcnn import functional as F
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import PAIRS, buffers
from xpcnn.kernels.dispatch import OPS

needs_compiled_kernels()

XP = numpy_namespace()
REFERENCE, PAIR = OPS["pad"], PAIRS["pad"]
NUMPY = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
# Shapes, and how many elements are added on each side.
CASES = [
    ((2, 8, 5, 6), ((1, 2), (3, 0))), ((3, 17, 9), ((4, 4),)), ((1, 30, 7, 4), ((0, 0), (2, 3))),
    ((2, 64, 6, 6), ((5, 5), (0, 0))), ((2, 8, 7), ((0, 0),)),
    ((2, 10, 4, 3, 5), ((2, 1), (0, 2), (1, 3))), ((1, 16, 3, 6, 4), ((0, 0), (1, 1), (2, 0))),
]  # fmt: skip


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    bits = [np.ascontiguousarray(a).view(np.uint32) for a in (actual, expected)]
    np.testing.assert_array_equal(*bits)


def draw(case):
    shape, padding = CASES[case]
    rng = np.random.default_rng(case)
    x = rng.standard_normal(shape).astype("float32")
    x.reshape(-1)[[0, 5, 9, -1]] = np.nan, np.inf, -0.0, -np.inf
    return x, padding


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("mode", NUMPY)
def test_it_agrees(mode, case):
    x, padding = draw(case)
    expected = np.pad(x, ((0, 0), (0, 0), *padding), mode=NUMPY[mode])
    for how in range(7):
        given = lay(x, how)
        y, shape = PAIR.forward(XP, given, padding, mode)
        assert_same_bits(y, expected)
        assert shape == x.shape
        assert not np.shares_memory(y, given)


def compare_gradients(shape, padding, mode, how):
    """Compare the gradient with that of the definition in float64."""
    out = [n + sum(sides) for n, sides in zip(shape[2:], padding, strict=True)]
    dy = np.random.default_rng(how).standard_normal((*shape[:2], *out)).astype("float32")
    given = lay(dy, how)
    dx = PAIR.backward(XP, given, shape, padding, mode)
    expected = REFERENCE.backward(XP, dy.astype("float64"), shape, padding, mode)
    assert error32(dx, expected) < 1e-6
    np.testing.assert_array_equal(given, dy)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("mode", NUMPY)
def test_gradients(mode, case):
    for how in range(7):
        compare_gradients(*CASES[case], mode, how)


@pytest.mark.parametrize("mode", NUMPY)
def test_nan_and_infinity_come_back_from_where_they_are(mode):
    shape, padding = CASES[0]
    dy, _ = REFERENCE.forward(XP, draw(0)[0], padding, mode)
    with np.errstate(invalid="ignore"):
        expected = REFERENCE.backward(XP, dy, shape, padding, mode)
        np.testing.assert_allclose(PAIR.backward(XP, dy, shape, padding, mode), expected, 1e-5)


@pytest.mark.parametrize("mode", NUMPY)
@pytest.mark.parametrize("padding", [((-1, 2), (0, -2)), ((-2, -1), (3, -1))])
def test_cropping(mode, padding):
    x = np.random.default_rng(0).standard_normal((2, 8, 7, 9)).astype("float32")
    expected, _ = REFERENCE.forward(XP, x, padding, mode)
    assert_same_bits(PAIR.forward(XP, x, padding, mode)[0], expected)
    compare_gradients(x.shape, padding, mode, 0)


@pytest.mark.parametrize("mode", NUMPY)
def test_same_bits_for_any_number_of_threads(mode):
    x = np.random.default_rng(0).standard_normal((2, 24, 9, 30, 31)).astype("float32")
    padding, seen = ((1, 2), (3, 0), (2, 2)), set()
    try:
        for threads in (1, 2):
            xpcnn.set_num_threads(threads)
            y, shape = PAIR.forward(XP, x, padding, mode)
            seen.add(y.tobytes() + PAIR.backward(XP, y, shape, padding, mode).tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


def test_any_constant():
    x, padding = draw(0)
    expected = np.pad(x, ((0, 0), (0, 0), *padding), constant_values=-1.5)
    assert_same_bits(PAIR.forward(XP, x, padding, "constant", -1.5)[0], expected)


def test_it_runs_where_the_layers_do():
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 9)).astype("float32")
    for layer in (xpcnn.ReflectionPad2d(2), xpcnn.ZeroPad2d(1), xpcnn.CircularPad2d(1)):
        with kernels.trace() as decisions:
            y = layer.forward(lay(x, 1), training=True)
            dx = layer.backward(y)
        assert [(d.op, d.kernel_set) for d in decisions] == [("pad", "cpu")]
        with kernels.force("generic"):
            np.testing.assert_array_equal(y, layer.forward(x, training=True))
            np.testing.assert_array_equal(dx, layer.backward(y))
    y = F.pad(x, [[1, 0], [0, 2]], "circular")
    np.testing.assert_array_equal(y, np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 2)], mode="wrap"))


def test_what_is_declined():
    x = np.ones((2, 8, 4, 4), np.float32)
    sides = ((1, 1), (1, 1))
    declined = [
        PAIR.forward(XP, x.astype("float64"), sides, "reflect"),
        PAIR.forward(XP, x[:0], sides, "reflect"),
        PAIR.forward(XP, x, sides[:1], "reflect"),
        PAIR.forward(XP, x[:, :3], sides, "reflect"),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays", "arrays of shape (0, 8, 4, 4)", "padding 1 axes of 4",
        "3 channels, fewer than 8",
    ]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_outside_is_written_or_used(case, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, padding = draw(case)
    for mode, name in NUMPY.items():
        y, _ = PAIR.forward(XP, x, padding, mode)
        assert_same_bits(y, np.pad(x, ((0, 0), (0, 0), *padding), mode=name))
        for how in (0, 5):
            compare_gradients(x.shape, padding, mode, how)
    guards.assert_whole(3 * len(NUMPY))
