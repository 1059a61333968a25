"""A notebook that is really executed: each thing is shown once, and nothing warns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import xpcnn

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

CELLS = {
    "imports": "import numpy as np\nimport xpcnn\nfrom xpcnn import drawing",
    "model": (
        "model = xpcnn.Model([xpcnn.Conv2d(1, 2, 3), xpcnn.Flatten(), "
        "xpcnn.Linear(out_features=2)], device='cpu', seed=0)\nmodel"
    ),
    "summary": "model.summary((None, 1, 8, 8))",
    "kept": "text = model.summary()",
    "drawing": "drawing.network(model)",
    "layer": "model.layers[0]",
    "fit": (
        "model.compile('adam', 'cross_entropy')\n"
        "history = model.fit(np.ones((8, 1, 8, 8), 'float32'), np.arange(8) % 2, epochs=2)"
    ),
    "broken": (
        "class Broken(xpcnn.Layer):\n"
        "    def children(self):\n        raise RuntimeError('no')\n"
        "    def __repr__(self):\n        return 'only text'\n"
        "Broken()"
    ),
}


@pytest.fixture(scope="module")
def outputs() -> dict[str, list[Any]]:
    """The outputs of every cell, by its name."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    environment = {**os.environ, "PYTHONPATH": str(Path(xpcnn.__file__).parents[1])}
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    client.execute(env=environment)
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def formats(output: Any) -> set[str]:
    return set(output.data)


def test_a_model_and_a_layer_are_one_table(outputs: dict[str, list[Any]]) -> None:
    for name, part in (("model", "Linear"), ("layer", "kernel_size")):
        (output,) = outputs[name]
        assert formats(output) == {"text/html", "text/plain"}
        assert part in output.data["text/html"]


def test_a_summary_is_printed_once(outputs: dict[str, list[Any]]) -> None:
    for name in ("summary", "kept"):
        (output,) = outputs[name]
        assert output.output_type == "stream"
        assert output.text.count("output shape") == 1


def test_a_drawing_is_one_picture(outputs: dict[str, list[Any]]) -> None:
    (output,) = outputs["drawing"]
    assert formats(output) == {"image/svg+xml", "text/plain"}
    assert output.data["image/svg+xml"].startswith("<svg")


def test_fit_shows_its_progress_and_no_warning(outputs: dict[str, list[Any]]) -> None:
    assert {output.get("name") for output in outputs["fit"]} == {"stdout"}
    text = "".join(output.text for output in outputs["fit"])
    assert "IProgress" not in text
    lines = [line.rpartition("\r")[2] for line in text.split("\n")]
    shown = [line for line in lines if line.strip()]
    assert [line.split(":")[0] for line in shown] == ["epoch 1/2", "epoch 2/2"]
    assert all("loss" in line for line in shown)


def test_what_cannot_be_shown_is_text(outputs: dict[str, list[Any]]) -> None:
    (output,) = outputs["broken"]
    assert dict(output.data) == {"text/plain": "only text"}


def test_nothing_else_is_shown(outputs: dict[str, list[Any]]) -> None:
    assert outputs["imports"] == []
