"""What is drawn of a network: its boxes, their connections and the shapes between them."""

from __future__ import annotations

import pytest

import xpcnn
from xpcnn import zoo
from xpcnn.drawing.structure import open_batch, shapes_in, structure_of
from xpcnn.drawing.wording import parameters_of
from xpcnn.operations import Add, Concat, Split


def connections(structure) -> list[tuple[str, str]]:
    """Return who gives to whom, by name."""
    makers = {value: f"<{name}>" for name, value in structure.inputs}
    makers |= {value: box.name for box in structure.boxes for value in box.outputs}
    found = [(makers[value], box.name) for box in structure.boxes for value in box.taken]
    return found + [(makers[value], f"<{name}>") for name, value in structure.outputs]


def chain() -> xpcnn.Sequential:
    inner = xpcnn.Sequential(xpcnn.Conv2d(4, 4, 3, padding=1), xpcnn.ReLU())
    return xpcnn.Sequential(xpcnn.Conv2d(1, 4, 3), xpcnn.Residual(inner), xpcnn.Flatten())


def test_a_residual_block_is_a_way_past_layers() -> None:
    assert connections(structure_of(chain())) == [
        ("<input>", "0"),
        ("0", "1.body.0"),
        ("1.body.0", "1.body.1"),
        ("1.body.1", "1.add"),
        ("0", "1.add"),
        ("1.add", "2"),
        ("2", "<output>"),
    ]


def test_the_sum_of_a_residual_block_has_no_parameters() -> None:
    shown = structure_of(chain()).boxes[3]
    assert shown.name == "1.add"
    assert parameters_of(shown.layers) == []


def test_branches_of_a_parallel_stand_side_by_side() -> None:
    net = xpcnn.Sequential(
        xpcnn.Parallel([xpcnn.Conv2d(1, 2, 1), xpcnn.Sequential(xpcnn.Conv2d(1, 3, 1))]),
        xpcnn.ReLU(),
    )
    structure = structure_of(net)
    assert connections(structure) == [
        ("<input>", "0.branches.0"),
        ("<input>", "0.branches.1.0"),
        ("0.branches.0", "0.concat"),
        ("0.branches.1.0", "0.concat"),
        ("0.concat", "1"),
        ("1", "<output>"),
    ]
    shapes = shapes_in(structure, [(7, 1, 5, 5)])
    assert shapes[structure.outputs[0][1]] == (7, 5, 5, 5)


def test_subclasses_of_sequential_are_looked_into_unless_they_compute_otherwise() -> None:
    class Plain(xpcnn.Sequential):
        pass

    class Twice(xpcnn.Sequential):
        def _forward(self, xp, x, training):
            return super()._forward(xp, x + x, training)

    tower = Plain(xpcnn.Linear(3, 4), xpcnn.Sequential(xpcnn.ReLU()))
    structure = structure_of(xpcnn.Sequential(tower, Twice(xpcnn.Tanh()), Plain()))
    assert connections(structure) == [
        ("<input>", "0.0"),
        ("0.0", "0.1.0"),
        ("0.1.0", "1"),
        ("1", "<output>"),
    ]
    assert [box.name for box in structure_of(tower).boxes] == ["0", "1.0"]


def test_nested_parallels_and_parallels_in_residual_blocks() -> None:
    inner = xpcnn.Parallel([xpcnn.ReLU(), xpcnn.Tanh()], "sum")
    net = xpcnn.Residual(xpcnn.Parallel([inner, xpcnn.Sigmoid()], "sum"))
    structure = structure_of(net)
    assert {box.name for box in structure.boxes} == {
        "body.branches.0.branches.0",
        "body.branches.0.branches.1",
        "body.branches.0.sum",
        "body.branches.1",
        "body.sum",
        "add",
    }
    values = [value for box in structure.boxes for value in box.outputs]
    assert len(set(values)) == len(values)
    assert not set(values) & {value for _, value in structure.inputs}


def test_several_inputs_outputs_and_a_shared_layer() -> None:
    tower = xpcnn.Linear(4, 3)
    graph = xpcnn.Graph(
        ["left", "right"],
        [
            ("a", tower, "left"),
            ("b", "a", "right"),
            ("sum", Add(), ["a", "b"]),
            ("halves", Split(0, pieces=2), "sum", ["up", "down"]),
        ],
        ["up", "down"],
    )
    structure = structure_of(graph)
    assert [name for name, _ in structure.inputs] == ["left", "right"]
    assert connections(structure)[-2:] == [("halves", "<up>"), ("halves", "<down>")]
    assert connections(structure)[:4] == [
        ("<left>", "a"),
        ("<right>", "b"),
        ("a", "sum"),
        ("b", "sum"),
    ]
    shapes = shapes_in(structure, [(2, 4), (2, 4)])
    assert [shapes[value] for _, value in structure.outputs] == [(1, 3), (1, 3)]


