"""The compiled pooling, against loops over windows in float64."""

import itertools

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import ops
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, pool
from xpcnn.window import Window

needs_compiled_kernels()

XP = numpy_namespace()


def windows(window, spatial):
    """For every output position: the position, and the (tap number, input position) under it."""
    out = window.output_shape(spatial)
    for q in itertools.product(*map(range, out)):
        seen = []
        for number, tap in enumerate(itertools.product(*map(range, window.kernel))):
            at = tuple(
                s * i + d * t - before
                for i, s, d, t, (before, _) in zip(
                    q, window.stride, window.dilation, tap, window.padding, strict=True
                )
            )
            if all(0 <= a < n for a, n in zip(at, spatial, strict=True)):
                seen.append((number, at))
        yield q, seen


def max_pool(x, dy, window):
    """Pool and send the gradient back, one window at a time."""
    y = np.full(dy.shape, -np.inf)
    dx = np.zeros(x.shape)
    for q, seen in windows(window, x.shape[2:]):
        for n, c in np.ndindex(x.shape[:2]):
            values = [x[(n, c, *at)] for _, at in seen]
            if values:
                winner = int(np.argmax(values))
                y[(n, c, *q)] = values[winner]
                dx[(n, c, *seen[winner][1])] += dy[(n, c, *q)]
    return y, dx


def avg_pool(x, dy, window, divisor):
    divisor = np.broadcast_to(divisor, dy.shape[2:])
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    everything = (slice(None), slice(None))
    for q, seen in windows(window, x.shape[2:]):
        for _, at in seen:
            y[(*everything, *q)] += x[(*everything, *at)] / divisor[q]
            dx[(*everything, *at)] += dy[(*everything, *q)] / divisor[q]
    return y, dx


def draw(seed, ndim=None):
    rng = np.random.default_rng(seed)
    ndim = ndim or 1 + seed % 2
    spatial = tuple(int(v) for v in rng.integers(4, 11 if ndim < 3 else 7, ndim))
    ints = lambda low, high: tuple(int(v) for v in rng.integers(low, high, ndim))  # noqa: E731
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (ndim, 2)))
    window = Window(ints(1, 5), ints(1, 4), padding, ints(1, 3))
    if any(e > n for e, n in zip(window.extent, window.padded_shape(spatial), strict=True)):
        window = Window((2,) * ndim, (2,) * ndim, padding, (1,) * ndim)
    if seed % 3 == 0:
        window = window.with_ceil(spatial)
    shape = (int(rng.integers(1, 4)), (1, 3, 8, 20, 30)[seed % 5], *spatial)
    out = (*shape[:2], *window.output_shape(spatial))
    # Few different numbers: many windows have several maxima.
    x = rng.integers(-3, 4, shape).astype("float32")
    return rng, x, rng.standard_normal(out).astype("float32"), window


@pytest.mark.parametrize(
    ("seed", "ndim"), [*((n, None) for n in range(90)), *((n, 3) for n in range(30))]
)
def test_max_pool(seed, ndim):
    rng, x, dy, window = draw(seed, ndim)
    y, saved = pool.max_pool_forward(XP, lay(x, int(rng.integers(6))), window)
    dx = pool.max_pool_backward(XP, lay(dy, int(rng.integers(6))), saved, window)
    expected_y, expected_dx = max_pool(x, dy, window)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-5, atol=1e-5)
    assert y.dtype == dx.dtype == np.float32


@pytest.mark.parametrize(
    ("seed", "ndim"), [*((n, None) for n in range(90)), *((n, 3) for n in range(30))]
)
def test_avg_pool(seed, ndim):
    rng, x, dy, window = draw(seed, ndim)
    out = dy.shape[2:]
    divisor = float(window.taps) if seed % 2 else rng.integers(1, 9, out)
    y, saved = pool.avg_pool_forward(XP, lay(x, int(rng.integers(6))), window, divisor)
    dx = pool.avg_pool_backward(XP, lay(dy, int(rng.integers(6))), saved, window)
    expected_y, expected_dx = avg_pool(x, dy, window, divisor)
    np.testing.assert_allclose(y, expected_y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-5, atol=1e-5)
    assert y.dtype == dx.dtype == np.float32


@pytest.mark.parametrize("channels", [1, 3, 8, 30, 33])
@pytest.mark.parametrize("spatial", [(1,), (40,), (5, 7), (60, 50), (2, 3, 4)])
def test_global_pooling(channels, spatial):
    rng = np.random.default_rng(channels)
    x = rng.integers(-30, 30, (3, channels, *spatial)).astype("float32")
    dy = rng.standard_normal((3, channels)).astype("float32")
    axes, count = tuple(range(2, x.ndim)), np.prod(spatial)
    for how in range(6):
        y, saved = pool.global_avg_pool_forward(XP, lay(x, how))
        np.testing.assert_allclose(y, x.mean(axis=axes, dtype="float64"), rtol=1e-5, atol=1e-5)
        dx = pool.global_avg_pool_backward(XP, dy, saved)
        np.testing.assert_allclose(
            dx, np.broadcast_to(dy.reshape(3, channels, *(1,) * len(spatial)) / count, x.shape)
        )
        y, saved = pool.global_max_pool_forward(XP, lay(x, how))
        np.testing.assert_array_equal(y, x.max(axis=axes))
        expected = np.zeros((3, channels, count))
        winner = x.reshape(3, channels, -1).argmax(axis=2)
        np.put_along_axis(expected, winner[..., None], dy[..., None], axis=2)
        dx = pool.global_max_pool_backward(XP, dy, saved)
        np.testing.assert_array_equal(dx, expected.reshape(x.shape))


