"""The compiled padding, against NumPy's own and the generic one."""

import numpy as np
import pytest

import xpcnn
from tests.kernels.arrays import Guards, error32, lay
from xpcnn import functional as F
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.dispatch import OPS

pytest.importorskip("numba", exc_type=ImportError)

from xpcnn.kernels.cpu import PAIRS, buffers

XP = numpy_namespace()
REFERENCE, PAIR = OPS["pad"], PAIRS["pad"]
NUMPY = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
# Shapes, and how many elements are added on each side.
CASES = [
    ((2, 8, 5, 6), ((1, 2), (3, 0))), ((3, 17, 9), ((4, 4),)), ((1, 30, 7, 4), ((0, 0), (2, 3))),
    ((2, 9, 3, 4, 5), ((1, 0), (2, 2), (0, 3))), ((2, 64, 6, 6), ((5, 5), (0, 0))),
]  # fmt: skip


def draw(case):
    shape, padding = CASES[case]
    rng = np.random.default_rng(case)
    x = rng.standard_normal(shape).astype("float32")
    x.reshape(-1)[[0, 5, -1]] = np.nan, np.inf, -np.inf
    dy = rng.standard_normal(np.pad(x, ((0, 0), (0, 0), *padding)).shape)
    return x, dy.astype("float32"), padding


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("mode", NUMPY)
def test_it_agrees(mode, case):
    x, dy, padding = draw(case)
    expected = np.pad(x, ((0, 0), (0, 0), *padding), mode=NUMPY[mode])
    gradient = REFERENCE.backward(XP, dy.astype("float64"), x.shape, padding, mode)
    for how in range(7):
        given = lay(x, how)
        y, saved = PAIR.forward(XP, given, padding, mode)
        np.testing.assert_array_equal(y, expected)
        assert not np.shares_memory(y, given)
        dx = PAIR.backward(XP, lay(dy, (how + case) % 7), saved, padding, mode)
        assert error32(dx, gradient) < 1e-6


@pytest.mark.parametrize("mode", NUMPY)
@pytest.mark.parametrize("padding", [((-1, 2), (0, -2)), ((-2, -1), (3, -1))])
def test_cropping(mode, padding):
    x = np.random.default_rng(0).standard_normal((2, 8, 7, 9)).astype("float32")
    expected, state = REFERENCE.forward(XP, x, padding, mode)
    y, saved = PAIR.forward(XP, x, padding, mode)
    np.testing.assert_array_equal(y, expected)
    gradient = REFERENCE.backward(XP, expected.astype("float64"), state, padding, mode)
    assert error32(PAIR.backward(XP, y, saved, padding, mode), gradient) < 1e-6


def test_it_runs_where_the_layers_do():
    x = np.random.default_rng(0).standard_normal((2, 8, 6, 5)).astype("float32")
    with kernels.trace() as decisions:
        for layer in (xpcnn.ReflectionPad2d(2), xpcnn.ZeroPad2d(1)):
            y = layer.forward(x, training=True)
            assert layer.backward(y).shape == x.shape
        y = F.pad(x, [[1, 0], [0, 2]], "circular")
    np.testing.assert_array_equal(y, np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 2)], mode="wrap"))
    assert [(d.op, d.kernel_set) for d in decisions] == [("pad", "cpu")] * 3


def test_what_is_declined():
    x = np.ones((2, 8, 4, 4), np.float32)
    sides = ((1, 1), (1, 1))
    declined = [
        PAIR.forward(XP, x.astype("float64"), sides, "reflect"),
        PAIR.forward(XP, x[:0], sides, "reflect"),
        PAIR.forward(XP, x, sides[:1], "reflect"),
        PAIR.forward(XP, x[:, :3], sides, "reflect"),
        PAIR.forward(XP, x, sides, "constant", 0.5),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays", "arrays of shape (0, 8, 4, 4)", "padding 1 axes of 4",
        "3 channels, fewer than 8", "padding by another number than zero",
    ]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_outside_is_written_or_used(case, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy, padding = draw(case)
    x = np.nan_to_num(x)
    for mode, name in NUMPY.items():
        y, saved = PAIR.forward(XP, x, padding, mode)
        np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (0, 0), *padding), mode=name))
        assert np.isfinite(PAIR.backward(XP, dy, saved, padding, mode)).all()
    guards.assert_whole(2 * len(NUMPY))
