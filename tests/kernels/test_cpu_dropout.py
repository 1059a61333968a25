"""The compiled dropout: what NumPy draws and multiplies, bit for bit."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels, rng
from xpcnn._xp import numpy_namespace
from xpcnn.kernels import cpu
from xpcnn.kernels.cpu import buffers, dropout
from xpcnn.kernels.dispatch import OPS

needs_compiled_kernels()

XP = numpy_namespace()
KEYS = [np.array(k, np.uint64) for k in ((1, 2), (2**64 - 1, 2**63), (0x123456789ABCDEF0, 7))]
CASES = [
    ((8,), (8,)), ((9,), (9,)), ((9,), (1,)), ((3, 333), (3, 333)), ((3, 333), (3, 1)),
    ((2, 13, 4, 5), (2, 13, 4, 5)), ((2, 13, 4, 5), (2, 13, 1, 1)), ((2, 3, 4, 5), (2, 3, 1, 1)),
    ((2, 3, 2, 2), (2, 3, 1, 1)), ((40, 2, 3), (40, 1, 1)), ((4, 9, 3), (4, 1, 1)),
    ((4, 9, 3), (1, 1, 1)), ((4, 9, 3), (1, 9, 1)), ((1, 2, 1, 4), (1, 2, 1, 4)),
    ((2, 70, 80, 81), (2, 70, 80, 81)), ((2, 70, 80, 81), (2, 70, 1, 1)),
    ((3, 5000, 2), (3, 5000, 1)), ((1, 20, 1, 1), (1, 20, 1, 1)),
    ((3, 10, 9, 14, 11), (3, 10, 1, 1, 1)),
]  # fmt: skip
"""Shapes of arrays and of masks."""


def draw(shape, seed):
    x = np.random.default_rng(seed).standard_normal(shape, dtype="float32")
    x.reshape(-1)[[0, 1, -1]] = np.nan, np.inf, -0.0
    return x


def times_mask(x, shape, p, key):
    """Multiply by the mask, written without the project's own functions."""
    drawn = np.random.Generator(np.random.Philox(key=key)).random(shape, dtype=np.float32)
    factor = np.float32(0.0 if p == 1.0 else 1.0 / (1.0 - p))
    with np.errstate(invalid="ignore"):
        return x * np.where(drawn >= np.float32(p), factor, np.float32(0))


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    bits = [np.ascontiguousarray(a).view(np.uint32) for a in (actual, expected)]
    ordinary = ~np.isnan(expected)  # infinity times zero has a sign that nobody promises
    np.testing.assert_array_equal(bits[0][ordinary], bits[1][ordinary])
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


@pytest.mark.parametrize(("shape", "masked"), CASES)
@pytest.mark.parametrize(("key", "p"), [(KEYS[0], 0.1), (KEYS[1], 0.5), (KEYS[2], 0.9)])
def test_same_bits_as_numpy(shape, masked, key, p):
    x, dy = draw(shape, 0), draw(shape, 1)
    for how in range(7) if len(shape) > 2 else (0, 4):
        given = lay(x, how)
        y, saved = dropout.dropout_forward(XP, given, masked, p, key)
        assert_same_bits(y, times_mask(x, masked, p, key))
        for other in (how, 0):
            dx = dropout.dropout_backward(XP, lay(dy, other), saved)
            assert_same_bits(dx, times_mask(dy, masked, p, key))
        np.testing.assert_array_equal(given, x)


def alpha_of_mask(x, shape, p, key):
    """Drop and shift as Klambauer et al. (2017) do: mean and variance stay 0 and 1."""
    kept = np.random.Generator(np.random.Philox(key=key)).random(shape, dtype=np.float32)
    kept = kept >= np.float32(p)
    left = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717
    scale = 1.0 / np.sqrt((1.0 - p) * (1.0 + p * left**2))
    shift = -scale * p * left
    return np.where(kept, scale * x.astype("float64") + shift, scale * left + shift), kept * scale


