"""What a notebook shows of models and layers."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import xpcnn
from tests.drawing.pictures import check_layout
from tests.layers.cases import CASES
from xpcnn import drawing, zoo
from xpcnn.layers.operation import Operation


class _Cells(HTMLParser):
    """Gathers the rows of all tables."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("rect", "path"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "path"):
            assert self.open.pop() == tag, "tags are closed in order"

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data


def table(html: str | None) -> list[list[str]]:
    assert html is not None
    cells = _Cells()
    cells.feed(html)
    assert cells.open == []
    return cells.rows


def model() -> xpcnn.Model:
    layers = [xpcnn.Conv2d(1, 8, 3), xpcnn.ReLU(), xpcnn.Flatten(), xpcnn.Linear(out_features=10)]
    return xpcnn.Model(layers, device="cpu", seed=0)


def test_a_built_model() -> None:
    net = model()
    net.build((None, 1, 6, 5))
    net.compile(xpcnn.optim.Adam(lr=0.01), "cross_entropy")
    html = net._repr_html_()
    # 6x5 becomes 4x3 by a window of 3; each of 8 * 12 outputs takes 9 products
    assert table(html) == [
        ["name", "layer", "output shape", "parameters", "multiply-adds, one sample"],
        ["0", "Conv2d 1 → 8, 3×3", "N × 8 × 4 × 3", "80", "864"],
        ["1", "ReLU", "N × 8 × 4 × 3", "0", "0"],
        ["2", "Flatten", "N × 96", "0", "0"],
        ["3", "Linear 96 → 10", "N × 10", "970", "960"],
        ["", "all together", "", "1,050", "1,824"],
    ]
    assert "cpu · float32 · seed 0 · input N × 1 × 6 × 5 · Adam, lr 0.01 · CrossEntropy" in html
    assert html.count("<svg") == 1
    assert "<details><summary>drawing" in html


def test_losses_have_names_without_addresses() -> None:
    def mine(predicted, target):
        return ((predicted - target) ** 2).mean()

    def gradient(predicted, target):
        return 2 * (predicted - target) / predicted.size

    net = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu", seed=0)
    net.compile("sgd", (mine, gradient))
    assert "SGD, lr 0.001 · loss mine<" in net._repr_html_()
    nodes = [("a", xpcnn.Linear(4, 2), "x"), ("b", xpcnn.Linear(4, 3), "x")]
    net = xpcnn.Model(xpcnn.Graph("x", nodes, ["a", "b"]), device="cpu", seed=0)
    net.compile("sgd", ["mse", "l1"])
    assert "· MSELoss(), L1Loss()<" in net._repr_html_()


def test_a_model_that_is_not_built_says_how_to() -> None:
    html = model()._repr_html_()
    assert table(html)[1:] == [
        ["0", "Conv2d 1 → 8, 3×3", "80 parameters"],
        ["1", "ReLU", ""],
        ["2", "Flatten", ""],
        ["3", "Linear ? → 10", "parameters not known yet"],
    ]
    assert "model.build((None, 1, 28, 28))" in html


def test_the_table_has_what_the_summary_has(capsys: pytest.CaptureFixture[str]) -> None:
    net = xpcnn.Model(zoo.resnet18(), device="cpu", seed=0)
    net.build((None, 3, 64, 64))
    net.network.freeze("layer1*")
    rows = table(net._repr_html_())
    lines = str(net.summary()).splitlines()
    capsys.readouterr()
    body = [re.split(r"  +", line) for line in lines[4:-4]]
    assert len(body) == len(rows) - 2 == 69
    for cells, words in zip(rows[1:-1], body, strict=True):
        assert cells[3:] == words[-2:]
        assert cells[2].replace("N", "1") == words[-3].strip("(),").replace(", ", " × ")
    assert f"parameters: {rows[-1][3]} ({rows[-1][1].split()[0]} trained" in lines[-3]
    assert lines[-2].endswith(rows[-1][4])


