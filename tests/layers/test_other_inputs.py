"""Layers with another kind of input: Embedding takes integers, Bilinear takes two arrays."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import xpcnn as xc
from xpcnn import _registry, _xp
from xpcnn.training import saving


def built(layer, *shapes, **options):
    layer.build(*shapes, rng=np.random.default_rng(1), **options)
    return layer


def rebuilt(layer):
    description = json.loads(json.dumps(_registry.to_config(layer)))
    return _registry.from_config(description, saving.known_layers(), "layer")


# -- Embedding -------------------------------------------------------------------------------------


def test_embedding_by_hand(device):
    for integers in ("int64", "int32", "uint8"):
        layer = xc.Embedding(4, 2)
        layer.load_state_dict({"weight": np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]])})
        layer.build((1,), device=device, dtype="float64")
        x = np.array([[2, 0, 2], [2, 3, 0]], dtype=integers)
        given = device.asarray(x)
        y = layer.forward(given, training=True)
        assert _xp.namespace(y) is device.xp
        assert _xp.device_of(y) == device.physical
        expected = [[[5, 6], [1, 2], [5, 6]], [[5, 6], [7, 8], [1, 2]]]
        np.testing.assert_array_equal(_xp.to_numpy(y), expected)
        dy = np.arange(12.0).reshape(2, 3, 2)
        assert layer.backward(device.asarray(dy)) is None
        # row 0 stands at places 1 and 5, row 2 at 0, 2 and 3, row 3 at 4
        gradient = [[2 + 10, 3 + 11], [0, 0], [0 + 4 + 6, 1 + 5 + 7], [8, 9]]
        grad = layer.weight.grad
        assert _xp.namespace(grad) is device.xp
        assert _xp.device_of(grad) == device.physical
        np.testing.assert_array_equal(_xp.to_numpy(grad), gradient)
        np.testing.assert_array_equal(_xp.to_numpy(given), x)


def test_embedding_against_torch(rng):
    torch = pytest.importorskip("torch")
    for _ in range(60):
        rows, width = (int(n) for n in rng.integers(1, 9, size=2))
        padding = None if rng.random() < 0.4 else int(rng.integers(-rows, rows))
        ours, theirs = xc.Embedding(rows, width, padding), torch.nn.Embedding(rows, width, padding)
        theirs.double()
        ours.load_state_dict({"weight": theirs.weight.detach().numpy().copy()})
        ours.build((1,), dtype="float64")
        x = rng.integers(0, rows, size=tuple(rng.integers(1, 7, size=rng.integers(1, 4))))
        y, expected = ours.forward(x, training=True), theirs(torch.from_numpy(x))
        assert ours.output_shape(x.shape) == y.shape
        np.testing.assert_array_equal(y, expected.detach().numpy())
        dy = rng.normal(size=y.shape)
        ours.backward(dy)
        expected.backward(torch.from_numpy(dy))
        np.testing.assert_allclose(
            ours.weight.grad, theirs.weight.grad.numpy(), rtol=1e-12, atol=1e-12
        )


def test_gradient_of_a_row_that_stands_at_many_places(rng):
    layer = built(xc.Embedding(5, 3), (1,), dtype="float64")
    x = rng.integers(0, 3, size=(40, 25))
    x[3, 4] = 4
    y = layer.forward(x, training=True)
    dy = rng.normal(size=y.shape)
    dy[3, 4] = np.inf  # where it stands alone it must not reach the others
    layer.backward(dy)
    expected = np.zeros((5, 3))
    for place, row in np.ndenumerate(x):
        expected[row] += dy[place]
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-12, atol=1e-12)


def test_first_values_of_an_embedding():
    layer = built(xc.Embedding(2000, 5, padding_idx=-3), (1,))
    assert layer.padding_idx == 1997
    values = layer.weight.data
    np.testing.assert_array_equal(values[1997], np.zeros(5))
    drawn = np.delete(values, 1997, axis=0).astype("float64")
    # a standard normal distribution: within five standard deviations of mean and variance
    assert abs(drawn.mean()) < 5 / np.sqrt(drawn.size)
    assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / drawn.size)


def test_embedding_inside_a_sequential(device):
    net = xc.Sequential(xc.Embedding(6, 3), xc.Linear(3, 2))
    y = net.forward(device.asarray(np.array([[1, 5], [0, 1]])), training=True)
    assert (tuple(y.shape), _xp.dtype_name(y)) == ((2, 2, 2), "float32")
    net.backward(device.asarray(np.ones((2, 2, 2), "float32")))
    grad = _xp.to_numpy(net[0].weight.grad)
    np.testing.assert_array_equal(grad[[2, 3, 4]], np.zeros((3, 3)))
    # each place gives the sum of the columns of the next layer's weight
    columns = _xp.to_numpy(net[1].weight.data).sum(axis=0)
    np.testing.assert_allclose(grad[[0, 1, 5]], np.outer([1, 2, 1], columns), rtol=1e-6)
    with pytest.raises(TypeError, match="Sequential: expected dtype int64 .*got float32"):
        net(device.asarray(np.ones((2, 2), "float32")))


REFUSED_EMBEDDINGS = [
    (lambda: xc.Embedding(0, 3), "num_embeddings must be at least 1, got 0"),
    (lambda: xc.Embedding(3, 0), "embedding_dim must be at least 1, got 0"),
    (lambda: xc.Embedding(3, 2, 3), "padding_idx must be below 3, got 3"),
    (lambda: xc.Embedding(3, 2, -4), "padding_idx must be at least -3, got -4"),
    (lambda: xc.Embedding(3, 2, max_norm=1.0), "max_norm, .* are not supported"),
    (lambda: xc.Embedding(3, 2, sparse=True), "sparse are not supported"),
]


@pytest.mark.parametrize(("make", "match"), REFUSED_EMBEDDINGS)
def test_embedding_refuses_arguments(make, match):
    with pytest.raises(ValueError, match=f"Embedding: .*{match}"):
        make()


def test_embedding_refuses_inputs():
    layer = built(xc.Embedding(3, 2), (1,))
    layer.name = "words"
    for wrong in (np.ones((2, 2), "float32"), np.ones((2, 2), bool), np.ones((2, 2))):
        match = f"Embedding 'words': expected dtype int64 .*got {wrong.dtype}; the input holds indi"
        with pytest.raises(TypeError, match=match):
            layer(wrong)
    with pytest.raises(ValueError, match="expected indices from 0 to 2, got some from -1 to 1"):
        layer(np.array([1, -1]))
    with pytest.raises(ValueError, match="expected indices from 0 to 2, got some from 0 to 3"):
        layer(np.array([3, 0]))
    with pytest.raises(ValueError, match="Embedding 'words': got an empty array of shape .0, 2"):
        layer(np.zeros((0, 2), "int64"))
    with pytest.raises(TypeError, match="expected an array of NumPy.*got list"):
        layer([1, 2])
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="(?s)Embedding 'words'.*(numpy.*strict|strict.*numpy)"):
        layer(strict.asarray([1, 2]))
    layer.forward(np.array([1]), training=True)
    layer.backward(np.ones((1, 2), "float32"))
    with pytest.raises(RuntimeError, match="each forward serves one backward"):
        layer.backward(np.ones((1, 2), "float32"))


# -- Bilinear --------------------------------------------------------------------------------------


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
    layer(x1, x2)  # builds itself, in the dtype of the input
    assert layer.weight.data.dtype == np.float64
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
        (((2,), (3,)), r"expected 2 dimensions laid out as \(N, features\)"),
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


# -- Both ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer", [xc.Embedding(4, 3, -1), xc.Bilinear(2, 3, 4), xc.Bilinear(2, 3, 4, bias=False)]
)
def test_description_and_state(layer):
    again = rebuilt(layer)
    assert repr(again) == repr(layer)
    assert repr(eval(repr(layer), vars(xc))) == repr(layer)
    built(layer, *[(1, 2), (1, 3)][: 1 if isinstance(layer, xc.Embedding) else 2])
    again.load_state_dict(layer.state_dict())
    assert list(again.state_dict()) == list(layer.state_dict())
    for key, values in layer.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], values)
    wrong = {key: np.zeros((7, 7, 7, 7)) for key in layer.state_dict()}
    with pytest.raises(ValueError, match=re.escape("misshapen: weight has shape (7, 7, 7, 7)")):
        layer.load_state_dict(wrong)
