"""The compiled kernels for NumPy, against the generic ones in float64."""

import os
import subprocess
import sys
import textwrap
import threading
import weakref

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels import constant, cpu
from xpcnn.kernels.cpu import buffers, methods
from xpcnn.kernels.dispatch import OPS
from xpcnn.window import Window

needs_compiled_kernels()

XP = numpy_namespace()


def draw_window(rng, ndim):
    ints = lambda low, high: tuple(int(v) for v in rng.integers(low, high, ndim))  # noqa: E731
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (ndim, 2)))
    return Window(ints(1, 4), ints(1, 4), padding, ints(1, 3))


def draw_conv(seed, groups=1, few=False, ndim=None):
    """Draw the arguments of a convolution: contiguous, channels-last, reversed or read-only."""
    rng = np.random.default_rng(seed)
    ndim = ndim or int(rng.integers(1, 3))
    channels = int(rng.integers(1, 20)) * groups
    # 64 channels are laid out with room between the pixels.
    filters = 64 if seed % 7 == 3 else int(rng.integers(8, 40)) * groups
    if few:
        filters = int(rng.integers(1, 8)) * groups
    window = draw_window(rng, ndim)
    spatial = tuple(int(v) for v in rng.integers(6, 12, ndim))
    x = rng.standard_normal((int(rng.integers(1, 4)), channels, *spatial)).astype("float32")
    if seed % 4 == 1:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    elif seed % 4 == 2:
        x = x[..., ::-1]
    elif seed % 4 == 3:
        x.flags.writeable = False
    w = rng.standard_normal((filters, channels // groups, *window.kernel)).astype("float32")
    b = rng.standard_normal(filters).astype("float32") if seed % 5 else None
    return rng, x, w, b, window


def compare(op, x, w, b, windows, rng, need_dx=True):
    """Run both kernel sets forward and backward; returns the largest relative error."""
    y, saved = cpu.PAIRS[op].forward(XP, x, w, b, *windows)
    reference = OPS["conv" if op == "conv_relu" else op]
    wide = [None if a is None else a.astype("float64") for a in (x, w, b)]
    expected, expected_saved = reference.forward(XP, *wide, *windows)
    dy = rng.standard_normal(y.shape).astype("float32")
    got = cpu.PAIRS[op].backward(XP, dy, saved, *windows, need_dx)
    if op == "conv_relu":
        # The float32 output decides which gradients pass, so that a rounded zero is no difference.
        expected, dy = np.maximum(expected, 0), np.where(y > 0, dy, 0)
    wanted = reference.backward(XP, dy.astype("float64"), expected_saved, *windows, need_dx)
    assert [a is None for a in got] == [a is None for a in wanted]
    pairs = [(y, expected), *zip(got, wanted, strict=True)]
    return max(error(a, e) for a, e in pairs if e is not None)


@pytest.mark.parametrize("seed", range(60))
def test_convolution(seed):
    groups = 2 if seed % 6 == 0 else 1
    rng, x, w, b, window = draw_conv(seed, groups)
    assert compare("conv", x, w, b, (window, groups), rng) < 1e-5


@pytest.mark.parametrize("seed", range(60))
def test_convolution_of_few_filters(seed):
    groups = 1 if seed % 3 == 0 else 1 + seed % 5
    rng, x, w, b, window = draw_conv(seed + 4000, groups, few=True)
    assert compare("conv", x, w, b, (window, groups), rng) < 1e-5
    if groups == 1:
        assert compare("conv_relu", x, w, b, (window, 1), rng) < 1e-5


@pytest.mark.parametrize("seed", range(40))
def test_convolution_of_volumes(seed):
    groups = 1 + seed % 5 if seed % 3 == 0 else 1
    rng, x, w, b, window = draw_conv(seed + 5000, groups, few=seed % 4 == 0, ndim=3)
    assert compare("conv", x, w, b, (window, groups), rng, seed % 8 > 0) < 1e-5
    if groups == 1:
        assert compare("conv_relu", x, w, b, (window, 1), rng) < 1e-5


def draw_volume_3x3(seed):
    """Draw what Winograd's transform takes: 3x3 in the planes, and anything in depth."""
    rng = np.random.default_rng(seed)
    depth = 1 + seed % 3
    window = Window(
        (depth, 3, 3), (1 + seed % 2, 1, 1), tuple(map(tuple, rng.integers(0, 3, (3, 2)).tolist())),
        (1 + seed % 4 // 2, 1, 1),
    )  # fmt: skip
    channels, filters = (int(v) for v in rng.integers(8, 40, 2))
    x = rng.standard_normal((2, channels, 7, *rng.integers(5, 12, 2))).astype("float32")
    w = rng.standard_normal((filters, channels, *window.kernel)).astype("float32")
    b = rng.standard_normal(filters).astype("float32") if seed % 5 else None
    return rng, lay(x, seed % 7), w, b, window


@pytest.mark.parametrize("stacked", [1, 1 << 30])
@pytest.mark.parametrize("seed", range(16))
def test_winograd_of_volumes(seed, stacked, monkeypatch):
    monkeypatch.setattr(methods.winograd, "pays", lambda *a, **k: True)
    monkeypatch.setattr(methods, "FEW_TILES", 0)
    monkeypatch.setattr(methods.winograd_volumes, "STACKED", stacked)
    methods._winograd_pays.cache_clear()
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    rng, x, w, b, window = draw_volume_3x3(seed)
    try:
        with kernels.trace() as decisions:
            OPS["conv"].run(XP, x, w, b, window, 1)
        assert decisions[0].notes == ("Winograd",)
        assert compare("conv", x, w, b, (window, 1), rng) < 1e-5
        assert compare("conv_relu", x, w, b, (window, 1), rng) < 1e-5
    finally:
        methods._winograd_pays.cache_clear()
    guards.assert_whole(3)


def test_which_volumes_go_through_winograd():
    x, w = np.ones((1, 32, 6, 16, 16), "float32"), np.ones((32, 32, 3, 3, 3), "float32")
    window = Window((3, 3, 3), (1, 1, 1), ((1, 1),) * 3, (1, 1, 1))
    with kernels.trace() as decisions:
        OPS["conv"].run(XP, x, w, None, window, 1)
        OPS["conv"].run(XP, x, w, None, window._replace(stride=(1, 2, 1)), 1)
        OPS["conv"].run(XP, x, w[:, :16], None, window, 2)
    assert [d.notes for d in decisions] == [("Winograd",), (), ()]


@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 1, 3), (3, 2, 1)])
def test_volumes_that_are_read_in_place(dilation):
    """The channels come last, and there is no padding, but room around what is read."""
    rng = np.random.default_rng(dilation[0])
    x = lay(rng.standard_normal((2, 12, 8, 9, 10)).astype("float32"), 5)
    w = rng.standard_normal((20, 12, 3, 2, 2)).astype("float32")
    window = Window(w.shape[2:], (1, 2, 1), ((0, 0),) * 3, dilation)
    assert compare("conv", x, w, None, (window, 1), rng) < 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_no_volume_is_written_or_read_outside(seed, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(cpu.buffers, "empty", guards)
    rng, x, w, b, window = draw_conv(seed + 6000, 1 + seed % 2, few=seed % 3 == 0, ndim=3)
    assert compare("conv", x, w, b, (window, 1 + seed % 2), rng) < 1e-5
    guards.assert_whole(4)


def test_volumes_are_the_same_bits_on_all_threads():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 20, 9, 12, 11)).astype("float32")
    w = rng.standard_normal((24, 20, 3, 3, 3)).astype("float32")
    window = Window((3, 3, 3), (2, 1, 1), ((1, 1),) * 3, (1, 1, 1))
    found = []
    before = xpcnn.get_num_threads()
    try:
        for threads in (1, 2):
            xpcnn.set_num_threads(threads)
            y, saved = cpu.PAIRS["conv"].forward(XP, x, w, None, window, 1)
            found.append([y, *cpu.PAIRS["conv"].backward(XP, y, saved, window, 1, True)[:2]])
    finally:
        xpcnn.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("out", [(1,), (4,), (1, 1), (1, 5), (5, 1), (1, 1, 1), (1, 5, 1)])
