"""Another layer in the place of one, in a chain, a graph, a container, and a user's own layer."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn._xp import dtype_name, to_numpy
from xpcnn.operations import Add


class Block(xpcnn.layers.Layer):
    """A user's own layer, which is given layers in a list and a dict, and makes one itself."""

    def __init__(self, parts, named) -> None:
        self.parts = parts
        self.named = named
        self.last = xpcnn.Linear(4, 4)

    def _all(self):
        return [*self.parts, *self.named.values(), self.last]

    def _forward(self, xp, x, training):
        for layer in self._all():
            x = layer.forward(x, training=training)
        return x, None

    def _backward(self, xp, dy, saved, need_dx):
        for layer in reversed(self._all()):
            dy = layer.backward(dy)
        return dy


def graph() -> xpcnn.Graph:
    return xpcnn.Graph(
        "x",
        [
            ("body.0", xpcnn.Linear(4, 4), "x"),
            ("body.1", xpcnn.ReLU(), "body.0"),
            ("sum", Add(), ["body.1", "x"]),
            ("head", xpcnn.Linear(4, 3), "sum"),
        ],
        "head",
    )


def dense(inputs: int = 4, outputs: int = 4) -> xpcnn.Linear:
    return xpcnn.Linear(inputs, outputs)


NETWORKS = {
    "chain": (lambda: xpcnn.Sequential(dense(), dense(), dense()), "1"),
    "nested": (lambda: xpcnn.Sequential(xpcnn.Sequential(dense(), dense()), dense()), "0.1"),
    "graph": (graph, "body.0"),
    "chain in a graph": (
        lambda: xpcnn.Graph("x", [("a.b", xpcnn.Sequential(dense(), dense()), "x")], "a.b"),
        "a.b.1",
    ),
    "residual": (lambda: xpcnn.Residual(xpcnn.Sequential(dense(), dense()), dense()), "shortcut"),
    "body": (lambda: xpcnn.Residual(xpcnn.Sequential(dense(), dense())), "body.0"),
    "parallel": (lambda: xpcnn.Parallel([dense(), dense(4, 2)]), "branches.1"),
    "list": (lambda: Block([dense(), dense()], {"a": dense()}), "parts.1"),
    "dict": (lambda: Block([dense()], {"a": dense(), "b": dense()}), "named.a"),
}


def made(name, device="cpu", **options):
    model = xpcnn.Model(NETWORKS[name][0](), device=device, seed=3, **options)
    if name not in ("graph", "chain in a graph", "chain", "nested"):
        return model, f"0.{NETWORKS[name][1]}"
    return model, NETWORKS[name][1]


def state(model) -> dict[str, np.ndarray]:
    return {name: np.array(to_numpy(array)) for name, array in model.state_dict().items()}


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_new_layer_computes_in_the_place_of_the_old(name, built, device):
    model, place = made(name, device, dtype="float64")
    x = np.random.default_rng(0).normal(size=(5, 4))
    if built:
        model.build((None, 4))
        before = state(model)
    out = dict(model.network.layers_within())[place].out_features
    own = name in ("list", "dict")  # a user's own layer infers no widths
    new = xpcnn.Linear(4 if own else None, out)
    old = model.replace(place, new)
    assert isinstance(old, xpcnn.Linear)
    assert old is not new
    assert new.is_built is built
    first = model.predict(x)
    assert dict(model.network.layers_within())[place] is new
    assert new.weight.shape == (out, 4)
    assert dtype_name(new.weight.value) == "float64"
    if built:
        after = state(model)
        assert {n for n in after if not np.array_equal(after[n], before[n])} == {
            f"{place}.weight", f"{place}.bias",
        }  # fmt: skip
    new.weight.data = new.weight.value * 0
    assert not np.array_equal(model.predict(x), first)  # nobody runs what was folded or recorded


@pytest.mark.parametrize("name", ["chain", "graph", "nested"])
def test_a_layer_of_the_same_description_is_another_one(name):
    model, place = made(name)
    model.build((None, 4))
    new = dense()
    model.replace(place, new)
    assert dict(model.network.layers_within())[place] is new


def test_another_number_of_classes():
    x, y = np.random.default_rng(0).random((8, 4), dtype="float32"), np.arange(8) % 3
    model = xpcnn.Model(graph(), device="cpu", seed=0)
    model.compile("adam", "cross_entropy", ["accuracy"])
    model.fit(x, y, verbose=0)
    model.replace("head", xpcnn.Sequential(xpcnn.Dropout(0.1), xpcnn.Linear(out_features=7)))
    assert model.predict(x).shape == (8, 7)
    history = model.fit(x, y + 4, epochs=2, verbose=0)
    assert len(history.epoch) == 2
    assert "head.1.weight" in model.parameters()


