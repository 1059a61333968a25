"""What an ONNX file says of a model, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.interop.onnx_written import checked, close, filled, run
from xpcnn import operations as op
from xpcnn.interop import onnx as xonnx
from xpcnn.interop.onnx import proto, writing
from xpcnn.training import Model

# -- What the file says ----------------------------------------------------------------------------


def small():
    """Return a network with parts of all kinds, whose names are not just numbers."""
    block = xc.Sequential(
        xc.Conv2d(4, 4, 3, padding=1, bias=False), xc.BatchNorm2d(4), xc.Dropout(0.5), xc.ReLU()
    )
    return xc.Sequential(
        xc.Conv2d(3, 4, 3, padding="same"),
        xc.Residual(block),
        xc.Parallel(
            [xc.Conv2d(4, 2, 1), xc.Sequential(xc.PReLU(4), xc.Conv2d(4, 2, 3, padding=1))]
        ),
        xc.MaxPool2d(2),
        xc.Flatten(),
        xc.Linear(out_features=3),
        xc.LayerNorm(3),
    )


def test_parameters_keep_their_names():
    model = filled(small(), (None, 3, 8, 8))
    data = xonnx.to_bytes(model)
    names = {tensor.name for tensor in proto.ModelProto.parse(data).graph.initializer}
    own = {n: np.array(a) for n, a in model.state_dict().items()}
    counts = {name for name in own if name.endswith("num_batches_tracked")}
    assert names == set(own) - counts
    again = xonnx.load(data, device="cpu").state_dict()
    assert set(again) == set(own)
    for name in names:
        np.testing.assert_array_equal(again[name], own[name])


PLAIN = {
    "BatchNorm2d": lambda: xc.BatchNorm2d(3, affine=False),
    "InstanceNorm2d": lambda: xc.InstanceNorm2d(3),
    "InstanceNorm2d-tracking": lambda: xc.InstanceNorm2d(3, track_running_stats=True),
    "GroupNorm": lambda: xc.GroupNorm(3, 3, affine=False),
    "LayerNorm": lambda: xc.LayerNorm((4, 5), elementwise_affine=False),
}


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("name", PLAIN)
def test_layers_without_parameters_get_none(name, opset):
    """The ones and zeros that ONNX's operators want are not trained when the file is read."""
    model = filled([PLAIN[name]()], (None, 3, 4, 5))
    again = xonnx.load(xonnx.to_bytes(model, opset=opset), device="cpu")
    assert not again.parameters()


def test_every_layer_of_the_library_is_known():
    """A layer that is added to the library is added to the table, or its case says it is not."""
    from tests.layers.cases import CASES
    from xpcnn.interop.onnx.ops import WRITES
    from xpcnn.training.saving import known_layers

    not_written = {type(case.make()) for case in CASES.values() if not case.in_onnx}
    assert set(known_layers().values()) - not_written <= set(WRITES)
    assert not_written.isdisjoint(WRITES)


def test_weights_without_a_layer():
    """One token for every sample, beside an array that is not trained."""
    graph = xc.Graph(
        "x",
        [
            ("head", op.Weights([("token", (1, 4)), ("shift", (8,))], ["shift"]), [], ["t", "s"]),
            ("tokens", op.RepeatForBatch(), ["t", "x"]),
            ("both", op.Concat(1), ["tokens", "x"]),
            ("y", op.Add(), ["both", "s"]),
        ],
        "y",
    )
    model = filled(graph, (None, 4))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    data = xonnx.to_bytes(model)
    checked(data)
    close(run(data, x)[0], model.predict(x), 1e-6)
    again = xonnx.load(data, device="cpu")
    close(again.predict(x), model.predict(x), 1e-6)
    assert set(again.parameters()) == {"head.token"}


LEFT_TO_ARITHMETIC = {
    "RMSNorm": (lambda: xc.RMSNorm(5), 18),
    "GroupNorm": (lambda: xc.GroupNorm(1, 3), 18),
    "LayerNorm": (lambda: xc.LayerNorm(5), 13),
    "Embedding": (lambda: xc.Embedding(10, 4), 18),
}


@pytest.mark.parametrize("name", LEFT_TO_ARITHMETIC)
def test_names_stay_where_a_layer_becomes_arithmetic(name):
    make, opset = LEFT_TO_ARITHMETIC[name]
    network = xc.Sequential(make())
    model = filled(xc.Graph("x", [("deep", network, "x")], "deep"), (None, 3, 4, 5))
    again = xonnx.load(xonnx.to_bytes(model, opset=opset), device="cpu")
    assert set(again.parameters()) == set(model.parameters())