@pytest.mark.parametrize("filters", [2, 20])
def test_convolution_to_few_positions(out, filters):
    """Along an axis of one number NumPy's stride may be anything."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, *(n + 2 for n in out))).astype("float32")
    w = rng.standard_normal((filters, 4, *(3 for _ in out))).astype("float32")
    ones = (1,) * len(out)
    window = Window((3,) * len(out), ones, ((0, 0),) * len(out), ones)
    assert compare("conv", x, w, w[:, 0].reshape(filters, -1)[:, 0], (window, 1), rng) < 1e-5


@pytest.mark.parametrize("op", ["conv", "conv_transpose"])
def test_memory_of_few_channels_is_dense(op):
    x, w = np.ones((2, 4, 9, 8), "float32"), np.ones((4, 4, 3, 3), "float32")
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    size = (1,) if op == "conv" else ((9, 8), 1)
    y, _ = cpu.PAIRS[op].forward(XP, x, w, None, window, *size)
    assert y.shape == x.shape
    assert y.flags.c_contiguous


@pytest.mark.parametrize("seed", range(40))
def test_convolution_relu_pooling(seed):
    rng, x, w, b, window = draw_conv(seed + 1000)
    out = window.output_shape(x.shape[2:])
    size = tuple(int(rng.integers(1, min(n, 3) + 1)) for n in out)
    pool = Window(size, size, ((0, 0),) * len(out), (1,) * len(out))
    args = (window, 1, pool)
    assert compare("conv_relu_max_pool", x, w, b, args, rng, need_dx=seed % 2 == 0) < 1e-5


@pytest.mark.parametrize("seed", range(12))
def test_convolution_relu(seed):
    rng, x, w, b, window = draw_conv(seed + 2000)
    assert compare("conv_relu", x, w, b, (window, 1), rng) < 1e-5


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1),
        (1, 400, 120),
        (1, 33, 17),
        (1, 1100, 9),
        (100, 432, 100),
        (20, 784, 40),
        (7, 33, 17),
    ],
)
def test_linear(shape):
    n, inputs, outputs = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, inputs)).astype("float32")
    w = rng.standard_normal((outputs, inputs)).astype("float32")
    b = rng.standard_normal(outputs).astype("float32")
    assert compare("linear", x, w, b, (), rng) < 1e-5


SHAPES = [(1,), (7,), (16, 3), (100, 432)]


def some(rng, dtype="float32"):
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


def wide(arrays):
    return [None if a is None else a.astype("float64") for a in arrays]


@pytest.mark.parametrize("decay", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.01)])
def test_adam(decay):
    rng = np.random.default_rng(0)
    p, g, m = some(rng), some(rng), some(rng)
    settings = ([5, 1, 2, 9], 1e-3, (0.9, 0.999), 1e-8, decay)
    for state in (([None] * 4, [None] * 4), (m, [a * a for a in m])):
        got, _ = cpu.PAIRS["adam"].forward(XP, p, g, *state, *settings)
        rows = [wide(row) for row in (p, g, *state)]
        wanted, _ = OPS["adam"].forward(XP, *rows, *settings)
        for got_row, wanted_row in zip(got, wanted, strict=True):
            assert max(error(a, e) for a, e in zip(got_row, wanted_row, strict=True)) < 1e-6


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd(momentum, nesterov):
    rng = np.random.default_rng(0)
    p, g, old = some(rng), some(rng), some(rng)
    settings = (0.1, momentum, 0.0 if nesterov else 0.2, nesterov, 0.01)
    for state in ([None] * 4, [old[0], None, *old[2:]]):
        got, _ = cpu.PAIRS["sgd"].forward(XP, p, g, state, *settings)
        wanted, _ = OPS["sgd"].forward(XP, *map(wide, (p, g, state)), *settings)
        for a, e in zip(got[0], wanted[0], strict=True):
            assert error(a, e) < 1e-6
        for a, e in zip(got[1], wanted[1], strict=True):
            assert (a is None) == (e is None)
            assert a is None or error(a, e) < 1e-6


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(1, 2), (70, 10), (130, 1000)])
def test_cross_entropy(shape, reduction):
    """Labels that are ignored have no part, with or without weights of the samples."""
    rng = np.random.default_rng(0)
    scores = (3 * rng.standard_normal(shape)).astype("float32")
    labels = rng.integers(0, shape[1], shape[0])
    labels[1::5] = -7
    for weights in (None, rng.random(shape[0])):
        results = []
        for dtype, kernel_set in (("float32", None), ("float64", "generic")):
            loss = xpcnn.CrossEntropyLoss(reduction=reduction, ignore_index=-7)
            with kernels.force(kernel_set), kernels.trace() as decisions:
                value = loss(scores.astype(dtype), labels, sample_weight=weights)
                results.append([value, loss.backward()])
            assert ("cpu" in {d.kernel_set for d in decisions}) == (kernel_set is None)
        for got, wanted in zip(*results, strict=True):
            assert got.dtype == np.float32
            assert error(got, wanted) < 1e-6


def test_cross_entropy_of_ignored_labels_only():
    loss = xpcnn.CrossEntropyLoss(ignore_index=0)
    assert np.isnan(loss(np.ones((2, 3), "float32"), np.array([0, 0])))
    np.testing.assert_array_equal(loss.backward(), np.zeros((2, 3)))


@pytest.mark.parametrize("row", [[np.nan, 1, 2], [1, 2, np.nan], [np.inf, 0, 1]])
def test_cross_entropy_keeps_nan(row):
    loss = xpcnn.CrossEntropyLoss(reduction="none")
    scores = np.array([row, [0, 0, 0]], "float32")
    value = loss(scores, np.array([1, 1]))
    assert np.isnan(value).tolist() == [True, False]
    assert np.isnan(loss.backward()).all(axis=1).tolist() == [True, False]


@pytest.fixture
def exact():
    xpcnn.set_precision("exact")
    yield
    xpcnn.set_precision("fast")


def draw_3x3(seed, padding=1, channels=32):
    """Draw a convolution that Winograd's transform is good for."""
    rng = np.random.default_rng(seed)
    x = np.moveaxis(rng.standard_normal((16, 13, 14, channels)), -1, 1).astype("float32")
    w, b = rng.standard_normal((48, channels, 3, 3)), rng.standard_normal(48)
    window = Window((3, 3), (1, 1), ((padding, padding), (1, padding)), (1, 1))
    return rng, x, w.astype("float32"), b.astype("float32"), window


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
@pytest.mark.parametrize("op", ["conv", "conv_relu"])
def test_3x3_through_winograd(op, padding, monkeypatch):
    """All three products; what is padded by more than two stays with the direct sums."""
    ran = []
    for name in ("forward", "input_gradient", "weight_gradient"):
        inner = getattr(cpu.methods.winograd, name)
        monkeypatch.setattr(
            cpu.methods.winograd, name, lambda *a, f=inner, n=name: (ran.append(n), f(*a))[1]
        )
    rng, x, w, b, window = draw_3x3(0, padding)
    assert compare(op, x, w, b, (window, 1), rng) < 1e-5
    expected = ["forward", "input_gradient", "weight_gradient"] if padding <= 2 else []
    assert ran == expected


