"""Bilinear, a layer of two inputs."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.layers.by_hand import assert_described, built
from xpcnn import _xp


def test_bilinear_by_hand(device):
    layer = xc.Bilinear(2, 3, 1)
    w, b = np.array([[[1.0, 2, 3], [4, 5, 6]]]), np.array([0.5])
    layer.load_state_dict({"weight": w, "bias": b})
    layer.build((1, 2), (1, 3), device=device, dtype="float64")
    x1, x2 = np.array([[1.0, 10]]), np.array([[1.0, 0, 2]])
    first, second = device.asarray(x1.copy()), device.asarray(x2.copy())
    y = layer.forward(first, second, training=True)
    # (1 2 3) (1 0 2) = 7, (4 5 6) (1 0 2) = 16
    np.testing.assert_allclose(_xp.to_numpy(y), [[7 + 160 + 0.5]])
    dx1, dx2 = layer.backward(device.asarray(np.array([[2.0]])))
    found = {"dx1": dx1, "dx2": dx2, "dw": layer.weight.grad, "db": layer.bias.grad}
    expected = {
        "dx1": [[14, 32]],
        "dx2": [[2 * 41, 2 * 52, 2 * 63]],
        "dw": [[[2, 0, 4], [20, 0, 40]]],
        "db": [2],
    }
    for key, array in found.items():
        assert _xp.namespace(array) is device.xp
        assert _xp.device_of(array) == device.physical
        np.testing.assert_allclose(_xp.to_numpy(array), expected[key], err_msg=key)
    np.testing.assert_array_equal(_xp.to_numpy(first), x1)
    np.testing.assert_array_equal(_xp.to_numpy(second), x2)


def test_bilinear_against_torch(rng):
    torch = pytest.importorskip("torch")
    for _ in range(40):
        widths, bias = tuple(int(n) for n in rng.integers(1, 6, size=3)), bool(rng.random() < 0.7)
        leading = tuple(int(n) for n in rng.integers(1, 4, size=rng.integers(1, 4)))
        ours, theirs = xc.Bilinear(*widths, bias), torch.nn.Bilinear(*widths, bias).double()
        ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
        ours.build((1, widths[0]), (1, widths[1]), dtype="float64")
        arrays = [rng.normal(size=(*leading, width)) for width in widths[:2]]
        tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
        y, expected = ours.forward(*arrays, training=True), theirs(*tensors)
        assert ours.output_shape(*(a.shape for a in arrays)) == y.shape
        dy = rng.normal(size=y.shape)
        expected.backward(torch.from_numpy(dy))
        gradients = ours.backward(dy)
        pairs = [(y, expected.detach()), *zip(gradients, (t.grad for t in tensors), strict=True)]
        pairs += [(p.grad, getattr(theirs, name).grad) for name, p in ours.parameters().items()]
        for actual, wanted in pairs:
            np.testing.assert_allclose(actual, wanted.numpy(), rtol=1e-10, atol=1e-10)


def test_order_of_calls_of_bilinear(rng):
    layer = xc.Bilinear(2, 3, 4, bias=False)
    x1, x2 = rng.normal(size=(5, 2)), rng.normal(size=(5, 3))
    dy = rng.normal(size=(5, 4))
    layer.forward(x1, x2, training=True)  # builds itself, in the dtype of the input
    assert layer.weight.data.dtype == np.float64
    layer.forget()
    with pytest.raises(RuntimeError, match="Bilinear: backward needs a forward"):
        layer.backward(dy)
    layer.forward(x1, x2, training=True)
    assert layer.backward(dy, need_dx=False) == (None, None)
    once = layer.weight.grad
    layer.forward(x1, x2, training=True)
    layer.backward(dy)
    np.testing.assert_allclose(layer.weight.grad, 2 * once)
    assert layer.multiply_adds((5, 2), (5, 3)) == 5 * 2 * 3 * 4


def test_first_values_of_bilinear():
    layer = built(xc.Bilinear(16, 9, 100), (1, 16), (1, 9))
    for values in (layer.weight.data, layer.bias.data):
        assert np.abs(values).max() <= 0.25 * (1 + 1e-6)  # PyTorch: 1 / sqrt(in1_features)
    n = layer.weight.data.size
    variance = layer.weight.data.astype("float64").var()
    assert abs(variance / (0.25**2 / 3) - 1) < 5 * np.sqrt(0.8 / n)


def test_bilinear_refuses(rng):
    layer = built(xc.Bilinear(2, 3, 4), (1, 2), (1, 3))
    good = np.ones((5, 2), "float32"), np.ones((5, 3), "float32")
    for shapes, match in (
        (((5, 3), (5, 3)), r"expected 2 input features \(last axis\) of the first input, got 3"),
        (((5, 2), (5, 2)), r"expected 3 input features \(last axis\) of the second input, got 2"),
        (((5, 2), (4, 3)), r"differ in their last axis only, got shapes \(5, 2\) and \(4, 3\)"),
        (((), (3,)), r"expected 2 dimensions laid out as \(N, features\)"),
    ):
        with pytest.raises(ValueError, match=match):
            layer(*(np.ones(shape, "float32") for shape in shapes))
        with pytest.raises(ValueError, match=match):
            layer.output_shape(*shapes)
    with pytest.raises(TypeError, match="Bilinear: expected dtype float32, got float64"):
        layer(good[0], good[1].astype("float64"))
    with pytest.raises(TypeError, match="Bilinear: expected dtype .*int64"):
        layer(good[0].astype("int64"), good[1])
    with pytest.raises(ValueError, match="in2_features must be at least 1"):
        xc.Bilinear(1, 0, 1)
    assert layer(*good).shape == (5, 4)


@pytest.mark.parametrize("layer", [xc.Bilinear(2, 3, 4), xc.Bilinear(2, 3, 4, bias=False)])
def test_description_and_state(layer):
    assert_described(layer, (1, 2), (1, 3))
