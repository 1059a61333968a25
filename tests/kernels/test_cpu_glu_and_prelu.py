"""The compiled GLU and PReLU, against the generic pairs in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels import cpu
from xpcnn.kernels.cpu import buffers, glu, prelu
from xpcnn.kernels.dispatch import OPS

needs_compiled_kernels()

XP = numpy_namespace()
SHAPES = [(3, 18), (5, 9), (2, 4, 8), (4, 6, 10), (2, 3, 6, 4), (2, 30, 6, 7), (1, 70, 40, 41)]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3.0, -3.0, 100.0, -100.0, 3e38, -3e38]


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape, dtype="float32") * 3


def assert_close(found, expected, tolerance=2e-6):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def run_glu(pair, x, dy, axis):
    y, saved = pair.forward(XP, x, axis)
    return y, pair.backward(XP, dy, saved)


def halved(shape, axis):
    shape = list(shape)
    shape[axis] //= 2
    return tuple(shape)


def axes_of_even_length(shape):
    return [axis for axis in range(-len(shape), len(shape)) if shape[axis] % 2 == 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_glu_is_close_to_the_definition(shape):
    x = draw(shape, 0)
    ran = 0
    for axis in axes_of_even_length(shape):
        dy = draw(halved(shape, axis), 1)
        expected = run_glu(OPS["glu"], x.astype("float64"), dy.astype("float64"), axis)
        for how in range(7) if len(shape) > 2 else (0, 4):
            given, gradient = lay(x, how), lay(dy, 0)
            if isinstance(glu.glu_forward(XP, given, axis), kernels.Declined):
                continue
            ran += 1
            y, dx = run_glu(cpu.PAIRS["glu"], given, gradient, axis)
            assert_close(y, expected[0])
            assert_close(dx, expected[1], 1e-5)  # 1 - share loses digits, times dy and the values
            np.testing.assert_array_equal(given, x)
            np.testing.assert_array_equal(gradient, dy)
    assert ran or shape == (5, 9)


def test_glu_has_nan_and_infinity_where_the_definition_has_them():
    values, gate = (a.reshape(1, -1) for a in np.meshgrid(SPECIAL, SPECIAL))
    x = np.concatenate([values, gate], axis=1).astype("float32")
    for dy in (np.ones_like(values, "float32"), np.full(values.shape, np.inf, "float32")):
        with np.errstate(all="ignore"):
            expected = run_glu(OPS["glu"], x, dy, 1)
        found = run_glu(cpu.PAIRS["glu"], x, dy, 1)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-37)


def test_what_glu_declines():
    x = np.ones((2, 14), np.float32)
    assert glu.glu_forward(XP, x.astype("float64"), 1).reason == "float64 arrays"
    assert glu.glu_forward(XP, x, 1).reason == "halves of 7 numbers"
    assert glu.glu_forward(XP, x[:0], 1).reason == "halves of 7 numbers"


def test_glu_gives_a_gradient_in_its_own_dtype():
    x, dy = draw((3, 18), 2), draw((3, 9), 3).astype("float64")
    _, dx = run_glu(cpu.PAIRS["glu"], x, dy, 1)
    assert dx.dtype == np.float64
    expected = run_glu(OPS["glu"], x.astype("float64"), dy, 1)[1]
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-6)


def run_prelu(pair, x, w, dy, need_dx=True):
    y, saved = pair.forward(XP, x, w)
    return y, *pair.backward(XP, dy, saved, need_dx)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shared", [True, False])
def test_prelu_is_close_to_the_definition(shape, shared):
    x, dy = draw(shape, 4), draw(shape, 5)
    w = draw((1 if shared else shape[1],), 6)
    expected = run_prelu(OPS["prelu"], *(a.astype("float64") for a in (x, w, dy)))
    for how in range(7) if len(shape) > 2 else (0, 4):
        for other in (how, 0):
            given, gradient = lay(x, how), lay(dy, other)
            y, dx, dw = run_prelu(cpu.PAIRS["prelu"], given, w, gradient)
            assert_close(y, expected[0])
            assert_close(dx, expected[1])
            assert dw.shape == w.shape
            assert_close(dw, expected[2], 2e-5)
            np.testing.assert_array_equal(given, x)
            np.testing.assert_array_equal(gradient, dy)
            nothing, same = run_prelu(cpu.PAIRS["prelu"], given, w, gradient, False)[1:]
            assert nothing is None
            np.testing.assert_array_equal(same, dw)


@pytest.mark.parametrize("channels", [3, 12])
def test_prelu_has_nan_and_infinity_where_the_definition_has_them(channels):
    x = np.resize(np.array(SPECIAL, np.float32), (5, channels))
    dy = np.resize(np.array([np.inf, 1.0, np.nan, -2.0, 0.0], np.float32), x.shape)
    w = np.array([0.25], np.float32)
    with np.errstate(all="ignore"):
        expected = run_prelu(OPS["prelu"], x, w, dy)
    for a, b in zip(run_prelu(cpu.PAIRS["prelu"], x, w, dy), expected, strict=True):
        np.testing.assert_allclose(a, b)


def test_long_sums_of_prelu_lose_nothing():
    x = np.full((300_000, 9), -1.0, np.float32)
    dy = np.full_like(x, 0.1)
    for count in (1, 9):
        w = np.ones(count, np.float32)
        _, _, dw = run_prelu(cpu.PAIRS["prelu"], x, w, dy)
        exact = -float(np.float32(0.1)) * x.size / count
        np.testing.assert_allclose(dw, exact, rtol=1e-6)


def test_what_prelu_declines():
    x, w = np.ones((2, 8), np.float32), np.ones(1, np.float32)
    assert prelu.prelu_forward(XP, x.astype("float64"), w).reason == "float64 arrays"
    assert prelu.prelu_forward(XP, x, w.astype("float64")).reason == "float64 arrays"
    assert prelu.prelu_forward(XP, x[:0], w).reason == "arrays of shape (0, 8) and (1,)"


@pytest.mark.parametrize(
    "layer", [xpcnn.GLU(1), xpcnn.PReLU(), xpcnn.PReLU(8)], ids=lambda layer: layer.who
)
def test_layers_run_on_it(layer):
    x = draw((2, 8, 4, 4), 7)
    layer.build(x.shape)
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
        layer.backward(y)
    assert [d.kernel_set for d in decisions] == ["cpu"]


def test_same_bits_for_any_number_of_threads():
    x, w = draw((40, 30, 40, 41), 8), draw((30,), 9)
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            found = [*run_glu(cpu.PAIRS["glu"], x, x[:, :15], 1)]
            found += run_prelu(cpu.PAIRS["prelu"], x, w, x)
            seen.add(b"".join(a.tobytes() for a in found))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("shape", [(3, 18), (2, 2, 7), (2, 30, 6, 7), (1, 9000)])
def test_nothing_is_written_outside(shape, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy, w = draw(shape, 10), draw(halved(shape, 1), 11), draw((shape[1],), 12)
    if shape != (2, 2, 7):
        expected = run_glu(OPS["glu"], x.astype("float64"), dy.astype("float64"), 1)
        for a, b in zip(run_glu(cpu.PAIRS["glu"], x, dy, 1), expected, strict=True):
            assert_close(a, b)
    expected = run_prelu(OPS["prelu"], *(a.astype("float64") for a in (x, w, x)))
    for a, b in zip(run_prelu(cpu.PAIRS["prelu"], x, w, x), expected, strict=True):
        assert_close(a, b, 2e-5)
    guards.assert_whole(3)