@pytest.mark.parametrize("need_dx", [True, False])
def test_3x3_through_winograd_and_pooling(need_dx):
    rng, x, w, b, window = draw_3x3(2, channels=48)
    pool = Window((2, 2), (2, 2), ((0, 0),) * 2, (1, 1))
    windows = (window, 1, pool)
    _, saved = cpu.PAIRS["conv_relu_max_pool"].forward(XP, x, w, b, *windows)
    assert len(saved) == 2
    assert compare("conv_relu_max_pool", x, w, b, windows, rng, need_dx) < 1e-5


@pytest.mark.parametrize("seed", range(24))
def test_sparse_gradient_of_filters(seed, monkeypatch):
    """Behind max pooling; runs of any length, padding, strides and dilation, odd remainders."""
    rng, x, w, b, window = draw_conv(seed + 4000)
    out = window.output_shape(x.shape[2:])
    size = tuple(min(n, 2 + seed % 2) for n in out)
    pool = Window(size, size, ((0, 0),) * len(out), (1,) * len(out))
    monkeypatch.setattr(cpu.methods.sparse, "pays", lambda *a: True)
    assert compare("conv_relu_max_pool", x, w, b, (window, 1, pool), rng, seed % 2 == 0) < 1e-5


@pytest.mark.usefixtures("exact")
def test_exact_precision_leaves_winograd_out(monkeypatch):
    monkeypatch.setattr(cpu.methods.winograd, "forward", lambda *a: pytest.fail("it ran"))
    monkeypatch.setattr(cpu.methods.winograd, "weight_gradient", lambda *a: pytest.fail("it ran"))
    rng, x, w, b, window = draw_3x3(1)
    assert compare("conv", x, w, b, (window, 1), rng) < 1e-5


