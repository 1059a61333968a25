"""The compiled depthwise convolution, against loops over taps in float64."""

import itertools

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error32, lay
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, depthwise
from xpcnn.kernels.cpu.epilogue import RELU
from xpcnn.window import Window

needs_compiled_kernels()

XP = numpy_namespace()


def expected(x, w, b, dy, window):
    """Convolve every channel with each of its filters, tap by tap; then the gradients."""
    times = w.shape[0] // x.shape[1]
    x, w, dy = (a.astype("float64") for a in (x, w, dy))
    wide = np.repeat(x, times, axis=1)
    out = window.output_shape(x.shape[2:])
    padded = np.pad(wide, [(0, 0), (0, 0), *window.padding])
    y, dpadded, dw = np.zeros(dy.shape), np.zeros(padded.shape), np.zeros(w.shape)
    ones = (1,) * len(out)
    for tap in itertools.product(*map(range, window.kernel)):
        seen = window.tap(tap, out)
        filters = w[(slice(None), 0, *tap)].reshape(1, -1, *ones)
        y += padded[seen] * filters
        dpadded[seen] += dy * filters
        dw[(slice(None), 0, *tap)] = (padded[seen] * dy).sum(axis=(0, *range(2, x.ndim)))
    if b is not None:
        y += b.reshape(1, -1, *ones)
    inside = tuple(
        slice(before, before + n)
        for (before, _), n in zip(window.padding, x.shape[2:], strict=True)
    )
    dwide = dpadded[(slice(None), slice(None), *inside)]
    dx = dwide.reshape(x.shape[0], x.shape[1], times, *x.shape[2:]).sum(axis=2)
    return y, dx, dw, dy.sum(axis=(0, *range(2, x.ndim)))


def draw(seed, ndim=None):
    rng = np.random.default_rng(seed)
    ndim = ndim or (2 if seed % 3 else 1)
    spatial = tuple(int(v) for v in rng.integers(5, 24 if ndim < 3 else 10, ndim))
    ints = lambda low, high: tuple(int(v) for v in rng.integers(low, high, ndim))  # noqa: E731
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (ndim, 2)))
    window = Window(ints(1, 5), ints(1, 4), padding, ints(1, 3))
    if any(e > n for e, n in zip(window.extent, window.padded_shape(spatial), strict=True)):
        window = Window((3,) * ndim, (2,) * ndim, padding, (1,) * ndim)
    channels = (2, 3, 8, 16, 30, 40, 100)[seed % 7]
    times = (1, 1, 2, 3)[seed % 4]
    x = rng.standard_normal((int(rng.integers(1, 5)), channels, *spatial)).astype("float32")
    w = rng.standard_normal((channels * times, 1, *window.kernel)).astype("float32")
    b = rng.standard_normal(channels * times).astype("float32") if seed % 2 else None
    out = window.output_shape(spatial)
    dy = rng.standard_normal((x.shape[0], channels * times, *out)).astype("float32")
    return rng, x, w, b, dy, window


@pytest.mark.parametrize(
    ("seed", "ndim"), [*((n, None) for n in range(80)), *((n, 3) for n in range(30))]
)
def test_convolution(seed, ndim):
    rng, x, w, b, dy, window = draw(seed, ndim)
    groups = x.shape[1]
    y, saved = depthwise.conv_forward(XP, lay(x, int(rng.integers(6))), w, b, window, groups)
    laid = lay(dy, int(rng.integers(6)))
    got = depthwise.conv_backward(XP, laid, saved, window, groups, seed % 4 != 3)
    wanted = expected(x, w, b, dy, window)
    assert error32(y, wanted[0]) < 1e-5
    assert (got[0] is None) == (seed % 4 == 3)
    assert (got[2] is None) == (b is None)
    for a, e in zip(got, wanted[1:], strict=True):
        assert a is None or error32(a, e) < 1e-5


