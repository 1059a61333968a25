"""The compiled table of vectors, against the plain one in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import PAIRS, buffers
from xpcnn.kernels.dispatch import OPS

needs_compiled_kernels()

XP = numpy_namespace()
REFERENCE, PAIR = OPS["embedding"], PAIRS["embedding"]
# Rows and columns of the table, and the shape of the indices.
CASES = [(5, 1, (3,)), (7, 16, (4, 5)), (300, 9, (2, 3, 4)), (3, 33, (100, 2)), (40, 5, ())]

each_case = pytest.mark.parametrize(("rows", "width", "shape"), CASES)


def draw(rows, width, shape, seed=0):
    """Return a table, indices and the gradient of the output."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((rows, width), dtype="float32")
    return w, rng.integers(0, rows, shape), rng.standard_normal((*shape, width), dtype="float32")


def run(pair, w, indices, dy, padding_idx=None):
    y, saved = pair.forward(XP, w, indices)
    return y, pair.backward(XP, dy, saved, padding_idx)


@each_case
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_close_to_the_definition(rows, width, shape, padding_idx):
    w, indices, dy = draw(rows, width, shape)
    expected = run(REFERENCE, w.astype("float64"), indices, dy.astype("float64"), padding_idx)
    frozen = lay(w, 4)
    turned = np.ascontiguousarray(w.T).T
    for table in (w, frozen, turned, lay(w, 3)):
        for given in (dy, np.ascontiguousarray(dy[..., ::-1])[..., ::-1]):
            y, dw = run(PAIR, table, indices, given, padding_idx)
            assert y.dtype == dw.dtype == np.float32
            np.testing.assert_array_equal(y, w[indices])
            np.testing.assert_allclose(dw, expected[1], rtol=1e-6, atol=1e-6)


def test_it_runs_where_the_layer_does():
    layer = xpcnn.Embedding(9, 6, padding_idx=-1)
    x = np.array([[1, 8, 1], [0, 3, 1]], "int32")
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
        layer.backward(np.ones_like(y))
    assert [(d.op, d.kernel_set) for d in decisions] == [("embedding", "cpu")]
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [1, 3, 0, 1, 0, 0, 0, 0, 0])


def test_many_terms_keep_their_digits():
    """A sum of float32 that went on for ever would be wrong by a thousandth."""
    w, indices = np.ones((2, 3), np.float32), np.zeros(1_000_000, int)
    dy = np.full((1_000_000, 3), 0.1, np.float32)
    dw = run(PAIR, w, indices, dy)[1]
    np.testing.assert_allclose(dw, [[1e5] * 3, [0] * 3], rtol=3e-7)


def test_nan_stays_in_its_row():
    w, _, _ = draw(4, 20, ())
    w[1, 3] = np.inf
    dy = np.ones((3, 20), np.float32)
    dy[0, 5] = np.nan
    y, dw = run(PAIR, w, np.array([1, 2, 2]), dy)
    np.testing.assert_array_equal(y, w[[1, 2, 2]])
    expected = np.zeros((4, 20))
    expected[1], expected[2] = dy[0], 2
    np.testing.assert_array_equal(dw, expected)


def test_what_is_declined():
    w, indices, _ = draw(3, 4, (2,))
    declined = [
        PAIR.forward(XP, w.astype("float64"), indices), PAIR.forward(XP, w, indices[:0]),
    ]  # fmt: skip
    assert [a.reason for a in declined] == [
        "a float64 table of shape (3, 4), 2 indices", "a float32 table of shape (3, 4), 0 indices",
    ]  # fmt: skip


def test_same_bits_for_any_number_of_threads():
    w, indices, dy = draw(900, 70, (40, 300), 1)
    seen = set()
    try:
        for threads in (1, 2, 2, 2):
            xpcnn.set_num_threads(threads)
            seen.add(b"".join(a.tobytes() for a in run(PAIR, w, indices, dy)))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@each_case
def test_nothing_is_written_outside(rows, width, shape, monkeypatch):
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    w, indices, dy = draw(rows, width, shape)
    expected = run(REFERENCE, w.astype("float64"), indices, dy.astype("float64"))
    for a, b in zip(run(PAIR, w, indices, dy), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    guards.assert_whole(4)
