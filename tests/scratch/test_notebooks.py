"""The five course notebooks themselves: every cell runs, and numbers are the notebooks' own."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from typing import Any

import numpy as np
import pytest

from tests.scratch import notebooks

pytestmark = pytest.mark.skipif(
    not notebooks.COURSES.is_dir(), reason=f"the course notebooks are not at {notebooks.COURSES}"
)
NUMBERS = list(notebooks.MODULES)

# What a notebook's class sets that has no meaning here.
WITHOUT = {("001", "SimpleConvNet"): {"gamma", "beta"}}  # only ever None; ours are in params


def scratch_module(number: str) -> Any:
    return importlib.import_module(f"xpcnn.scratch.{notebooks.MODULES[number]}")


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch):
    """Return a function that gets a notebook's cells, with all it imports at hand."""

    def prepare(number: str) -> list[str]:
        missing = notebooks.optional_modules_missing(number)
        if missing:
            pytest.skip(f"the notebook needs {missing}, which is not installed")
        for name, module in notebooks.stand_ins(scratch_module(number)).items():
            monkeypatch.setitem(sys.modules, name, module)
        np.random.seed(0)
        return [notebooks.shorter(code) for code in notebooks.cells(number)]

    return prepare


def replaced(number: str, codes: list[str], keep: tuple[str, ...] = ()) -> list[str]:
    names = set(scratch_module(number).__all__) - set(keep)
    module = notebooks.MODULES[number]
    return [notebooks.without_definitions(code, names, module) for code in codes]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_cell_runs_on_the_classes_of_this_package(number, prepared) -> None:
    codes = replaced(number, prepared(number))
    left = [
        node.name
        for code in codes
        for node in ast.parse(code).body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    ]
    assert left == []
    assert notebooks.run(codes)["np"] is np


# The cells that hold numbers worked out with the notebook's own definitions.
def test_the_one_dimensional_cells_give_the_notebooks_numbers(prepared) -> None:
    codes = prepared("000")
    first_of_training = next(i for i, code in enumerate(codes) if "load_data" in code)
    own = notebooks.run(codes[:first_of_training])
    ours = notebooks.run(replaced("000", codes)[:first_of_training])
    for name in ("sc", "te", "bk", "te1", "te2", "te3", "te4"):
        np.testing.assert_allclose(ours[name], own[name], rtol=1e-12)
    np.testing.assert_allclose(ours["te"], own["a"][None])
    for name in ("s", "fc", "pd"):
        for kept in ("X", "col", "dW", "db"):
            np.testing.assert_allclose(
                getattr(ours[name], kept), getattr(own[name], kept), rtol=1e-12
            )


def test_the_notebooks_classifier_trains_on_our_layers_as_on_its_own(prepared) -> None:
    codes = prepared("000")
    own = notebooks.run(codes)
    codes = prepared("000")  # starts from the same random state
    keep = ("Scratch1dCNNClassifier",)
    ours = notebooks.run(replaced("000", codes, keep))
    assert type(ours["cnn"]).__module__ == "notebook"
    assert type(ours["cnn"].layers["Conv1"]).__module__.startswith("xpcnn")
    np.testing.assert_allclose(ours["cnn"].train_loss_list, own["cnn"].train_loss_list, rtol=1e-9)
    for key, value in own["cnn"].params.items():
        np.testing.assert_allclose(ours["cnn"].params[key], value, rtol=1e-7, atol=1e-10)
    np.testing.assert_array_equal(ours["pred"], own["pred"])


def test_the_tanh_notebook_gives_its_own_classes_and_columns(prepared) -> None:
    codes = prepared("002")
    before_training = next(i for i, code in enumerate(codes) if code.startswith("weights_1_2, "))
    own = notebooks.run(codes[:before_training])
    prepared("002")
    ours = notebooks.run(replaced("002", codes)[:before_training])
    np.testing.assert_array_equal(ours["im2col_ex"], own["im2col_ex"])
    arrays = own["kernels"], own["weights_1_2"]
    for image in own["test_images"]:
        got = ours["cnn"](image, *arrays)
        assert got == own["cnn"](image, *arrays)
        assert type(got) is int
    np.testing.assert_allclose(ours["tanh_deriv"](own["test_images"][0]), 1 - np.tanh(
        own["test_images"][0]) ** 2, rtol=1e-12)  # fmt: skip


def test_the_tanh_notebook_learns(prepared) -> None:
    space = notebooks.run(replaced("002", prepared("002")))
    weights, kernels = space["weights_1_2"], space["kernels"]
    assert weights.shape == (10, 16 * 26 * 26)
    assert kernels.shape == (16, 9)
    given = {"images": space["x_train"], "one_hot_labels": space["train_one_hot_labels"]}
    w, k = space["back_propagation_cnn"](**given, kernels=kernels, weights_1_2=weights, epoch=20)
    assert w is weights
    assert k is kernels
    guesses = [space["cnn"](image, k, w) for image in space["x_train"]]
    assert np.mean(guesses == space["y_train"]) > 0.9


