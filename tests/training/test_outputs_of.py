"""What layers inside a model give: ``Model.outputs_of``."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp
from xpcnn.operations import Add, Split

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 1, 8, 8)).astype("float32")


def layers():
    return [
        xpcnn.Conv2d(1, 4, 3),
        xpcnn.ReLU(),
        xpcnn.MaxPool2d(2),
        xpcnn.Conv2d(4, 6, 3, bias=False),
        xpcnn.BatchNorm2d(6),
        xpcnn.ReLU(),
        xpcnn.Dropout(0.5),
        xpcnn.Flatten(),
        xpcnn.Linear(6, 3),
    ]


def model_of(*network, **options):
    return xpcnn.Model(network or layers(), **({"device": "cpu", "seed": 0} | options))


def one_by_one(model, x):
    """Run the layers of a chain in a loop."""
    found = {}
    for number, layer in enumerate(model.layers):
        x = layer.forward(x)
        found[str(number)] = _xp.to_numpy(x)
    return found


@pytest.mark.parametrize("batch_size", [None, 2, 5])
def test_a_chain_is_that_of_its_layers(device, batch_size):
    model = model_of(device=device)
    model.build((None, 1, 8, 8))
    running = model.network[4]
    running.running_mean.data = device.asarray(RNG.normal(size=6), "float32")
    found = model.outputs_of("*", IMAGES, batch_size=batch_size)
    expected = one_by_one(model, model.device.asarray(IMAGES, "float32"))
    assert list(found) == list(expected)
    for name, y in found.items():
        assert type(y) is np.ndarray
        np.testing.assert_allclose(y, expected[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["8"], model.predict(IMAGES), rtol=1e-4, atol=1e-6)


def test_a_convolution_before_relu_and_pooling_by_a_loop():
    """`predict` computes the three together; here the convolution is by itself."""
    model = model_of()
    found = model.outputs_of("0", IMAGES)
    weight, bias = (model.state_dict()[f"0.{name}"] for name in ("weight", "bias"))
    expected = np.empty((5, 4, 6, 6))
    for i in range(6):
        for j in range(6):
            part = IMAGES[:, 0, i : i + 3, j : j + 3]
            expected[:, :, i, j] = np.einsum("nhw,chw->nc", part, weight[:, 0]) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert (found < 0).any()
    assert (model.outputs_of("1", IMAGES) == np.maximum(found, 0)).all()


def test_one_name_a_list_and_a_pattern():
    inner = xpcnn.Sequential(xpcnn.Linear(3, 4), xpcnn.ReLU())
    model = model_of(inner, xpcnn.Linear(4, 2))
    x = RNG.normal(size=(2, 3)).astype("float32")
    assert isinstance(model.outputs_of("0.1", x), np.ndarray)
    assert list(model.outputs_of(["1", "0.0", "1"], x)) == ["1", "0.0"]
    assert list(model.outputs_of(["1"], x)) == ["1"]
    found = model.outputs_of("0*", x)
    assert list(found) == ["0", "0.0", "0.1"]
    np.testing.assert_array_equal(found["0"], found["0.1"])  # a container gives what its last does
    assert list(model.outputs_of("?", x)) == ["0", "1"]


def test_residual_and_parallel_are_looked_into():
    body = xpcnn.Linear(3, 3)
    model = model_of(xpcnn.Residual(body), xpcnn.Parallel([xpcnn.Linear(3, 1), xpcnn.ReLU()]))
    x = RNG.normal(size=(2, 3)).astype("float32")
    found = model.outputs_of(["0", "0.body", "1", "1.branches.1"], x)
    np.testing.assert_array_equal(found["0"], found["0.body"] + x)
    np.testing.assert_array_equal(found["1.branches.1"], np.maximum(found["0"], 0))
    assert found["1"].shape == (2, 4)


def two_towers():
    tower = xpcnn.Linear(2, 2, bias=False)
    nodes = [
        ("a", tower, "left"),
        ("b", "a", "right"),
        ("sum", Add(), ["a", "b"]),
        ("halves", Split(1, [1, 1]), "sum", ["first", "second"]),
        ("twice", Add(), ["first", "first"]),
    ]
    graph = xpcnn.Graph(["left", "right"], nodes, ["twice", "second"])
    return xpcnn.Model(graph, device="cpu", seed=0)


def test_nodes_of_a_graph_with_several_inputs():
    """A shared layer has the name of each node, and a node of two outputs gives a tuple."""
    model = two_towers()
    left, right = RNG.normal(size=(2, 3, 2)).astype("float32")
    for given in (
        model.outputs_of(["a", "b", "halves"], left, right, batch_size=2),
        model.outputs_of(["a", "b", "halves"], {"right": right, "left": left}),
        model.outputs_of(["a", "b", "halves"], left=left, right=right),
    ):
        weight = model.state_dict()["a.weight"]
        np.testing.assert_allclose(given["a"], left @ weight.T, rtol=1e-5)
        np.testing.assert_allclose(given["b"], right @ weight.T, rtol=1e-5)
        total = given["a"] + given["b"]
        np.testing.assert_array_equal(given["halves"][0], total[:, :1])
        np.testing.assert_array_equal(given["halves"][1], total[:, 1:])


class Twice(xpcnn.Layer):
    """Runs the layer inside two times."""

    def __init__(self, inner):
        self.inner = inner

    def _forward(self, xp, x, training):
        return self.inner.forward(self.inner.forward(x, training=training), training=training), None


class Own(xpcnn.Layer):
    """Has a layer that never runs by itself."""

    def __init__(self):
        self.inner = xpcnn.ReLU()

    def _forward(self, xp, x, training):
        return self.inner.halves()[0](xp, x, training)


def test_layers_of_ones_own():
    model = model_of(Twice(xpcnn.Linear(2, 2)))
    x = RNG.normal(size=(3, 2)).astype("float32")
    first, second = model.outputs_of("0.inner", x, batch_size=2)
    assert first.shape == second.shape == (3, 2)
    np.testing.assert_array_equal(second, model.outputs_of("0", x))
    with pytest.raises(RuntimeError, match="'0.inner' did not run; the layer around it"):
        model_of(Own()).outputs_of("0.inner", x)


class Count(xpcnn.Layer):
    """Gives the number of samples."""

    def _forward(self, xp, x, training):
        return xp.sum(xp.ones_like(x)), None


def test_what_is_no_row_for_each_sample():
    model = model_of(Count())
    x = np.ones((5, 1), "float32")
    assert model.outputs_of("0", x) == 5
    with pytest.raises(ValueError, match="'0' gives an array of shape .* give a batch_size of at"):
        model.outputs_of("0", x, batch_size=2)


def test_a_model_in_half_precision_gives_its_own_dtype():
    model = model_of(precision="float16")
    found = model.outputs_of("0", IMAGES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model_of().outputs_of("0", IMAGES), rtol=0.02, atol=0.02)


def test_nothing_changes():
    model = model_of()
    model.build(IMAGES.shape)
    state = {name: np.array(array) for name, array in model.state_dict().items()}
    before = model.predict(IMAGES)
    model.outputs_of("*", IMAGES)
    np.testing.assert_array_equal(model.predict(IMAGES), before)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert model.forwards == model.step == 0
    assert all(layer._saved is None for _, layer in model.network.layers_within())


def test_it_does_not_disturb_a_training_forward():
    model = model_of(xpcnn.Linear(2, 1, bias=False))
    x = np.array([[1.0, 2.0]], "float32")
    model.forward(x, training=True)
    model.outputs_of("0", 5 * x)
    model.backward(np.ones((1, 1), "float32"))
    np.testing.assert_array_equal(model.parameters()["0.weight"].grad, x)


def test_sources_of_batches():
    model = model_of()
    found = model.outputs_of("1", (IMAGES[i : i + 2] for i in range(0, 4, 2)), steps=2)
    np.testing.assert_array_equal(found, model.outputs_of("1", IMAGES[:4]))


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ("conv9", ValueError, "there is no layer 'conv9'; the layers are '0', '1'"),
        (["0", "99"], ValueError, "no layer '99'"),
        ("x*", ValueError, r"no layer 'x\*'; the layers are '0'"),
        ("", ValueError, "there is no layer ''"),
        ([], ValueError, "names is empty; the layers are '0'"),
        (0, TypeError, "names must be the name of a layer, .* got 0"),
        ([1], TypeError, "or a list of names, got 1"),
        (xpcnn.ReLU(), TypeError, "got the layer ReLU; model.summary"),
        ({"0": 1}, TypeError, "got {'0': 1}"),
    ],
)
def test_wrong_names(names, error, message):
    with pytest.raises(error, match=f"Model.outputs_of: .*{message}"):
        model_of().outputs_of(names, IMAGES)


def test_near_names_and_wrong_inputs():
    model = two_towers()
    x = np.ones((2, 2), "float32")
    with pytest.raises(ValueError, match="no layer 'halve'; near it: 'halves'; the layers are 'a'"):
        model.outputs_of("halve", x, x)
    with pytest.raises((TypeError, ValueError), match="Model.outputs_of: .*left, right"):
        model.outputs_of("a", x)
    with pytest.raises(ValueError, match="Model.outputs_of: batch_size must be at least 1"):
        model.outputs_of("a", x, x, batch_size=0)
    with pytest.raises(ValueError, match="Conv2d '0': expected"):
        model_of().outputs_of("0", IMAGES[0])
