"""One layer in several nodes of a graph: one set of parameters, a place of its own at each use."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import threading
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn.operations import Add, Concat, Subtract


def draw(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.standard_normal(shape).astype(dtype)


def siamese(tower: xpcnn.Layer, **settings) -> xpcnn.Model:
    """Make a network that runs two images through one tower, and compares what comes out."""
    graph = xpcnn.Graph(
        inputs=["left", "right"],
        nodes=[
            ("a", tower, "left"),
            ("b", tower, "right"),
            ("both", Concat(dim=1), ["a", "b"]),
            ("y", xpcnn.Linear(out_features=2), "both"),
        ],
        outputs="y",
    )
    options = {"device": "cpu", "dtype": "float64", "seed": 0, **settings}
    return xpcnn.Model(graph, **options)


def tower() -> xpcnn.Sequential:
    return xpcnn.Sequential(
        xpcnn.Conv2d(1, 3, 3), xpcnn.BatchNorm2d(3), xpcnn.ReLU(), xpcnn.Flatten()
    )


NAMES = ["a.0.weight", "a.0.bias", "a.1.weight", "a.1.bias", "y.weight", "y.bias"]


def test_gradients_add_up_by_hand():
    layer = xpcnn.Linear(1, 1)
    layer.load_state_dict({"weight": [[3.0]], "bias": [0.5]})
    nodes = [("a", layer, "x"), ("b", layer, "a"), ("y", Add(), ["a", "b"])]
    graph = xpcnn.Graph("x", nodes, "y")
    # a = wx + c, b = wa + c, y = a + b = (w + w^2) x + (2 + w) c
    assert graph.forward(np.array([[2.0]]), training=True).tolist() == [[26.5]]
    assert graph.backward(np.array([[1.0]])).tolist() == [[12.0]]
    assert layer.weight.grad.tolist() == [[2 + 2 * 3 * 2 + 0.5]]  # (1 + 2w) x + c
    assert layer.bias.grad.tolist() == [5.0]


def test_parameters_count_once_and_have_the_first_name():
    model = siamese(tower())
    model.build(((None, 1, 5, 5), (None, 1, 5, 5)))
    assert list(model.parameters()) == NAMES
    state = model.state_dict()
    assert state["a.0.weight"] is state["b.0.weight"]
    assert len(state) == len(NAMES) + 3 + 7  # the buffers of "a", and all of "b"
    last = [line for line in model.summary().splitlines() if line.startswith("parameters:")]
    assert last == ["parameters: 146 (146 trained)"]  # 3 * 9 + 3, 3 + 3, 2 * 54 + 2
    model.compile("adam", "cross_entropy")
    # 146 parameters, a mean and a variance of three channels, and one count
    assert model.memory(batch_size=4).parameters == 8 * (146 + 6 + 1)


class TorchSiamese:
    """The same in PyTorch."""

    def __init__(self) -> None:
        self.tower = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
        self.y = nn.Linear(54, 2)
        self.parts = nn.ModuleDict({"a": self.tower, "b": self.tower, "y": self.y}).double()

    def __call__(self, left, right):
        return self.y(torch.cat([self.tower(left), self.tower(right)], dim=1))


@pytest.mark.parametrize("run_again", [False, True])
def test_training_is_that_of_pytorch(run_again):
    pytest.importorskip("torch")
    theirs, ours = TorchSiamese(), siamese(tower())
    ours.build(((None, 1, 5, 5), (None, 1, 5, 5)))
    names = ours.load_state_dict(theirs.parts.state_dict())  # it lists both names
    assert names == ([], [])
    if run_again:
        ours.run_again([(0, 1)])
    optimizer = torch.optim.SGD(theirs.parts.parameters(), lr=0.1, momentum=0.9)
    ours.compile(xpcnn.optim.SGD(0.1, momentum=0.9), "cross_entropy")
    for _ in range(3):
        left, right = draw(4, 1, 5, 5), 2 * draw(4, 1, 5, 5)
        labels = np.random.randint(0, 2, 4)
        optimizer.zero_grad()
        output = theirs(torch.tensor(left), torch.tensor(right))
        loss = nn.functional.cross_entropy(output, torch.tensor(labels))
        loss.backward()
        optimizer.step()
        found = ours.train_on_batch({"left": left, "right": right}, labels)
        assert found["loss"] == pytest.approx(loss.item(), rel=1e-9)
    for name, value in theirs.parts.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-8, atol=1e-10)
    assert int(ours.state_dict()["a.1.num_batches_tracked"]) == 6  # two uses in each step


def test_running_statistics_move_once_for_each_use_in_order():
    norm = xpcnn.BatchNorm1d(1, momentum=0.5, affine=False)
    graph = xpcnn.Graph(["x", "z"], [("a", norm, "x"), ("b", norm, "z")], ["a", "b"])
    graph.forward(np.array([[1.0], [3.0]]), np.array([[10.0], [10.0]]), training=True)
    # 0 -> 0 + (2 - 0) / 2 = 1 -> 1 + (10 - 1) / 2 = 5.5
    assert norm.running_mean.data.tolist() == [5.5]


def test_dropout_draws_a_mask_for_each_use():
    dropout = xpcnn.Dropout(0.5)
    graph = xpcnn.Graph("x", [("a", dropout, "x"), ("b", dropout, "x")], ["a", "b"])
    model = xpcnn.Model(graph, device="cpu", seed=0)
    ones = np.ones((1, 1000), "float32")
    first, second = model.forward(ones, training=True)
    assert not np.array_equal(first, second)
    assert set(np.unique(first)) == set(np.unique(second)) == {0.0, 2.0}
    again = xpcnn.Model(copy.deepcopy(graph), device="cpu", seed=0)
    np.testing.assert_array_equal(again.forward(ones, training=True)[1], second)


def test_settings_and_values_are_those_of_all_uses():
    dropout, conv = xpcnn.Dropout(0.5), xpcnn.Conv2d(1, 1, 3)
    nodes = [("a", conv, "x"), ("b", conv, "a"), ("c", dropout, "b"), ("d", dropout, "c")]
    graph = xpcnn.Graph("x", nodes, "d")
    children = graph.children()
    children["d"].p = 0.25
    assert dropout.p == children["c"].p == 0.25
    conv.padding = 1
    assert children["a"].padding == children["b"].padding == (1, 1)
    assert graph.output_shape((1, 1, 4, 4)) == (1, 1, 4, 4)
    conv.weight.data = np.ones((1, 1, 3, 3), "float32")
    assert children["b"].weight is conv.weight
    conv.bias = xpcnn.layers.Parameter((1,), zeros)
    assert children["b"].bias is conv.bias
    assert children["a"].name is None or children["a"].name != children["b"].name
    with pytest.raises(ValueError, match="p must be"):
        dropout.p = 2
    assert children["d"].p == 0.25
    shared = xpcnn.Sequential(xpcnn.ReLU())
    xpcnn.Graph("x", [("a", shared, "x"), ("b", shared, "a")], "b")
    with pytest.raises(AttributeError, match="holds layers, and the layer stands at several"):
        shared.layers = (xpcnn.Tanh(),)


def test_widths_that_are_left_open_are_inferred_once():
    conv = xpcnn.Conv2d(out_channels=2, kernel_size=3, padding=1)
    nodes = [("a", conv, "x"), ("b", conv, "z"), ("y", Subtract(), ["a", "b"])]
    graph = xpcnn.Graph(["x", "z"], nodes, "y")
    with pytest.raises(ValueError, match="expected 3 input channels"):
        copy.deepcopy(graph).build_for([(1, 3, 4, 4), (1, 2, 4, 4)])
    graph.build_for([(1, 3, 4, 4), (1, 3, 4, 4)])
    assert list(graph.parameters()) == ["a.weight", "a.bias"]
    x = draw(1, 3, 4, 4, dtype="float32")
    assert not graph.forward(x, x).any()


@pytest.mark.parametrize("device", ["cpu", "strict", "torch:cpu", "jax:cpu"])
def test_every_library(device):
    packages = {"strict": "array_api_strict", "torch:cpu": "torch", "jax:cpu": "jax"}
    if device in packages:
        pytest.importorskip(packages[device])
    x = {"left": draw(6, 1, 5, 5, dtype="float32"), "right": draw(6, 1, 5, 5, dtype="float32")}
    losses = []
    for place in ("cpu", device):
        model = siamese(tower(), dtype="float32", device=place)
        model.compile(xpcnn.optim.SGD(0.1), "cross_entropy")
        history = model.fit(x, [0, 1, 0, 1, 0, 1], epochs=2, batch_size=3, verbose=0)
        losses.append([*history.history["loss"], *model.predict(x).ravel()])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3, atol=1e-4)


def test_repeated_predictions_and_changed_weights():
    model = siamese(tower(), dtype="float32")
    x = {"left": draw(1, 1, 5, 5, dtype="float32"), "right": draw(1, 1, 5, 5, dtype="float32")}
    first = [model.predict(x) for _ in range(5)]
    np.testing.assert_array_equal(first[0], first[4])
    state = {name: 2 * value for name, value in model.state_dict().items() if name in NAMES}
    model.load_state_dict(state, strict=False)
    changed = [model.predict(x) for _ in range(5)]
    assert not np.allclose(changed[0], first[0])
    np.testing.assert_array_equal(changed[0], changed[4])


def one_input() -> xpcnn.Model:
    """Make a network that runs one image through a block three times: all is recorded."""
    block = xpcnn.Sequential(xpcnn.Conv2d(2, 2, 3, padding=1), xpcnn.BatchNorm2d(2), xpcnn.ReLU())
    nodes = [("a", block, "x"), ("b", block, "a"), ("c", block, "b")]
    model = xpcnn.Model(xpcnn.Graph("x", nodes, "c"), device="cpu", seed=0)
    model.build((None, 2, 6, 6))
    return model


def test_recorded_predictions():
    model, x = one_input(), draw(1, 2, 6, 6, dtype="float32")
    block = model.layers[0]
    expected = x
    for _ in range(3):
        expected = block.forward(expected)
    model.compile_for((1, 2, 6, 6))
    for _ in range(3):
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)


def test_saved_and_loaded(tmp_path: Path):
    x = {"left": draw(6, 1, 5, 5), "right": draw(6, 1, 5, 5)}
    y = [0, 1, 0, 1, 0, 1]
    model = siamese(tower())
    model.compile("adam", "cross_entropy")
    model.fit(x, y, epochs=1, batch_size=3, verbose=0)
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = xpcnn.Model.load(path, device="cpu")
    assert list(again.parameters()) == NAMES
    assert again.layers[0][0].weight is again.layers[1][0].weight
    header = path.read_bytes()
    assert b'"a.0.weight"' in header
    assert b'"b.0.weight"' not in header  # the numbers are there once
    for each in (model, again):
        each.fit(x, y, epochs=2, batch_size=3, verbose=0)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)
    shown = repr(again.network)
    assert "('b', 'a', ['right'], ['b'])" in shown
    made = eval(shown, {**vars(xpcnn), "Concat": Concat})
    assert list(made.parameters()) == list(xpcnn.Graph.parameters(model.network))


def test_states():
    model = siamese(tower())
    model.build(((None, 1, 5, 5), (None, 1, 5, 5)))
    state = {name: np.array(value) for name, value in model.state_dict().items()}
    only_second = {name: v for name, v in state.items() if not name.startswith("a.")}
    assert model.load_state_dict(only_second) == ([], [])
    state["b.0.weight"] = state["b.0.weight"] + 1
    before = np.array(model.state_dict()["a.0.weight"])
    with pytest.raises(ValueError, match=r"b\.0\.weight differs from a\.0\.weight, with which"):
        model.load_state_dict(state)
    np.testing.assert_array_equal(model.state_dict()["a.0.weight"], before)
    del state["b.0.weight"], state["a.0.weight"]
    with pytest.raises(ValueError, match=r"missing: a\.0\.weight\n.*missing: b\.0\.weight"):
        model.load_state_dict(state)


def test_frozen_in_one_node_is_frozen_in_all():
    model = siamese(tower())
    x = {"left": draw(6, 1, 5, 5), "right": draw(6, 1, 5, 5)}
    model.build(((None, 1, 5, 5), (None, 1, 5, 5)))
    model.network.freeze("a.*")
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    model.compile("sgd", "cross_entropy")
    model.fit(x, [0, 1, 0, 1, 0, 1], epochs=1, verbose=0)
    for name, value in model.state_dict().items():
        assert np.array_equal(value, before[name]) is not name.startswith("y"), name


def zeros(shape, rng):
    return np.zeros(shape)


class OwnLayer(xpcnn.Layer):
    """A layer of somebody's, with a parameter, which also keeps what it was given."""

    def __init__(self) -> None:
        self.factor = xpcnn.layers.Parameter((1,), zeros)

    def _forward(self, xp, x, training):
        self._x = x
        return x * self.factor.value, None

    def _backward(self, xp, dy, saved, need_dx):
        self.factor.accumulate(xp.reshape(xp.sum(dy * self._x), (1,)))
        return dy * self.factor.value


