"""Columns added back into images by a compiled kernel, against the plain sums in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards
from tests.pytorch import torch
from xpcnn import functional as F
from xpcnn import kernels
from xpcnn.kernels.cpu import buffers

needs_compiled_kernels()

# Samples, channels, size, and kernel, stride, padding, dilation.
CASES = [
    (2, 3, (7, 9), (2, 3), 1, 0, 1), (1, 5, (8, 6), 3, 1, 1, 1), (2, 16, (9, 7), (3, 2), 2, 1, 1),
    (3, 1, (6, 40), (2, 3), (1, 1), (1, 2), (2, 3)), (2, 4, (5, 5), 2, 3, 0, 1),
    (2, 3, (19,), 4, 2, 1, 2), (1, 2, (3, 3), 3, 1, 3, 1), (2, 8, (30,), 5, 1, 2, 1),
]  # fmt: skip

each_case = pytest.mark.parametrize("case", range(len(CASES)))


def draw(case):
    """Return columns, and the other arguments."""
    n, channels, size, *geometry = CASES[case]
    shape = F.im2col(np.zeros((n, channels, *size), np.float32), *geometry).shape
    columns = np.random.default_rng(case).standard_normal(shape, dtype="float32")
    return columns, (size, *geometry)


def orders(columns):
    """Yield the columns in several orders of memory."""
    yield columns
    yield np.ascontiguousarray(columns.transpose(0, 2, 1)).transpose(0, 2, 1)
    yield np.ascontiguousarray(columns.transpose(1, 0, 2)).transpose(1, 0, 2)
    yield np.repeat(columns, 2, axis=2)[:, :, ::2]
    frozen = columns.copy()
    frozen.flags.writeable = False
    yield frozen


def run(columns, arguments):
    with kernels.trace() as decisions:
        x = F.col2im(columns, *arguments)
    assert [(d.op, d.kernel_set) for d in decisions] == [("col2im", "cpu")]
    return x


def exact(columns, arguments):
    with kernels.force("generic"):
        return F.col2im(columns.astype("float64"), *arguments)


@each_case
def test_close_to_the_definition(case):
    columns, arguments = draw(case)
    expected = exact(columns, arguments)
    for given in orders(columns):
        x = run(given, arguments)
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, expected, rtol=1e-6, atol=2e-6)
        np.testing.assert_array_equal(given, columns)


@pytest.mark.parametrize("case", [case for case in range(len(CASES)) if len(CASES[case][2]) == 2])
def test_close_to_pytorch(case):
    columns, (size, kernel, stride, padding, dilation) = draw(case)
    expected = torch.nn.functional.fold(
        torch.tensor(columns), size, kernel, dilation, padding, stride
    )
    for given in orders(columns):
        x = run(given, (size, kernel, stride, padding, dilation))
        np.testing.assert_allclose(x, expected.numpy(), rtol=1e-6, atol=2e-6)


def test_it_runs_where_the_layer_does():
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 5), dtype="float32")
    layer = xpcnn.Unfold(3, padding=1)
    dy = np.ones_like(layer.forward(x, training=True))
    with kernels.trace() as decisions:
        dx = layer.backward(dy)
    assert [(d.op, d.kernel_set) for d in decisions] == [("col2im", "cpu")]
    assert dx[0, 0].tolist() == [[4, 6, 6, 6, 4], *[[6, 9, 9, 9, 6]] * 4, [4, 6, 6, 6, 4]]


def test_nan_and_infinity_stay_where_they_are_seen():
    columns, arguments = draw(1)
    columns[0, 7, 3], columns[0, 20, 11] = np.nan, np.inf
    with kernels.force("generic"):
        expected = F.col2im(columns, *arguments)
    for given in orders(columns):
        np.testing.assert_allclose(run(given, arguments), expected, rtol=1e-5, atol=1e-6)


def test_what_is_declined():
    """Whole numbers, and volumes."""
    with kernels.trace() as decisions:
        F.col2im(np.ones((1, 3, 2), int), (4,), 3)
        F.col2im(np.ones((1, 8, 1), np.float32), (2, 2, 2), 2)
    assert [d.kernel_set for d in decisions] == [None, None]


def test_same_bits_for_any_number_of_threads():
    columns = np.random.default_rng(1).standard_normal((4, 90, 3600), dtype="float32")
    for given in (columns, np.ascontiguousarray(columns.transpose(0, 2, 1)).transpose(0, 2, 1)):
        seen = set()
        try:
            for threads in (1, 2, 2, 2):
                xpcnn.set_num_threads(threads)
                seen.add(run(given, ((60, 60), 3, 1, 1)).tobytes())
        finally:
            xpcnn.set_num_threads(None)
        assert len(seen) == 1


@each_case
def test_nothing_is_written_outside(case, monkeypatch):
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    columns, arguments = draw(case)
    for given in orders(columns):
        np.testing.assert_allclose(
            run(given, arguments), exact(columns, arguments), rtol=1e-6, atol=2e-6
        )
    guards.assert_whole(5)
