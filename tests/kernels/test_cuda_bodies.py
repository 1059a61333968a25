"""The bodies of the CUDA kernels, compiled as plain C++, against the generic kernels.

Everything but CuPy's own launch is the code that a GPU runs: the functions in
``xpcnn/kernels/cuda`` work on NumPy arrays here, and what would start a kernel calls it as C++,
thread after thread. Blocks are tiny, so that loops go round several times. Each launch is done in
two orders of the threads, with sentinels around all memory, and its arguments are held against the
kernel's signature.
"""

import inspect

import numpy as np
import pytest

from tests.kernels.arrays import error, lay
from tests.kernels.plain_cpp import COMPILER, ROOM, PlainCpp
from xpcnn import ops
from xpcnn.kernels import Declined, cuda
from xpcnn.kernels.cuda import columns, elementwise, loss, norm, pool, source, update
from xpcnn.kernels.dispatch import OPS
from xpcnn.ops import activation, im2col
from xpcnn.ops.pool import avg_pool_divisor
from xpcnn.window import Window

TOLERANCE = {"float16": 2e-3, "bfloat16": 1e-2, "float32": 2e-6, "float64": 1e-13}


@pytest.fixture(scope="module")
def plain_cpp(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("there is no C++ compiler (g++ or clang++)")
    return PlainCpp(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def cpp(plain_cpp, monkeypatch):
    """Kernels as C++, in blocks of 8 threads; lists what was launched."""
    monkeypatch.setattr(source, "THREADS", 8)
    monkeypatch.setattr(source, "LANES", 4)
    monkeypatch.setattr(source, "MOST_BLOCKS", 3)
    monkeypatch.setattr(norm, "ROUNDS", 3)
    monkeypatch.setattr(update, "PIECE", 20)
    monkeypatch.setattr(update, "APART", 2)
    monkeypatch.setattr(source, "run", plain_cpp)
    plain_cpp.launched.clear()
    update._layout.cache_clear()
    yield plain_cpp
    update._layout.cache_clear()


def assert_close(a, b, dtype, factor=1.0):
    """Compare with numbers of float64; NaN and infinities in the same places."""
    assert a.dtype == np.dtype(dtype)
    a = a.astype(np.float64)
    finite = np.isfinite(b)
    np.testing.assert_array_equal(np.where(finite, 0.0, a), np.where(finite, 0.0, b))
    a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
    assert error(a, b) <= factor * TOLERANCE[np.dtype(dtype).name]


def draw_window(rng, ndim, pooling):
    """Draw a window, different along each axis, and the size of an image that it fits into."""
    kernel = tuple(int(k) for k in rng.choice([1, 2, 3, 3], ndim))
    dilation = tuple(int(d) for d in rng.permutation([1, 2, 3])[:ndim])
    stride = tuple(int(s) for s in rng.permutation([1, 2, 3])[:ndim])
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    most = [e // 2 if pooling else e for e in extents]
    padding = tuple(tuple(int(p) for p in rng.integers(0, m + 1, 2)) for m in most)
    spatial = tuple(int(e + n) for e, n in zip(extents, rng.integers(0, 5, ndim), strict=True))
    return Window(kernel, stride, padding, dilation), spatial


def draw_image(rng, spatial, dtype):
    return rng.standard_normal((2, int(rng.integers(1, 6)), *spatial)).astype(dtype)


GEOMETRIES = [(ndim, seed) for ndim in (1, 2, 3) for seed in range(8)]
LAYOUTS = (0, 1, 3)  # of `lay`: in the order of the axes, channels-last, reversed


@pytest.mark.parametrize(("ndim", "seed"), GEOMETRIES)
def test_max_pool(cpp, ndim, seed):
    rng = np.random.default_rng([ndim, seed])
    window, spatial = draw_window(rng, ndim, pooling=True)
    # Small whole numbers: many ties, and sums without rounding.
    x = np.round(2 * draw_image(rng, spatial, "float32"))
    x[rng.random(x.shape) < 0.1] = -np.inf
    x[rng.random(x.shape) < 0.05] = np.nan
    for how in LAYOUTS:
        y, saved = pool.max_pool_forward(np, lay(x, how), window)
        expected, expected_saved = OPS["max_pool"].forward(np, x, window)
        np.testing.assert_array_equal(y, expected)
        dy = np.round(4 * rng.standard_normal(y.shape)).astype(np.float32)
        dx = pool.max_pool_backward(np, lay(dy, how), saved, window)
        expected = OPS["max_pool"].backward(np, dy, expected_saved, window)
        np.testing.assert_array_equal(dx, expected)
    assert [kernel for _, kernel, _, _ in cpp.launched] == [
        "max_pool_forward",
        "max_pool_backward",
    ] * len(LAYOUTS)


def test_max_pool_by_hand(cpp):
    window = Window((2,), (1,), ((1, 0),), (1,))
    x = np.array([[[1.0, 3.0, 3.0, np.nan, 2.0]]])
    y, saved = pool.max_pool_forward(np, x, window)
    np.testing.assert_array_equal(y, [[[1.0, 3.0, 3.0, np.nan, np.nan]]])
    dx = pool.max_pool_backward(np, np.array([[[1.0, 2.0, 4.0, 8.0, 16.0]]]), saved, window)
    # The fourth window has NaN second, the fifth has it first: it wins both.
    np.testing.assert_array_equal(dx, [[[1.0, 6.0, 0.0, 24.0, 0.0]]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("ndim", "seed"), GEOMETRIES)
def test_avg_pool(cpp, ndim, seed, dtype):
    rng = np.random.default_rng([ndim, seed])
    window, spatial = draw_window(rng, ndim, pooling=True)
    x = draw_image(rng, spatial, dtype)
    forward, backward = OPS["avg_pool"]
    for counts_padding in (True, False):
        divisor = avg_pool_divisor(window, spatial, window.padding, counts_padding, None)
        expected, expected_saved = forward(np, x.astype(np.float64), window, divisor)
        dy = rng.standard_normal(expected.shape).astype(dtype)
        expected_dx = backward(np, dy.astype(np.float64), expected_saved, window)
        for how in LAYOUTS:
            y, saved = pool.avg_pool_forward(np, lay(x, how), window, divisor)
            assert_close(y, expected, dtype)
            assert_close(
                pool.avg_pool_backward(np, lay(dy, how), saved, window), expected_dx, dtype
            )


@pytest.mark.parametrize("spatial", [(), (1,), (13,), (5, 7), (2, 3, 4)])
def test_global_avg_pool(cpp, rng, spatial):
    x = rng.standard_normal((3, 5, *spatial)).astype(np.float32)
    for how in LAYOUTS[: 3 if spatial else 1]:
        y, saved = pool.global_avg_pool_forward(np, lay(x, how))
        assert_close(y, x.reshape(3, 5, -1).mean(axis=2, dtype=np.float64), np.float32)
        dy = rng.standard_normal((3, 5)).astype(np.float32)
        dx = pool.global_avg_pool_backward(np, dy, saved)
        expected = np.broadcast_to(
            dy.reshape(3, 5, *(1 for _ in spatial)) / np.float32(x[0, 0].size), x.shape
        )
        np.testing.assert_array_equal(dx, expected)
    kernels = {kernel for _, kernel, _, _ in cpp.launched}
    assert kernels == {"mean_of_rows"} | ({"mean_of_columns"} if np.prod(spatial) > 1 else set())


@pytest.mark.parametrize("shape", [(7,), (3, 50), (2, 5, 6), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_elementwise(cpp, rng, shape):
    a, b = rng.standard_normal((2, *shape)).astype(np.float32)
    a.flat[1], b.flat[3] = np.nan, -np.inf
    for how in LAYOUTS if len(shape) > 2 else LAYOUTS[:1]:
        for how_b in (0, how):
            first, second = lay(a, how), lay(b, how_b)
            y, saved = elementwise.relu_forward(np, first)
            np.testing.assert_array_equal(y, np.maximum(a, 0))
            dx = elementwise.relu_backward(np, second, saved)
            np.testing.assert_array_equal(dx, np.where(a <= 0, 0, b))  # open for NaN
            y, saved = elementwise.add_forward(np, first, second)
            np.testing.assert_array_equal(y, a + b)
            assert elementwise.add_backward(np, first, saved) == (first, first)
            y, saved = elementwise.add_relu_forward(np, first, second)
            np.testing.assert_array_equal(y, np.maximum(a + b, 0))
            dx, other = elementwise.add_relu_backward(np, second, saved)
            np.testing.assert_array_equal(dx, np.where(a + b <= 0, 0, b))
            assert other is dx


def batch_norm(x, other, gamma, beta, statistics, closes, dy):
    """Run the generic kernels in float64; returns all results."""
    values = [a if a is None else a.astype(np.float64) for a in (x, gamma, beta)]
    pair, relu = OPS["batch_norm"], OPS["relu"]
    (y, mean, variance), saved = pair.forward(np, *values, 1e-3, statistics)
    d = dy.astype(np.float64)
    if other is not None:
        y = y + other
    if closes:
        y, saved_relu = relu.forward(np, y)
        d = relu.backward(np, d, saved_relu)
    dx, dgamma, dbeta = pair.backward(np, d, saved, True)
    return y, mean, variance, dx, dgamma, dbeta, d


NORM_SHAPES = [(9, 5), (40, 1), (3, 5, 7), (2, 9, 5, 6), (4, 3, 5, 5), (2, 3, 2, 3, 4)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["plain", "relu", "add_relu"])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("shape", NORM_SHAPES)
def test_batch_norm(cpp, rng, shape, given, kind, dtype):
    x, other, dy = rng.standard_normal((3, *shape)).astype(dtype)
    x += 3
    gamma, beta, mean = rng.standard_normal((3, shape[1])).astype(dtype)
    statistics = (mean, rng.random(shape[1]).astype(dtype)) if given else None
    scaled = not given or kind != "plain"  # both with and without gamma and beta
    gamma, beta = (gamma, beta) if scaled else (None, None)
    added = other if kind == "add_relu" else None
    expected = batch_norm(x, added, gamma, beta, statistics, kind != "plain", dy)
    for how in LAYOUTS if len(shape) > 2 else LAYOUTS[:1]:
        if kind == "add_relu":
            (y, m, v), saved = norm.batch_norm_add_relu_forward(
                np, lay(x, how), gamma, beta, 1e-3, statistics, lay(other, how)
            )
            results = norm.batch_norm_add_relu_backward(np, lay(dy, how), saved, True)
        else:
            forward = norm.batch_norm_relu_forward if kind == "relu" else norm.batch_norm_forward
            (y, m, v), saved = forward(np, lay(x, how), gamma, beta, 1e-3, statistics)
            results = norm.batch_norm_backward(np, lay(dy, how), saved, True)
            assert norm.batch_norm_backward(np, lay(dy, how), saved, False)[0] is None
        found = (y, m, v, *results)
        for a, b in zip(found, expected[: len(found)], strict=True):
            assert_close(a, b, dtype, factor=20)


@pytest.mark.parametrize("kind", ["plain", "relu"])
@pytest.mark.parametrize("missing", ["gamma", "beta"])
def test_batch_norm_with_one_parameter_only(cpp, rng, missing, kind):
    """As ``BatchNorm2d(bias=False)`` has it: the other is a null pointer."""
    x, dy = rng.standard_normal((2, 4, 3, 5, 5))
    gamma, beta = rng.standard_normal((2, 3))
    gamma, beta = (None, beta) if missing == "gamma" else (gamma, None)
    stands_for = (np.ones(3), beta) if gamma is None else (gamma, np.zeros(3))
    expected = batch_norm(x, None, *stands_for, None, kind == "relu", dy)
    forward = norm.batch_norm_relu_forward if kind == "relu" else norm.batch_norm_forward
    for how in LAYOUTS:
        (y, mean, variance), saved = forward(np, lay(x, how), gamma, beta, 1e-3, None)
        found = (y, mean, variance, *norm.batch_norm_backward(np, lay(dy, how), saved, True))
        for a, b in zip(found, expected, strict=False):
            assert_close(a, b, "float64", factor=20)


def test_variance_of_large_numbers(cpp, rng):
    """Squares are not subtracted: a mean far from zero costs no accuracy."""
    x = (rng.standard_normal((6, 3, 8, 8)) + 1e4).astype(np.float32)
    for how in (0, 1):
        (_, mean, variance), _ = norm.batch_norm_forward(np, lay(x, how), None, None, 1e-5, None)
        exact = x.astype(np.float64)
        np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-7)
        np.testing.assert_allclose(variance, exact.var(axis=(0, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (5, 2), (7, 10), (3, 33), (20, 4)])
def test_cross_entropy(cpp, rng, rows, classes, dtype):
    x = (30 * rng.standard_normal((rows, classes))).astype(dtype)
    labels = rng.integers(0, classes, rows)
    labels[::3] = -7  # ignored
    labels[1::5] = [-1, classes, 2**40, -(2**40)][: len(labels[1::5])]  # no classes
    valid = (labels >= 0) & (labels < classes)
    (terms, counted), saved = loss.cross_entropy_forward(np, x[:, ::-1], labels, -7)
    assert counted == valid.sum()
    assert counted.dtype == dtype
    logp = activation.log_softmax(np, x[:, ::-1].astype(np.float64), 1)
    picked = np.take_along_axis(logp, np.where(valid, labels, 0)[:, None], 1)[:, 0]
    assert_close(terms, np.where(valid, -picked, 0.0), dtype)
    one_hot = np.arange(classes) == labels[:, None]
    slopes = np.where(valid[:, None], np.exp(logp) - one_hot, 0.0)
    scale = rng.random(rows).astype(dtype)
    dx = loss.cross_entropy_backward(np, scale, saved)
    assert_close(dx, slopes * scale[:, None], dtype)
    for quarter in (0.25, np.asarray(0.25, dtype)):
        assert_close(loss.cross_entropy_backward(np, quarter, saved), 0.25 * slopes, dtype)


def test_cross_entropy_of_nan(cpp):
    x = np.array([[0.0, np.nan, 1.0], [0.0, 0.0, -np.inf], [0.0, 1.0, 2.0]], np.float32)
    (terms, _), slopes = loss.cross_entropy_forward(np, x, np.array([0, 1, 2]), -1)
    np.testing.assert_allclose(terms, [np.nan, np.log(2), 0.40760595], rtol=1e-6)
    assert np.isnan(slopes[0]).all()
    np.testing.assert_allclose(slopes[1], [0.5, -0.5, 0.0])


SHAPES = [(3, 4), (), (50,), (0, 3), (2, 3, 4, 5)]


def parameter_rows(rng, dtype, count):
    """Return rows of arrays of the same shapes; one array of each is not contiguous."""
    rows = [[rng.standard_normal(s).astype(dtype) for s in SHAPES] for _ in range(count)]
    for row in rows:
        row[0] = np.asfortranarray(row[0])
    return rows


@pytest.fixture
def arenas(monkeypatch):
    """Put sentinels around what updates write, as that goes by address."""
    real, memories = source.empty, []

    def empty(xp, shape, like, last, dtype=None):
        memories.append(real(xp, (shape[0] + 2 * ROOM,), like, last, dtype))
        memories[-1].view(np.uint8)[...] = 0xFF
        return memories[-1][ROOM:-ROOM]

    monkeypatch.setattr(source, "empty", empty)
    yield
    assert memories
    for memory in memories:
        assert np.isnan(memory[:ROOM]).all()
        assert np.isnan(memory[-ROOM:]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decay", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2)])
def test_adam(cpp, arenas, rng, decay, dtype):
    p, g, m, v = parameter_rows(rng, dtype, 4)
    v = [np.asarray(np.abs(a)) for a in v]
    m[2] = v[2] = None
    steps = [3, 3, 1, 3, 8]
    arguments = (np, p, g, m, v, steps, 0.01, (0.9, 0.99), 1e-6, decay)
    new, _ = update.adam(*arguments)
    expected, _ = ops.update.adam(*arguments)
    for row, expected_row in zip(new, expected, strict=True):
        for a, b in zip(row, expected_row, strict=True):
            assert a.shape == b.shape
            assert_close(a, b, dtype)
    assert len(cpp.launched) == 3  # one for each number of a step


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd(cpp, arenas, rng, momentum, nesterov, decay):
    p, g, b = parameter_rows(rng, np.float32, 3)
    b[1] = None
    if not momentum:
        b = [None] * len(p)
    arguments = (np, p, g, b, 0.1, momentum, 0.25, nesterov, decay)
    (new, buffers), _ = update.sgd(*arguments)
    (expected, expected_buffers), _ = ops.update.sgd(*arguments)
    for a, e in zip(new, expected, strict=True):
        assert_close(a, e, np.float32)
    if not momentum:
        assert buffers == [None] * len(p)
    else:
        for a, e in zip(buffers, expected_buffers, strict=True):
            assert_close(a, e, np.float32)
    assert len(cpp.launched) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_in_memory(cpp, arenas, rng, dtype):
    """What an update takes from the host may lie on the device; the rest is not looked at."""
    p, g, m, v = parameter_rows(rng, dtype, 4)
    v = [np.asarray(np.abs(a)) for a in v]
    betas, decay = (0.9, 0.99), (0.1, 0.003)
    size, small = ops.update.adam_numbers(0.01, betas, 1e-6, 7)
    numbers = np.array([size, small, 1.0 - decay[1]], dtype)
    expected, _ = ops.update.adam(np, p, g, m, v, [7] * 5, 0.01, betas, 1e-6, decay)
    others = ([3] * 5, 9.0, betas, 5.0, (0.1, 0.7))
    for adam in (update.adam, ops.update.adam):
        for row, expected_row in zip(
            adam(np, p, g, m, v, *others, numbers)[0], expected, strict=True
        ):
            for a, b in zip(row, expected_row, strict=True):
                assert_close(a, b, dtype)
    (expected, _), _ = ops.update.sgd(np, p, g, m, 0.1, 0.9, 0.0, True, 0.2)
    for sgd in (update.sgd, ops.update.sgd):
        (new, _), _ = sgd(np, p, g, m, 7.0, 0.9, 0.0, True, 0.2, np.array([0.1], dtype))
        for a, b in zip(new, expected, strict=True):
            assert_close(a, b, dtype)


def test_tables_of_addresses_are_kept(cpp, rng, monkeypatch):
    """The same arrays a second time need no copy to the device."""
    p, g = parameter_rows(rng, np.float32, 2)
    p[0], g[0] = p[0].copy(), g[0].copy()
    flat = np.empty(1000, np.float32)  # where every step puts its results
    monkeypatch.setattr(source, "empty", lambda xp, shape, like, last: flat[: shape[0]])
    tables = []
    real = source.constants
    monkeypatch.setattr(source, "constants", lambda *a: tables.append(real(*a)) or tables[-1])
    for _ in range(2):
        update.sgd(np, p, g, [None] * len(p), 0.1, 0.0, 0.0, False, 0.0)
    assert tables[0] is tables[2]
    assert tables[1] is tables[3]
    g[0] = g[0].copy()
    update.sgd(np, p, g, [None] * len(p), 0.1, 0.0, 0.0, False, 0.0)
    assert tables[4] is not tables[0]


def test_tables_of_a_capture_are_filled_after_it(monkeypatch):
    """A graph knows them by address; what is kept may be thrown out, but not while it is needed."""
    monkeypatch.setattr(source, "_constants", {})
    like, tables = np.ones(1), []
    known = source.constants(np, like, (1, 2), np.int64)
    with source.tables_later(tables):
        assert source.constants(np, like, (1, 2), np.int64) is known
        new = source.constants(np, like, (3, 4), np.int64)
        assert (new.shape, new.dtype) == ((2,), np.int64)
    (first, nothing), (second, numbers) = tables
    assert first is known
    assert nothing is None
    assert second is new
    assert numbers.tolist() == [3, 4]
    # Until it is filled, nobody else gets it.
    assert source.constants(np, like, (3, 4), np.int64) is not new


def test_few_arrays_of_constants_are_kept(monkeypatch):
    monkeypatch.setattr(source, "_constants", {})
    monkeypatch.setattr(source, "MOST_CONSTANTS", 2)
    like = np.ones(1)
    a, b = (source.constants(np, like, (i,), np.int64) for i in range(2))
    assert source.constants(np, like, (0,), np.int64) is a
    source.constants(np, like, (2,), np.int64)  # in the place of b
    assert source.constants(np, like, (0,), np.int64) is a
    assert source.constants(np, like, (1,), np.int64) is not b
    assert len(source._constants) == 2


@pytest.mark.parametrize(("ndim", "seed"), GEOMETRIES)
def test_columns(cpp, ndim, seed):
    rng = np.random.default_rng([ndim, seed])
    window, spatial = draw_window(rng, ndim, pooling=False)
    x = draw_image(rng, spatial, np.float32)
    out, channels = window.output_shape(spatial), x.shape[1]
    major = im2col.channel_major(np, x)
    expected = im2col.im2col(np, im2col.pad_spatial(np, major, window), window, out)
    # From (channel, tap) to (tap, channel), and positions first.
    expected = expected.reshape(channels, window.taps, -1).transpose(2, 1, 0)
    for how in LAYOUTS:
        found = columns.im2col(np, lay(x, how), window)
        np.testing.assert_array_equal(found, expected.reshape(len(found), -1))
    cotangent = np.round(4 * rng.standard_normal(found.shape)).astype(np.float32)
    dx = columns.col2im(np, cotangent, x.shape, window)
    by_channel = cotangent.reshape(-1, window.taps, channels).transpose(2, 1, 0)
    padded = (channels, len(x), *window.padded_shape(spatial))
    summed = im2col.col2im(np, by_channel.reshape(-1, len(found)), padded, window, out)
    expected = im2col.channel_major(np, im2col.crop_spatial(summed, window, spatial))
    np.testing.assert_array_equal(dx, expected)


def run_everything(rng, dtype):
    """Run a pair of every file; returns what came out and what the generic kernels say."""
    x = np.round(4 * rng.standard_normal((2, 5, 6, 7))).astype(dtype)
    wide = x.astype(np.float64)
    window = Window((2, 3), (2, 2), ((1, 0), (1, 1)), (1, 1))
    found, expected = [], []
    y, saved = pool.max_pool_forward(np, x, window)
    e, expected_saved = OPS["max_pool"].forward(np, wide, window)
    found += [y, pool.max_pool_backward(np, y, saved, window)]
    expected += [e, OPS["max_pool"].backward(np, e, expected_saved, window)]
    y, saved = pool.avg_pool_forward(np, x, window, 6.0)
    e, expected_saved = OPS["avg_pool"].forward(np, wide, window, 6.0)
    found += [y, pool.avg_pool_backward(np, y, saved, window)]
    expected += [e, OPS["avg_pool"].backward(np, e, expected_saved, window)]
    found += [pool.global_avg_pool_forward(np, x)[0], elementwise.relu_forward(np, x)[0]]
    expected += [wide.mean(axis=(2, 3)), np.maximum(wide, 0)]
    ones, zeros = np.ones(5, dtype), np.zeros(5, dtype)
    (y, mean, variance), saved = norm.batch_norm_relu_forward(np, x, ones, zeros, 1e-3, None)
    dy = rng.standard_normal(x.shape).astype(dtype)
    found += [y, mean, variance, *norm.batch_norm_backward(np, dy, saved, True)]
    expected += batch_norm(x, None, None, None, None, True, dy)[:6]
    scores = x[0, :, :, 0]
    (terms, _), slopes = loss.cross_entropy_forward(np, scores, np.arange(5), -1)
    logp = activation.log_softmax(np, wide[0, :, :, 0], 1)
    found += [terms, slopes]
    expected += [-logp[np.arange(5), np.arange(5)], np.exp(logp) - np.eye(5, 6)]
    gathered = columns.im2col(np, x, window)
    found.append(columns.col2im(np, gathered, x.shape, window))
    # Every element times the number of windows that see it.
    seen, saved = OPS["avg_pool"].forward(np, wide, window, 1.0)
    times = OPS["avg_pool"].backward(np, np.ones_like(seen), saved, window)
    expected.append(wide * times)
    return found, expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats(cpp, rng, dtype):
    """What is stored in two bytes is computed in float32 and rounded once."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    found, expected = run_everything(rng, np.dtype(dtype))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, dtype)
    # Rounding to the nearest, to even between two, to infinity, and not out of NaN.
    a, b = (rng.standard_normal((2, 2000)) * 10.0 ** rng.integers(-3, 4, 2000)).astype(dtype)
    a[:5], b[:5] = [np.inf, np.nan, 1.0, 1.0, 6e4], [1.0, 1.0, 2.0**-8, 2.0**-11, 6e4]
    y, _ = elementwise.add_forward(np, a, b)
    with np.errstate(over="ignore"):
        exact = (a.astype(np.float32) + b.astype(np.float32)).astype(dtype)
    np.testing.assert_array_equal(y.astype(np.float32), exact.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("scaled", [True, False])
def test_batch_norm_of_short_floats_with_parameters_of_float32(cpp, rng, dtype, scaled):
    """Images are stored in two bytes, and all that belongs to a channel in four."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x, dy = rng.standard_normal((2, 3, 5, 4, 7)).astype(dtype)
    gamma, beta = rng.standard_normal((2, 5)).astype(np.float32) if scaled else (None, None)
    (y, *statistics), saved = norm.batch_norm_forward(np, x, gamma, beta, 1e-3, None)
    dx, *gradients = norm.batch_norm_backward(np, dy, saved, True)
    expected = batch_norm(x, None, gamma, beta, None, False, dy)
    assert_close(y, expected[0], dtype)
    assert_close(dx, expected[3], dtype)
    for a, b in zip([*statistics, *gradients], (*expected[1:3], *expected[4:6]), strict=True):
        assert_close(a, b, np.float32, factor=20)


def test_long_indices(cpp, rng, monkeypatch):
    """What runs where an array has more elements than 32 bits can number."""
    monkeypatch.setattr(source, "NARROW", 1)
    found, expected = run_everything(rng, np.dtype(np.float32))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, np.float32, factor=20)
    assert all(wide for file, _, _, wide in cpp.launched)


def test_what_is_declined(rng):
    window = Window((2,) * 4, (1,) * 4, ((0, 0),) * 4, (1,) * 4)
    x = rng.standard_normal((1, 1, 2, 2, 2, 2))
    assert pool.max_pool_forward(np, x, window) == Declined("4 spatial dimensions")
    assert pool.avg_pool_forward(np, x, window, 1.0) == Declined("4 spatial dimensions")
    window = Window((17, 17), (1, 1), ((0, 0),) * 2, (1, 1))
    declined = Declined("a window of 289 taps, more than 256")
    assert pool.max_pool_forward(np, np.zeros((1, 1, 17, 17)), window) == declined
    assert elementwise.relu_forward(np, np.arange(3)) == Declined("int64 arrays")
    assert elementwise.relu_forward(np, np.ones((0, 3))) == Declined("an array of shape (0, 3)")
    mixed = (np.ones(3), np.ones(3, np.float32))
    assert elementwise.add_forward(np, *mixed) == Declined("float32 and float64 arrays together")
    declined = Declined("arrays of shape (3,) and (1,)")
    assert elementwise.add_forward(np, np.ones(3), np.ones(1)) == declined
    declined = Declined("scores of shape (2, 3, 4), not (N, C)")
    assert loss.cross_entropy_forward(np, np.ones((2, 3, 4)), None, -1) == declined
    half = [np.ones(3, np.float16)]
    assert update.sgd(np, half, half, [None], 0.1, 0.0, 0.0, False, 0.0) == Declined(
        "float16 arrays"
    )


def test_signatures_are_those_of_the_generic_pairs():
    for name, pair in cuda.PAIRS.items():
        if name in OPS:
            # What a fused operation takes more than its first part has names of its own.
            first = OPS[name].parts[0] if OPS[name].parts else OPS[name]
            more = OPS[name].more - first.more
            for ours, theirs, extra in zip(pair, first, (more, 0), strict=True):
                names = list(inspect.signature(ours).parameters)
                names = names[: len(names) - extra]
                assert names == list(inspect.signature(theirs).parameters), name