def test_there_are_two_precisions():
    with pytest.raises(ValueError, match="'fast', 'exact'"):
        xpcnn.set_precision("quick")
    assert xpcnn.get_precision() == "fast"


def assert_declined(result):
    assert isinstance(result, kernels.Declined)
    assert result.reason


def test_what_is_declined():
    _, x, w, b, window = draw_conv(4)
    pair = cpu.PAIRS["conv"]
    assert_declined(pair.forward(XP, x.astype("float64"), w, b, window, 1))
    four = Window((1,) * 4, (1,) * 4, ((0, 0),) * 4, (1,) * 4)
    x4, w4 = np.ones((1, 1, 2, 2, 2, 2), "float32"), np.ones((1, 1, 1, 1, 1, 1), "float32")
    assert_declined(pair.forward(XP, x4, w4, None, four, 1))
    pixel = Window((1, 1), (1, 1), ((0, 0),) * 2, (1, 1))
    x4 = np.ones((1, 4, 2, 2), "float32")
    # Pooling windows that overlap.
    overlapping = Window((2, 2), (1, 1), ((0, 0),) * 2, (1, 1))
    fused = cpu.PAIRS["conv_relu_max_pool"]
    one = np.ones((8, 4, 1, 1), "float32")
    assert_declined(fused.forward(XP, x4, one, None, pixel, 1, overlapping))


