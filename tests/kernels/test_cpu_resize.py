"""The compiled resizing, against the generic one in float64, and against PyTorch."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error32, lay
from tests.pytorch import nn, torch
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import PAIRS, buffers
from xpcnn.kernels.dispatch import OPS
from xpcnn.ops.resize import Taps
from xpcnn.ops.taps import filter_taps, nearest_taps, source_coordinates

needs_compiled_kernels()

XP = numpy_namespace()
REFERENCE, PAIR = OPS["resize"], PAIRS["resize"]


def nearest(n, out):
    return nearest_taps(source_coordinates(out, n, out / n), n)


def linear(n, out):
    return filter_taps(source_coordinates(out, n, out / n), n)


def cubic(n, out):
    return filter_taps(source_coordinates(out, n, out / n), n, "cubic")


def smooth(n, out):
    """Weigh as many old elements as shrink into a new one."""
    return filter_taps(source_coordinates(out, n, out / n), n, stretch=max(1.0, n / out))


# Shapes, and for each axis that is resized the new length and the kind of table.
CASES = [
    ((2, 8, 5, 6), {2: (10, nearest), 3: (12, nearest)}),
    ((1, 3, 7, 4), {2: (11, linear), 3: (9, linear)}),
    ((2, 17, 6, 5), {2: (7, cubic), 3: (13, cubic)}),
    ((2, 16, 13, 17), {2: (3, smooth), 3: (4, smooth)}),
    ((3, 30, 9), {2: (20, linear)}),
    ((2, 64, 4, 5), {3: (2, linear)}),
    ((2, 9, 4, 5), {2: (1, nearest)}),
    ((2, 5, 3, 4, 2), {2: (5, linear), 3: (3, cubic), 4: (6, nearest)}),
    ((2, 8, 3, 4, 5), {2: (6, nearest)}),
    ((2, 8, 3, 4, 5), {4: (7, linear)}),
    ((1, 1, 3, 70), {3: (140, linear), 2: (2, nearest)}),
    ((2, 3, 20), {2: (31, cubic)}),
]  # fmt: skip


def draw(case):
    shape, wanted = CASES[case]
    rng = np.random.default_rng(case)
    axes = tuple((axis, kind(shape[axis], out)) for axis, (out, kind) in wanted.items())
    size = [wanted[axis][0] if axis in wanted else n for axis, n in enumerate(shape)]
    x, dy = (rng.standard_normal(a).astype("float32") for a in (shape, size))
    return x, dy, axes


def run(pair, x, dy, axes):
    y, saved = pair.forward(XP, x, axes)
    return y, pair.backward(XP, dy, saved)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_it_agrees(case):
    x, dy, axes = draw(case)
    expected = run(REFERENCE, x.astype("float64"), dy.astype("float64"), axes)
    for how in range(7):
        got = run(PAIR, lay(x, how), lay(dy, (how + case) % 7), axes)
        for a, e in zip(got, expected, strict=True):
            assert error32(a, e) < 1e-6


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_it_agrees_with_pytorch(mode):
    x = np.random.default_rng(0).standard_normal((2, 12, 7, 9)).astype("float32")
    given = torch.tensor(x, requires_grad=True)
    expected = nn.Upsample(size=(15, 4), mode=mode)(given)
    layer = xpcnn.Upsample(size=(15, 4), mode=mode)
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
    assert [d.kernel_set for d in decisions] == ["cpu"]
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    expected.backward(torch.tensor(dy))
    assert error32(y, expected.detach().numpy()) < 1e-5
    assert error32(layer.backward(dy), given.grad.numpy()) < 1e-5


@pytest.mark.parametrize("case", [0, 1, 2])
def test_nan_and_infinity(case):
    x, dy, axes = draw(case)
    x[0, 0, 2, 1], x[0, 1, 0, 0], x[0, 2, 4, 3] = np.nan, np.inf, -np.inf
    dy[0, 0, 1, 1], dy[0, 2, 3, 2] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        expected = run(REFERENCE, x, dy, axes)
    got = run(PAIR, x, dy, axes)
    for a, e in zip(got, expected, strict=True):
        assert np.isnan(a).any()
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


def test_nobody_looks_at_some_elements():
    taps = Taps(np.array([[1, 3], [3, 1]]), np.array([[0.25, 0.75], [0.5, 0.5]]))
    x = np.arange(5, dtype="float32").reshape(1, 1, 5)
    dy = np.ones((1, 1, 2), np.float32)
    y, dx = run(PAIR, x, dy, ((2, taps),))
    assert y.tolist() == [[[2.5, 2.0]]]
    assert dx.tolist() == [[[0.0, 0.75, 0.0, 1.25, 0.0]]]


def test_inputs_are_left_alone():
    x, dy, axes = draw(1)
    before = x.copy()
    y, saved = PAIR.forward(XP, x, axes)
    PAIR.backward(XP, dy, saved)
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, y)


def test_memory_of_few_channels_is_dense():
    x, dy, axes = draw(1)
    for result in run(PAIR, lay(x, 1), lay(dy, 1), axes):
        assert result.flags.c_contiguous


def test_what_is_declined():
    x = np.ones((2, 8, 4, 4), np.float32)
    taps = nearest(8, 3)
    declined = [
        PAIR.forward(XP, x.astype("float64"), ((2, taps),)),
        PAIR.forward(XP, x[:0], ((2, taps),)),
        PAIR.forward(XP, x, ((1, taps),)),
        PAIR.forward(XP, x, ((2, taps), (2, taps))),
        PAIR.forward(XP, x[:, :7], ((2, taps),)),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays", "arrays of shape (0, 8, 4, 4)", "resizing the axes [1] of 4",
        "resizing the axes [2, 2] of 4", "copying elements of 7 channels, fewer than 8",
    ]  # fmt: skip


def test_same_bits_for_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal((4, 40, 30, 30)).astype("float32")
    axes = ((2, linear(30, 60)), (3, linear(30, 60)))
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            y, saved = PAIR.forward(XP, x, axes)
            seen.add(y.tobytes() + PAIR.backward(XP, y, saved).tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_outside_is_written_or_used(case, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy, axes = draw(case)
    expected = run(REFERENCE, x.astype("float64"), dy.astype("float64"), axes)
    for a, e in zip(run(PAIR, x, dy, axes), expected, strict=True):
        assert error32(a, e) < 1e-6
    guards.assert_whole(4)