def test_the_axis_of_samples_is_open():
    model = filled(small(), (None, 3, 8, 8))
    graph = proto.ModelProto.parse(xonnx.to_bytes(model)).graph
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    ]
    assert shapes == [["N", 3, 8, 8], ["N", 3]]
    assert [value.name for value in (*graph.input, *graph.output)] == ["x", "y"]


def test_a_number_of_samples_may_be_asked_for():
    model = filled(small(), (None, 3, 8, 8))
    data = xonnx.to_bytes(model, input_shape=(5, 3, 8, 8))
    graph = proto.ModelProto.parse(data).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 5
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_value == 5


def test_a_network_for_one_sample_says_so():
    """The reshaping keeps 1 sample and no other number, so that the file does too."""
    graph = xc.Graph(
        "x", [("flat", op.Reshape((1, 12)), "x"), ("y", xc.Linear(12, 2), "flat")], "y"
    )
    model = filled(graph, (1, 3, 4))
    data = xonnx.to_bytes(model)
    checked(data)
    described = proto.ModelProto.parse(data).graph
    assert described.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    x = np.random.default_rng(0).normal(size=(1, 3, 4)).astype("float32")
    close(run(data, x)[0], model.predict(x), 1e-5)


def test_merged_samples_have_no_name():
    model = filled([xc.Flatten(0, 1), xc.Linear(4, 2)], (None, 3, 4))
    data = xonnx.to_bytes(model)
    checked(data)
    dims = proto.ModelProto.parse(data).graph.output[0].type.tensor_type.shape.dim
    assert [(dim.dim_param, dim.dim_value) for dim in dims] == [(None, None), (None, 2)]
    x = np.random.default_rng(0).normal(size=(5, 3, 4)).astype("float32")
    close(run(data, x)[0], model.forward(x), 1e-5)


def test_who_wrote_it():
    message = proto.ModelProto.parse(xonnx.to_bytes(filled([xc.ReLU()], (None, 2))))
    assert message.producer_name == "xpcnn"
    assert message.opset_import[0].version == 18


@pytest.mark.parametrize("column_major", [False, True])
def test_places_of_maxima(column_major):
    positions = op.MaxPositions((2, 2), 2, ((1, 0), (0, 1)), column_major=column_major)
    model = Model(xc.Graph("x", [("y", positions, "x")], "y"), device="cpu")
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
    data = xonnx.to_bytes(model, input_shape=(None, 3, 5, 4))
    checked(data)
    np.testing.assert_array_equal(run(data, x)[0], model.forward(x))


def test_a_window_in_padding_that_is_too_large_to_count_places():
    positions = op.MaxPositions((2,), 1, 2)
    model = Model(xc.Graph("x", [("y", positions, "x")], "y"), device="cpu")
    with pytest.raises(xc.UnsupportedModelError, match="padding is as large as the window"):
        xonnx.to_bytes(model, input_shape=(None, 3, 5))


def test_dropout_leaves_nothing():
    model = filled([xc.Dropout(0.5), xc.ReLU(), xc.AlphaDropout(0.3)], (None, 2))
    nodes = proto.ModelProto.parse(xonnx.to_bytes(model)).graph.node
    assert [node.op_type for node in nodes] == ["Relu"]


def test_a_network_without_nodes():
    """The output has its own name all the same."""
    data = xonnx.to_bytes(filled([xc.Dropout(0.5)], (None, 2)))
    checked(data)
    np.testing.assert_array_equal(run(data, np.ones((3, 2), "float32"))[0], np.ones((3, 2)))


def test_several_inputs_and_outputs_by_name():
    graph = xc.Graph(
        inputs=["image", "mask"],
        nodes=[
            ("conv", xc.Conv2d(1, 2, 3, padding=1), "image"),
            ("masked", op.Multiply(), ["conv", "mask"]),
            ("halves", op.Split(dim=1, sizes=(1, 1)), "masked", ["top", "bottom"]),
            ("sum", op.Add(), ["top", "bottom", "image"]),
        ],
        outputs=["sum", "top", "mask", "conv", "conv"],
    )
    model = filled(graph, {"image": (None, 1, 4, 4), "mask": (None, 1, 4, 4)})
    rng = np.random.default_rng(0)
    inputs = {n: rng.normal(size=(2, 1, 4, 4)).astype("float32") for n in ("image", "mask")}
    data = xonnx.to_bytes(model)
    described = checked(data).graph
    assert [value.name for value in described.input] == ["image", "mask"]
    assert [value.name for value in described.output] == ["sum", "top", "mask", "conv", "conv_3"]
    again = xonnx.load(data, device="cpu").predict(inputs)
    for found in (run(data, *inputs.values()), again):
        for own, expected in zip(found, model.predict(inputs), strict=True):
            close(own, expected, 1e-5)


