"""The compiled group and instance normalisation, against the generic ones in float64."""

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
REFERENCE, PAIR = OPS["group_norm"], PAIRS["group_norm"]
# Shapes (N, C, ...) and the number of groups.
CASES = [
    ((3, 8, 5, 6), 2), ((2, 6, 13), 3), ((2, 3, 9, 11), 3), ((4, 30, 7, 7), 5), ((5, 12), 4),
    ((2, 64, 2, 3), 8), ((1, 16, 40, 41), 1), ((2, 4, 3, 4, 5), 2), ((3, 17, 3, 3), 17),
    ((2, 1, 70, 71), 1), ((2, 100, 1, 8), 10),
]  # fmt: skip


def draw(case):
    shape, groups = CASES[case]
    rng = np.random.default_rng(case)
    x, dy = (rng.standard_normal((2, *shape)) * 3 + 2).astype("float32")
    gamma, beta = rng.standard_normal((2, shape[1])).astype("float32")
    return x, dy, gamma, beta, groups


def wide(*arrays):
    return [None if a is None else a.astype("float64") for a in arrays]


def run(pair, x, dy, gamma, beta, groups):
    """Return all results of forward and backward."""
    results, saved = pair.forward(XP, x, gamma, beta, groups, EPS)
    return (*results, *pair.backward(XP, dy, saved, True))


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, False)])
def test_it_agrees(case, affine):
    x, dy, gamma, beta, groups = draw(case)
    gamma, beta = (a if there else None for a, there in zip((gamma, beta), affine, strict=True))
    expected = run(REFERENCE, *wide(x, dy, gamma, beta), groups)
    for how in range(7):
        got = run(PAIR, lay(x, how), lay(dy, (how + case) % 7), gamma, beta, groups)
        for a, e in zip(got, expected, strict=True):
            assert (a is None) == (e is None)
            assert a is None or error32(a, e) < 2e-6


def test_it_runs_where_the_layers_do():
    x, dy = np.random.default_rng(0).standard_normal((2, 4, 6, 10, 3)).astype("float32")
    for layer in (xpcnn.GroupNorm(3, 6), xpcnn.InstanceNorm2d(6, affine=True)):
        for given in (x, lay(x, 1)):
            with kernels.trace() as decisions:
                y = layer.forward(given, training=True)
                dx = layer.backward(dy)
            assert [(d.op, d.kernel_set) for d in decisions] == [("group_norm", "cpu")]
            with kernels.force("generic"):
                assert error(y, layer.forward(x, training=True)) < 1e-6
                assert error(dx, layer.backward(dy)) < 1e-5


@pytest.mark.parametrize("how", [0, 1])
def test_memory_order_stays_and_inputs_are_left_alone(how):
    x, dy, gamma, beta, groups = draw(3)
    x = lay(x, how)
    before = x.copy()
    y, _, _, dx, _, _ = run(PAIR, x, dy, gamma, beta, groups)
    assert y.strides == dx.strides == x.strides
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("how", [0, 1])
def test_no_dx_unless_needed(how):
    x, dy, gamma, _, groups = draw(3)
    _, saved = PAIR.forward(XP, lay(x, how), gamma, None, groups, EPS)
    dx, dgamma, dbeta = PAIR.backward(XP, dy, saved, False)
    assert dx is None
    assert dgamma.shape == gamma.shape
    assert dbeta is None


@pytest.mark.parametrize("how", [0, 1])
def test_variance_of_data_far_from_zero(how):
    x = (np.random.default_rng(0).standard_normal((3, 8, 50, 40)) + 4096).astype("float32")
    (y, mean, variance), _ = PAIR.forward(XP, lay(x, how), None, None, 2, 1e-5)
    rows = x.astype("float64").reshape(3, 2, -1)
    exact, spread = rows.mean(axis=2, keepdims=True), rows.var(axis=2, keepdims=True)
    np.testing.assert_allclose(mean, exact[:, :, 0], rtol=1e-7)
    np.testing.assert_allclose(variance, spread[:, :, 0], rtol=1e-5)
    # The mean itself is rounded to float32: one part in 10^7 of 4096.
    wanted = ((rows - exact) / np.sqrt(spread)).reshape(x.shape)
    np.testing.assert_allclose(y, wanted, atol=5e-4)


@pytest.mark.parametrize("how", [0, 1])
def test_a_mean_that_no_float32_is(how):
    x = np.full((1, 8, 4, 4), 2.0**24, np.float32)
    x[:, :, ::2] += 2.0
    (_, mean, variance), _ = PAIR.forward(XP, lay(x, how), None, None, 2, 1e-5)
    assert variance.tolist() == [[1.0, 1.0]]
    assert mean.tolist() == [[2.0**24, 2.0**24]]  # rounded to an even number


@pytest.mark.parametrize("how", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_where_the_generic_kernel_has_them(how, value):
    x, dy, gamma, beta, groups = draw(3)
    x[1, 13, 2, 3] = value
    with np.errstate(invalid="ignore"):
        expected = run(REFERENCE, x, dy, gamma, beta, groups)
        got = run(PAIR, lay(x, how), lay(dy, how), gamma, beta, groups)
    for a, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(e))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(e))
    assert np.isnan(got[0][1, 12:18]).all()
    assert np.isfinite(got[0][0]).all()


def test_what_is_declined():
    x = np.ones((2, 8, 2, 2), np.float32)
    declined = [
        PAIR.forward(XP, x.astype("float64"), None, None, 2, EPS),
        PAIR.forward(XP, x, np.ones(8), np.ones(8), 2, EPS),
        PAIR.forward(XP, x[:0], None, None, 2, EPS),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays", "float64 arrays", "arrays of shape (0, 8, 2, 2)",
    ]  # fmt: skip


@pytest.mark.parametrize("how", [0, 1])
def test_same_bits_for_any_number_of_threads(how):
    rng = np.random.default_rng(0)
    x, dy = (lay(a, how) for a in rng.standard_normal((2, 10, 20, 40, 40)).astype("float32"))
    gamma = np.ones(20, np.float32)
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            found = run(PAIR, x, dy, gamma, gamma, 4)
            seen.add(b"".join(a.tobytes() for a in found))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_outside_is_written_or_used(case, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(buffers, "empty", guards)
    x, dy, gamma, beta, groups = draw(case)
    expected = run(REFERENCE, *wide(x, dy, gamma, beta), groups)
    for how in range(7):
        got = run(PAIR, lay(x, how), lay(dy, how), gamma, beta, groups)
        for a, e in zip(got, expected, strict=True):
            assert error32(a, e) < 2e-6
    guards.assert_whole(2 * 7)
