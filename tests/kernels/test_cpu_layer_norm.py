"""The compiled layer and RMS normalisation, against the generic ones in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error, error32, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import PAIRS, buffers
from xpcnn.kernels.dispatch import OPS

needs_compiled_kernels()

XP = numpy_namespace()
EPS = 1e-3
# Shapes, and how many of their last axes make a row.
CASES = [
    ((5, 8), 1), ((7, 3, 49), 1), ((300, 17), 1), ((70, 100), 1), ((3, 5, 6, 7), 3),
    ((4, 9, 6, 7), 2), ((2, 16, 9, 11), 1), ((2, 3, 5, 4, 6), 3), ((2, 9001), 1), ((1, 64), 1),
]  # fmt: skip


def draw(case, seed):
    shape, ndim = CASES[case]
    rng = np.random.default_rng(seed)
    x, dy = (rng.standard_normal((2, *shape)) * 3 + 2).astype("float32")
    gamma, beta = rng.standard_normal((2, *shape[len(shape) - ndim :])).astype("float32")
    return x, dy, gamma, beta, ndim


def wide(*arrays):
    return [None if a is None else a.astype("float64") for a in arrays]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, False)])
def test_layer_norm_agrees(case, affine):
    x, dy, gamma, beta, ndim = draw(case, case)
    gamma, beta = (a if there else None for a, there in zip((gamma, beta), affine, strict=True))
    reference = OPS["layer_norm"]
    expected, state = reference.forward(XP, *wide(x, gamma, beta), ndim, EPS)
    gradients = reference.backward(XP, *wide(dy), state, True)
    for how in range(7):
        if x.ndim == 2 and how in (1, 2, 5):
            continue
        y, saved = PAIRS["layer_norm"].forward(XP, lay(x, how), gamma, beta, ndim, EPS)
        got = PAIRS["layer_norm"].backward(XP, lay(dy, (how + case) % 7), saved, True)
        assert error32(y, expected) < 1e-6
        for a, e in zip(got, gradients, strict=True):
            assert (a is None) == (e is None)
            assert a is None or error32(a, e) < 2e-6


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("affine", [True, False])
def test_rms_norm_agrees(case, affine):
    x, dy, gamma, _, ndim = draw(case, case)
    gamma = gamma if affine else None
    reference = OPS["rms_norm"]
    expected, state = reference.forward(XP, *wide(x, gamma), ndim, EPS)
    gradients = reference.backward(XP, *wide(dy), state, True)
    for how in (0, 3, 4, 6):
        y, saved = PAIRS["rms_norm"].forward(XP, lay(x, how), gamma, ndim, EPS)
        got = PAIRS["rms_norm"].backward(XP, lay(dy, how), saved, True)
        assert error32(y, expected) < 1e-6
        for a, e in zip(got, gradients, strict=True):
            assert (a is None) == (e is None)
            assert a is None or error32(a, e) < 2e-6


def test_it_runs_where_the_layers_do():
    x, dy = np.random.default_rng(0).standard_normal((2, 4, 6, 10)).astype("float32")
    for layer in (xpcnn.LayerNorm(10), xpcnn.RMSNorm((6, 10))):
        with kernels.trace() as decisions:
            y = layer.forward(x, training=True)
            dx = layer.backward(dy)
        assert [d.kernel_set for d in decisions] == ["cpu"]
        with kernels.force("generic"):
            assert error(y, layer.forward(x, training=True)) < 1e-6
            assert error(dx, layer.backward(dy)) < 1e-5


def test_memory_order_stays_and_inputs_are_left_alone():
    x, dy, gamma, beta, _ = draw(4, 0)
    x = lay(x, 1)
    before = x.copy()
    y, saved = PAIRS["layer_norm"].forward(XP, x, gamma, beta, 3, EPS)
    dx, *_ = PAIRS["layer_norm"].backward(XP, dy, saved, True)
    assert y.strides == dx.strides == x.strides
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, before)


def test_no_dx_unless_needed():
    x, dy, gamma, _, _ = draw(2, 0)
    _, saved = PAIRS["layer_norm"].forward(XP, x, gamma, None, 1, EPS)
    dx, dgamma, dbeta = PAIRS["layer_norm"].backward(XP, dy, saved, False)
    assert dx is None
    assert dgamma.shape == gamma.shape
    assert dbeta is None


def test_variance_of_data_far_from_zero():
    x = (np.random.default_rng(0).standard_normal((3, 5000)) + 4096).astype("float32")
    y, _ = PAIRS["layer_norm"].forward(XP, x, None, None, 1, 1e-5)
    exact = x.astype("float64")
    exact = (exact - exact.mean(axis=1, keepdims=True)) / exact.std(axis=1, keepdims=True)
    # The mean itself is rounded to float32: one part in 10^7 of 4096.
    np.testing.assert_allclose(y, exact, atol=5e-4)


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_where_the_generic_kernel_has_them(op, value):
    x, dy, gamma, beta, _ = draw(3, 1)
    x[2, 99] = x[4, 0] = value
    weights = (gamma, beta) if op == "layer_norm" else (gamma,)
    with np.errstate(invalid="ignore"):
        expected, state = OPS[op].forward(XP, x, *weights, 1, EPS)
        gradients = OPS[op].backward(XP, dy, state, True)
    y, saved = PAIRS[op].forward(XP, x, *weights, 1, EPS)
    got = PAIRS[op].backward(XP, dy, saved, True)
    for a, e in zip((y, *got), (expected, *gradients), strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(e))
    assert np.isnan(y[2]).any()
    assert np.isfinite(y[3]).all()


def test_equal_numbers_without_eps():
    y, _ = PAIRS["layer_norm"].forward(XP, np.ones((2, 9), np.float32), None, None, 1, 0.0)
    assert np.isnan(y).all()


def test_what_is_declined():
    x = np.ones((2, 8), np.float32)
    forward = PAIRS["layer_norm"].forward
    declined = [
        forward(XP, x.astype("float64"), None, None, 1, EPS),
        forward(XP, x, np.ones(8), None, 1, EPS),
        forward(XP, x[:0], None, None, 1, EPS),
        forward(XP, x[:, :7], None, None, 1, EPS),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays", "float64 arrays", "arrays of shape (0, 8)",
        "rows of 7 numbers, fewer than 8",
    ]  # fmt: skip


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 5000, 100)).astype("float32")
    gamma = np.ones(100, np.float32)
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            y, saved = PAIRS["layer_norm"].forward(XP, x, gamma, gamma, 1, EPS)
            found = (y, *PAIRS["layer_norm"].backward(XP, dy, saved, True))
            seen.add(b"".join(a.tobytes() for a in found))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_outside_is_written_or_used(case, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy, gamma, beta, ndim = draw(case, case)
    expected, state = OPS["layer_norm"].forward(XP, *wide(x, gamma, beta), ndim, EPS)
    gradients = OPS["layer_norm"].backward(XP, *wide(dy), state, True)
    y, saved = PAIRS["layer_norm"].forward(XP, x, gamma, beta, ndim, EPS)
    got = PAIRS["layer_norm"].backward(XP, dy, saved, True)
    for a, e in zip((y, *got), (expected, *gradients), strict=True):
        assert error32(a, e) < 2e-6
    guards.assert_whole(5)
