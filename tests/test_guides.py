"""Getting started, the tables for those who come from elsewhere, and the list of errors."""

from __future__ import annotations

import ast
import copy
import re
from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.pages import Page
from tests.pytorch import nn, torch
from tests.pytorch import nn_f as F
from xpcnn import scratch
from xpcnn.data import load_digits_subset

PYTORCH = Page("docs/coming-from-pytorch.md")
KERAS = Page("docs/coming-from-keras.md")
NOTEBOOK = Page("docs/coming-from-a-notebook.md")
FAQ = Page("docs/faq.md")


def tables(page: Page) -> list[list[tuple[str, str]]]:
    """Return the tables of a page: for each line what is written there, and here."""
    found: list[list[tuple[str, str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", page.text, re.M):
        rows = [re.match(r"\| `([^`]+)` \| `([^`]+)` \|", line) for line in block.splitlines()]
        assert all(rows[2:]), "each line begins with two pieces of code"
        found.append([(row[1], row[2]) for row in rows[2:]])
    return found


def result(code: str, names: dict[str, Any]) -> Any:
    """Run what a cell has; return the value of its last expression, None of a statement."""
    *first, last = ast.parse(code).body
    exec(compile(ast.Module(first, []), code, "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), code, "eval"), names)
    exec(code.split(";")[-1].strip(), names)
    return None


def close(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    if hasattr(theirs, "detach"):
        theirs = theirs.detach().numpy()
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), tolerance, tolerance)


@pytest.mark.parametrize("path", ["docs/getting-started.md", "docs/ja/getting-started.md"])
def test_getting_started(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = Page(path).run()
    accuracy = names["model"].history.history["val_accuracy"][-1]
    assert accuracy > 0.85
    assert f"{accuracy}"[:6] in capsys.readouterr().out


def test_tour(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = Page("docs/tour.md").run(optional=("torch", "sklearn"))
    printed = capsys.readouterr().out
    # What the comments beside the prints promise.
    for promise in ("[[[35. 50.]]]", "[[[ 30. 110. 170. 140.]]]", "[35. 50.]"):
        assert promise in printed
    assert names["history"].history["val_accuracy"][-1] > 0.85


def test_devices(capsys):
    Page("docs/devices.md").run()
    assert "cpu works\n" in capsys.readouterr().out


@pytest.fixture
def digits() -> dict[str, Any]:
    """Sixty images and their labels."""
    (x, y), _ = load_digits_subset()
    return {"x": x[:60], "y": y[:60], "xpcnn": xpcnn}


# -- PyTorch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("there", "here"), tables(PYTORCH)[0])
def test_layers_compute_what_those_of_pytorch_do(there, here):
    shape = (4, 6) if "Linear" in there else (4, 8, 9, 10)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    theirs, ours = eval(there, {"nn": nn}), eval(here, {"xpcnn": xpcnn})
    expected = theirs(torch.from_numpy(x))
    ours.build(shape)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    close(ours.forward(x, training=True), expected)


@pytest.mark.parametrize(("there", "here"), tables(PYTORCH)[1])
def test_functions_compute_what_those_of_pytorch_do(there, here):
    rng = np.random.default_rng(0)
    shapes = {"scores": (5, 4), "targets": (5, 4), "images": (2, 3, 8, 9), "kernels": (4, 3, 3, 3)}
    given = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    given["labels"] = np.array([0, 3, 1, 2, 2])
    arrays = {name: torch.from_numpy(value) for name, value in given.items()}
    close(eval(here, {"xpcnn": xpcnn, **given}), eval(there, {"nn": nn, "F": F, **arrays}))


def test_training_goes_as_in_pytorch(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = eval(re.search(r"`net = (.*?)`;", PYTORCH.text)[1], {"nn": nn})
    model = eval(re.search(r"`model = (.*?)`;", PYTORCH.text)[1], {"xpcnn": xpcnn})
    model.build(digits["x"].shape)
    model.load_state_dict({key: value.numpy() for key, value in net.state_dict().items()})
    theirs = {"nn": nn, "torch": torch, "net": net, "x": torch.from_numpy(digits["x"])}
    theirs["y"] = torch.from_numpy(digits["y"])
    ours = {**digits, "model": model}
    compared = 0
    for there, here in tables(PYTORCH)[2]:
        expected, value = result(there, theirs), result(here, ours)
        if hasattr(expected, "detach"):
            close(value, expected)
            compared += 1
    assert compared == 3
    close(ours["scores"], theirs["scores"])
    close(ours["value"], theirs["value"])
    for there, here in tables(PYTORCH)[3]:
        expected, value = result(there, theirs), result(here, ours)
        if "predict" in here:
            close(value, expected)
    assert (tmp_path / "net.safetensors").exists()


def test_pytorch(capsys):
    PYTORCH.run(("torch",), {"np": np, "xpcnn": xpcnn})
    assert "(2, 8, 5, 5)" in capsys.readouterr().out


# -- Keras -----------------------------------------------------------------------------------------


def test_what_stands_for_keras_is_python():
    for there, _ in [row for table in tables(KERAS) for row in table]:
        ast.parse(there)


@pytest.mark.parametrize(("there", "here"), tables(KERAS)[0])
def test_layers_for_those_of_keras(there, here):
    layer = eval(here, {"xpcnn": xpcnn})
    shape = (4, 8, 10, 12)
    layer.build(shape)
    shapes = {  # of Keras' outputs, with channels brought first
        "layers.Conv2D(16, 3)": (4, 16, 8, 10),
        'layers.Conv2D(16, 3, padding="same")': (4, 16, 10, 12),
        'layers.Conv2D(16, 3, activation="relu")': (4, 16, 8, 10),
        "layers.MaxPooling2D()": (4, 8, 5, 6),
        "layers.GlobalAveragePooling2D()": (4, 8),
        "layers.Flatten()": (4, 960),
        "layers.Dense(10)": (4, 8, 10, 10),
        "layers.Conv2DTranspose(8, 2, strides=2)": (4, 8, 20, 24),
        "layers.UpSampling2D()": (4, 8, 20, 24),
        "layers.ZeroPadding2D(1)": (4, 8, 12, 14),
    }
    x = np.random.default_rng(0).random(shape, dtype="float32")
    assert layer.forward(x).shape == shapes.get(there, shape)


def test_numbers_of_keras_layers():
    here = dict(tables(KERAS)[0])
    norm = eval(here["layers.BatchNormalization()"], {"xpcnn": xpcnn})
    norm.forward(np.array([[[[1.0]]], [[[3.0]]]]), training=True)  # mean 2
    close(norm.state_dict()["running_mean"], [0.01 * 2])  # 0.99 of 0, and 0.01 of the batch's
    leaky = eval(here["layers.LeakyReLU()"], {"xpcnn": xpcnn})
    close(leaky.forward(np.array([[-10.0]])), [[-3.0]])


def test_training_as_in_keras(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {**digits, "channels_last": np.zeros((2, 5, 6, 3)), "numpy": np}
    values = {here: result(here, names) for _, here in tables(KERAS)[1]}
    assert names["images"].shape == (2, 3, 5, 6)
    assert len(values['history.history["val_accuracy"]']) == 2
    assert set(values["model.evaluate(x, y)"]) == {"loss", "accuracy"}
    assert values["sum(value.size for value in model.state_dict().values())"] == 7850


def test_keras():
    model = KERAS.run()["model"]
    model.build((None, 1, 28, 28))
    weight = model.state_dict()["1.weight"]
    assert 0.9 < abs(weight).max() / np.sqrt(6 / (784 + 10)) <= 1  # Glorot's formula
    assert not model.state_dict()["1.bias"].any()


# -- A notebook ------------------------------------------------------------------------------------


@pytest.fixture
def notebook() -> dict[str, Any]:
    """What the notebook has: its classes, and arrays."""
    rng = np.random.default_rng(0)
    shapes = {"W": (3, 2, 3, 3), "b": (3,), "A": (4, 5), "c": (5,)}
    names = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    names |= {"x": rng.normal(size=(4, 2, 6, 8)), "rows": rng.normal(size=(6, 4))}
    names |= {"t": np.array([0, 1, 2, 3, 3, 1]), "xpcnn": xpcnn, "scratch": scratch}
    exec(NOTEBOOK.of("python")[0], names)
    return names


def classes() -> dict[str, Any]:
    module = scratch.deep_conv_net
    return {name: getattr(module, name) for name in module.__all__} | {
        "SimpleConvNet": scratch.simple_conv_net.SimpleConvNet
    }


@pytest.mark.parametrize(("there", "here"), tables(NOTEBOOK)[0])
def test_layers_compute_what_those_of_a_notebook_do(notebook, there, here):
    theirs, ours = eval(there, notebook | classes()), eval(here, notebook)
    x = notebook["rows" if "Affine" in there else "x"]
    y = ours.forward(x, training=True)
    close(y, theirs.forward(x), 1e-12)
    close(ours.backward(2 * y), theirs.backward(2 * y), 1e-12)


@pytest.mark.parametrize(("there", "here"), tables(NOTEBOOK)[1])
def test_functions_compute_what_those_of_a_notebook_do(notebook, there, here):
    close(eval(here, notebook), eval(there, notebook | classes()), 1e-6)


def test_affine_is_worked_by_hand(notebook):
    """So that the table does not stand on one library alone."""
    ours = eval(dict(tables(NOTEBOOK)[0])["Affine(A, c)"], notebook)
    rows, A, c = (notebook[name] for name in ("rows", "A", "c"))
    by_hand = [[sum(row[i] * A[i, j] for i in range(4)) + c[j] for j in range(5)] for row in rows]
    close(ours.forward(rows), by_hand, 1e-12)


def test_forward_and_backward_as_in_a_notebook(notebook):
    theirs, ours = notebook | classes(), dict(notebook)
    for there, here in tables(NOTEBOOK)[2]:
        expected, value = result(there, theirs), result(here, ours)
        if expected is not None:
            close(value, expected, 1e-7)
    close(ours["dx"], theirs["dx"], 1e-12)


def test_training_as_in_a_notebook(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits |= {"images": digits["x"], "labels": digits["y"]}
    theirs, ours = digits | classes(), dict(digits)
    for there, here in tables(NOTEBOOK)[3]:
        result(there, theirs)
        result(here, ours)
    assert (tmp_path / "params.pkl").exists()
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    "path", ["docs/coming-from-a-notebook.md", "docs/ja/coming-from-a-notebook.md"]
)
def test_notebook(path):
    names = Page(path).run()
    assert names["report"].mistakes == ["backward_changes_dout"]


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("SGD(lr=0.1)", "SGD(lr=0.1)"),
        ("Momentum(lr=0.1, momentum=0.9)", "SGD(lr=0.1, momentum=0.9)"),
        ("Adam(lr=0.001)", "Adam(lr=0.001)"),
    ],
)
def test_optimizers_of_a_notebook(there, here):
    assert [there in NOTEBOOK.text, here in NOTEBOOK.text] == [True, True]
    theirs, start = eval(there, classes()), np.array([[1.0, -2.0]])
    layer = xpcnn.Linear(2, 1, bias=False)
    layer.load_state_dict({"weight": start})
    ours = eval(f"optim.{here}", {"optim": xpcnn.optim})
    params = {"W": copy.copy(start)}
    for gradient in ([[0.5, 0.25]], [[-1.0, 3.0]], [[0.1, 0.2]]):
        theirs.update(params, {"W": np.array(gradient)})
        layer.weight.grad = np.array(gradient)
        ours.step({"weight": layer.weight})
    close(layer.weight.value, params["W"], 1e-6)


# -- Japanese ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["getting-started", "coming-from-a-notebook"])
def test_code_is_the_same_in_japanese(name):
    """But for comments and the language; so are the tables, which only one test runs."""

    def code(text: str) -> str:
        return re.sub(r'  # .*|, lang="ja"', "", text)

    english, japanese = Page(f"docs/{name}.md"), Page(f"docs/ja/{name}.md")
    assert [code(text) for _, text in japanese.blocks] == [code(text) for _, text in english.blocks]
    if name == "coming-from-a-notebook":
        assert tables(japanese) == tables(english)


def test_explain_in_japanese(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = Page("docs/ja/explain.md")
    page.run()
    printed = capsys.readouterr().out
    promised = re.findall(r"^- `(.*)`：", page.text, re.M)
    assert [line in printed for line in promised] == [True] * 3
    for name in ("forward", "backward", "weights"):
        assert (tmp_path / f"{name}.html").stat().st_size > 1000


def test_check_in_japanese(capsys):
    names = Page("docs/ja/check.md").run()
    printed = capsys.readouterr().out
    assert "あおい ['only_last_sample']" in printed
    assert "れん 合格" in printed
    assert names["report"].passed


# -- Errors ----------------------------------------------------------------------------------------

FAILING = re.findall(r"```python\n((?:[^`]|`(?!``))*?)```\n\n> `(\w+): (.*)`\n", FAQ.text)


def test_every_message_has_its_block():
    assert len(FAILING) == FAQ.text.count("\n> `") > 15


@pytest.mark.parametrize(("code", "kind", "message"), FAILING)
def test_errors_are_as_written(code, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(FAQ.of("python")[0], names)
    if "mps" in code and xpcnn.devices()["torch:mps"] == "works":
        pytest.skip("there is such a GPU")
    with pytest.raises(Exception) as raised:  # warnings are errors here too
        exec(code, names)
    assert type(raised.value).__name__ == kind
    pattern = re.escape(message).replace(re.escape("..."), ".*")
    assert re.fullmatch(pattern, str(raised.value), re.S), raised.value


def test_faq():
    """The blocks that do not fail."""
    threads = xpcnn.get_num_threads()
    failing = {code for code, _, _ in FAILING}
    for code in FAQ.of("python"):
        if code not in failing:
            exec(code, {"xpcnn": xpcnn})
    xpcnn.set_num_threads(threads)
