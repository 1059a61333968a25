"""The compiled activations, against the generic pairs in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels import cpu
from xpcnn.kernels.cpu import activations, buffers
from xpcnn.kernels.dispatch import OPS

needs_compiled_kernels()

XP = numpy_namespace()
CASES = [
    ("sigmoid",), ("tanh",), ("tanhshrink",), ("log_sigmoid",), ("softsign",), ("silu",), ("mish",),
    ("hardsigmoid",), ("hardswish",), ("gelu", "none"), ("gelu", "tanh"), ("softplus", 1.0, 20.0),
    ("softplus", -2.0, 3.0), ("softplus", 0.7, np.inf), ("elu", 1.0), ("elu", 0.3, 1.2, 0.7),
    ("elu", -1.5), ("celu", 1.3), ("celu", -0.8), ("hardtanh", 0.0, 6.0), ("hardtanh", -1.5, -0.5),
    ("softshrink", 0.5), ("softshrink", 0.0), ("hardshrink", 0.5), ("hardshrink", 0.0),
    ("hardshrink", -1.0), ("threshold", 0.1, 20.0), ("threshold", -1.0, -2.0),
]  # fmt: skip
"""Names of operations and options."""
SHAPES = [(9,), (2, 4), (5, 9), (3, 1, 7), (2, 3, 5, 4), (2, 30, 6, 7), (1, 9001)]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-30, 3.0, -3.0, 6.0, 0.5,
           -0.5, 20.0, -20.0, 88.0, -88.0, 89.0, -89.0, 104.0, -104.0, 1e4, -1e4, 3e38,
           -3e38]  # fmt: skip

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape, dtype="float32") * 3


def run(pair, x, dy, options):
    y, saved = pair.forward(XP, x, *options)
    return y, pair.backward(XP, dy, saved)


def exact(name, x, dy, options):
    """Return what the definition gives in float64."""
    return run(OPS[name], x.astype("float64"), dy.astype("float64"), options)


def assert_close(found, expected):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_every_case_is_tested():
    assert {name for name, *_ in CASES} == set(activations.PAIRS)
    assert set(activations.PAIRS) <= set(cpu.PAIRS)


@each_case
@pytest.mark.parametrize("shape", SHAPES)
def test_close_to_the_definition(case, shape):
    name, *options = case
    x, dy = draw(shape, 0), draw(shape, 1)
    expected = exact(name, x, dy, options)
    for how in range(7) if len(shape) > 2 else (0, 4):
        for other in (how, 0):
            given, gradient = lay(x, how), lay(dy, other)
            found = run(cpu.PAIRS[name], given, gradient, options)
            for a, b in zip(found, expected, strict=True):
                assert_close(a, b)
            np.testing.assert_array_equal(given, x)
            np.testing.assert_array_equal(gradient, dy)
            assert not np.shares_memory(found[0], given)


LOSING = [
    ("tanhshrink",), ("softshrink", 0.5), ("softshrink", 0.0), ("gelu", "tanh"),
    ("softplus", -2.0, 3.0), ("softplus", 0.7, np.inf), ("celu", -0.8),
]  # fmt: skip
"""What loses digits of small outputs: differences, and exponentials of rounded products."""


@pytest.mark.parametrize("case", [case for case in CASES if case not in LOSING], ids=str)
def test_small_outputs_keep_their_digits(case):
    name, *options = case
    # Further down, GELU's definition in float64 has fewer: it takes 1 from an integral near 1.
    lowest = 5 if name == "gelu" else 60
    x = np.concatenate([-np.geomspace(1e-30, lowest, 4001), np.geomspace(1e-30, 60, 4001)])
    x = x.astype("float32")
    y, _ = OPS[name].forward(XP, x.astype("float64"), *options)
    found, _ = cpu.PAIRS[name].forward(XP, x, *options)
    np.testing.assert_allclose(found, y, rtol=1e-6, atol=1e-45)


@each_case
def test_nan_and_infinity_are_where_the_definition_has_them(case):
    name, *options = case
    x, dy = (a.reshape(-1) for a in np.meshgrid(SPECIAL, SPECIAL))
    x, dy = x.astype("float32"), dy.astype("float32")
    with np.errstate(all="ignore"):
        expected = run(OPS[name], x, dy, options)
    found = run(cpu.PAIRS[name], x, dy, options)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        big = np.isinf(b) | np.isinf(a) | np.isnan(b)
        np.testing.assert_array_equal(a[big], b[big])
        np.testing.assert_allclose(a[~big], b[~big], rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize(
    "layer",
    [
        xpcnn.Sigmoid(), xpcnn.Tanh(), xpcnn.Tanhshrink(), xpcnn.LogSigmoid(), xpcnn.Softplus(),
        xpcnn.Softsign(), xpcnn.ELU(), xpcnn.SELU(), xpcnn.CELU(), xpcnn.SiLU(), xpcnn.Mish(),
        xpcnn.GELU(), xpcnn.GELU("tanh"), xpcnn.Hardtanh(), xpcnn.ReLU6(), xpcnn.Hardsigmoid(),
        xpcnn.Hardswish(), xpcnn.Softshrink(), xpcnn.Hardshrink(), xpcnn.Threshold(0.1, 2.0),
    ],
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


def test_memory_order_stays():
    x = np.moveaxis(draw((2, 6, 7, 30), 3), -1, 1)
    y, saved = activations.forward("silu", XP, x)
    dx = activations.backward("silu", XP, np.ascontiguousarray(x), saved)
    assert y.strides == x.strides == dx.strides


def test_what_is_kept_is_there_anyway():
    x = draw((4, 9), 4)
    for name, *options in CASES:
        y, saved = cpu.PAIRS[name].forward(XP, x, *options)
        kept = saved[1].kept if name == "gelu" else saved.kept
        assert kept is x or kept is y


def test_what_is_declined():
    x = np.ones((2, 8, 2), np.float32)
    given = (x.astype("float64"), x[:0], x[0, 0])
    reasons = [activations.forward("tanh", XP, a).reason for a in given]
    assert reasons == ["float64 arrays", "arrays of shape (0, 8, 2)", "arrays of shape (2,)"]
    assert activations.gelu_forward(XP, x[:0], "none").reason == reasons[1]
    assert activations.forward("celu", XP, x, 1e-50).reason == "settings beyond float32"


def test_a_gradient_of_another_dtype_keeps_it():
    x, dy = draw((3, 9), 4), draw((3, 9), 5).astype("float64")
    _, saved = activations.forward("tanh", XP, x)
    dx = activations.backward("tanh", XP, dy, saved)
    assert dx.dtype == np.float64
    np.testing.assert_allclose(dx, exact("tanh", x, dy, ())[1], rtol=1e-5, atol=1e-6)


def test_same_bits_for_any_number_of_threads():
    x = draw((40, 30, 40, 41), 6)
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            y, dx = run(cpu.PAIRS["silu"], x, x, ())
            seen.add(y.tobytes() + dx.tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@each_case
@pytest.mark.parametrize("shape", [(2, 4), (3, 1, 7), (1, 9001)])
def test_nothing_is_written_outside(case, shape, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    name, *options = case
    x, dy = draw(shape, 7), draw(shape, 8)
    found = run(cpu.PAIRS[name], x, dy, options)
    for a, b in zip(found, exact(name, x, dy, options), strict=True):
        assert_close(a, b)
    guards.assert_whole(2)