def test_layers_of_ones_own():
    own = OwnLayer()
    graph = xpcnn.Graph("x", [("a", own, "x"), ("b", own, "a")], "b")
    model = xpcnn.Model(graph, device="cpu", dtype="float64")
    model.build((None, 1))
    own.factor.data = np.array([3.0])
    assert model.forward(np.array([[2.0]]), training=True).tolist() == [[18.0]]
    model.backward(np.array([[1.0]]))
    assert own.factor.grad.tolist() == [12.0]  # d(w^2 x)/dw = 2wx


def test_layers_that_cannot_be_copied_are_refused():
    class Locked(OwnLayer):
        def __init__(self) -> None:
            super().__init__()
            self._lock = threading.Lock()

    own = Locked()
    with pytest.raises(TypeError, match="node 'b': a Locked cannot stand at several places"):
        xpcnn.Graph("x", [("a", own, "x"), ("b", own, "a")], "b")
    xpcnn.Graph("x", [("a", own, "x")], "a")  # nothing has happened to it


def test_references_by_name():
    conv = xpcnn.Conv2d(1, 1, 3)
    nodes = [("b", "a", "z"), ("a", conv, "x")]  # in any order
    graph = xpcnn.Graph(["x", "z"], nodes, ["a", "b"])
    assert list(graph.parameters()) == ["b.weight", "b.bias"]
    assert len({id(layer) for layer in graph.children().values()}) == 2
    for wrong in ("c", "b"):
        with pytest.raises(ValueError, match=f"'b' shares the layer of '{wrong}', which is no"):
            xpcnn.Graph("x", [("b", wrong, "x"), ("a", xpcnn.ReLU(), "b")], "a")


