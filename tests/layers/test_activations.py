"""Activation layers: cases by hand, PyTorch at random and at the kinks, and very large inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import xpcnn as xc
from tests.pytorch import Pair, compare_draws, draw, drawn, nn, torch
from xpcnn import _xp
from xpcnn.layers.activation import Activation

# Name, arguments, and inputs at which the derivative jumps.
PLAIN = [
    ("ReLU6", {}, [0.0, 6.0]),
    ("SELU", {}, [0.0]),
    ("CELU", {"alpha": 2.0}, [0.0]),
    ("CELU", {"alpha": -2.0}, [0.0]),
    ("Mish", {}, []),
    ("Hardswish", {}, [-3.0, 3.0]),
    ("Hardsigmoid", {}, [-3.0, 3.0]),
    ("Hardtanh", {}, [-1.0, 1.0]),
    ("Hardtanh", {"min_val": -0.25, "max_val": 2.5}, [-0.25, 2.5]),
    ("LogSigmoid", {}, []),
    ("Softsign", {}, [0.0]),
    ("Softshrink", {}, [-0.5, 0.5]),
    ("Softshrink", {"lambd": 0.0}, [0.0]),
    ("Hardshrink", {}, [-0.5, 0.5]),
    ("Hardshrink", {"lambd": 0.0}, [0.0]),
    ("Hardshrink", {"lambd": -1.0}, [0.0, 1.0]),
    ("Tanhshrink", {}, []),
    ("Threshold", {"threshold": 0.5, "value": -2.0}, [0.5]),
    ("PReLU", {}, [0.0]),
]
IDS = [f"{name}-{i}" for i, (name, _, _) in enumerate(PLAIN)]


def twice(name, options, dtype="float64"):
    """Make the same layer twice."""
    return getattr(xc, name)(**options), getattr(nn, name)(**options).to(getattr(torch, dtype))


def gradients(ours, theirs, x):
    """Run one training step of each with gradients of one; returns outputs and gradients."""
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    expected = theirs(tensor)
    expected.sum().backward()
    y = ours.forward(x, training=True)
    dx = ours.backward(np.ones_like(y))
    return (y, dx), (expected.detach().numpy(), tensor.grad.numpy())


# -- By hand, on every library ---------------------------------------------------------------------

THIRD = 1.0 / 3.0
BY_HAND = [
    (xc.PReLU(init=0.5), [-2.0, 3.0], [-1.0, 3.0], [0.5, 1.0]),
    (xc.ReLU6(), [-2.0, 3.0, 7.0], [0.0, 3.0, 6.0], [0.0, 1.0, 0.0]),
    (xc.Hardtanh(-1.0, 2.0), [-2.0, 1.5, 7.0], [-1.0, 1.5, 2.0], [0.0, 1.0, 0.0]),
    (xc.Hardswish(), [-4.0, -1.5, 1.5, 4.0], [0.0, -0.375, 1.125, 4.0], [0.0, 0.0, 1.0, 1.0]),
    (xc.Hardsigmoid(), [-4.0, 1.5, 4.0], [0.0, 0.75, 1.0], [0.0, np.float32(1 / 6), 0.0]),
    (xc.Softsign(), [-3.0, 1.0], [-0.75, 0.5], [0.0625, 0.25]),
    (xc.Softshrink(1.0), [-3.0, 0.5, 2.0], [-2.0, 0.0, 1.0], [1.0, 0.0, 1.0]),
    (xc.Hardshrink(1.0), [-3.0, 0.5, 2.0], [-3.0, 0.0, 2.0], [1.0, 0.0, 1.0]),
    (xc.Threshold(1.0, 9.0), [-3.0, 1.0, 2.0], [9.0, 9.0, 2.0], [0.0, 0.0, 1.0]),
    (xc.LogSigmoid(), [0.0, math.log(3.0)], [-math.log(2), math.log(0.75)], [0.5, 0.25]),
    # exp(x) = 1: tanh(log(2)) = (4 - 1) / (4 + 1)
    (xc.Mish(), [0.0], [0.0], [0.6]),
    (xc.CELU(2.0), [-2.0 * math.log(2.0), 3.0], [-1.0, 3.0], [0.5, 1.0]),
    (xc.Tanhshrink(), [math.log(3.0)], [math.log(3.0) - 0.8], [0.64]),
    (xc.Softmin(0), [0.0, math.log(3.0)], [0.75, 0.25], [0.0, 0.0]),
    (xc.GLU(0), [3.0, 0.0], [1.5], [0.5, 0.75]),
]


@pytest.mark.parametrize(("layer", "x", "y", "dx"), BY_HAND, ids=[str(c[0]) for c in BY_HAND])
def test_by_hand(device, layer, x, y, dx):
    layer = type(layer)(**layer.arguments())
    out = layer.forward(device.asarray(np.array(x)), training=True)
    np.testing.assert_allclose(_xp.to_numpy(out), y, rtol=1e-14, atol=1e-15)
    got = layer.backward(device.asarray(np.ones(len(y))))
    np.testing.assert_allclose(_xp.to_numpy(got), dx, rtol=1e-14, atol=1e-15)


def test_prelu_gradient_of_the_weight_by_hand(device):
    layer = xc.PReLU(2)
    x = device.asarray(np.array([[[-1.0, 2.0], [-3.0, -4.0]], [[5.0, -6.0], [7.0, 8.0]]]))
    layer.forward(x, training=True)
    layer.backward(device.asarray(np.array([[[1.0, 1.0], [2.0, 1.0]], [[1.0, 3.0], [1.0, 1.0]]])))
    np.testing.assert_array_equal(_xp.to_numpy(layer.weight.grad), [-1 - 18, -6 - 4])


def test_softmax2d_by_hand(device):
    x = np.zeros((1, 2, 1, 2))
    x[0, 1, 0, 1] = math.log(3.0)
    y = _xp.to_numpy(xc.Softmax2d()(device.asarray(x)))
    np.testing.assert_allclose(y, [[[[0.5, 0.25]], [[0.5, 0.75]]]], rtol=1e-14)


# -- PyTorch, at random ----------------------------------------------------------------------------


def plain(rng):
    shape = draw(rng, int(rng.integers(1, 6)), 1, 4)
    a, b = float(rng.uniform(0.1, 2.0)), float(rng.normal())
    table = [
        *((name, {}) for name in ("ReLU6", "SELU", "Mish", "Hardswish", "Hardsigmoid")),
        *((name, {}) for name in ("LogSigmoid", "Softsign", "Tanhshrink")),
        ("CELU", {"alpha": a * float(rng.choice([-1.0, 1.0, 1.0]))}),
        ("Hardtanh", {"min_val": b, "max_val": b + a}),
        ("Softshrink", {"lambd": a}),
        ("Hardshrink", {"lambd": a}),
        ("Threshold", {"threshold": b, "value": a}),
    ]
    name, options = table[rng.integers(len(table))]
    return Pair(*twice(name, options), shape)


def prelu(rng):
    shape = draw(rng, int(rng.integers(1, 6)), 1, 4)
    count = shape[1] if len(shape) > 1 and rng.random() < 0.6 else 1
    options = {"num_parameters": count, "init": float(rng.normal())}
    return Pair(*twice("PReLU", options), shape)


def along_axis(rng):
    ndim = int(rng.integers(1, 6))
    shape, dim = list(draw(rng, ndim, 1, 4)), int(rng.integers(-ndim, ndim))
    name = str(rng.choice(["GLU", "Softmin", "Softmax2d"]))
    if name == "Softmax2d":
        return Pair(*twice(name, {}), draw(rng, 4, 1, 4))
    if name == "GLU":
        shape[dim] *= 2
    return Pair(*twice(name, {"dim": dim}), tuple(shape))


def activation(rng):
    ndim = int(rng.integers(2, 6))
    shape = draw(rng, ndim, 1, 4)
    a, dim = float(rng.uniform(0.1, 2.0)), int(rng.integers(-ndim, ndim))
    table: list[tuple[str, dict[str, Any]]] = [
        ("ReLU", {}),
        ("LeakyReLU", {"negative_slope": a}),
        ("LeakyReLU", {}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("Softmax", {"dim": dim}),
        ("LogSoftmax", {"dim": dim}),
        ("ELU", {"alpha": a}),
        ("GELU", {}),
        ("GELU", {"approximate": "tanh"}),
        ("SiLU", {}),
        ("Softplus", {"beta": a, "threshold": float(rng.uniform(0.5, 20))}),
        ("Flatten", {"start_dim": int(rng.integers(0, ndim)), "end_dim": -1}),
    ]
    name, options = table[rng.integers(len(table))]
    return Pair(getattr(xc, name)(**options), getattr(nn, name)(**options), shape)


FAMILIES = {activation: 2, plain: 5, prelu: 2, along_axis: 3}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)


# -- PyTorch, at the kinks, far out, and at infinity -----------------------------------------------


@pytest.mark.parametrize(("name", "options", "kinks"), PLAIN, ids=IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kinks(name, options, kinks, dtype):
    """At a kink, and one number to either side of it."""
    points = np.array([*kinks, 0.0, -0.0], dtype)
    beside = [np.nextafter(points, np.array(side, dtype)) for side in (-np.inf, np.inf)]
    x = np.concatenate([points, *beside])
    ours, theirs = twice(name, options, dtype)
    got, expected = gradients(ours, theirs, x)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=4 * np.finfo(dtype).eps, atol=1e-38)


@pytest.mark.parametrize(("name", "options", "kinks"), PLAIN, ids=IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_out(name, options, kinks, dtype):
    """Numbers of every size that a dtype has, without a warning, against float64."""
    if options.get("alpha", 1.0) < 0.0:
        pytest.skip("the exponential grows without bound")
    info = np.finfo(dtype)
    sizes = np.geomspace(float(info.smallest_normal), float(info.max) / 8, 300)
    x = np.concatenate([-sizes[::-1], sizes, np.linspace(-120.0, 120.0, 961)]).astype(dtype)
    _, (y, dx) = gradients(*twice(name, options), x.astype("float64"))
    if name == "Softsign":
        # PyTorch's is a difference of nearly equal numbers
        dx = 1.0 / (1.0 + np.abs(x.astype("float64"))) / (1.0 + np.abs(x.astype("float64")))
    layer, _ = twice(name, options)
    got = layer.forward(x, training=True)
    # x - tanh(x) of small x is all rounding, and so is PyTorch's 1 - (1 - tanh(x)^2)
    tiny = info.eps if name == "Tanhshrink" else 100 * float(info.smallest_normal)
    for one, other in ((got, y), (layer.backward(np.ones_like(x)), dx)):
        assert one.dtype == dtype
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=100 * info.eps, atol=tiny)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "options", "kinks"), PLAIN, ids=IDS)
def test_infinity(name, options, kinks):
    """Outputs and gradients; one exception is said below."""
    ours, theirs = twice(name, options)
    got, expected = gradients(ours, theirs, np.array([np.inf, -np.inf]))
    np.testing.assert_array_equal(got[0], expected[0])
    if name == "Softsign":
        np.testing.assert_array_equal(got[1], [0.0, 0.0])  # the limit, where PyTorch has NaN
    else:
        np.testing.assert_array_equal(got[1], expected[1])


@pytest.mark.parametrize("name", ["Softmin", "Softmax2d"])
def test_softmax_family_far_out(name):
    x = np.array([1e38, -1e38, 0.0, 80.0], "float32").reshape(1, 4, 1, 1)
    ours, theirs = twice(name, {"dim": 1} if name == "Softmin" else {}, "float32")
    np.testing.assert_array_equal(ours(x), theirs(torch.from_numpy(x)).numpy())


def test_glu_far_out():
    x = np.array([[1e30, 1e30, 1e30, -1e4, 0.0, 1e4]], "float32")
    got, expected = gradients(*twice("GLU", {}, "float32"), x)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


# -- Arguments and state ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: xc.Hardtanh(1.0, 1.0), "Hardtanh: min_val must be below max_val, got 1.0 and 1.0"),
        (lambda: xc.Hardtanh(max_val=float("nan")), "Hardtanh: min_val must be below"),
        (lambda: xc.Softshrink(-1.0), "Softshrink: lambd must be at least 0, got -1.0"),
        (lambda: xc.CELU(0.0), "CELU: alpha must not be zero"),
        (lambda: xc.PReLU(0), "PReLU: num_parameters"),
        (lambda: xc.PReLU(3)(np.zeros((2, 4))), "PReLU: expected 3 channels.*got 4 in an input"),
        (lambda: xc.PReLU(3)(np.zeros(3)), "PReLU: expected 3 channels.*got 1 in an input"),
        (lambda: xc.GLU()(np.zeros((2, 3))), "GLU: expected an even length along dim=-1.*got 3"),
        (lambda: xc.GLU(2)(np.zeros((2, 4))), "GLU: dim=2 is out of range"),
        (lambda: xc.Softmin(3)(np.zeros((2, 4))), "Softmin: dim=3 is out of range"),
        (lambda: xc.Softmax2d()(np.zeros((2, 3))), "Softmax2d: expected 4 dimensions"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_num_parameters_must_be_whole():
    with pytest.raises(TypeError, match="PReLU: num_parameters"):
        xc.PReLU(1.5)


def test_prelu_takes_the_state_of_torch():
    ours, theirs = twice("PReLU", {"num_parameters": 3, "init": 0.1})
    theirs.weight.data = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    x = -np.ones((1, 3))
    np.testing.assert_array_equal(ours(x), theirs(torch.from_numpy(x)).detach().numpy())


def test_every_plain_layer_is_compared():
    """The lists above name every activation, but for those of the older tests."""
    older = {"ReLU", "LeakyReLU", "Sigmoid", "Tanh", "Softmax", "LogSoftmax"}
    older |= {"ELU", "GELU", "SiLU", "Softplus"}
    known = {name for name, _, _ in PLAIN} | older | {"GLU", "Softmin", "Softmax2d"}
    found = {
        name
        for name in xc.layers.__all__
        if isinstance(getattr(xc, name), type) and issubclass(getattr(xc, name), Activation)
    }
    assert found | {"PReLU"} == known
