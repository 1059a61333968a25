"""What a prompt or a notebook shows of models, histories and summaries."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn.operations import Add


def model(**settings) -> xpcnn.Model:
    layers = [xpcnn.Conv2d(1, 2, 3), xpcnn.Flatten(), xpcnn.Linear(out_features=2)]
    return xpcnn.Model(layers, device="cpu", seed=3, **settings)


def test_a_model_shows_its_layers() -> None:
    assert repr(model()) == (
        "Model([\n"
        "    Conv2d(in_channels=1, out_channels=2, kernel_size=(3, 3)),\n"
        "    Flatten(),\n"
        "    Linear(out_features=2),\n"
        "], device='cpu', seed=3)"
    )
    assert repr(model(dtype="float64")).endswith("device='cpu', dtype='float64', seed=3)")
    graph = xpcnn.Graph(["a", "b"], [("sum", Add(), ["a", "b"])], "sum")
    text = repr(xpcnn.Model(graph, device="cpu"))
    assert text.startswith("Model(Graph(['a', 'b'], [\n    ('sum', Add(), ['a', 'b'], ['sum']),")
    assert " at 0x" not in text


def test_a_history_shows_its_last_epoch() -> None:
    assert repr(xpcnn.History()) == "History(epochs=0)"
    history = xpcnn.History()
    history.append(1, {"loss": 2.0})
    history.append(2, {"loss": 0.25, "val_accuracy": 0.5})
    assert repr(history) == "History(epochs=2, loss=0.25, val_accuracy=0.5)"


def test_a_summary_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    text = model().summary((None, 1, 8, 8))
    assert capsys.readouterr().out == f"{text}\n"
    assert isinstance(text, str)
    assert text.startswith("input (1, 1, 8, 8), float32\n")
    assert "\\n" not in repr(text)
    assert "Conv2d" not in repr(text)
    # IPython shows what this writes, in place of the value
    assert text._ipython_display_() is None
    assert capsys.readouterr().out == ""


def test_fit_returns_what_can_be_shown() -> None:
    network = model()
    network.compile("adam", "cross_entropy")
    x, y = np.zeros((4, 1, 8, 8), "float32"), np.array([0, 1, 0, 1])
    assert repr(network.fit(x, y, verbose=0)).startswith("History(epochs=1, loss=0.69")