def test_names_of_one_front_become_one_box() -> None:
    structure = structure_of(zoo.resnet18(width=2)).at_depth(2)
    assert [box.name for box in structure.boxes] == [
        "conv1", "bn1", "relu", "maxpool",
        *(f"layer{stage}.{number}" for stage in range(1, 5) for number in range(2)),
        "avgpool", "flatten", "fc",
    ]  # fmt: skip
    assert len(structure.boxes[6].layers) == 9  # with the convolution in its shortcut
    assert len(structure.boxes[4].layers) == 7
    links = connections(structure)
    assert len(links) == len(structure.boxes) + 1  # a chain
    assert links[4] == ("maxpool", "layer1.0")


def test_names_that_would_need_themselves_stay_apart() -> None:
    """From a to b and back: one box for both parts of a would stand before and behind b."""
    graph = xpcnn.Graph(
        "x",
        [
            ("a.1", xpcnn.ReLU(), "x"),
            ("b", xpcnn.Tanh(), "a.1"),
            ("a.2", xpcnn.ReLU(), "b"),
            ("c.1", xpcnn.ReLU(), "a.2"),
            ("c.2", xpcnn.ReLU(), "c.1"),
        ],
        "c.2",
    )
    folded = structure_of(graph).at_depth(1)
    assert [box.name for box in folded.boxes] == ["a.1", "b", "a.2", "c"]


def test_the_depth_that_is_chosen_keeps_drawings_readable() -> None:
    assert len(structure_of(zoo.resnet18(width=2)).at_depth(None).boxes) == 15
    assert len(structure_of(zoo.vgg11(width=2)).at_depth(None).boxes) > 20
    assert len(structure_of(zoo.resnet18(width=2)).at_depth(100).boxes) == 69
    # the outermost line of a U-Net goes past all of it, so that it cannot be cut into columns
    assert len(structure_of(zoo.unet(width=2, depth=3)).at_depth(None).boxes) == 11
    many = xpcnn.Sequential([xpcnn.Sequential(xpcnn.ReLU(), xpcnn.ReLU()) for _ in range(40)])
    assert len(structure_of(many).at_depth(None).boxes) == 40


def test_shapes_agree_with_those_of_the_network() -> None:
    for net, shape in [
        (zoo.mobilenet_v2(), (2, 3, 64, 64)),
        (zoo.squeezenet1_1(), (2, 3, 64, 64)),
        (zoo.unet(width=2), (2, 1, 32, 48)),
        (zoo.densenet121(), (2, 3, 64, 64)),
    ]:
        structure = structure_of(net)
        shapes = shapes_in(structure, [shape])
        assert [shapes[value] for _, value in structure.outputs] == [net.output_shape(shape)]


def test_an_input_that_is_left_out_keeps_its_place() -> None:
    class Second(xpcnn.layers.Operation):
        def output_shapes(self, *shapes):
            assert shapes[0] is None
            return (shapes[1],)

    structure = structure_of(xpcnn.Graph("x", [("y", Second(), ["", "x"])], "y"))
    assert shapes_in(structure, [(3, 5)])[structure.outputs[0][1]] == (3, 5)


def test_what_depends_on_numbers_is_unknown_and_nothing_runs() -> None:
    class Found(xpcnn.layers.Operation):
        def _run(self, xp, inputs, training):
            raise AssertionError("a drawing computes nothing")

    graph = xpcnn.Graph("x", [("found", Found(), "x"), ("r", xpcnn.ReLU(), "found")], "r")
    structure = structure_of(graph)
    shapes = shapes_in(structure, [(3, 5)])
    assert shapes[structure.outputs[0][1]] is None


def test_a_wrong_shape_is_an_error_that_names_the_layer() -> None:
    with pytest.raises(ValueError, match="^layer '0': Conv2d: expected 1 .*channels"):
        shapes_in(structure_of(chain()), [(1, 3, 8, 8)])


def test_what_grows_with_the_batch() -> None:
    one = {0: (1, 3), 1: (1, 1, 4), 2: (6, 2), 3: None, 4: (3,), 5: ()}
    two = {0: (2, 3), 1: (1, 2, 4), 2: (12, 2), 3: None, 4: (4,), 5: ()}
    assert open_batch(one, two) == {
        0: ("N", 3), 1: (1, "N", 4), 2: ("6N", 2), 3: None, 4: ("?",), 5: (),
    }  # fmt: skip


def test_joining_names_of_the_network_itself() -> None:
    net = xpcnn.Residual(xpcnn.Linear(3, 3))
    assert [box.name for box in structure_of(net).boxes] == ["body", "add"]
    assert [box.name for box in structure_of(xpcnn.ReLU()).boxes] == ["ReLU"]
    assert structure_of(xpcnn.Sequential()).boxes == []
    assert isinstance(structure_of(net).boxes[1].layers[0], Add)
    assert Concat(1).output_shapes((1, 2), (1, 3)) == ((1, 5),)
