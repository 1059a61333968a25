"""The generic kernels against cases worked by hand and naive loops, on every array library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import reference
from xpcnn import _xp, kernels
from xpcnn.kernels.dispatch import OPS, OpPair
from xpcnn.window import Window


def run(device, op, x, *arguments, **options):
    """Run one generic forward on float64 numbers; arrays among the arguments are moved too."""
    moved = [device.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    x = device.asarray(x)
    y, state = OPS[op].forward(device.xp, x, *moved, **options)

    def backward(dy, *more):
        return OPS[op].backward(device.xp, device.asarray(dy), state, *more)

    return y, backward


def equal(actual, expected, **tolerance):
    np.testing.assert_allclose(
        _xp.to_numpy(actual), np.asarray(expected), **{"rtol": 1e-12, "atol": 1e-12} | tolerance
    )


def line(*values):
    """One sample with one channel."""
    return np.array([[values]], dtype=np.float64)


PLAIN = Window((3,), (1,), ((0, 0),), (1,))


def test_convolution_by_hand(device):
    x, w, b = line(1, 2, 3, 4), line(3, 5, 7), np.array([1.0])
    y, backward = run(device, "conv", x, w, b, PLAIN, 1)
    equal(y, line(35, 50))
    dx, dw, db = backward(line(10, 20), PLAIN, 1, True)
    equal(db, [30])
    equal(dw, line(50, 80, 110))
    equal(dx, line(30, 110, 170, 140))


def test_convolution_without_what_is_not_asked_for():
    xp = _xp.numpy_namespace()
    pair = OPS["conv"]
    x, w = line(1, 2, 3, 4), line(3, 5, 7)
    y, state = pair.forward(xp, x, w, None, PLAIN, 1)
    equal(y, line(34, 49))
    dx, dw, db = pair.backward(xp, line(10, 20), state, PLAIN, 1, False)
    assert dx is None
    assert db is None
    equal(dw, line(50, 80, 110))


CONVOLUTIONS = {
    "1d, everything": ((2, 4, 7), (6, 2, 3), (2,), ((1, 2),), (2,), 2),
    "2d, everything": ((2, 4, 6, 5), (6, 2, 3, 2), (2, 1), ((1, 0), (2, 1)), (1, 2), 2),
    "2d, depthwise": ((1, 3, 4, 4), (3, 1, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 3),
    "2d, gaps between windows": ((1, 1, 7, 7), (2, 1, 1, 2), (3, 3), ((0, 0), (1, 1)), (1, 1), 1),
    "3d, everything": ((1, 2, 4, 3, 3), (2, 2, 2, 1, 2), (2, 1, 1), ((1, 1),) * 3, (1, 1, 2), 1),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_against_loops(device, rng, name):
    shape, kernel, stride, padding, dilation, groups = CONVOLUTIONS[name]
    x, w, b = rng.normal(size=shape), rng.normal(size=kernel), rng.normal(size=kernel[0])
    window = Window(kernel[2:], stride, padding, dilation)
    dy = rng.normal(size=(shape[0], kernel[0], *window.output_shape(shape[2:])))
    y, dx, dw, db = reference.conv(
        x, w, b, dy, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    got, backward = run(device, "conv", x, w, b, window, groups)
    equal(got, y)
    for actual, expected in zip(backward(dy, window, groups, True), (dx, dw, db), strict=True):
        equal(actual, expected)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_against_loops(device, rng, mode):
    x = rng.normal(size=(2, 3, 4, 3))
    padding = ((2, 1), (0, 2))
    dy = rng.normal(size=(2, 3, 7, 5))
    y, dx = reference.pad(x, padding, mode, dy)
    got, backward = run(device, "pad", x, padding, mode)
    equal(got, y)
    equal(backward(dy, padding, mode), dx)


def test_padding_by_hand(device):
    for mode, expected, gradient in (
        ("reflect", line(3, 2, 1, 2, 3, 2), line(3, 2 + 4 + 6, 1 + 5)),
        ("replicate", line(1, 1, 1, 2, 3, 3), line(1 + 2 + 3, 4, 5 + 6)),
        ("circular", line(2, 3, 1, 2, 3, 1), line(3 + 6, 1 + 4, 2 + 5)),
    ):
        y, backward = run(device, "pad", line(1, 2, 3), ((2, 1),), mode)
        equal(y, expected)
        equal(backward(line(1, 2, 3, 4, 5, 6), ((2, 1),), mode), gradient)


MAX_POOLS = {
    "1d, overlapping": ((2, 3, 8), (3,), (2,), ((1, 1),), (1,)),
    "2d, everything": ((2, 2, 7, 6), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2)),
    "3d": ((1, 2, 4, 4, 3), (2, 2, 2), (2, 2, 1), ((0, 0),) * 3, (1, 1, 1)),
}


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("name", MAX_POOLS)
def test_max_pool_against_loops(device, rng, name, ties):
    shape, kernel, stride, padding, dilation = MAX_POOLS[name]
    x = rng.integers(-1, 2, size=shape).astype(float) if ties else rng.normal(size=shape)
    window = Window(kernel, stride, padding, dilation)
    dy = rng.normal(size=(*shape[:2], *window.output_shape(shape[2:])))
    y, dx = reference.max_pool(
        x, dy, kernel=kernel, stride=stride, padding=padding, dilation=dilation
    )
    got, backward = run(device, "max_pool", x, window)
    equal(got, y)
    equal(backward(dy, window), dx)


def test_max_pool_of_minus_infinity_and_nan(device):
    window = Window((2,), (2,), ((1, 1),), (1,))
    inf, nan = math.inf, math.nan
    x = line(-inf, -inf, -inf, nan, 5, 7)
    y, backward = run(device, "max_pool", x, window)
    equal(y, line(-inf, -inf, nan, 7))
    # where nothing beats minus infinity the first element that is not padding gets the gradient
    dx = _xp.to_numpy(backward(line(1, 2, 4, 8), window))
    equal(dx[..., [0, 1, 2, 5]], line(1, 2, 0, 8))


def test_max_pool_with_many_taps(rng):
    # the number of the winning tap needs more than eight bits
    x = rng.permutation(800).astype(float).reshape(1, 2, 400)
    window = Window((300,), (50,), ((0, 0),), (1,))
    dy = rng.normal(size=(1, 2, 3))
    y, dx = reference.max_pool(x, dy, kernel=(300,), stride=(50,), padding=((0, 0),), dilation=(1,))
    got, state = OPS["max_pool"].forward(_xp.numpy_namespace(), x, window)
    equal(got, y)
    equal(OPS["max_pool"].backward(_xp.numpy_namespace(), dy, state, window), dx)


def test_a_window_of_one_element_gives_a_copy(device):
    window = Window((1,), (1,), ((0, 0),), (1,))
    x = device.asarray(line(1, 2, 3))
    y, _ = OPS["max_pool"].forward(device.xp, x, window)
    y = _xp.set_at(y, (0, 0, 0), 9.0)
    equal(x, line(1, 2, 3))


def test_average_pool_against_loops(device, rng):
    shape, kernel, stride, padding = (2, 2, 7, 6), (3, 2), (2, 3), ((1, 1), (0, 1))
    x = rng.normal(size=shape)
    window = Window(kernel, stride, padding, (1, 1))
    dy = rng.normal(size=(*shape[:2], *window.output_shape(shape[2:])))
    for divisor in (6.0, 5.0):
        y, dx = reference.avg_pool(
            x, dy, kernel=kernel, stride=stride, padding=padding, divisor=divisor
        )
        got, backward = run(device, "avg_pool", x, window, divisor)
        equal(got, y)
        equal(backward(dy, window), dx)


def test_average_pool_with_a_divisor_per_position(device):
    window = Window((2,), (1,), ((1, 1),), (1,))
    divisor = np.array([1.0, 2.0, 1.0])
    xp = device.xp
    y, state = OPS["avg_pool"].forward(xp, device.asarray(line(3, 5)), window, divisor)
    equal(y, line(3, 4, 5))
    dx = OPS["avg_pool"].backward(xp, device.asarray(line(1, 4, 16)), state, window)
    equal(dx, line(1 + 2, 2 + 16))


def test_global_pools(device):
    x = np.array([[[[1.0, 5.0], [5.0, -3.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])
    y, backward = run(device, "global_avg_pool", x)
    equal(y, [[2, -1]])
    equal(backward(np.array([[4.0, 8.0]])), [[[[1, 1], [1, 1]], [[2, 2], [2, 2]]]])
    y, backward = run(device, "global_max_pool", x)
    equal(y, [[5, -1]])
    # the first of equal elements wins
    equal(backward(np.array([[4.0, 8.0]])), [[[[0, 4], [0, 0]], [[8, 0], [0, 0]]]])


def test_linear_by_hand(device):
    x, w, b = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0], [7.0, 9.0]]), np.array([10.0, 20.0])
    y, backward = run(device, "linear", x, w, b)
    equal(y, [[1 * 3 + 2 * 5 + 10, 1 * 7 + 2 * 9 + 20]])
    dx, dw, db = backward(np.array([[1.0, 10.0]]), True)
    equal(dx, [[3 + 70, 5 + 90]])
    equal(dw, [[1, 2], [10, 20]])
    equal(db, [1, 10])


def test_linear_takes_leading_axes(device, rng):
    x, w = rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 4))
    dy = rng.normal(size=(2, 3, 5))
    y, backward = run(device, "linear", x, w, None)
    equal(y, np.einsum("abi,oi->abo", x, w))
    dx, dw, db = backward(dy, True)
    equal(dx, np.einsum("abo,oi->abi", dy, w))
    equal(dw, np.einsum("abo,abi->oi", dy, x))
    assert db is None
    assert backward(dy, False)[0] is None


@pytest.mark.parametrize("shape", [(6, 2), (3, 2, 2, 2)], ids=["rows", "images"])
def test_batch_norm_against_its_jacobian(device, rng, shape):
    x, dy = rng.normal(3.0, 2.0, size=shape), rng.normal(size=shape)
    gamma, beta = rng.normal(size=2), rng.normal(size=2)
    y, mean, variance, dx, dgamma, dbeta = reference.batch_norm(x, gamma, beta, 1e-3, dy)
    (got, got_mean, got_variance), backward = run(device, "batch_norm", x, gamma, beta, 1e-3, None)
    equal(got, y)
    equal(got_mean, mean)
    equal(got_variance, variance)
    for actual, expected in zip(backward(dy, True), (dx, dgamma, dbeta), strict=True):
        equal(actual, expected)


def test_batch_norm_with_given_statistics(device):
    x = np.array([[1.0, 10.0], [3.0, 30.0]])
    gamma, beta = np.array([2.0, 1.0]), np.array([0.0, 5.0])
    mean, variance = device.asarray(np.array([1.0, 10.0])), device.asarray(np.array([3.0, 99.0]))
    (y, *_), backward = run(device, "batch_norm", x, gamma, beta, 1.0, (mean, variance))
    equal(y, [[0, 5], [2, 7]])  # the standard deviations are 2 and 10
    dx, dgamma, dbeta = backward(np.array([[1.0, 1.0], [1.0, 2.0]]), True)
    equal(dx, [[1, 0.1], [1, 0.2]])
    equal(dgamma, [1, 4])
    equal(dbeta, [2, 3])


# name, options, function of one number, derivative of one number
SCALAR = [
    ("relu", (), lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("leaky_relu", (0.2,), lambda x: x if x > 0 else 0.2 * x, lambda x: 1.0 if x > 0 else 0.2),
    (
        "sigmoid",
        (),
        lambda x: 1 / (1 + math.exp(-x)),
        lambda x: math.exp(-x) / (1 + math.exp(-x)) ** 2,
    ),
    ("tanh", (), math.tanh, lambda x: 1 / math.cosh(x) ** 2),
    (
        "elu",
        (1.5,),
        lambda x: x if x > 0 else 1.5 * math.expm1(x),
        lambda x: 1.0 if x > 0 else 1.5 * math.exp(x),
    ),
    (
        "silu",
        (),
        lambda x: x / (1 + math.exp(-x)),
        lambda x: (1 + math.exp(-x) + x * math.exp(-x)) / (1 + math.exp(-x)) ** 2,
    ),
    (
        "softplus",
        (2.0, 5.0),
        lambda x: x if 2 * x > 5 else math.log1p(math.exp(2 * x)) / 2,
        lambda x: 1.0 if 2 * x > 5 else 1 / (1 + math.exp(-2 * x)),
    ),
    (
        "gelu",
        ("none",),
        lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
        lambda x: (
            0.5 * (1 + math.erf(x / math.sqrt(2)))
            + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        ),
    ),
]
POINTS = np.array([[-30.0, -6.0, -2.5, -1.0, -0.3, 0.0, 1e-9, 0.4, 1.0, 2.4, 2.6, 7.0, 30.0]])


@pytest.mark.parametrize(("op", "options", "f", "slope"), SCALAR, ids=[s[0] for s in SCALAR])
def test_activations_against_their_formulas(device, op, options, f, slope):
    y, backward = run(device, op, POINTS, *options)
    equal(y, [[f(x) for x in POINTS[0]]])
    dy = np.arange(1.0, POINTS.size + 1)[None]
    expected = [[g * slope(x) for x, g in zip(POINTS[0], dy[0], strict=True)]]
    equal(backward(dy), expected)


def test_tails_keep_their_relative_accuracy(device):
    # far to the left these are tiny, and 1 - (1 - tiny) would be nothing
    x = np.array([[-30.0, -20.0, -8.0]])
    y, _ = run(device, "sigmoid", x)
    equal(y, [[math.exp(v) / (1 + math.exp(v)) for v in x[0]]], rtol=1e-13, atol=0)
    y, _ = run(device, "softplus", x, 1.0, 20.0)
    equal(y, [[math.log1p(math.exp(v)) for v in x[0]]], rtol=1e-13, atol=0)


def test_erfc_is_accurate_relative_to_itself(device):
    from xpcnn.ops.special import erf, erfc_of_abs

    x = np.array([0.0, 1e-12, 1e-3, 0.4, 1.0, 2.0, 3.5, 5.0, 8.0, 20.0])
    expected = np.array([math.erfc(v) for v in x])
    equal(erfc_of_abs(device.xp, device.asarray(x)), expected, rtol=1e-13, atol=0)
    signed = np.concat([x, -x])
    equal(erf(device.xp, device.asarray(signed)), [math.erf(v) for v in signed], atol=1e-15)


def test_no_activation_overflows(device):
    # finite numbers give finite numbers, without a warning
    x = np.array([[-1e4, -750.0, 0.0, 750.0, 1e4]])
    for op, options in [(name, options) for name, options, *_ in SCALAR] + [
        ("gelu", ("tanh",)),
        ("softmax", (1,)),
        ("log_softmax", (1,)),
    ]:
        y, backward = run(device, op, x, *options)
        assert np.isfinite(_xp.to_numpy(y)).all(), op
        assert np.isfinite(_xp.to_numpy(backward(np.ones_like(x)))).all(), op


def test_tanh_gelu_against_its_formula(device):
    def f(x):
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    y, backward = run(device, "gelu", POINTS, "tanh")
    equal(y, [[f(x) for x in POINTS[0]]])
    h = 1e-5
    slopes = [[(f(x + h) - f(x - h)) / (2 * h) for x in POINTS[0]]]
    equal(backward(np.ones_like(POINTS)), slopes, atol=1e-9)


def test_softmax_by_hand(device):
    x = np.log(np.array([[1.0, 3.0], [2.0, 2.0]]))
    dy = np.array([[1.0, 2.0], [4.0, 0.0]])
    y, backward = run(device, "softmax", x, 1)
    equal(y, [[0.25, 0.75], [0.5, 0.5]])
    # y * (dy - sum(dy * y)), with sums 1.75 and 2
    equal(backward(dy), [[-0.1875, 0.1875], [1.0, -1.0]])
    y, backward = run(device, "log_softmax", x, 1)
    equal(y, np.log([[0.25, 0.75], [0.5, 0.5]]))
    # dy - y * sum(dy), with sums 3 and 4
    equal(backward(dy), [[0.25, -0.25], [2.0, -2.0]])
    y, backward = run(device, "softmax", x, 0)
    equal(y, [[1 / 3, 0.6], [2 / 3, 0.4]])


def test_select_and_force():
    xp = _xp.numpy_namespace()
    assert [name for name, _ in kernels.select(xp, "conv")][-1] == "generic"
    assert not kernels.select(xp, "no such operation")
    assert kernels.run(xp, "no such operation") is None
    with kernels.force("generic"):
        assert [name for name, _ in kernels.select(xp, "conv")] == ["generic"]
        _, saved = kernels.run(xp, "relu", np.ones(3))
        assert saved.kernel_set == "generic"
        with kernels.force("nothing"):
            assert not kernels.select(xp, "conv")
        assert kernels.select(xp, "conv")
    assert kernels.select(xp, "conv")


def test_what_declines_is_passed_over(monkeypatch):
    def declines(xp, x):
        return NotImplemented

    def answers(xp, x):
        return x + 1, "state"

    pairs = [
        ("first", OpPair(declines, declines)),
        ("second", OpPair(answers, declines)),
    ]
    monkeypatch.setattr(kernels.dispatch, "_candidates", lambda *_: pairs)
    y, saved = kernels.run(np, "op", 1)
    assert (y, saved.state, saved.kernel_set) == (2, "state", "second")
    monkeypatch.setattr(kernels.dispatch, "_candidates", lambda *_: pairs[:1])
    assert kernels.run(np, "op", 1) is None


def test_force_is_undone_by_an_exception():
    with pytest.raises(KeyError), kernels.force("nothing"):
        raise KeyError
    assert kernels.select(_xp.numpy_namespace(), "conv")
