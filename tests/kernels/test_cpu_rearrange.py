"""Channels and positions exchanged by a compiled kernel: NumPy's numbers, to the last bit."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, rearrange

needs_compiled_kernels()

XP = numpy_namespace()
# Shapes of the input, of its pieces, their new order, and the shape of the output.
CASES = {
    "pixel shuffle": ((2, 12, 5, 4), (2, 3, 2, 2, 5, 4), (0, 1, 4, 2, 5, 3), (2, 3, 10, 8)),
    "pixel unshuffle": ((3, 5, 6, 9), (3, 5, 2, 3, 3, 3), (0, 1, 3, 5, 2, 4), (3, 45, 2, 3)),
    "channel shuffle": ((2, 12, 3, 5), (2, 4, 3, 3, 5), (0, 2, 1, 3, 4), (2, 12, 3, 5)),
    "channel shuffle of a line": ((4, 10, 7), (4, 2, 5, 7), (0, 2, 1, 3), (4, 10, 7)),
    "blocks of channels": ((1, 16, 3, 4), (1, 2, 2, 4, 3, 4), (0, 3, 4, 1, 5, 2), (1, 4, 6, 8)),
    "one by one": ((2, 9, 1, 1), (2, 1, 3, 3, 1, 1), (0, 1, 4, 2, 5, 3), (2, 1, 3, 3)),
    "nothing to do": ((2, 9, 3, 1), (2, 9, 1, 1, 3, 1), (0, 1, 4, 2, 5, 3), (2, 9, 3, 1)),
}  # fmt: skip


def draw(case):
    shape, *plan = CASES[case]
    return lay(np.random.default_rng(0).standard_normal(shape).astype("float32"), 1), plan


@pytest.mark.parametrize("case", [case for case in CASES if case != "one by one"])
def test_same_numbers_as_numpy(case):
    x, (cut, order, merged) = draw(case)
    before = x.copy()
    y, _ = rearrange.rearrange(XP, x, cut, order, merged)
    expected = np.ascontiguousarray(x).reshape(cut).transpose(order).reshape(merged)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, y)
    assert np.moveaxis(y, 1, -1).flags.c_contiguous


@pytest.mark.parametrize(
    "layer", [xpcnn.PixelShuffle(2), xpcnn.PixelUnshuffle(2), xpcnn.ChannelShuffle(4)]
)
def test_it_runs_where_the_layers_do(layer):
    x = lay(np.random.default_rng(0).standard_normal((2, 16, 6, 4)).astype("float32"), 1)
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
        dy = lay(np.random.default_rng(1).standard_normal(y.shape).astype("float32"), 1)
        dx = layer.backward(dy)
    assert [(d.op, d.kernel_set) for d in decisions] == [("rearrange", "cpu")] * 2
    with kernels.force("generic"):
        np.testing.assert_array_equal(y, layer.forward(x, training=True))
        np.testing.assert_array_equal(dx, layer.backward(dy))


def test_what_is_declined():
    x, plan = draw("pixel shuffle")
    declined = [
        rearrange.rearrange(XP, x.astype("float64"), *plan),
        rearrange.rearrange(XP, np.ascontiguousarray(x), *plan),
        rearrange.rearrange(XP, draw("one by one")[0], *CASES["one by one"][1:]),
        rearrange.rearrange(XP, x[:, :, ::2], *plan),
        rearrange.rearrange(XP, x, (2, 12, 5, 4), (0, 1, 2, 3), (2, 12, 20)),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays", *["the channels do not come last"] * 3, "rearranging 4 axes into 3",
    ]  # fmt: skip


@pytest.mark.parametrize("case", [case for case in CASES if case != "one by one"])
def test_nothing_outside_is_written_or_used(case, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, plan = draw(case)
    y, _ = rearrange.rearrange(XP, x, *plan)
    assert np.isfinite(y).all()
    guards.assert_whole(1)