def test_what_is_still_refused():
    relu = xpcnn.ReLU()
    inside = [("a", relu, "x"), ("b", xpcnn.Sequential(relu), "a")]
    for make in (
        lambda: xpcnn.Graph("x", inside, "b"),
        lambda: xpcnn.Sequential(relu, relu),
        lambda: xpcnn.Model([relu, relu]),
    ):
        with pytest.raises(ValueError, match="stands at two places.*several nodes of one Graph"):
            make()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_share_among_themselves_alone(copied):
    dropout, conv = xpcnn.Dropout(0.5), xpcnn.Conv2d(1, 1, 3)
    nodes = [("a", conv, "x"), ("b", conv, "a"), ("c", dropout, "b"), ("d", dropout, "c")]
    graph = xpcnn.Graph("x", nodes, "d")
    children = copied(graph).children()
    assert children["a"].weight is children["b"].weight is not conv.weight
    children["d"].p = 0.25
    assert (children["c"].p, dropout.p) == (0.25, 0.5)
    conv.padding = 1
    assert children["a"].padding == children["b"].padding == (0, 0)


def test_graphs_that_are_gone_leave_nothing():
    conv = xpcnn.Conv2d(1, 1, 3)
    for _ in range(3):
        xpcnn.Graph("x", [("a", conv, "x"), ("b", conv, "a")], "b")
    gc.collect()
    assert conv._sharing.layers == [conv]