def test_a_single_layer() -> None:
    layer = xpcnn.Conv2d(out_channels=3, kernel_size=2)
    rows = table(layer._repr_html_())
    assert ["kernel_size", "(2, 2)"] in rows
    assert ["weight", "3 × ? × 2 × 2", "no values yet", "parameter"] in rows
    layer(np.zeros((1, 5, 4, 4), "float64"))
    layer.freeze("bias")
    rows = table(layer._repr_html_())
    assert ["in_channels", "5"] in rows
    assert ["weight", "3 × 5 × 2 × 2", "float64", "parameter"] in rows
    assert ["bias", "3", "float64", "parameter, frozen"] in rows
    assert "63 parameters, partly frozen" in layer._repr_html_()
    norm = table(xpcnn.BatchNorm2d(4)._repr_html_())
    assert ["running_mean", "4", "no values yet", "buffer, not trained"] in norm


def test_networks_that_are_layers() -> None:
    net = xpcnn.Sequential(xpcnn.Conv2d(1, 2, 3), xpcnn.Residual(xpcnn.Linear(3, 3)))
    html = net._repr_html_()
    assert table(html)[1:] == [
        ["0", "Conv2d 1 → 2, 3×3", "20 parameters"],
        ["1", "Residual", "12 parameters"],
    ]
    assert "3 layers · 32 parameters" in html
    assert "<svg" in html
    assert "<svg" in zoo.unet(width=2)._repr_html_()


def test_names_are_escaped() -> None:
    graph = xpcnn.Graph("x", [("<b>&", xpcnn.ReLU(), "x")], "<b>&")
    html = graph._repr_html_()
    assert "<b>&" not in html
    assert table(html)[1][0] == "<b>&"


def test_one_format_each_so_that_nothing_is_shown_twice() -> None:
    for thing in (model(), xpcnn.ReLU(), zoo.lenet5()):
        assert not hasattr(thing, "_repr_svg_")
    assert not hasattr(drawing.network(xpcnn.ReLU()), "_repr_html_")


def test_nothing_runs_and_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found(Operation):
        ran = 0

        def _run(self, xp, inputs, training):
            type(self).ran += 1
            return inputs, None

    net = xpcnn.Model(xpcnn.Graph("x", [("y", Found(), "x")], "y"), device="cpu", seed=0)
    net.build((None, 3))
    before = Found.ran
    monkeypatch.setattr("xpcnn._xp.to_numpy", None)
    assert table(net._repr_html_())[1] == ["y", "Found", ""]
    assert Found.ran == before


def test_what_goes_wrong_leaves_it_to_repr() -> None:
    class Broken(xpcnn.Layer):
        def children(self):
            raise RuntimeError("no")

    assert Broken()._repr_html_() is None

    class Other(xpcnn.Layer):
        def __init__(self, size):
            self._kept = size

    assert Other(3)._repr_html_() is not None  # no argument is known, which is no reason
    assert "Other" in xpcnn.Sequential(Other(3), xpcnn.ReLU())._repr_html_()


def test_shared_layers_count_once() -> None:
    tower = xpcnn.Linear(4, 3)
    graph = xpcnn.Graph(
        ["a", "b"],
        [("p", tower, "a"), ("q", tower, "b"), ("s", xpcnn.operations.Add(), ["p", "q"])],
        "s",
    )
    net = xpcnn.Model(graph, device="cpu", seed=0)
    net.build(((None, 4), (None, 4)))
    rows = table(net._repr_html_())
    assert [row[3] for row in rows[1:]] == ["15", "0", "0", "15"]
    assert "input N × 4, N × 4" in net._repr_html_()


def test_every_layer_shows_itself(device: str) -> None:
    net = xpcnn.Model([xpcnn.Conv2d(1, 2, 3), xpcnn.Flatten()], device=device, dtype="float64")
    net.build((None, 1, 4, 4))
    assert "float64" in net._repr_html_()
    assert ["weight", "2 × 1 × 3 × 3", "float64", "parameter"] in table(net.layers[0]._repr_html_())


@pytest.mark.parametrize("name", CASES)
def test_of_all_classes(name: str) -> None:
    case = CASES[name]
    layer = case.make()
    assert layer._repr_html_() is not None
    check_layout(drawing.network(layer, (None, *case.shape[1:])))


def test_no_id_and_nothing_fetched() -> None:
    html = model()._repr_html_()
    assert " id=" not in html
    assert "<script" not in html
    assert "url(" not in html
    assert html.count("http") == 1


def test_the_part_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, xpcnn; xpcnn.ReLU(); print('xpcnn.drawing' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