@pytest.mark.parametrize("seed", range(20))
def test_convolution_relu(seed):
    rng, x, w, b, dy, window = draw(seed)
    groups = x.shape[1]
    x_laid = lay(x, int(rng.integers(6)))
    y, saved = depthwise.conv_forward(XP, x_laid, w, b, window, groups, epilogue=RELU)
    got = depthwise.conv_backward(XP, dy, saved, window, groups, True)
    plain = expected(x, w, b, dy, window)[0]
    assert error32(y, np.maximum(plain, 0)) < 1e-5
    # The float32 output decides which gradients pass, so that a rounded zero is no difference.
    wanted = expected(x, w, b, np.where(y > 0, dy, 0), window)[1:]
    for a, e in zip(got, wanted, strict=True):
        assert a is None or error32(a, e) < 1e-5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial", [(7, 7), (14, 14), (28, 28)])
def test_mobile_net_shapes(stride, spatial):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 48, *spatial)).astype("float32")
    w = rng.standard_normal((48, 1, 3, 3)).astype("float32")
    window = Window((3, 3), (stride, stride), ((1, 1), (1, 1)), (1, 1))
    y, saved = depthwise.conv_forward(XP, lay(x, 1), w, None, window, 48)
    dy = rng.standard_normal(y.shape).astype("float32")
    got = depthwise.conv_backward(XP, lay(dy, 1), saved, window, 48, True)
    wanted = expected(x, w, None, dy, window)
    for a, e in zip((y, *got[:2]), wanted[:3], strict=True):
        assert error32(a, e) < 1e-5
        assert np.isfinite(a).all()
    for a in (y, got[0]):
        assert np.moveaxis(a, 1, -1).flags.c_contiguous


TILED = list(itertools.product((3, 5), (1, 2), range(5)))
"""Kernels and strides that have tiles of their own, and the number of a case."""


def draw_tiled(kernel, stride, case):
    rng = np.random.default_rng([kernel, stride, case])
    spatial = ((5, 6), (13, 40), (7, 7), (22, 19), (6, 71))[case]
    sides = ((0, 0), (0, 0)), ((1, 2), (2, 1)), ((1, 1), (1, 1)), ((5, 0), (0, 6)), ((2, 3), (4, 2))
    window = Window((kernel,) * 2, (stride,) * 2, sides[case], (1, 1))
    channels = (16, 25, 48, 31, 100)[case]
    x = rng.standard_normal((2, channels, *spatial)).astype("float32")
    w = rng.standard_normal((channels, 1, kernel, kernel)).astype("float32")
    b = rng.standard_normal(channels).astype("float32")
    dy = rng.standard_normal((2, channels, *window.output_shape(spatial))).astype("float32")
    return x, w, b, dy, window


@pytest.mark.parametrize(("kernel", "stride", "case"), TILED)
def test_windows_with_tiles(kernel, stride, case, monkeypatch):
    x, w, b, dy, window = draw_tiled(kernel, stride, case)
    wanted = expected(x, w, b, dy, window)
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    for how in range(7):
        y, saved = depthwise.conv_forward(XP, lay(x, how), w, b, window, x.shape[1])
        got = depthwise.conv_backward(XP, lay(dy, 6 - how), saved, window, x.shape[1], True)
        for a, e in zip((y, *got), wanted, strict=True):
            assert error32(a, e) < 1e-6
    guards.assert_whole(7)


@pytest.mark.parametrize(("kernel", "stride", "case"), TILED)
def test_tiles_give_the_bits_of_tables(kernel, stride, case, monkeypatch):
    x, w, b, dy, window = draw_tiled(kernel, stride, case)
    results = []
    for plan in (depthwise.tile_plan, lambda *_: None):
        monkeypatch.setattr(depthwise, "tile_plan", plan)
        y, saved = depthwise.conv_forward(XP, x, w, b, window, x.shape[1], limits=(-0.5, 2.0))
        dx = depthwise.conv_backward(XP, dy, saved, window, x.shape[1], True)[0]
        results.append([np.ascontiguousarray(a).tobytes() for a in (y, dx)])
    assert results[0] == results[1]


