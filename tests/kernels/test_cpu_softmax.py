"""The compiled softmax and its relatives, against the generic pairs in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels import cpu
from xpcnn.kernels.cpu import buffers, softmax
from xpcnn.kernels.dispatch import OPS

needs_compiled_kernels()

XP = numpy_namespace()
NAMES = ["softmax", "softmin", "log_softmax"]
SHAPES = [
    (9,), (3, 10), (40, 4), (4, 40), (2, 300), (1, 9001), (5, 9, 3), (2, 3, 5, 4), (2, 30, 6, 7),
    (1, 2, 70, 61), (3, 200, 4, 5), (12, 1), (1, 8, 2, 3, 4),
]  # fmt: skip

each_name = pytest.mark.parametrize("name", NAMES)


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape, dtype="float32") * 3


def run(pair, x, dy, axis):
    y, saved = pair.forward(XP, x, axis)
    return y, pair.backward(XP, dy, saved)


def exact(name, x, dy, axis):
    return run(OPS[name], x.astype("float64"), dy.astype("float64"), axis)


def assert_close(found, expected):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


@each_name
@pytest.mark.parametrize("shape", SHAPES)
def test_close_to_the_definition(name, shape):
    x, dy = draw(shape, 0), draw(shape, 1)
    for axis in range(-len(shape), len(shape)):
        expected = exact(name, x, dy, axis)
        for how in range(7) if len(shape) > 2 else (0, 4):
            given, gradient = lay(x, how), lay(dy, 0)
            found = run(cpu.PAIRS[name], given, gradient, axis)
            for a, b in zip(found, expected, strict=True):
                assert_close(a, b)
            np.testing.assert_array_equal(given, x)
            np.testing.assert_array_equal(gradient, dy)


@each_name
@pytest.mark.parametrize("shape", [(3, 10), (2, 20, 30), (40, 4)])
def test_nan_and_infinity_are_where_the_definition_has_them(name, shape):
    for special in ([np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [3e38, -3e38], [np.nan] * 4):
        x, dy = draw(shape, 2), draw(shape, 3)
        x.reshape(-1)[: len(special)] = special
        x[1] = special[0]
        dy.reshape(-1)[-1] = np.nan
        with np.errstate(all="ignore"):
            expected = run(OPS[name], x, dy, 1)
        for a, b in zip(run(cpu.PAIRS[name], x, dy, 1), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 9), (2, 9, 11)])
def test_a_sure_class_keeps_its_digits(shape):
    x = np.full(shape, -20.0, np.float32)
    x[:, 4] = 20.0
    x[1, 6] = 20.0  # a tie
    dy = draw(shape, 4)
    expected = exact("log_softmax", x, dy, 1)
    for a, b in zip(run(cpu.PAIRS["log_softmax"], x, dy, 1), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert (expected[0][0, 4] != 0.0).all()
    # What only the sure class has a part in is 1 - p times its gradient.
    dy = np.zeros_like(dy)
    dy[0, 4] = 1.0
    expected = exact("log_softmax", x, dy, 1)[1]
    np.testing.assert_allclose(run(cpu.PAIRS["log_softmax"], x, dy, 1)[1], expected, rtol=1e-6)


def test_small_shares_keep_their_digits():
    x = np.linspace(-80, 0, 1000, dtype=np.float32).reshape(2, 500)
    y, _ = softmax.softmax_forward(XP, x, 1)
    np.testing.assert_allclose(y, exact("softmax", x, x, 1)[0], rtol=1e-6)


def test_long_rows_lose_nothing():
    x = np.zeros((2, 300_001), np.float32)
    for shape, axis in (((2, 300_001), 1), ((300_001, 2), 0), ((300_001, 8), 0)):
        x = np.zeros(shape, np.float32)
        for name, value in (("softmax", 1 / 300_001), ("log_softmax", -np.log(300_001))):
            y, _ = cpu.PAIRS[name].forward(XP, x, axis)
            np.testing.assert_allclose(y, value, rtol=2e-7)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_memory_order_stays(axis):
    x = np.moveaxis(draw((2, 6, 7, 30), 3), -1, 1)
    y, saved = softmax.softmax_forward(XP, x, axis)
    dx = softmax.softmax_backward(XP, np.ascontiguousarray(x), saved)
    assert y.strides == x.strides == dx.strides


@pytest.mark.parametrize(
    "layer", [xpcnn.Softmax(), xpcnn.LogSoftmax(), xpcnn.Softmin(), xpcnn.Softmax2d()],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_layers_run_on_it(layer):
    x, dy = draw((2, 8, 4, 4), 2), draw((2, 8, 4, 4), 3)
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
        dx = layer.backward(dy)
    assert [d.kernel_set for d in decisions] == ["cpu"]
    with kernels.force("generic"):
        assert_close(y, layer.forward(x.astype("float64"), training=True))
        assert_close(dx, layer.backward(dy.astype("float64")))


def test_what_is_declined():
    x = np.ones((2, 3), np.float32)
    given = (x.astype("float64"), x[:0], x, x[0, 0])
    assert [softmax.softmax_forward(XP, a, -1).reason for a in given] == [
        "float64 arrays", "arrays of shape (0, 3) along axis 1",
        "arrays of shape (2, 3) along axis 1", "arrays of shape () along axis 0",
    ]  # fmt: skip


def test_a_gradient_of_another_dtype_keeps_it():
    x, dy = draw((3, 9), 4), draw((3, 9), 5).astype("float64")
    _, saved = softmax.softmax_forward(XP, x, 1)
    dx = softmax.softmax_backward(XP, dy, saved)
    assert dx.dtype == np.float64
    np.testing.assert_allclose(dx, exact("softmax", x, dy, 1)[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 20, 123, 117), (9001, 33)])
@each_name
def test_same_bits_for_any_number_of_threads(name, shape):
    x = draw(shape, 6)
    seen = set()
    try:
        for threads in (1, 2, 2, 2):
            xpcnn.set_num_threads(threads)
            y, dx = run(cpu.PAIRS[name], x, x, 1)
            seen.add(y.tobytes() + dx.tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@each_name
@pytest.mark.parametrize("shape", [(3, 10), (40, 4), (2, 3, 5, 4), (1, 9001), (2, 40, 9)])
def test_nothing_is_written_outside(name, shape, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy = draw(shape, 7), draw(shape, 8)
    for axis in range(len(shape)):
        found = cpu.PAIRS[name].forward(XP, x, axis)
        if isinstance(found, kernels.Declined):
            continue
        for a, b in zip(run(cpu.PAIRS[name], x, dy, axis), exact(name, x, dy, axis), strict=True):
            assert_close(a, b)
    guards.assert_whole(2)