def test_the_optimizer_forgets_the_old_layer_alone():
    model, _ = made("chain")
    x, y = np.random.default_rng(0).random((8, 4), dtype="float32"), np.arange(8) % 4
    model.compile("adam", "cross_entropy")
    model.fit(x, y, epochs=3, verbose=0)
    before = model.optimizer.state_dict()
    model.replace("2", xpcnn.Linear(4, 4))
    after = model.optimizer.state_dict()
    assert before.keys() - after.keys() == {
        f"2.{kind}/{slot}"
        for kind in ("weight", "bias")
        for slot in ("step", "exp_avg", "exp_avg_sq")
    }
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name])
    model.fit(x, y, verbose=0)
    assert int(model.optimizer.state_dict()["2.weight/step"]) == 1
    assert int(model.optimizer.state_dict()["0.weight/step"]) == 4


def test_weights_are_drawn_by_the_seed():
    found = []
    for seed in (1, 1, 2):
        model = xpcnn.Model([dense(), dense()], device="cpu", seed=seed)
        model.build((None, 4))
        model.replace("1", dense())
        found.append(state(model)["1.weight"])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_layer_with_values_of_its_own_keeps_them_and_comes_to_the_model():
    new = dense()
    new.build((1, 4), dtype="float32")
    values = to_numpy(new.weight.value)
    model, place = made("chain", "strict", dtype="float64")
    model.build((None, 4))
    model.replace(place, new)
    found = model.state_dict()[f"{place}.weight"]
    assert dtype_name(found) == "float64"
    np.testing.assert_array_equal(to_numpy(found), values)


def test_what_was_replaced_is_saved(tmp_path):
    model, place = made("nested")
    model.build((None, 4))
    model.replace(place, xpcnn.Sequential(dense(4, 9), xpcnn.Tanh(), dense(9, 4)))
    model.save(tmp_path / "m")
    again = xpcnn.Model.load(tmp_path / "m", device="cpu")
    x = np.random.default_rng(0).random((3, 4), dtype="float32")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_frozen_layers_stay_frozen_and_the_new_one_is_trained():
    model, _ = made("chain")
    model.build((None, 4))
    model.freeze()
    model.replace("2", dense())
    assert [n for n, p in model.parameters().items() if p.requires_grad] == ["2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("place", "layer", "error", "message"),
    [
        ("body", dense, ValueError, "it is a part of the names 'body.0', 'body.1'; give one"),
        ("haed", dense, ValueError, "no layer 'haed'; names near it are 'head'"),
        ("zzz", dense, ValueError, "there are 'body.0', 'body.1', 'sum', 'head'"),
        ("", dense, ValueError, "there is no layer ''"),
        ("head.weight", dense, ValueError, "names near it are 'head'"),
        (3, dense, TypeError, "the name of a layer, such as '6', got 3"),
        ("head", lambda: xpcnn.Linear, TypeError, "Model.replace: .* write Linear\\(\\)"),
        ("head", lambda: "linear", TypeError, "is not a layer: 'linear'"),
        ("body.0", lambda: xpcnn.Linear(4, 5), ValueError, "Add"),
        ("body.0", lambda: xpcnn.Linear(3, 4), ValueError, "expected .*3"),
    ],
)
def test_what_does_not_fit_changes_nothing(place, layer, error, message):
    model = xpcnn.Model(graph(), device="cpu", seed=0)
    model.build((None, 4))
    model.compile("adam", "cross_entropy")
    x = np.random.default_rng(0).random((6, 4), dtype="float32")
    model.train_on_batch(x, np.arange(6) % 3)
    before, description = state(model), repr(model)
    learnt = model.optimizer.state_dict().keys()
    new = layer()
    with pytest.raises(error, match=message):
        model.replace(place, new)
    assert repr(model) == description
    assert model.optimizer.state_dict().keys() == learnt
    for name, array in state(model).items():
        np.testing.assert_array_equal(array, before[name])
    model.train_on_batch(x, np.arange(6) % 3)


def test_a_layer_that_was_refused_is_as_it_was():
    model, _ = made("chain")
    model.build((None, 4))
    new = xpcnn.Linear(out_features=7)
    with pytest.raises(ValueError):
        model.replace("1", new)  # 4 inputs to the next layer
    assert new.in_features is None
    assert not new.is_built


def test_a_layer_stands_at_one_place():
    model, _ = made("nested")
    inside = model.network.layers[0].layers[0]
    for layer in (inside, xpcnn.Sequential(inside)):
        with pytest.raises(ValueError, match="stands in the network already"):
            model.replace("1", layer)


def test_a_part_that_the_constructor_makes_is_no_place():
    """A file has the arguments of the constructor, so that it would have the old layer."""
    model, _ = made("list")
    with pytest.raises(
        ValueError, match="Block: its constructor makes 'last', .* replace this Block"
    ):
        model.replace("0.last", dense())


def test_names_of_other_classes_are_forgotten():
    model = xpcnn.Model(graph(), device="cpu", seed=0)
    model.build((None, 4))
    model.class_names = ("a", "b", "c")
    model.replace("body.0", dense())
    assert model.class_names == ("a", "b", "c")
    with pytest.raises(ValueError):
        model.replace("head", xpcnn.Linear(7, 5))
    assert model.class_names == ("a", "b", "c")
    model.replace("head", xpcnn.Linear(out_features=5))
    assert model.class_names is None
