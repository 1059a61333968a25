"""Backward behind a forward without training."""

from __future__ import annotations

import gc
import pickle
import weakref

import numpy as np
import pytest

import xpcnn
from tests.layers.cases import CASES
from xpcnn import _xp
from xpcnn.layers.inference import watch

X = np.array([[1.0, 2.0], [3.0, -4.0]])


def built(name, dtype="float64", device="cpu"):
    """Return a layer whose running statistics and parameters are not those it starts with."""
    layer = CASES[name].make()
    layer.build(CASES[name].shape, dtype=dtype, device=device, rng=np.random.default_rng(1))
    rng = np.random.default_rng(2)
    where = xpcnn.device.resolve(device)
    for tensor in (*layer.parameters().values(), *layer.buffers().values()):
        if not tensor.is_built or _xp.is_floating(tensor.value):
            tensor.data = where.asarray(rng.uniform(0.5, 2.0, tensor.shape), dtype)
    return layer


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_layer(name):
    x = np.random.default_rng(3).normal(size=CASES[name].shape)
    assert xpcnn.gradcheck(built(name), x, training=False)


@pytest.mark.parametrize("name", CASES)
def test_the_same_on_every_library(name, device):
    x = np.random.default_rng(3).normal(size=CASES[name].shape)
    found = []
    for where in ("cpu", device):
        layer, given = built(name, device=where), xpcnn.device.resolve(where).asarray(x)
        y = layer.forward(given)
        dx = layer.backward(y)
        gradients = [p.grad for p in layer.parameters().values()]
        found.append([_xp.to_numpy(array) for array in (dx, *gradients)])
    for expected, actual in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


def test_batch_norm_by_hand():
    layer = xpcnn.BatchNorm1d(2, eps=0.0)
    layer.build(X.shape, dtype="float64")
    layer.running_mean.data = np.array([1.0, 0.0])
    layer.running_var.data = np.array([4.0, 0.25])
    layer.weight.data = np.array([3.0, 5.0])
    y = layer.forward(X)
    np.testing.assert_array_equal(y, [[0.0, 20.0], [3.0, -40.0]])
    dx = layer.backward(np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(dx, [[1.5, 20.0], [4.5, 40.0]])  # dy * weight / deviation
    np.testing.assert_array_equal(layer.weight.grad, [3.0, 2 * 4.0 + 4 * -8.0])
    np.testing.assert_array_equal(layer.bias.grad, [4.0, 6.0])
    np.testing.assert_array_equal(layer.running_mean.data, [1.0, 0.0])
    assert layer.num_batches_tracked.data == 0


@pytest.mark.parametrize("kind", [xpcnn.BatchNorm2d, xpcnn.InstanceNorm2d])
def test_normalisation_against_pytorch(kind):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 2, 3, 4, 5))
    ours = kind(3, affine=True, track_running_stats=True)
    ours.build(x.shape, dtype="float64")
    theirs = getattr(torch.nn, kind.__name__)(3, affine=True, track_running_stats=True).double()
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = rng.uniform(0.5, 2.0, 3)
        getattr(ours, name).data = values
        getattr(theirs, name).data = torch.tensor(values)
    x_there = torch.tensor(x, requires_grad=True)
    theirs.eval()(x_there).backward(torch.tensor(dy))
    ours.forward(x)
    np.testing.assert_allclose(ours.backward(dy), x_there.grad.numpy(), rtol=1e-10)
    for name in ("weight", "bias"):
        wanted = getattr(theirs, name).grad.numpy()
        np.testing.assert_allclose(getattr(ours, name).grad, wanted, rtol=1e-10)


@pytest.mark.parametrize(
    "layer", [xpcnn.Dropout(0.9), xpcnn.AlphaDropout(0.9), xpcnn.StochasticDepth(0.9)]
)
def test_dropout_is_the_identity_and_counts_nothing(layer):
    layer.forward(X)
    np.testing.assert_array_equal(layer.backward(2 * X), 2 * X)
    assert layer.step == 0


def test_what_lies_between_layers_is_not_kept():
    layer = xpcnn.Sequential(xpcnn.Linear(2, 3), xpcnn.ReLU(), xpcnn.Linear(3, 1))
    layer.forward(X)
    inner = [found for _, found in layer.layers_within() if found is not layer]
    assert all(found._saved is None and found._seen is None for found in inner)


def test_an_input_is_kept_until_the_next_forward():
    layer = xpcnn.Linear(2, 3)
    x = X.copy()
    gone = weakref.ref(x)
    y = layer.forward(x)
    del x
    assert layer.backward(np.ones_like(y)).shape == X.shape
    gc.collect()
    assert gone() is None  # the backward has come
    layer.forward(X.copy())
    layer.forward(X)
    layer.forget()
    with pytest.raises(RuntimeError, match="Linear: backward needs a forward"):
        layer.backward(y)


def test_nothing_is_kept_behind_the_backward():
    layer = xpcnn.Sequential(xpcnn.Linear(2, 3), xpcnn.ReLU())
    layer.backward(layer.forward(X))
    assert all(inner._saved is None for _, inner in layer.layers_within())


