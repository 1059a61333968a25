"""The compiled adaptive pooling, against loops over windows in float64."""

import itertools
import math

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
# Shapes of the input, and sizes of the output.
CASES = [
    ((2, 8, 7, 9), (3, 4)), ((2, 3, 5, 6), (4, 9)), ((3, 17, 13), (5,)), ((1, 30, 4, 4), (7, 3)),
    ((2, 16, 9, 1), (2, 5)), ((2, 64, 11, 10), (1, 3)), ((4, 1, 6), (13,)),
    ((2, 12, 5, 6, 7), (3, 4, 2)), ((1, 3, 4, 2, 5), (3, 5, 3)),
]  # fmt: skip


def test_an_average_of_everything_is_summed_in_float64():
    x = 1 + np.random.default_rng(0).random((2, 30, 400, 301), np.float32)
    for given in (x, lay(x, 1)):
        y, state = PAIRS["adaptive_avg_pool"].forward(XP, given, (1, 1))
        exact = x.mean(axis=(2, 3), keepdims=True, dtype=np.float64)
        np.testing.assert_allclose(y, exact, rtol=3e-7)
        dx = PAIRS["adaptive_avg_pool"].backward(XP, y, state)
        np.testing.assert_allclose(dx, np.broadcast_to(exact / (400 * 301), x.shape), rtol=1e-6)


def boxes(shape, size):
    """Yield each position of the output with the box of the input that it is made of."""
    for place in itertools.product(*map(range, size)):
        yield (
            place,
            tuple(
                slice(math.floor(i * n / m), math.ceil((i + 1) * n / m))
                for i, n, m in zip(place, shape[2:], size, strict=True)
            ),
        )


def average(x, dy):
    y, dx = np.empty(dy.shape), np.zeros(x.shape)
    for place, box in boxes(x.shape, dy.shape[2:]):
        for n, c in np.ndindex(x.shape[:2]):
            y[(n, c, *place)] = x[(n, c, *box)].mean()
            dx[(n, c, *box)] += dy[(n, c, *place)] / x[(n, c, *box)].size
    return y, dx


def maximum(x, dy):
    y, dx = np.empty(dy.shape), np.zeros(x.shape)
    for place, box in boxes(x.shape, dy.shape[2:]):
        for n, c in np.ndindex(x.shape[:2]):
            values = x[(n, c, *box)]
            missing = np.flatnonzero(np.isnan(values))
            winner = missing[-1] if len(missing) else np.argmax(values)
            y[(n, c, *place)] = values.reshape(-1)[winner]
            dx[(n, c, *box)].reshape(values.shape)[np.unravel_index(winner, values.shape)] += dy[
                (n, c, *place)
            ]
    return y, dx


def draw(case):
    shape, size = CASES[case]
    rng = np.random.default_rng(case)
    x = rng.integers(-3, 4, shape).astype("float32")  # many are equal
    dy = rng.standard_normal((*shape[:2], *size)).astype("float32")
    return x, dy, size


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize(
    ("op", "loops"), [("adaptive_avg_pool", average), ("adaptive_max_pool", maximum)]
)
def test_it_agrees(op, loops, case):
    x, dy, size = draw(case)
    expected = loops(x.astype("float64"), dy.astype("float64"))
    for how in range(7):
        y, saved = PAIRS[op].forward(XP, lay(x, how), size)
        dx = PAIRS[op].backward(XP, lay(dy, (how + case) % 7), saved)
        for a, e in zip((y, dx), expected, strict=True):
            assert error32(a, e) < 1e-6


@pytest.mark.parametrize("op", ["adaptive_avg_pool", "adaptive_max_pool"])
def test_nan_and_infinity(op):
    x, dy, size = draw(0)
    x[0, 3, 2, 1], x[0, 3, 2, 5], x[0, 4, 0, 0], x[1, 5, 6, 6] = np.nan, np.nan, np.inf, -np.inf
    reference = OPS[op]
    with np.errstate(invalid="ignore"):
        expected, state = reference.forward(XP, x.astype("float64"), size)
        gradient = reference.backward(XP, dy.astype("float64"), state)
    y, saved = PAIRS[op].forward(XP, x, size)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(y).any()
    assert np.isinf(y).any()
    assert error32(PAIRS[op].backward(XP, dy, saved), gradient) < 1e-6


def test_it_runs_where_the_layers_do():
    x = np.random.default_rng(0).standard_normal((2, 8, 10, 7)).astype("float32")
    with kernels.trace() as decisions:
        for layer in (xpcnn.AdaptiveAvgPool2d((3, 4)), xpcnn.AdaptiveMaxPool2d((3, 4))):
            y = layer.forward(x, training=True)
            assert y.shape == (2, 8, 3, 4)
            assert layer.backward(y).shape == x.shape
    assert [d.kernel_set for d in decisions] == ["cpu"] * 2


def test_what_is_declined():
    x = np.ones((2, 8, 40, 40), np.float32)
    declined = [
        PAIRS["adaptive_max_pool"].forward(XP, x, (2, 3)),
        PAIRS["adaptive_avg_pool"].forward(XP, x.astype("float64"), (3, 3)),
        PAIRS["adaptive_max_pool"].forward(XP, x[:0], (3, 3)),
        PAIRS["adaptive_avg_pool"].forward(XP, x[:, :, None, None], (1, 1, 3, 3)),
    ]
    assert [a.reason for a in declined] == [
        "windows of 280 taps, more than 256", "float64 arrays",
        "arrays of shape (0, 8, 40, 40)", "4 spatial dimensions",
    ]  # fmt: skip
    with kernels.trace() as decisions:
        F.adaptive_avg_pool(x, (3, 3))
    assert decisions[0].kernel_set == "cpu"


def test_same_bits_for_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal((8, 40, 50, 50)).astype("float32")
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            y, saved = PAIRS["adaptive_avg_pool"].forward(XP, x, (7, 7))
            seen.add(y.tobytes() + PAIRS["adaptive_avg_pool"].backward(XP, y, saved).tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_outside_is_written_or_used(case, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy, size = draw(case)
    for op, loops in (("adaptive_avg_pool", average), ("adaptive_max_pool", maximum)):
        expected = loops(x.astype("float64"), dy.astype("float64"))
        y, saved = PAIRS[op].forward(XP, x, size)
        dx = PAIRS[op].backward(XP, dy, saved)
        for a, e in zip((y, dx), expected, strict=True):
            assert error32(a, e) < 1e-6
    guards.assert_whole(5)