@pytest.mark.parametrize(("filters", "groups"), [(3, 1), (7, 1), (16, 2), (6, 2), (4, 4)])
def test_pooling_behind_few_filters_or_groups(filters, groups):
    rng = np.random.default_rng(filters)
    x = rng.standard_normal((2, 4, 9, 11)).astype("float32")
    w = rng.standard_normal((filters, 4 // groups, 3, 3)).astype("float32")
    b = rng.standard_normal(filters).astype("float32")
    window = Window((3, 3), (1, 1), ((1, 1), (0, 2)), (1, 1))
    pool = Window((2, 3), (2, 3), ((0, 0), (0, 0)), (1, 1))
    pair = cpu.PAIRS["conv_relu_max_pool"]
    y, saved = pair.forward(XP, x, w, b, window, groups, pool)
    exact = [a.astype("float64") for a in (x, w, b)]
    expected, after_conv = OPS["conv"](*exact, window, groups)
    expected, after_relu = OPS["relu"](expected)
    expected, after_pool = OPS["max_pool"](expected, pool)
    assert error(y, expected) < 1e-6
    dy = rng.standard_normal(y.shape).astype("float32")
    found = pair.backward(XP, dy, saved, window, groups, pool, True)
    wanted = after_conv(after_relu(after_pool(dy.astype("float64"))), True)
    for gradient, other in zip(found, wanted, strict=True):
        assert error(gradient, other) < 1e-6


def test_a_model_really_runs_on_them():
    """In a training step of the simple network no product is left to the generic kernels."""
    layers = xpcnn.networks.make("simple")
    model = xpcnn.Model(layers, device="cpu", seed=0)
    x = np.random.default_rng(0).random((4, 1, 28, 28), dtype="float32")
    for kernel_set in ("cpu", "generic"):
        forced = None if kernel_set == "cpu" else kernel_set
        with kernels.force(forced), kernels.trace() as decisions:
            model.forward(x, training=True)
        assert {d.kernel_set for d in decisions} - {None} == {kernel_set}
        assert {"conv_relu_max_pool", "linear"} <= {d.op for d in decisions}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_go_through(value):
    """Where the generic kernels give NaN or infinity, these give the same."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 3, 8, 8)).astype("float32")
    x[1, 2, 4, 5] = value
    w = rng.standard_normal((20, 3, 3, 3)).astype("float32")
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    pool = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    with np.errstate(invalid="ignore"):
        for op, args in (("conv", (window, 1)), ("conv_relu_max_pool", (window, 1, pool))):
            got, _ = cpu.PAIRS[op].forward(XP, x, w, None, *args)
            wanted, _ = OPS[op].forward(XP, x, w, None, *args)
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
            assert not np.isfinite(got).all()


def test_ties_go_to_the_first_phase():
    """A constant image: every window has four equal outputs."""
    x = np.ones((1, 1, 5, 5), "float32")
    w = np.ones((8, 1, 2, 2), "float32")
    window = Window((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
    pool = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    pair = cpu.PAIRS["conv_relu_max_pool"]
    y, saved = pair.forward(XP, x, w, None, window, 1, pool)
    dx, dw, _ = pair.backward(XP, np.ones_like(y), saved, window, 1, pool, True)
    # Each of the four windows passes its gradient to its first convolution output.
    first = np.zeros((5, 5))
    first[0:2, 0:2] += 1
    first[0:2, 2:4] += 1
    first[2:4, 0:2] += 1
    first[2:4, 2:4] += 1
    np.testing.assert_array_equal(dx[0, 0], 8 * first)
    np.testing.assert_array_equal(dw[0, 0], np.full((2, 2), 4.0))


def test_results_do_not_depend_on_threads_or_run():
    program = textwrap.dedent(
        """
        import hashlib
        import numpy as np
        import xpcnn
        model = xpcnn.Model(xpcnn.networks.make("deep"), device="cpu", seed=0)
        rng = np.random.default_rng(0)
        x, y = rng.random((40, 1, 28, 28), dtype="float32"), rng.integers(0, 10, 40)
        model.fit(x, y, batch_size=20, optimizer="adam", loss="cross_entropy", verbose=0)
        digest = hashlib.sha256()
        for array in model.state_dict().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        print(digest.hexdigest())
        """
    )
    digests = set()
    for threads in ("1", "2", "2", "5"):
        environment = os.environ | {"XPCNN_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_two_models_in_two_threads():
    rng = np.random.default_rng(0)
    x, y = rng.random((32, 1, 28, 28), dtype="float32"), rng.integers(0, 10, 32)
    losses = {}

    def train(name):
        model = xpcnn.Model(xpcnn.networks.make("simple"), device="cpu", seed=7)
        history = model.fit(
            x, y, epochs=3, batch_size=8, optimizer="adam", loss="cross_entropy", verbose=0
        )
        losses[name] = history.history["loss"]

    train("alone")
    threads = [threading.Thread(target=train, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert losses["a"] == losses["b"] == losses["alone"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_forked_process_predicts_too():
    program = textwrap.dedent(
        """
        import os
        import numpy as np
        import xpcnn
        model = xpcnn.Model(xpcnn.networks.make("simple"), device="cpu", seed=0)
        x = np.random.default_rng(0).random((4, 1, 28, 28), dtype="float32")
        before = [model.predict(x) for _ in range(5)][-1]  # recorded, and repeated
        child = os.fork()
        if child == 0:
            os._exit(0 if np.allclose(model.predict(x), before, atol=1e-5) else 1)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize("seed", range(10))
def test_nothing_outside_is_written_or_used(seed, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN.

    So does what is around it: a number that is read from there would show in the result.
    """
    guards = Guards(0xFF)
    monkeypatch.setattr(cpu.buffers, "empty", guards)
    rng, x, w, b, window = draw_conv(seed + 3000)
    assert compare("conv", x, w, b, (window, 1), rng) < 1e-5
    few = draw_conv(seed + 5000, 1 + seed % 3, few=True)
    assert compare("conv", *few[1:4], (few[4], 1 + seed % 3), few[0]) < 1e-5
    size = tuple(min(n, 2) for n in window.output_shape(x.shape[2:]))
    pool = Window(size, size, ((0, 0),) * len(size), (1,) * len(size))
    windows = (window, 1, pool)
    assert compare("conv_relu_max_pool", x, w, b, windows, rng, need_dx=seed % 2 == 0) < 1e-5
    flat = np.ascontiguousarray(x.reshape(len(x), -1))
    weights = rng.standard_normal((5, flat.shape[1])).astype("float32")
    assert compare("linear", flat, weights, None, (), rng) < 1e-5
    guards.assert_whole(11)


@pytest.mark.parametrize("op", ["conv", "few filters", "conv_relu_max_pool"])
def test_lanes_behind_the_last_filter_are_never_added_up(op, monkeypatch):
    """Their numbers are anything: here so large that NumPy would warn of an overflow."""

    def filled(shape, dtype=np.float32):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.full(size, 0x7A, np.uint8).view(dtype).reshape(shape)  # 3e35

    monkeypatch.setattr(cpu.buffers, "empty", filled)
    rng = np.random.default_rng(0)
    x = rng.random((16, 1, 28, 28), dtype="float32")
    w, b = rng.standard_normal((30, 1, 5, 5)), rng.standard_normal(30)
    window = Window((5, 5), (1, 1), ((0, 0),) * 2, (1, 1))
    pool = Window((2, 2), (2, 2), ((0, 0),) * 2, (1, 1))
    windows = (window, 1, pool) if op == "conv_relu_max_pool" else (window, 1)
    if op == "few filters":
        op, w, b = "conv", w[:5], b[:5]
    args = (op, x, w.astype("float32"), b.astype("float32"), windows, rng, False)
    assert compare(*args) < 1e-5


@pytest.mark.parametrize("op", ["adam", "sgd"])
@pytest.mark.parametrize("bad", [None, np.nan, np.inf, -1e20])
@pytest.mark.parametrize("at", [(1, 0), (2, 3), (2, 8200)])
def test_an_update_knows_whether_its_parameters_are_moderate(op, bad, at):
    """Bad numbers in a tail of less than a vector, in the first piece, and in the second."""
    shapes = [(8,), (5,), (9000,)]
    p, g = ([np.full(shape, value, np.float32) for shape in shapes] for value in (1.0, 0.5))
    if bad is not None:
        p[at[0]][at[1]] = bad
    none = [None] * 3
    if op == "adam":
        settings = (none, none, [1] * 3, 1e-3, (0.9, 0.999), 1e-8, (0.0, 0.0))
    else:
        settings = (none, 1e-3, 0.9, 0.0, False, 0.0)
    (new, *_), _ = kernels.run(np, op, p, g, *settings)
    for array in new:
        assert not constant.is_moderate(array)  # nobody has promised not to change it
        constant.promise(array)
        assert constant.is_moderate(array) == (bad is None)
        constant.withdraw(array)
        assert not constant.is_moderate(array)


def test_a_training_step_looks_at_no_parameter_that_its_update_has_seen(monkeypatch):
    looked = []
    monkeypatch.setattr(
        "xpcnn.training.state.all_below", lambda arrays, power: looked.append(len(arrays)) or True
    )
    model = xpcnn.Model([xpcnn.Linear(8, 16), xpcnn.BatchNorm1d(16)], device="cpu", seed=0)
    model.compile("adam", "mse")
    x, y = np.ones((4, 8), np.float32), np.ones((4, 16), np.float32)
    x[::2] = 2.0
    model.train_on_batch(x, y)
    assert looked == [3]  # the running statistics and their count
    model.parameters()["0.weight"].data[0, 0] = np.nan
    assert model.is_moderate()  # says the function in the place of the real one
    assert looked == [3, 4]


def test_fit_lets_go_of_weights_from_before_steps_that_were_good():
    """Nobody needs those from the start of the epoch where updates know that all are finite."""
    model = xpcnn.Model([xpcnn.Linear(8, 16), xpcnn.ReLU(), xpcnn.Linear(16, 3)], device="cpu")
    model.build((None, 8))
    first, alive = weakref.ref(model.parameters()["0.weight"].value), []

    class Watch(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            alive.append(first() is not None)

    x = np.random.default_rng(0).standard_normal((40, 8)).astype("float32")
    model.fit(
        x, np.arange(40) % 3, batch_size=8, optimizer="adam", loss="cross_entropy", verbose=0,
        callbacks=[Watch()],
    )  # fmt: skip
    assert alive == [True, False, False, False, False]