def test_a_wrong_gradient_leaves_another_try():
    layer = xpcnn.Linear(2, 3, bias=False)
    y = layer.forward(X)
    with pytest.raises(ValueError, match="of the output's shape"):
        layer.backward(y[:1])
    assert layer.weight.grad is None
    np.testing.assert_allclose(layer.backward(y), y @ layer.weight.data)


def test_the_forward_of_training_waits_for_its_backward():
    layer = xpcnn.Linear(2, 1, bias=False)
    other = 10 * X
    y = layer.forward(X, training=True)
    layer.forward(other)
    layer.backward(np.ones_like(y))
    np.testing.assert_array_equal(layer.weight.grad, [X.sum(axis=0)])
    layer.zero_grad()
    layer.backward(np.ones_like(y))  # that of the forward without training
    np.testing.assert_array_equal(layer.weight.grad, [other.sum(axis=0)])
    with pytest.raises(RuntimeError, match="each forward serves one backward"):
        layer.backward(np.ones_like(y))


def test_a_later_forward_of_training_takes_its_place():
    layer = xpcnn.Linear(2, 1)
    layer.forward(X)
    dy = layer.forward(X, training=True)
    layer.backward(dy)
    with pytest.raises(RuntimeError, match="Linear: backward needs a forward"):
        layer.backward(dy)


def test_a_loop_over_layers():
    layers = [xpcnn.Linear(2, 3), xpcnn.Dropout(0.5), xpcnn.Linear(3, 1)]
    together = xpcnn.Sequential(*layers)
    expected = together.backward(together.forward(X))
    x = X
    for layer in layers:
        x = layer(x)
    for layer in reversed(layers):
        x = layer.backward(x)
    np.testing.assert_array_equal(x, expected)


def test_samples_without_a_batch_axis_and_batches_of_none():
    layer = xpcnn.Conv1d(2, 3, 2)
    x = np.random.default_rng(0).normal(size=(2, 5))
    y = layer.forward(x)
    alone = layer.backward(y)
    batch = x[None]
    layer.forward(batch)
    np.testing.assert_array_equal(layer.backward(y[None])[0], alone)
    nothing = batch[:0]
    assert layer.backward(layer.forward(nothing)).shape == (0, 2, 5)


def test_copies_and_pickles_have_no_forward():
    layer = xpcnn.Linear(2, 3)
    y = layer.forward(X)
    other = pickle.loads(pickle.dumps(layer))
    with pytest.raises(RuntimeError, match="Linear"):
        other.backward(y)
    layer.backward(y)


def test_several_inputs_and_outputs():
    graph = xpcnn.Graph(
        ["a", "b"],
        [("sum", xpcnn.operations.Add(), ["a", "b"]), ("twice", xpcnn.Linear(2, 1), "a")],
        ["sum", "twice"],
    )
    a, b = X, 3 * X
    graph.forward(a, b)
    da, db = graph.backward(X, None)
    np.testing.assert_array_equal(da, X)
    np.testing.assert_array_equal(db, X)


# -- Models ----------------------------------------------------------------------------------------


def model_of(*layers, **options):
    options = {"device": "cpu", "seed": 0, "dtype": "float64"} | options
    return xpcnn.Model(layers or [xpcnn.Linear(2, 3), xpcnn.ReLU(), xpcnn.Linear(3, 1)], **options)


def test_a_model_backward_without_training():
    model = model_of(xpcnn.Linear(2, 1, bias=False), xpcnn.Dropout(0.9))
    y = model.forward(X)
    dx = model.backward(np.ones_like(y), need_dx=True)
    weight = model.state_dict()["0.weight"]
    np.testing.assert_array_equal(dx, [weight[0], weight[0]])
    np.testing.assert_array_equal(model.parameters()["0.weight"].grad, [X.sum(axis=0)])
    assert model.forwards == 0
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        model.backward(np.ones_like(y))


def test_a_model_given_an_input_that_nobody_else_has():
    model = model_of()
    y = model.forward(X.copy())
    expected = model.backward(y, need_dx=True)
    with watch(keeps=True):
        y = model.forward(X.copy())
    np.testing.assert_array_equal(model.backward(y, need_dx=True), expected)


def test_a_model_never_run():
    with pytest.raises(RuntimeError, match="Model: backward needs a forward"):
        model_of().backward(X)


def test_a_wrong_gradient_of_a_model_leaves_another_try():
    model = model_of()
    y = model.forward(X)
    with pytest.raises(ValueError, match="of the output's shape"):
        model.backward(y[:1])
    assert model.backward(y, need_dx=True).shape == X.shape


def test_a_model_in_training_takes_its_place():
    model = model_of()
    model.forward(X)
    y = model.forward(X, training=True)
    model.backward(y)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        model.backward(y)


def test_half_precision():
    model = model_of(dtype="float32", precision="float16")
    x = X.astype("float32")
    y = model.forward(x)
    dx = model.backward(np.ones_like(y), need_dx=True)
    assert dx.dtype == np.float32
    assert dx.shape == X.shape