def test_mean_of_many_positions_keeps_its_digits():
    x = np.full((1, 8, 200, 200), 0.1, np.float32)
    y, _ = pool.global_avg_pool_forward(XP, lay(x, 1))
    np.testing.assert_allclose(y, np.float32(0.1), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("seed", range(6))
def test_nan_and_infinity_go_as_in_the_generic_kernels(value, seed):
    _, x, dy, window = draw(seed)
    x.reshape(-1)[:: seed + 2] = value
    for forward, backward, arguments in (
        ("max_pool_forward", "max_pool_backward", (window,)),
        ("avg_pool_forward", "avg_pool_backward", (window, 3.0)),
        ("global_max_pool_forward", "global_max_pool_backward", ()),
        ("global_avg_pool_forward", "global_avg_pool_backward", ()),
    ):
        results = []
        for module in (pool, ops.pool):
            with np.errstate(invalid="ignore"):
                y, saved = getattr(module, forward)(XP, lay(x, 1), *arguments)
                d = dy if arguments else dy.reshape(*dy.shape[:2], -1)[..., 0]
                dx = getattr(module, backward)(XP, d, saved, *arguments[:1])
            results.append((y, dx))
        for a, e in zip(*results, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


def test_a_window_over_nothing_but_padding():
    """Its maximum is minus infinity, and its gradient goes nowhere."""
    x = np.ones((1, 8, 1), np.float32)
    window = Window((2,), (1,), ((2, 2),), (4,))
    y, saved = pool.max_pool_forward(XP, x, window)
    np.testing.assert_array_equal(y[0, 0], [-np.inf])
    dx = pool.max_pool_backward(XP, np.ones_like(y), saved, window)
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    y, _ = pool.avg_pool_forward(XP, x, window, 1.0)
    np.testing.assert_array_equal(y[0, 0], [0])


def test_most_taps():
    """The number of the last tap still fits into a byte; one more is declined."""
    x = np.zeros((1, 8, 16, 17), np.float32)
    x[..., 15, 15] = 1
    window = Window((16, 16), (1, 1), ((0, 0), (0, 0)), (1, 1))
    y, saved = pool.max_pool_forward(XP, x, window)
    dx = pool.max_pool_backward(XP, np.ones_like(y), saved, window)
    np.testing.assert_array_equal(dx, 2 * x)
    wider = Window((16, 17), (1, 1), ((0, 0), (0, 0)), (1, 1))
    assert pool.max_pool_forward(XP, x, wider).reason == "a window of 272 taps, more than 256"


def test_what_is_declined():
    window = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    x = np.ones((2, 8, 2, 2), np.float32)
    four = np.ones((2, 8, 2, 2, 2, 2), np.float32)
    declined = [
        pool.max_pool_forward(XP, x.astype("float64"), window),
        pool.avg_pool_forward(XP, x.astype("float64"), window, 1.0),
        pool.max_pool_forward(XP, four, window),
        pool.avg_pool_forward(XP, x[:0], window, 1.0),
        pool.global_avg_pool_forward(XP, x.astype("float64")),
        pool.global_max_pool_forward(XP, x.astype("float64")),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays",
        "float64 arrays",
        "4 spatial dimensions",
        "arrays of shape (0, 8, 2, 2)",
        "float64 arrays",
        "float64 arrays",
    ]


def test_output_is_channels_last_and_dense():
    _, x, dy, window = draw(3)
    for a in (
        pool.max_pool_forward(XP, x, window)[0],
        pool.avg_pool_forward(XP, x, window, 1.0)[0],
        pool.max_pool_backward(XP, dy, pool.max_pool_forward(XP, x, window)[1], window),
    ):
        assert np.moveaxis(a, 1, -1).flags.c_contiguous


def test_same_bits_for_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal((20, 30, 40, 40)).astype("float32")
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            y, saved = pool.max_pool_forward(XP, x, window)
            dx = pool.max_pool_backward(XP, y, saved, window)
            mean, _ = pool.global_avg_pool_forward(XP, x)
            seen.add(b"".join(np.ascontiguousarray(a).tobytes() for a in (y, dx, mean)))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("seed", range(15))
def test_nothing_is_written_outside(seed, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    _, x, dy, window = draw(seed, 1 + seed % 3)
    for how in range(7):
        _, saved = pool.max_pool_forward(XP, lay(x, how), window)
        pool.max_pool_backward(XP, lay(dy, how), saved, window)
        _, saved = pool.avg_pool_forward(XP, lay(x, how), window, 2.0)
        pool.avg_pool_backward(XP, lay(dy, how), saved, window)
        pool.global_avg_pool_forward(XP, lay(x, how))
        pool.global_max_pool_forward(XP, lay(x, how))
    guards.assert_whole(11)