def test_the_notebooks_deep_classifier_trains_on_our_layers(prepared) -> None:
    """Its own layers divide the gradient by the batch once more, so it is compared by layer."""
    codes = prepared("003")
    keep = ("ScratchDeepNeuralNetrowkClassifier",)
    space = notebooks.run(replaced("003", codes, keep)[: 1 + _find(codes, "clf = ")])
    clf = space["clf"]
    assert type(clf).__module__ == "notebook"
    x, t = space["X_train"][:20], space["y_train_one_hot"][:20]
    z = x
    for layer in clf.layers:
        layer.optimizer = None
        z = layer.forward(z)
    gradient = (z - t) / len(x)
    for layer in reversed(clf.layers):
        gradient = layer.backward(gradient)
    last = clf.layers[-1]
    np.testing.assert_allclose(last.dW, last.X.T @ (z - t) / len(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(last.db, (z - t).mean(axis=0), rtol=1e-9, atol=1e-12)


def _find(codes: list[str], beginning: str) -> int:
    return next(i for i, code in enumerate(codes) if code.startswith(beginning))


def literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


@pytest.mark.parametrize("number", NUMBERS)
def test_signatures_are_the_notebooks(number) -> None:
    found = notebooks.definitions(number)
    ours = scratch_module(number)
    assert len(found) > 3
    for name, parts in found.items():
        theirs = parts.get("__init__" if "kept" in parts else "")
        if theirs is None:  # without a constructor
            getattr(ours, name)()
            continue
        names = [a.arg for a in theirs.args if a.arg != "self"]
        accepted = inspect.signature(getattr(ours, name)).parameters
        assert list(accepted)[: len(names)] == names, name
        for argument, node in zip(reversed(names), reversed(theirs.defaults), strict=False):
            default, expected = accepted[argument].default, literal(node)
            if not isinstance(expected, dict) and default != expected:
                # names of optimizers are read without regard to case; widths follow the labels
                assert (argument, default, expected) == ("optimizer", "adam", "Adam")
        for method, arguments in parts.items():
            if method in ("__init__", "", "kept") or method.startswith("_"):
                continue
            free = [a for a in arguments.args if a.arg != "self"]
            positional = [
                p
                for p in inspect.signature(getattr(getattr(ours, name), method)).parameters.values()
                if p.name != "self" and p.kind is p.POSITIONAL_OR_KEYWORD
            ]
            assert len(positional) >= len(free), (name, method)
            required = [p for p in positional if p.default is p.empty]
            assert len(required) <= len(free), (name, method)


def used(number: str, name: str) -> Any:
    """Return an object of ours that has been forward and backward."""
    ours = scratch_module(number)
    cls = getattr(ours, name)
    rng = np.random.default_rng(0)
    signal, image = rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 3, 8, 8))
    rows, one_hot = rng.normal(size=(4, 3)), np.eye(3)[[0, 2, 1, 1]]
    layers = {
        "SimpleConv1d": lambda: (cls(rng.normal(size=(2, 3, 3)), np.zeros(2)), signal),
        "MaxPooling1D": lambda: (cls(2, 2), signal),
        "Convolution": lambda: (cls(rng.normal(size=(2, 3, 3, 3)), np.zeros(2)), image),
        "MaxPooling": lambda: (cls(2, 2, 2), image),
        "Pooling": lambda: (cls(2, 2, 2), image),
        "Affine": lambda: (cls(rng.normal(size=(3, 2)), np.zeros(2)), rows),
        "Flatten": lambda: (cls(), image),
        "BatchNormalization": lambda: (cls(None, None), image),
        "FC": lambda: (
            cls(3, 2, ours.HeInitializer(), ours.AdaGrad(0.1), ours.ReLU()),
            rows,
        ),
    }
    losses = ("SoftmaxWithLoss", "MeanSquaredLoss")
    if name in layers:
        layer, x = layers[name]()
        layer.backward(np.ones_like(layer.forward(x)))
        return layer
    if name in losses:
        loss = cls()
        loss.forward(rows, one_hot)
        loss.backward()
        return loss
    if name == "GetMiniBatch":
        return cls(rows, one_hot)
    if name in ("SimpleInitializer",):
        return cls(0.1)
    if name == "Scratch1dCNNClassifier":
        model = cls(n_epochs=1, verbose=False, layer_nodes=4)
        model.fit(signal, [0, 1])
        return model
    if name == "ScratchDeepNeuralNetrowkClassifier":
        fc = ours.FC(3, 3, ours.HeInitializer(), ours.SGD(0.1), ours.Softmax())
        model = cls([fc])
        model.fit(rows, one_hot, rows, one_hot, n_epoch=1)
        return model
    made = cls()
    if hasattr(made, "forward"):
        made.backward(np.ones_like(made.forward(rows)))
    return made


@pytest.mark.parametrize("number", NUMBERS)
def test_what_the_notebooks_classes_keep_can_be_read(number) -> None:
    for name, parts in notebooks.definitions(number).items():
        if "kept" not in parts:
            continue
        obj = used(number, name)
        wanted = {a for a in parts["kept"] if not a.startswith("_")}
        missing = {a for a in wanted - WITHOUT.get((number, name), set()) if not hasattr(obj, a)}
        assert not missing, f"{name} keeps {missing}"