HOSTILE = [
    *("a b", " a", "a\nb", "/a/", "ä漢", "a" * 300, "x.weight", "conv.weight", "\0", " value.1"),
    *("Constant", "conv.conv", "\ud800", "'\"\\", "a_2", "a"),
]


def test_hostile_names():
    """Names of nodes and values stay apart, also from those of parameters."""
    nodes, last = [], "conv.bias"  # the input is called as a parameter
    for name in HOSTILE:
        nodes.append((name, xc.Linear(3, 3), last))
        last = name
    nodes.append(("conv", xc.Linear(3, 3), last, "conv.weight_2"))
    model = filled(xc.Graph("conv.bias", nodes, "conv.weight_2"), (None, 3))
    data = xonnx.to_bytes(model)
    checked(data)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    close(run(data, x)[0], model.predict(x), 1e-5)
    close(xonnx.load(data, device="cpu").predict(x), model.predict(x), 1e-6)
    message = proto.ModelProto.parse(data).graph
    assert message.input[0].name == "conv.bias"
    assert message.output[0].name == "conv.weight_2"


def test_a_network_is_written_and_read_again_and_again():
    """Names do not pile up, and what was made on the way stays apart."""
    model = filled(
        [xc.GELU(), xc.Linear(4, 4), xc.GroupNorm(2, 4), xc.Mish()], (None, 4), "float64"
    )
    x = np.random.default_rng(0).normal(size=(3, 4))
    expected, data = model.predict(x), xonnx.to_bytes(model, opset=11)
    for _ in range(3):
        again = xonnx.load(data, device="cpu")
        close(again.predict(x), expected, 1e-10)
        data = xonnx.to_bytes(again, opset=11)
    checked(data)


# -- Numbers of other dtypes -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_dtypes(dtype):
    model = filled([xc.Conv1d(2, 3, 3), xc.ReLU(), xc.GroupNorm(3)], (None, 2, 8), dtype)
    data = xonnx.to_bytes(model)
    found = checked(data)
    number = {"float64": 11, "float16": 10}[dtype]
    assert {t.data_type for t in found.graph.initializer} == {number}
    assert found.graph.output[0].type.tensor_type.elem_type == number
    x = np.random.default_rng(0).normal(size=(2, 2, 8)).astype(dtype)
    relative = {"float64": 1e-10, "float16": 1e-2}[dtype]
    close(xonnx.load(data, device="cpu").predict(x), model.predict(x), relative)


def test_bfloat16():
    torch = pytest.importorskip("torch")
    model = Model([xc.Linear(2, 3)], device="torch:cpu", dtype="bfloat16", seed=0)
    model.build((None, 2))
    values = [1.0, -2.5, 3.140625, float("inf"), float("nan"), 1e-40]
    model.load_state_dict({"0.weight": np.reshape(values, (3, 2)), "0.bias": np.zeros(3)})
    onnx_model = checked(xonnx.to_bytes(model, opset=22))
    weight = next(t for t in onnx_model.graph.initializer if t.name == "0.weight")
    assert weight.data_type == 16
    expected = torch.tensor(values).bfloat16().view(torch.int16).numpy().tobytes()
    assert weight.raw_data == expected
    with pytest.raises(ValueError, match="bfloat16 from opset 22 on, got 21"):
        xonnx.to_bytes(model, opset=21)


def test_rounding_to_bfloat16_is_that_of_torch():
    torch = pytest.importorskip("torch")
    from xpcnn.interop.onnx.tensors import from_numpy, to_numpy

    bits = np.random.default_rng(0).integers(0, 2**32, size=20_000, dtype=np.uint32)
    bits[:3] = [0x3F808000, 0x3F818000, 0x7F7FFFFF]  # halves, and what rounds to infinity
    values = bits.view(np.float32)
    values = values[~np.isnan(values)]
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy()
    own = np.frombuffer(from_numpy(values, "", "bfloat16").raw_data, "<i2")
    np.testing.assert_array_equal(own, expected)
    # one whose upper half alone would be infinity
    barely = np.array([0x7F800001], np.uint32).view(np.float32)
    assert np.isnan(to_numpy(from_numpy(barely, "", "bfloat16"))).all()


