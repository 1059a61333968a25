"""The compiled pooling by power means, against the generic one in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error, error32, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import PAIRS, buffers
from xpcnn.kernels.dispatch import OPS
from xpcnn.window import Window

needs_compiled_kernels()

XP = numpy_namespace()
REFERENCE, PAIR = OPS["lp_pool"], PAIRS["lp_pool"]
# Shapes, and windows: kernel, stride, padding, dilation.
CASES = [
    ((2, 8, 7, 9), Window((2, 3), (2, 2), ((0, 0), (0, 0)), (1, 1))),
    ((1, 17, 6, 5), Window((3, 3), (1, 2), ((1, 1), (0, 1)), (1, 2))),
    ((3, 3, 11), Window((2,), (2,), ((0, 0),), (1,))),
    ((2, 64, 4, 4), Window((4, 4), (4, 4), ((0, 0), (0, 0)), (1, 1))),
    ((2, 10, 5, 4, 6), Window((2, 3, 3), (2, 1, 2), ((0, 0), (1, 1), (0, 1)), (1, 1, 1))),
]


def draw(case):
    shape, window = CASES[case]
    rng = np.random.default_rng(case)
    x = rng.standard_normal(shape).astype("float32")
    x[0, 0] = 0.0  # sums of zero, which have no derivative
    size = (*shape[:2], *window.output_shape(shape[2:]))
    return x, rng.standard_normal(size).astype("float32"), window


def run(pair, x, dy, window, divisor=0.5, p=2.0):
    y, saved = pair.forward(XP, x, window, divisor, p)
    return y, pair.backward(XP, dy, saved, window, p)


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_it_agrees(case, p):
    x, dy, window = draw(case)
    divisor = np.random.default_rng(9).random(dy.shape[2:]) + 0.5
    expected = run(REFERENCE, x.astype("float64"), dy.astype("float64"), window, divisor, p)
    for how in range(7):
        given = lay(x, how)
        before = given.copy()
        got = run(PAIR, given, lay(dy, (how + case) % 7), window, divisor, p)
        for a, e in zip(got, expected, strict=True):
            assert error32(a, e) < 1e-6
            assert np.isfinite(a).all()
        np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("p", [1.0, 1.5, 3.0, 4.0, 7.3, 8.0])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_other_powers(case, p):
    x, dy, window = draw(case)
    if p != 4.0:
        x = np.abs(x)  # sums of odd powers may be near zero, and below it have no root
    p64 = float(np.float32(p))
    expected = run(REFERENCE, x.astype("float64"), dy.astype("float64"), window, p=p64)
    for how in range(7):
        got = run(PAIR, lay(x, how), lay(dy, (how + case) % 7), window, p=p)
        for a, e in zip(got, expected, strict=True):
            assert error32(a, e) < 3e-6


@pytest.mark.parametrize("p", [3.0, 3.5])
def test_nan_and_infinity_of_other_powers(p):
    x, dy, window = draw(0)
    x[0, 3, 1, 1], x[1, 5, 2, 2], x[1, 6, 3, 3] = np.nan, -np.inf, np.inf
    with np.errstate(invalid="ignore"):
        expected = run(REFERENCE, x, dy, window, p=p)
        got = run(PAIR, x, dy, window, p=p)
    for a, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(e))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(e))
        assert np.isnan(a).any()


def test_other_powers_have_the_same_bits_for_any_number_of_threads():
    x, dy = np.random.default_rng(1).random((2, 4, 24, 60, 60), dtype="float32")
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            found = run(PAIR, x, dy[:, :, :30, :20], Window((2, 3), (2, 3), ((0, 0),) * 2, (1, 1)),
                        p=3.5)  # fmt: skip
            seen.add(b"".join(a.tobytes() for a in found))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


def test_it_runs_where_the_layer_does():
    x, dy = np.random.default_rng(0).standard_normal((2, 2, 16, 8, 6)).astype("float32")
    layer = xpcnn.LPPool2d(2, 2)
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
        dx = layer.backward(dy[:, :, :4, :3])
    assert [d.kernel_set for d in decisions] == ["cpu"]
    with kernels.force("generic"):
        assert error(y, layer.forward(x, training=True)) < 1e-6
        assert error(dx, layer.backward(dy[:, :, :4, :3])) < 1e-6


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
def test_nan_and_infinity(p):
    x, dy, window = draw(0)
    x[0, 3, 1, 1], x[1, 5, 2, 2] = np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        expected = run(REFERENCE, x, dy, window, p=p)
        got = run(PAIR, x, dy, window, p=p)
    for a, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)
        if p > 1.0 or a is got[0]:  # of a plain sum the gradient knows no numbers
            assert np.isnan(a).any()


def test_what_is_declined():
    x, _, window = draw(0)
    declined = [
        PAIR.forward(XP, x.astype("float64"), window, 1.0, 2.0),
        PAIR.forward(XP, x.astype("float64"), window, 1.0, 3.0),
        PAIR.forward(XP, x, window, 1.0, 0.5),
        PAIR.forward(XP, x, window, 1.0, np.inf),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays", "float64 arrays of shape (2, 8, 7, 9)", "norm_type 0.5, not from 1 to 8",
        "norm_type inf, not from 1 to 8",
    ]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("p", [2.0, 4.0])
def test_nothing_outside_is_written_or_used(case, p, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy, window = draw(case)
    expected = run(REFERENCE, x.astype("float64"), dy.astype("float64"), window, p=p)
    for a, e in zip(run(PAIR, x, dy, window, p=p), expected, strict=True):
        assert error32(a, e) < (1e-6 if p == 2.0 else 3e-6)
    guards.assert_whole(2)
