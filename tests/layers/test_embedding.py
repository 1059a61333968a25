"""Embedding, a layer whose input is integers."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.layers.by_hand import assert_described, built
from xpcnn import _xp


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
    with pytest.raises(ValueError, match="Embedding 'words': got an empty array of shape .2, 0"):
        layer(np.zeros((2, 0), "int64"))
    with pytest.raises(TypeError, match="expected an array of NumPy.*got list"):
        layer([1, 2])
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="(?s)Embedding 'words'.*(numpy.*strict|strict.*numpy)"):
        layer(strict.asarray([1, 2]))
    layer.forward(np.array([1]), training=True)
    layer.backward(np.ones((1, 2), "float32"))
    with pytest.raises(RuntimeError, match="each forward serves one backward"):
        layer.backward(np.ones((1, 2), "float32"))


@pytest.mark.parametrize("layer", [xc.Embedding(4, 3, -1)])
def test_description_and_state(layer):
    assert_described(layer, (1, 2))