def test_a_model_of_another_library():
    pytest.importorskip("torch")
    model = filled([xc.Linear(4, 3)], (None, 4))
    x = np.ones((2, 4), "float32")
    expected = model.predict(x)
    model.to("torch:cpu")
    close(xonnx.load(xonnx.to_bytes(model), device="cpu").predict(x), expected, 1e-6)


# -- What is refused -------------------------------------------------------------------------------


class Own(xc.ReLU):
    """A layer of a user, which runs in its own way."""

    def _forward(self, xp, x, training):
        return x + 1.0, None


class Renamed(xc.ReLU):
    """A layer of a user that is a ReLU."""


class Cubed(op.Exp):
    """An operation of a user with another function."""

    def value(self, xp, x):
        return x**3


class Other(xc.Softmax):
    """A layer of a user that hands other settings on."""

    def _options(self):
        return (2,)


@pytest.mark.parametrize("layer", [Cubed(), Other(1)])
def test_what_a_class_of_a_user_changes_is_not_left_out(layer):
    """It was written as its base, which gives other numbers."""
    graph = xc.Graph("x", [("y", layer, "x")], "y")
    with pytest.raises(xc.UnsupportedModelError, match="a class of your own that runs in its own"):
        xonnx.to_bytes(filled(graph, (None, 3, 4)))


def test_all_that_cannot_be_represented_is_listed():
    plain = xc.BatchNorm2d(2, track_running_stats=False)
    inner = xc.Sequential(xc.Conv2d(2, 2, 1), plain)
    nodes = [("deep", inner, "x"), ("own", Own(), "deep"), ("fine", Renamed(), "own")]
    graph = xc.Graph("x", nodes, "fine")
    model = filled(graph, (None, 2, 4, 4))
    with pytest.raises(xc.UnsupportedModelError) as caught:
        xonnx.to_bytes(model)
    assert [node[:2] for node in caught.value.nodes] == [
        ("deep.1", "BatchNorm2d"),
        ("own", "Own"),
    ]
    text = str(caught.value)
    assert "2 layers" in text
    assert "'deep.1' (BatchNorm2d): without running statistics" in text
    assert "'own' (Own): it is a class of your own" in text


@pytest.mark.parametrize("opset", [0, 7, 10, 29, True, 18.0])
def test_versions_that_are_refused(opset):
    model = filled([xc.ReLU()], (None, 2))
    with pytest.raises((ValueError, TypeError), match="opset must be"):
        xonnx.to_bytes(model, opset=opset)


def test_a_model_that_was_not_built():
    model = Model([xc.Linear(out_features=2)], device="cpu")
    with pytest.raises(RuntimeError, match="not built yet"):
        xonnx.to_bytes(model)
    assert xonnx.to_bytes(model, input_shape=(None, 3))
    assert model.state_dict()["0.weight"].shape == (2, 3)


def test_what_is_no_model():
    with pytest.raises(TypeError, match="takes a Model, got Linear"):
        xonnx.to_bytes(xc.Linear(2, 3))


def test_too_large_a_model(monkeypatch):
    monkeypatch.setattr(writing, "LARGEST", 1000)
    model = filled([xc.Linear(20, 20)], (None, 20))
    with pytest.raises(ValueError, match="2 GiB"):
        xonnx.to_bytes(model)


# -- Files -----------------------------------------------------------------------------------------


def test_save_writes_what_to_bytes_returns(tmp_path):
    model = filled([xc.Linear(2, 3)], (None, 2))
    xonnx.save(model, tmp_path / "model.onnx", opset=13)
    assert (tmp_path / "model.onnx").read_bytes() == xonnx.to_bytes(model, opset=13)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_the_old_file_stays_where_writing_fails(tmp_path, monkeypatch):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    model = filled([xc.Linear(2, 3)], (None, 2))

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        xonnx.save(model, target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_folders_that_are_not_there(tmp_path):
    model = filled([xc.Linear(2, 3)], (None, 2))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        xonnx.save(model, tmp_path / "missing" / "model.onnx")
    with pytest.raises(IsADirectoryError):
        xonnx.save(model, tmp_path)