@pytest.mark.parametrize("stride", [1, 2])
def test_infinity_reaches_its_taps_alone(stride):
    """What lies outside is left out, and not zeros that infinity makes NaN of."""
    x = np.ones((1, 16, 9, 9), np.float32)
    w = np.ones((16, 1, 3, 3), np.float32)
    w[3, 0, 0, 0] = np.inf
    window = Window((3, 3), (stride, stride), ((1, 1), (1, 1)), (1, 1))
    y, saved = depthwise.conv_forward(XP, x, w, None, window, 16)
    dx = depthwise.conv_backward(XP, np.ones_like(y), saved, window, 16, True)[0]
    assert np.isfinite(y[:, 3, 0]).all()
    assert np.isfinite(y[:, 3, :, 0]).all()
    assert np.isposinf(y[:, 3, 1:, 1:]).all()
    assert np.isfinite(np.delete(y, 3, axis=1)).all()
    assert not np.isnan(dx).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("kernel", "stride"), list(itertools.product((3, 5), (1, 2))))
def test_nan_and_infinity_in_tiles(kernel, stride, value):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 20, 11, 12)).astype("float32")
    w = rng.standard_normal((20, 1, kernel, kernel)).astype("float32")
    window = Window((kernel,) * 2, (stride,) * 2, ((kernel // 2,) * 2,) * 2, (1, 1))
    x[0, 2, 0, 11] = x[1, 19, 5, 4] = value
    y, saved = depthwise.conv_forward(XP, x, w, None, window, 20)
    dy = rng.standard_normal(y.shape).astype("float32")
    dy[0, 7, 0, 0] = dy[1, 12, -1, 2] = value
    got = depthwise.conv_backward(XP, dy, saved, window, 20, True)
    with np.errstate(invalid="ignore"):
        wanted = expected(x, w, None, dy, window)
    for a, e in zip((y, *got[:2]), wanted[:3], strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_what_sees_them(value):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 12, 9, 7)).astype("float32")
    w = rng.standard_normal((12, 1, 3, 3)).astype("float32")
    x[1, 11, 4, 6] = value
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    y, saved = depthwise.conv_forward(XP, x, w, None, window, 12)
    dy = rng.standard_normal(y.shape).astype("float32")
    got = depthwise.conv_backward(XP, dy, saved, window, 12, True)
    with np.errstate(invalid="ignore"):
        wanted = expected(x, w, None, dy, window)
    for a, e in zip((y, *got[:2]), wanted[:3], strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)
    assert (~np.isfinite(y)).sum() == 6
    assert (~np.isfinite(got[1])).sum() == 6


def test_what_is_declined():
    x, w = np.ones((1, 4, 2, 2), np.float32), np.ones((4, 1, 1, 1), np.float32)
    window = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    declined = [
        depthwise.conv_forward(XP, x.astype("float64"), w, None, window, 4),
        depthwise.conv_forward(XP, x[..., None, None], w[..., None, None], None, window, 4),
        depthwise.conv_forward(XP, x, np.ones((4, 2, 1, 1), np.float32), None, window, 2),
        depthwise.conv_forward(XP, x[:, :1], w, None, window, 1),
        depthwise.conv_forward(XP, x[:0], w, None, window, 4),
    ]
    assert [a.reason for a in declined] == [
        "float32 only",
        "one to three spatial dimensions only",
        "2 groups of 4 channels: not depthwise",
        "1 groups of 1 channels: not depthwise",
        "an empty batch",
    ]


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    x = lay(rng.standard_normal((8, 40, 33, 31)).astype("float32"), 1)
    w = rng.standard_normal((40, 1, 3, 3)).astype("float32")
    window = Window((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            y, saved = depthwise.conv_forward(XP, x, w, w[:, 0, 0, 0], window, 40)
            got = depthwise.conv_backward(XP, y, saved, window, 40, True)
            seen.add(b"".join(np.ascontiguousarray(a).tobytes() for a in (y, *got)))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_written_outside(seed, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    _, x, w, b, dy, window = draw(seed, 3 if seed % 4 == 3 else None)
    for how in range(6):
        y, saved = depthwise.conv_forward(XP, lay(x, how), w, b, window, x.shape[1], epilogue=RELU)
        got = depthwise.conv_backward(XP, lay(dy, how), saved, window, x.shape[1], True)
        # Memory that nobody wrote holds 0xA5A5A5A5, which is -2.9e-16.
        assert not any(
            (np.ascontiguousarray(a).view("uint32") == 0xA5A5A5A5).any() for a in (y, *got[:2])
        )
    guards.assert_whole(11)
