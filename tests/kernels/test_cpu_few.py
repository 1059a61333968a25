"""Convolution with fewer than 8 filters, whose vectors run along the lines of the output."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error, lay
from xpcnn import kernels
from xpcnn.kernels.cpu import buffers, few
from xpcnn.ops.conv import CONV
from xpcnn.ops.fused import CONV_AND
from xpcnn.window import Window

needs_compiled_kernels()

# Shape of the input, filters, kernel, stride, padding before and behind, dilation.
CASES = {
    "LeNet": ((1, 1, 28, 28), 6, (5, 5), 1, ((2, 2), (2, 2)), (1, 1)),
    "one filter": ((2, 3, 9, 19), 1, (3, 3), 1, ((0, 0), (0, 0)), (1, 1)),
    "seven filters": ((3, 5, 7, 40), 7, (3, 5), 1, ((1, 0), (2, 1)), (1, 1)),
    "many channels": ((2, 20, 11, 33), 3, (3, 3), 1, ((1, 1), (1, 1)), (1, 1)),
    "more than a strip": ((1, 70, 30, 200), 2, (3, 3), 1, ((1, 1), (1, 1)), (1, 1)),
    "stride down": ((2, 4, 15, 22), 5, (3, 2), (2, 1), ((1, 1), (0, 0)), (1, 1)),
    "dilation": ((2, 2, 16, 24), 4, (3, 3), 1, ((2, 3), (0, 4)), (2, 3)),
    "1x1": ((2, 9, 5, 17), 3, (1, 1), 1, ((0, 0), (0, 0)), (1, 1)),
    "line": ((4, 3, 50), 5, (7,), 1, ((3, 3),), (1,)),
    "more padding than kernel": ((1, 2, 3, 12), 3, (2, 2), 1, ((4, 4), (5, 5)), (1, 1)),
}


def draw(case):
    shape, filters, kernel, stride, padding, dilation = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    w = rng.standard_normal((filters, shape[1], *kernel)).astype(np.float32)
    b = rng.standard_normal(filters).astype(np.float32)
    stride = stride if isinstance(stride, tuple) else (stride,) * len(kernel)
    return x, w, b, Window(kernel, stride, padding, dilation), 1


def by_definition(operands, name="", options=()):
    x, w, b, *rest = operands
    with kernels.force("generic"):
        y, _ = CONV_AND[name](x.astype(float), w.astype(float), b.astype(float), *rest, *options)
    return y


@pytest.fixture
def counted(monkeypatch):
    """Count the convolutions that go this way."""
    calls = []
    real = few.forward
    monkeypatch.setattr(few, "forward", lambda *a: calls.append(a) or real(*a))
    return calls


@pytest.mark.parametrize("case", CASES)
def test_as_the_definition(case, counted):
    operands = draw(case)
    expected = by_definition(operands)
    for how in range(7):
        x = lay(operands[0], how)
        kept = x.copy()
        y, _ = CONV(x, *operands[1:])
        assert y.dtype == np.float32
        assert y.flags.c_contiguous
        assert error(y, expected) < 1e-6
        np.testing.assert_array_equal(x, kept)
        y, _ = CONV(x, operands[1], None, *operands[3:])
        assert error(y, expected - operands[2].reshape(-1, *(1,) * (x.ndim - 2))) < 1e-6
    assert len(counted) == 14


@pytest.mark.parametrize("name", ["relu", "tanh", "hardtanh"])
@pytest.mark.parametrize("case", CASES)
def test_with_an_activation_and_its_gradients(case, name, counted):
    operands, options = draw(case), (-0.5, 0.25) if name == "hardtanh" else ()
    x, w, b, *rest = operands
    with kernels.force("generic"):
        exact = [a.astype(float) for a in (x, w, b)]
        expected, back = CONV_AND[name](*exact, *rest, *options)
        dy = np.random.default_rng(1).standard_normal(expected.shape)
        gradients = back(dy, True)
    y, back = CONV_AND[name](*operands, *options)
    assert len(counted) == 1
    assert error(y, expected) < 2e-6
    for found, wanted in zip(back(dy.astype(np.float32), True), gradients, strict=True):
        assert error(found, wanted) < 1e-3  # a limit may be met by one of the two alone


@pytest.mark.parametrize(
    "change",
    [{"filters": 8}, {"stride": (1, 2)}, {"shape": (1, 2, 20, 17)}, {"groups": 2}],
    ids=str,
)
def test_others_go_another_way(change, counted):
    groups, filters = change.get("groups", 1), change.get("filters", 6)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(change.get("shape", (1, 2, 20, 20))).astype(np.float32)
    w = rng.standard_normal((filters, 2 // groups, 3, 3)).astype(np.float32)
    window = Window((3, 3), change.get("stride", (1, 1)), ((0, 0), (0, 0)), (1, 1))
    operands = x, w, np.ones(filters, np.float32), window, groups
    y, _ = CONV(*operands)
    assert error(y, by_definition(operands)) < 1e-6
    assert not counted


@pytest.mark.parametrize("case", CASES)
def test_special_values_come_out_where_they_do_of_the_definition(case):
    operands = draw(case)
    operands[0].reshape(-1)[[7, -9]] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        expected = by_definition(operands)
    y, _ = CONV(*operands)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))


@pytest.mark.parametrize("filler", [0x00, 0xFF, 0x7F])
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_read_or_written_beyond_the_arrays(case, filler, monkeypatch):
    operands = draw(case)
    expected = by_definition(operands, "tanh")
    guards = Guards(filler)
    monkeypatch.setattr(buffers, "empty", guards)
    for how in (0, 1, 5):
        y, _ = CONV_AND["tanh"](lay(operands[0], how), *operands[1:])
        assert error(y, expected) < 2e-6
    guards.assert_whole(at_least=6)


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_from_any_number_of_threads(case):
    operands, before = draw(case), xpcnn.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            xpcnn.set_num_threads(count)
            found.append(CONV_AND["tanh"](*operands)[0])
    finally:
        xpcnn.set_num_threads(before)
    np.testing.assert_array_equal(*found)
