"""Drawings of networks: what they say, that nothing overlaps, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import xpcnn
from tests.drawing.pictures import boxes, check_layout, parse, texts
from xpcnn import drawing, zoo
from xpcnn.drawing.theme import DARK, LIGHT
from xpcnn.operations import Add, Concat, Split

NETWORKS = {
    "resnet18": (zoo.resnet18, (None, 3, 64, 64), 9),
    "resnet18, blocks": (zoo.resnet18, (None, 3, 64, 64), None),
    "mobilenet": (zoo.mobilenet_v2, (None, 3, 64, 64), None),
    "squeezenet": (zoo.squeezenet1_1, (None, 3, 64, 64), 9),
    "unet": (zoo.unet, (None, 1, 32, 32), 9),
    "vgg": (zoo.vgg16_bn, (None, 3, 64, 64), 9),
    "a block of densenet": (zoo.densenet121, (None, 3, 64, 64), 2),
}


def small() -> xpcnn.Sequential:
    return xpcnn.Sequential(
        xpcnn.Conv2d(1, 8, 3, stride=2),
        xpcnn.ReLU(),
        xpcnn.MaxPool2d(2),
        xpcnn.Flatten(),
        xpcnn.Linear(8 * 6 * 6, 10),
    )


def branches(count: int = 4) -> xpcnn.Graph:
    """Branches of different length that come together, as in GoogLeNet."""
    nodes, ends = [], []
    for branch in range(count):
        value = "x"
        for step in range(branch + 1):
            name = f"b{branch}.{step}"
            nodes.append((name, xpcnn.Conv2d(3, 3, 3, padding=1), value))
            value = name
        ends.append(value)
    nodes.append(("join", Concat(1), ends))
    return xpcnn.Graph("x", nodes, "join")


def test_what_stands_in_a_drawing() -> None:
    shown = texts(drawing.network(small(), (None, 1, 28, 28)))
    # 8 filters of 9 weights and a bias; 28 - 3 over 2 and the first: 13; half of it: 6
    assert "Conv2d1 → 8, 3×3, stride 2" in shown
    assert "0 · 80 parameters" in shown
    assert "N × 8 × 13 × 13" in shown
    assert "N × 8 × 6 × 6" in shown
    assert "N × 288" in shown
    assert "4 · 2,890 parameters" in shown
    assert "5 layers, 2,970 parameters" in shown
    assert "inputN × 1 × 28 × 28" in shown
    assert "outputN × 10" in shown
    assert shown.count("N × 8 × 13 × 13") == 1  # behind the ReLU it is the same
    assert "N × 10" not in shown  # that of the output stands in its box


def test_without_a_shape_there_are_none() -> None:
    shown = texts(drawing.network(small()))
    assert "input" in shown
    assert not [text for text in shown if " × " in text]


def test_a_built_model_knows_its_shape_and_a_given_one_goes_before() -> None:
    model = xpcnn.Model(small(), device="cpu", seed=0)
    assert "input" in texts(drawing.network(model))
    model.build((None, 1, 28, 28))
    assert "inputN × 1 × 28 × 28" in texts(drawing.network(model))
    assert "input5 × 1 × 28 × 28" in texts(drawing.network(model, (5, 1, 28, 28)))


def test_a_drawing_builds_and_changes_nothing() -> None:
    net = xpcnn.Sequential(xpcnn.Conv2d(out_channels=2, kernel_size=3), xpcnn.Flatten())
    shown = texts(drawing.network(net, (None, 3, 5, 5)))
    assert "N × 2 × 3 × 3" in shown
    assert "0 · parameters not known yet" in shown
    assert not net.is_built
    assert net.layers[0].in_channels is None


def test_frozen_layers_say_so() -> None:
    net = small()
    net.freeze("0.weight", "4")
    shown = texts(drawing.network(net))
    assert "0 · 80 parameters, partly frozen" in shown
    assert "4 · 2,890 parameters, frozen" in shown


def test_a_block_says_what_is_in_it() -> None:
    shown = texts(drawing.network(zoo.resnet18(), depth=2))
    assert "layer2.13 layers" not in shown
    # 2 convolutions of 3x3 from 128 to 128 channels, 2 normalisations of 128
    assert f"{2 * 128 * 128 * 9 + 2 * 2 * 128:,} parameters" in shown
    assert "layer2.12 Conv2d, 2 BatchNorm2d, 2 ReLU, Add" in shown
    assert "69 layers, 11,689,512 parameters" in shown


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_overlaps(name: str) -> None:
    make, shape, depth = NETWORKS[name]
    check_layout(drawing.network(make(), shape, depth=depth))


def test_branches_of_different_length() -> None:
    check_layout(drawing.network(branches(), (None, 3, 8, 8)))


def test_long_networks_continue_in_columns_where_there_is_room() -> None:
    def size(net: xpcnn.Layer) -> tuple[float, float]:
        root = parse(drawing.network(net, depth=9))
        return float(root.get("width", "")), float(root.get("height", ""))

    def chain(count: int, channels: int) -> list[xpcnn.Layer]:
        return [xpcnn.Conv2d(channels, channels, 3, padding=1) for _ in range(count)]

    width, height = size(xpcnn.Sequential(chain(60, 8)))
    assert 1300 < height < 1600  # 60 boxes of 40, and 18 between them, in three columns
    assert width < 1000
    wide = [xpcnn.Parallel([xpcnn.Sequential(chain(12, 8)) for _ in range(4)], "sum")]
    width, height = size(xpcnn.Sequential(wide + chain(30, 8)))
    assert width < 1300
    assert height > 2000


def test_the_longest_way_is_straight() -> None:
    picture = drawing.network(zoo.unet(width=2, depth=2), depth=9)
    columns = {round(box.x + box.width / 2) for box in boxes(picture)}
    assert len(columns) <= 3  # one for each column of the folded drawing


def test_chains_beside_the_longest_way_are_straight_too() -> None:
    tower = [("a.0", xpcnn.Conv2d(1, 2, 1), "l"), ("a.1", xpcnn.ReLU(), "a.0")]
    other = [("b.0", xpcnn.Conv2d(1, 20, 1), "r"), ("b.1", xpcnn.ReLU(), "b.0")]
    nodes = [*tower, *other, ("both", Concat(1), ["a.1", "b.1"])]
    found = boxes(drawing.network(xpcnn.Graph(["l", "r"], nodes, "both"), depth=2))
    middles = {round(box.x + box.width / 2, 1) for box in found}
    assert len(middles) == 2


def test_several_inputs_and_outputs_have_their_names() -> None:
    graph = xpcnn.Graph(
        ["left", "right"],
        [("sum", Add(), ["left", "right"]), ("cut", Split(1, pieces=2), "sum", ["a", "b"])],
        ["a", "b"],
    )
    shown = texts(drawing.network(graph, {"left": (None, 4), "right": (None, 4)}))
    assert {"leftN × 4", "rightN × 4", "aN × 2", "bN × 2"} <= set(shown)
    check_layout(drawing.network(graph))


def test_a_shared_layer_says_whose_parameters_it_has() -> None:
    tower = xpcnn.Sequential(xpcnn.Linear(4, 3), xpcnn.ReLU(), xpcnn.Linear(3, 3))
    nodes = [("a", tower, "l"), ("b", tower, "r"), ("sum", Add(), ["a", "b"])]
    graph = xpcnn.Graph(["l", "r"], nodes, "sum")
    shown = texts(drawing.network(graph, depth=2))
    assert {"a.0 · 15 parameters", "b.0 · parameters of a.0", "b.2 · parameters of a.2"} <= {*shown}
    assert "7 layers, 27 parameters" in shown
    assert "Sequential · parameters of a" in texts(drawing.network(graph, depth=1))


def test_names_are_escaped() -> None:
    graph = xpcnn.Graph("<x>", [("a & b\x00<script>", xpcnn.ReLU(), "<x>")], "a & b\x00<script>")
    svg = str(drawing.network(graph))
    assert "<script>" not in svg
    assert "ReLUa & b\ufffd<script>" in texts(svg)


def test_odd_networks_are_drawn() -> None:
    for net in (
        xpcnn.Sequential(),
        xpcnn.ReLU(),
        xpcnn.Sequential(xpcnn.Sequential(xpcnn.Sequential(xpcnn.ReLU()))),
        xpcnn.Residual(xpcnn.ReLU()),
        xpcnn.Graph("x", [("y", Add(), ["x", "x"])], ["y", "x"]),
        xpcnn.Graph(["x", "unused"], [("y", xpcnn.ReLU(), "x")], "y"),
        xpcnn.Sequential([xpcnn.ReLU() for _ in range(300)]),
    ):
        check_layout(drawing.network(net))


def test_one_page_can_hold_two_and_nothing_is_fetched() -> None:
    svg = str(drawing.network(small()))
    assert " id=" not in svg
    assert "<script" not in svg
    assert svg.count("http") == 1  # the name of the format
    assert "prefers-color-scheme:dark" in svg


def test_colours_have_contrast() -> None:
    for colours in (LIGHT, DARK):
        for name in [name for name in colours if f"{name}-edge" in colours]:
            assert contrast(colours["ink"], colours[name]) > 7
            assert contrast(colours["soft"], colours[name]) > 4.5
            assert contrast(colours[f"{name}-edge"], colours["page"]) > 3


def contrast(one: str, other: str) -> float:
    """Return the ratio that the W3C's guidelines for accessibility define."""
    values = sorted(luminance(colour) for colour in (one, other))
    return (values[1] + 0.05) / (values[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# -- What is returned --------------------------------------------------------------------------


def test_a_drawing_shows_and_saves_itself(tmp_path: Path) -> None:
    picture = drawing.network(small())
    assert repr(picture) == "<drawing of Sequential, 5 boxes>"
    assert picture._repr_svg_() == str(picture)
    picture.save(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == f"{picture}\n"
    with pytest.raises(ValueError, match=r"must end in '\.svg', got .*net\.png"):
        picture.save(str(tmp_path / "net.png"))
    with pytest.raises(TypeError, match="give the path of a file"):
        picture.save(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        picture.save(tmp_path / "none" / "net.svg")


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="model must be a Model or a Layer, got the class Conv2d"):
        drawing.network(xpcnn.Conv2d)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model must be a Model or a Layer, got list"):
        drawing.network([xpcnn.ReLU()])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth"):
        drawing.network(small(), depth=0)
    with pytest.raises(TypeError, match="depth"):
        drawing.network(small(), depth="all")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="input_shape must be a tuple with the batch axis"):
        drawing.network(small(), 28)
    with pytest.raises(ValueError, match="only the first axis, the number of samples, may be None"):
        drawing.network(small(), (None, 1, None, 28))
    with pytest.raises(ValueError, match="Conv2d"):
        drawing.network(small(), (None, 3, 28, 28))
    graph = xpcnn.Graph(["left", "right"], [("s", Add(), ["left", "right"])], "s")
    with pytest.raises(ValueError, match="the inputs left, right"):
        drawing.network(graph, (None, 4, 4))
    with pytest.raises(TypeError, match="input 'left': input_shape must be a tuple"):
        drawing.network(graph, (None, 4))


def test_a_network_for_one_sample_has_no_open_batch() -> None:
    net = xpcnn.Graph("x", [("y", xpcnn.operations.Reshape((1, 6)), "x")], "y")
    assert "output1 × 6" in texts(drawing.network(net, (None, 2, 3)))


def test_a_network_for_batches_of_one_size() -> None:
    layers = [("y", xpcnn.operations.Reshape((4, 6)), "x"), ("z", xpcnn.ReLU(), "y")]
    net = xpcnn.Graph("x", layers, "z", batch=4)
    assert "output4 × 6" in texts(drawing.network(net, (None, 2, 3)))


def test_matplotlib_is_not_needed() -> None:
    code = (
        "import sys, xpcnn; from xpcnn import drawing\n"
        "drawing.network(xpcnn.Sequential(xpcnn.ReLU()))\n"
        "print('matplotlib' in sys.modules, 'PIL' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False False"
