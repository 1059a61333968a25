"""NaN and infinity in inputs and gradients, as PyTorch treats them, and kinks."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn import kernels
from xpcnn._xp import to_numpy

INPUTS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, -0.5, 0.7, -0.2, 1, -1, 3, -3, -2.9, 6, 6.5]
INPUTS += [20, -20, 20.1, 1e30, -1e30, 1e-30, -1e-30]
GRADIENTS = [1.0, -2.0, 0.0, np.inf, -np.inf, np.nan]
ACTIVATIONS = [
    ("ReLU", {}), ("LeakyReLU", {"negative_slope": 0.1}), ("LeakyReLU", {"negative_slope": 0.0}),
    ("LeakyReLU", {"negative_slope": -0.5}), ("PReLU", {}), ("Sigmoid", {}), ("LogSigmoid", {}),
    ("Tanh", {}), ("Tanhshrink", {}), ("Softsign", {}), ("ELU", {"alpha": 1.3}), ("SELU", {}),
    ("CELU", {"alpha": 1.3}), ("GELU", {}), ("GELU", {"approximate": "tanh"}), ("SiLU", {}),
    ("Mish", {}), ("Softplus", {"beta": 1.5}), ("Hardtanh", {}), ("ReLU6", {}),
    ("Hardsigmoid", {}), ("Hardswish", {}), ("Softshrink", {}), ("Hardshrink", {}),
    ("Threshold", {"threshold": 0.5, "value": 7.0}),
    ("Threshold", {"threshold": -1.0, "value": 2.0}),
]  # fmt: skip
# PyTorch makes these of others and meets inf - inf on the way; ours know the derivative.
COMPOSED = {"Tanhshrink", "Softsign"}


def identified(entry):
    name, options = entry
    return "-".join([name, *map(str, options.values())])


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=identified)
def test_activations_at_special_values(device, activation):
    """Each input with each gradient: 138 numbers, enough for PyTorch's vectors."""
    name, options = activation
    if device.xp.__name__.endswith("numpy") and kernels.select(device.xp, "relu")[0][0] == "cpu":
        dtypes = ["float64"]  # compiled kernels take float32, and are tested beside them
    else:
        dtypes = ["float64", "float32"]
    for dtype in dtypes:
        x = np.repeat(np.array(INPUTS), len(GRADIENTS)).astype(dtype).reshape(1, 1, -1)
        dy = np.tile(np.array(GRADIENTS), len(INPUTS)).astype(dtype).reshape(1, 1, -1)
        tensor = torch.tensor(x, requires_grad=True)
        theirs = getattr(nn, name)(**options).to(tensor.dtype)
        expected = theirs(tensor)
        expected.backward(torch.tensor(dy))
        ours = getattr(xpcnn, name)(**options)
        with np.errstate(all="ignore"):
            y = to_numpy(ours.forward(device.asarray(x), training=True))
            dx = to_numpy(ours.backward(device.asarray(dy)))
        used = np.ones(x.shape, dtype=bool)
        if name == "GELU" and dtype == "float32":
            used &= x != np.inf  # where PyTorch's vectors give NaN
        tolerance = {"float64": 1e-10, "float32": 2e-5}[dtype]
        np.testing.assert_allclose(
            y[used], expected.detach().numpy()[used], rtol=tolerance, atol=tolerance / 10
        )
        if name in COMPOSED:
            used &= ~np.isinf(dy) & ~np.isinf(x)
        right = tensor.grad.numpy()
        np.testing.assert_allclose(dx[used], right[used], rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("value", [1.0, -1.0, np.nan])
@pytest.mark.parametrize("gradient", [np.inf, np.nan, 2.0])
def test_gradient_of_prelu_weight(device, value, gradient):
    """What is positive does not count, whatever its gradient."""
    x = np.array([[value, -3.0]])
    dy = np.array([[gradient, 1.0]])
    layer = xpcnn.PReLU()
    layer.forward(device.asarray(x), training=True)
    layer.backward(device.asarray(dy))
    expected = -3.0 + (0.0 if value > 0 else value * gradient)
    np.testing.assert_equal(to_numpy(layer.weight.grad), [expected])


@pytest.mark.parametrize("gradient", [np.inf, -np.inf, np.nan])
def test_max_pooling_sends_what_it_gets_to_one_element(device, gradient):
    layer = xpcnn.MaxPool1d(4)
    x = np.array([[[1.0, 2.0, 4.0, 3.0, 9.0, 1.0, 1.0, 1.0]]])
    layer.forward(device.asarray(x), training=True)
    dx = layer.backward(device.asarray(np.array([[[gradient, 5.0]]])))
    np.testing.assert_equal(to_numpy(dx), [[[0.0, 0.0, gradient, 0.0, 5.0, 0.0, 0.0, 0.0]]])


POOLS = [
    ("MaxPool1d", 1), ("MaxPool2d", 2), ("MaxPool3d", 3), ("AdaptiveMaxPool1d", 1),
    ("AdaptiveMaxPool2d", 2), ("AdaptiveMaxPool3d", 3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rank"), POOLS)
def test_max_pooling_with_nan(device, name, rank):
    """The last NaN of a window wins, as in PyTorch; of equal elements the first."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 3, size=(2, 2, *(6,) * rank)).astype(float)
    x[rng.random(x.shape) < 0.2] = np.nan
    tensor = torch.tensor(x, requires_grad=True)
    expected = getattr(nn, name)(2)(tensor)
    dy = rng.normal(size=tuple(expected.shape))
    expected.backward(torch.tensor(dy))
    layer = getattr(xpcnn, name)(2)
    y = layer.forward(device.asarray(x), training=True)
    dx = layer.backward(device.asarray(dy))
    np.testing.assert_equal(to_numpy(y), expected.detach().numpy())
    np.testing.assert_equal(to_numpy(dx), tensor.grad.numpy())


@pytest.mark.parametrize(
    ("row", "winner"),
    [([1, 3, 3, 2], 1), ([1, np.nan, 9, 2], 1), ([np.nan, 1, np.nan, 2], 2), ([-np.inf] * 4, 0)],
)
def test_the_element_that_wins(device, row, winner):
    """By hand, for pooling windows and for pooling over everything."""
    x = np.array(row, dtype=float).reshape(1, 1, 4)
    for layer in (xpcnn.MaxPool1d(4), xpcnn.GlobalMaxPool1d(), xpcnn.AdaptiveMaxPool1d(1)):
        y = layer.forward(device.asarray(x), training=True)
        dx = layer.backward(device.asarray(np.ones(tuple(y.shape))))
        np.testing.assert_array_equal(to_numpy(dx).ravel(), np.eye(4)[winner])


def test_convolution_with_relu_and_pooling_by_generic_kernels(device):
    """One gradient is infinite and one unit NaN: all others are as without them."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1, 1, 8, 8))
    layers = [xpcnn.Conv2d(1, 2, 3), xpcnn.ReLU(), xpcnn.MaxPool2d(2), xpcnn.Flatten()]
    model = xpcnn.Model(layers, device=device, dtype="float64", seed=0)
    model.build((1, 1, 8, 8))
    dy = rng.normal(size=(1, 18))
    dy[0, 9:] = 0.0  # the second filter
    dy[0, 12] = np.inf
    with kernels.force("generic"):
        model.forward(device.asarray(x), training=True)
        model.backward(device.asarray(dy))
    gradient = to_numpy(model.parameters()["0.bias"].grad)
    assert np.isfinite(gradient[0])
    assert not np.isfinite(gradient[1])