@pytest.mark.parametrize(("shape", "masked"), CASES)
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout(shape, masked, p, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy = (np.random.default_rng(k).standard_normal(shape, dtype="float32") for k in (0, 1))
    expected, factors = alpha_of_mask(x, masked, p, KEYS[0])
    pair = cpu.PAIRS["alpha_dropout"]
    for how in range(7) if len(shape) > 2 else (0, 4):
        y, saved = pair.forward(XP, lay(x, how), masked, p, KEYS[0])
        np.testing.assert_allclose(y, np.broadcast_to(expected, shape), rtol=1e-5, atol=1e-6)
        dx = pair.backward(XP, lay(dy, how), saved)
        np.testing.assert_allclose(dx, dy * factors, rtol=1e-6)
        reference, state = OPS["alpha_dropout"].forward(XP, x, masked, p, KEYS[0])
        assert_same_bits(y, reference)
        assert_same_bits(dx, OPS["alpha_dropout"].backward(XP, dy, state))
    guards.assert_whole(3)


def test_alpha_dropout_of_nan_and_infinity():
    x = draw((4, 90), 3)
    pair = cpu.PAIRS["alpha_dropout"]
    with np.errstate(invalid="ignore"):
        expected, _ = OPS["alpha_dropout"].forward(XP, x, x.shape, 0.5, KEYS[0])
    assert_same_bits(pair.forward(XP, x, x.shape, 0.5, KEYS[0])[0], expected)


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.3, 2**-24, 1 - 2**-24, 1.0])
def test_every_probability(p):
    x = np.ones((300, 1000), np.float32)
    y, _ = dropout.dropout_forward(XP, x, x.shape, p, KEYS[0])
    assert_same_bits(y, times_mask(x, x.shape, p, KEYS[0]))


def test_a_number_that_is_p_is_kept():
    drawn = rng.uniform(KEYS[0], (1000,))
    p = float(drawn[17]) * (1 + 1e-12)
    y, _ = dropout.dropout_forward(XP, np.ones(1000, np.float32), (1000,), p, KEYS[0])
    np.testing.assert_array_equal(y != 0, drawn >= drawn[17])
    assert y[17] != 0


def test_what_is_kept_is_small():
    x = np.ones((16, 64, 10, 10), np.float32)
    for masked in (x.shape, (16, 64, 1, 1), (16, 1, 1, 1)):
        for how in (0, 1):
            _, saved = dropout.dropout_forward(XP, lay(x, how), masked, 0.5, KEYS[0])
            assert saved.mask.nbytes <= x.size


@pytest.mark.parametrize("layer", [xpcnn.Dropout(), xpcnn.Dropout2d(), xpcnn.StochasticDepth(0.5)])
def test_layers_run_on_it(layer):
    layer.seed = 3
    with kernels.trace() as decisions:
        layer.backward(layer.forward(draw((2, 8, 4, 4), 2), training=True))
    assert [(d.op, d.kernel_set) for d in decisions] == [("dropout", "cpu")]


@pytest.mark.parametrize("layer", [xpcnn.AlphaDropout(), xpcnn.FeatureAlphaDropout()])
def test_alpha_layers_run_on_it(layer):
    layer.seed = 3
    with kernels.trace() as decisions:
        layer.backward(layer.forward(draw((2, 8, 4, 4), 2), training=True))
    assert [(d.op, d.kernel_set) for d in decisions] == [("alpha_dropout", "cpu")]


def test_what_is_declined():
    x = np.ones((2, 8), np.float32)
    given = (x.astype("float64"), x[:0], x[0, :7])
    found = [dropout.dropout_forward(XP, a, a.shape, 0.5, KEYS[0]).reason for a in given]
    assert found == ["float64 arrays", "arrays of shape (0, 8)", "arrays of shape (7,)"]


def test_a_gradient_of_another_dtype_keeps_it():
    x, dy = np.ones((3, 9), np.float32), np.full((3, 9), 3.0)
    y, saved = dropout.dropout_forward(XP, x, x.shape, 0.5, KEYS[0])
    dx = dropout.dropout_backward(XP, dy, saved)
    assert dx.dtype == np.float64
    np.testing.assert_array_equal(dx, 3 * y)


@pytest.mark.parametrize("masked", [(40, 30, 40, 41), (40, 30, 1, 1)])
def test_same_bits_for_any_number_of_threads(masked):
    x = lay(np.random.default_rng(4).standard_normal((40, 30, 40, 41), dtype="float32"), 1)
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            y, saved = dropout.dropout_forward(XP, x, masked, 0.5, KEYS[0])
            seen.add(y.tobytes() + dropout.dropout_backward(XP, x, saved).tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize(("shape", "masked"), CASES)
def test_nothing_is_written_outside(shape, masked, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    for how in (0, 1) if len(shape) > 2 else (0,):
        x = lay(draw(shape, 5), how)
        y, saved = dropout.dropout_forward(XP, x, masked, 0.3, KEYS[0])
        dx = dropout.dropout_backward(XP, y, saved)
        assert_same_bits(y, times_mask(x, masked, 0.3, KEYS[0]))
        assert_same_bits(dx, times_mask(y, masked, 0.3, KEYS[0]))
    guards.assert_whole(3)
