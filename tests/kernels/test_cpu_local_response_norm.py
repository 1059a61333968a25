"""The compiled local response normalisation, against the generic one in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error, error32, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import PAIRS, buffers
from xpcnn.kernels.dispatch import OPS

needs_compiled_kernels()

XP = numpy_namespace()
REFERENCE, PAIR = OPS["local_response_norm"], PAIRS["local_response_norm"]
# Shapes, and how many neighbours before and behind count.
CASES = [
    ((2, 8, 3, 4), (2, 2)), ((3, 17, 5), (1, 0)), ((2, 30, 7, 7), (3, 2)), ((1, 5, 4, 4), (2, 2)),
    ((2, 1, 6), (1, 1)), ((2, 100, 2, 3), (0, 0)), ((2, 12, 3, 3), (40, 39)),
    ((1, 9, 2, 3, 4), (2, 1)),
]  # fmt: skip
SETTINGS = (0.5, 0.75, 0.8)


def draw(case):
    shape, sides = CASES[case]
    x, dy = np.random.default_rng(case).standard_normal((2, *shape)).astype("float32")
    return x, dy, (sides, *SETTINGS)


def run(pair, x, dy, settings):
    y, saved = pair.forward(XP, x, *settings)
    return y, pair.backward(XP, dy, saved)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_it_agrees(case):
    x, dy, settings = draw(case)
    expected = run(REFERENCE, x.astype("float64"), dy.astype("float64"), settings)
    for how in range(7):
        given = lay(x, how)
        before = given.copy()
        got = run(PAIR, given, lay(dy, (how + case) % 7), settings)
        for a, e in zip(got, expected, strict=True):
            assert error32(a, e) < 1e-6
        np.testing.assert_array_equal(given, before)


def test_it_runs_where_the_layer_does():
    x, dy = np.random.default_rng(0).standard_normal((2, 2, 16, 5, 6)).astype("float32")
    layer = xpcnn.LocalResponseNorm(5)
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
        dx = layer.backward(dy)
    assert [d.kernel_set for d in decisions] == ["cpu"]
    with kernels.force("generic"):
        assert error(y, layer.forward(x, training=True)) < 1e-6
        assert error(dx, layer.backward(dy)) < 1e-6


@pytest.mark.parametrize("k", [0.8, 0.0, -0.5])
def test_special_values_are_where_the_generic_kernel_has_them(k):
    x, dy, settings = draw(2)
    x[0, 3, 1, 1], x[1, 20, 0, 0], x[1, 29, 3, 3] = np.nan, np.inf, -np.inf
    x[0, :, 5, 5] = 0.0
    settings = (*settings[:3], k)
    with np.errstate(all="ignore"):
        expected = run(REFERENCE, x, dy, settings)
    for a, e in zip(run(PAIR, x, dy, settings), expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)
        assert np.isnan(a).any()


def test_what_is_declined():
    x = np.ones((2, 8, 4), np.float32)
    declined = [
        PAIR.forward(XP, x.astype("float64"), (1, 1), 1.0, 0.75, 1.0),
        PAIR.forward(XP, x[:0], (1, 1), 1.0, 0.75, 1.0),
        PAIR.forward(XP, x, (1, 1), 1.0, 0.5, 1.0),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays", "arrays of shape (0, 8, 4)", "beta=0.5, another than 0.75",
    ]  # fmt: skip


def test_same_bits_for_any_number_of_threads():
    x, dy = np.random.default_rng(0).standard_normal((2, 4, 40, 50, 50)).astype("float32")
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            found = run(PAIR, x, dy, ((2, 2), *SETTINGS))
            seen.add(b"".join(a.tobytes() for a in found))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_outside_is_written_or_used(case, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy, settings = draw(case)
    expected = run(REFERENCE, x.astype("float64"), dy.astype("float64"), settings)
    for a, e in zip(run(PAIR, x, dy, settings), expected, strict=True):
        assert error32(a, e) < 1e-6
    guards.assert_whole(4)