def test_graphs_in_graphs_and_a_third_use():
    inner = xpcnn.Conv1d(2, 2, 1)
    block = xpcnn.Graph("x", [("p", inner, "x"), ("q", inner, "p")], "q")
    nodes = [("a", block, "x"), ("b", block, "a"), ("c", block, "b")]
    graph = xpcnn.Graph("x", nodes, "c")
    assert list(graph.parameters()) == ["a.p.weight", "a.p.bias"]
    x = draw(1, 2, 3)
    expected = x
    inner.build((1, 2, 3), dtype="float64")
    for _ in range(6):
        expected = inner.forward(expected)
    np.testing.assert_allclose(graph.forward(x), expected, rtol=1e-12)
    again = xpcnn.Graph.from_arguments(graph.arguments())
    assert re.sub(r"\s", "", repr(again)) == re.sub(r"\s", "", repr(graph))


def test_gradients_against_differences():
    xpcnn.gradcheck(one_input_graph(), draw(2, 2, 5, 5))


def one_input_graph() -> xpcnn.Graph:
    conv = xpcnn.Conv2d(2, 2, 3, padding=1)
    nodes = [("a", conv, "x"), ("t", xpcnn.Tanh(), "a"), ("b", conv, "t")]
    return xpcnn.Graph("x", nodes, "b")


@pytest.mark.parametrize("opset", [13, 18])
def test_onnx_has_the_weights_once(tmp_path, opset):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = siamese(tower(), dtype="float32")
    x = {"left": draw(2, 1, 5, 5, dtype="float32"), "right": draw(2, 1, 5, 5, dtype="float32")}
    expected = model.predict(x)
    path = str(tmp_path / "model.onnx")
    xpcnn.interop.onnx.save(model, path, opset=opset)
    names = [each.name for each in onnx.load(path).graph.initializer]
    assert len([name for name in names if name.endswith("0.weight")]) == 1
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, x)[0], expected, rtol=1e-4, atol=1e-5)
    again = xpcnn.interop.onnx.load(path, device="cpu")
    np.testing.assert_allclose(again.predict(x), expected, rtol=1e-4, atol=1e-5)


def test_pytorch_module_shares_too():
    pytest.importorskip("torch")
    model = siamese(tower())
    x = {"left": draw(2, 1, 5, 5), "right": draw(2, 1, 5, 5)}
    expected = model.predict(x)
    module = xpcnn.interop.to_torch(model).eval()
    assert module.a is module.b
    assert set(module.state_dict()) == set(model.state_dict())
    with torch.no_grad():
        found = module(*(torch.tensor(each) for each in x.values())).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)
