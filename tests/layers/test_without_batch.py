"""Samples without a batch axis, and batches of no samples, by hand."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import functional as F
from xpcnn._xp import to_numpy

SPATIAL = {
    "Conv": lambda n: getattr(xpcnn, f"Conv{n}d")(3, 4, 2, padding="same"),
    "ConvTranspose": lambda n: getattr(xpcnn, f"ConvTranspose{n}d")(3, 4, 2, 2),
    "MaxPool": lambda n: getattr(xpcnn, f"MaxPool{n}d")(2),
    "AvgPool": lambda n: getattr(xpcnn, f"AvgPool{n}d")(2),
    "LPPool": lambda n: getattr(xpcnn, f"LPPool{n}d")(2, 2),
    "AdaptiveAvgPool": lambda n: getattr(xpcnn, f"AdaptiveAvgPool{n}d")(2),
    "AdaptiveMaxPool": lambda n: getattr(xpcnn, f"AdaptiveMaxPool{n}d")(2),
    "GlobalAvgPool": lambda n: getattr(xpcnn, f"GlobalAvgPool{n}d")(),
    "GlobalMaxPool": lambda n: getattr(xpcnn, f"GlobalMaxPool{n}d")(),
    "ReflectionPad": lambda n: getattr(xpcnn, f"ReflectionPad{n}d")(1),
    "CircularPad": lambda n: getattr(xpcnn, f"CircularPad{n}d")(1),
    "ConstantPad": lambda n: getattr(xpcnn, f"ConstantPad{n}d")(1, 2.0),
    "InstanceNorm": lambda n: getattr(xpcnn, f"InstanceNorm{n}d")(3, affine=True),
    "Dropout": lambda n: getattr(xpcnn, f"Dropout{n}d")(0.0),
}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", SPATIAL)
def test_a_sample_by_itself_is_a_batch_of_one(kind, rank, device):
    if kind == "Dropout" and rank == 2:
        pytest.skip("three axes are (N, C, L) there, as in PyTorch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, *(6,) * rank)).astype(np.float32)
    layer = SPATIAL[kind](rank)
    batch = to_numpy(layer.forward(device.asarray(x[None]), training=True))
    dy = rng.normal(size=batch.shape).astype(np.float32)
    dx = to_numpy(layer.backward(device.asarray(dy)))
    expected = {name: np.array(to_numpy(p.grad)) for name, p in layer.parameters().items()}
    layer.zero_grad()
    y = layer.forward(device.asarray(x), training=True)
    assert tuple(y.shape) == batch.shape[1:] == tuple(layer.output_shape(x.shape))
    np.testing.assert_array_equal(to_numpy(y), batch[0])
    np.testing.assert_array_equal(to_numpy(layer.backward(device.asarray(dy[0]))), dx[0])
    for name, parameter in layer.parameters().items():
        np.testing.assert_array_equal(to_numpy(parameter.grad), expected[name])
    layer.forward(device.asarray(x), training=True)
    with pytest.raises(ValueError, match="of the output's shape"):
        layer.backward(device.asarray(dy))  # with a batch axis that the output has not


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", SPATIAL)
def test_a_batch_of_no_samples(kind, rank, device):
    x = device.zeros((0, 3, *(6,) * rank), "float32")
    layer = SPATIAL[kind](rank)
    y = layer.forward(x, training=True)
    assert tuple(y.shape) == layer.output_shape(x.shape)
    assert y.shape[0] == 0
    dx = layer.backward(y)
    assert tuple(dx.shape) == tuple(x.shape)
    for parameter in layer.parameters().values():
        np.testing.assert_array_equal(to_numpy(parameter.grad), 0.0)
    with pytest.raises(ValueError, match="got an empty array"):
        layer(device.zeros((1, 0, *(6,) * rank), "float32"))


def test_channels_become_positions_and_positions_channels(device):
    x = np.arange(8.0).reshape(4, 1, 2)
    for layer, sample, expected in (
        (xpcnn.PixelShuffle(2), x, [[[0, 2, 1, 3], [4, 6, 5, 7]]]),
        (xpcnn.PixelUnshuffle(2), np.array([[[0.0, 2, 1, 3], [4, 6, 5, 7]]]), x),
    ):
        y = layer.forward(device.asarray(sample), training=True)
        np.testing.assert_array_equal(to_numpy(y), expected)
        assert tuple(y.shape) == layer.output_shape(sample.shape)
        np.testing.assert_array_equal(to_numpy(layer.backward(y)), sample)


def test_vectors_and_numbers(device):
    linear = xpcnn.Linear(3, 2)
    x = device.asarray(np.array([1.0, 2.0, 3.0], np.float32))
    y = linear.forward(x, training=True)
    weight, bias = (to_numpy(t.data) for t in (linear.weight, linear.bias))
    np.testing.assert_allclose(to_numpy(y), weight @ [1, 2, 3] + bias, rtol=1e-5)
    dx = linear.backward(device.asarray(np.array([1.0, 0.0], np.float32)))
    np.testing.assert_allclose(to_numpy(dx), weight[0], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(linear.weight.grad), [[1, 2, 3], [0, 0, 0]])
    number = device.asarray(np.array(5.0))
    for layer, value in ((xpcnn.Softmax(0), 1.0), (xpcnn.LogSoftmax(-1), 0.0), (xpcnn.ReLU(), 5.0)):
        y = layer.forward(number, training=True)
        assert tuple(y.shape) == () == layer.output_shape(())
        assert float(y) == value
        assert float(layer.backward(device.asarray(np.array(1.0)))) == float(value == 5.0)
    for layer in (xpcnn.Softmax(1), xpcnn.GLU(0)):
        with pytest.raises(ValueError, match="dim="):
            layer(number)


def test_functions_take_a_sample_by_itself(device):
    x = np.random.default_rng(0).normal(size=(2, 5, 5))
    w = np.random.default_rng(1).normal(size=(2, 2, 3, 3))
    for function in (F.conv, F.conv_transpose):
        alone = function(device.asarray(x), device.asarray(w))
        batch = function(device.asarray(x[None]), device.asarray(w))
        np.testing.assert_array_equal(to_numpy(alone), to_numpy(batch)[0])


@pytest.mark.parametrize("layers", [
    lambda: [xpcnn.Conv2d(3, 4, 3)],
    lambda: [xpcnn.Flatten(), xpcnn.Conv1d(None, 4, 2)],
    lambda: [xpcnn.Sequential(xpcnn.MaxPool2d(2))],
    lambda: [xpcnn.Residual(xpcnn.Conv2d(3, 3, 3, padding=1))],
])  # fmt: skip
def test_a_model_wants_batches(layers):
    """There a missing axis is a mistake, in the first layer and within."""
    model = xpcnn.Model(layers(), device="cpu")
    for attempt in (model.build, lambda shape: model.predict(np.ones(shape, np.float32))):
        with pytest.raises(ValueError, match="expected . dimensions laid out as"):
            attempt((3, 8, 8))
