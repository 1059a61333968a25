"""Arrays put together along the channels by a compiled kernel: NumPy's numbers, to the last bit."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, concat

needs_compiled_kernels()

XP = numpy_namespace()
# The channels of the arrays, and what else their shapes have.
CASES = [
    ((8, 9), (2, 5, 6)), ((17,), (3, 4)), ((64, 64, 30), (1, 7, 7)), ((8, 33), (4,)),
    ((3000, 10), (2, 3)), ((16, 8), (2, 2, 3, 4)), ((1, 5000), (3, 9)),
]  # fmt: skip


def draw(case):
    channels, (n, *spatial) = CASES[case]
    rng = np.random.default_rng(case)
    arrays = [rng.standard_normal((n, c, *spatial)).astype("float32") for c in channels]
    arrays[0].reshape(-1)[[0, 1, -1]] = np.nan, np.inf, -0.0
    return arrays


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    bits = [np.ascontiguousarray(a).view(np.uint32) for a in (actual, expected)]
    np.testing.assert_array_equal(*bits)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_same_bits_as_numpy(case):
    arrays = draw(case)
    expected = np.concatenate(arrays, axis=1)
    few = min(CASES[case][0]) < 8
    for how in (0,) if few or arrays[0].ndim == 2 else range(7):
        for step in (0,) if few else (0, 1):
            laid = [lay(a, (how + step * k) % 7) for k, a in enumerate(arrays)]
            y, _ = concat.concat(XP, laid[0], laid[1:], 1)
            assert_same_bits(y, expected)
            assert not any(np.shares_memory(y, a) for a in laid)


@pytest.mark.parametrize("how", [0, 1])
def test_memory_order_stays(how):
    arrays = [lay(a, how) for a in draw(0)]
    y, _ = concat.concat(XP, arrays[0], arrays[1:], 1)
    assert y.strides == lay(np.array(y), how).strides


def test_it_runs_where_the_operation_does():
    arrays = [lay(a, 1) for a in draw(2)]
    operation = xpcnn.operations.Concat(1)
    with kernels.trace() as decisions:
        y = operation.forward(*arrays, training=True)
        operation.forward(*(a.astype("float64") for a in arrays))
        xpcnn.operations.Concat(2).forward(*arrays[:2])
    assert [d.kernel_set for d in decisions] == ["cpu", None, None]
    assert "float64" in decisions[1].declined[0][1]
    for part, a in zip(operation.backward(y), arrays, strict=True):
        np.testing.assert_array_equal(part, a)


def test_what_is_declined():
    x = np.ones((2, 8, 3, 3), np.float32)
    few = lay(x[:, :5], 1)
    declined = [
        concat.concat(XP, x, [x.astype("float64")], 1), concat.concat(XP, x, [x[:, :0]], 1),
        concat.concat(XP, x, [x], 2), concat.concat(XP, x, [few], 1),
    ]  # fmt: skip
    assert [a.reason for a in declined] == [
        "float64 arrays", "arrays of shape (2, 8, 3, 3) and (2, 0, 3, 3)",
        "putting arrays together along axis 2", "an array of 5 channels",
    ]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_is_written_outside(case, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    arrays = draw(case)
    y, _ = concat.concat(XP, arrays[0], arrays[1:], 1)
    assert_same_bits(y, np.concatenate(arrays, axis=1))
    guards.assert_whole(1)
