"""ONNX models become networks: which layers, under which names, and what is refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from tests.interop.onnx_models import model, node, value
from xpcnn.errors import ModelFileError, UnsupportedModelError
from xpcnn.interop import onnx as xonnx
from xpcnn.interop.onnx import proto

X = value("x", ["n", 3, 8, 8])


def floats(*shape: int) -> np.ndarray:
    return np.random.normal(size=shape).astype(np.float32)


def load(described: proto.ModelProto, **options) -> xpcnn.Model:
    return xonnx.load(described.serialize(), **({"device": "cpu"} | options))


def kinds(loaded: xpcnn.Model) -> list[str]:
    return [type(entry.layer).__name__ for entry in loaded.network.in_order]


def run(described: proto.ModelProto, *inputs: np.ndarray):
    """Run a model whose inputs may be anything."""
    return load(described).forward(*inputs)


def small_cnn() -> tuple[proto.ModelProto, dict[str, np.ndarray]]:
    arrays = {
        "features.0.weight": floats(4, 3, 3, 3),
        "features.0.bias": floats(4),
        "features.1.weight": floats(4),
        "features.1.bias": floats(4),
        "features.1.running_mean": floats(4),
        "features.1.running_var": np.abs(floats(4)),
        "fc.weight": floats(5, 64),
        "fc.bias": floats(5),
    }
    nodes = [
        node("Conv", "x features.0.weight features.0.bias", "a", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "a " + " ".join(list(arrays)[2:6]), "b", epsilon=0.001),
        node("Relu", "b", "c"),
        node("MaxPool", "c", "d", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "d", "e"),
        node("Gemm", "e fc.weight fc.bias", "scores", transB=1),
    ]
    return model(nodes, [X], "scores", arrays), arrays


def test_a_small_network_by_layers():
    """The same numbers as layers put together by hand, and the names of the file."""
    described, arrays = small_cnn()
    loaded = load(described)
    assert kinds(loaded) == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Flatten", "Linear"]
    by_hand = xpcnn.Model(
        [
            xpcnn.Conv2d(3, 4, 3, padding=1),
            xpcnn.BatchNorm2d(4, eps=0.001),
            xpcnn.ReLU(),
            xpcnn.MaxPool2d(2),
            xpcnn.Flatten(),
            xpcnn.Linear(64, 5),
        ],
        device="cpu",
    )
    state = {
        name.replace("features.", "").replace("fc", "5"): array for name, array in arrays.items()
    }
    by_hand.load_state_dict(state | {"1.num_batches_tracked": np.zeros((), np.int64)})
    x = floats(3, 3, 8, 8)
    np.testing.assert_allclose(loaded.predict(x), by_hand.predict(x), rtol=1e-5, atol=1e-5)
    names = set(loaded.state_dict())
    assert names == {*arrays, "features.1.num_batches_tracked"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.state_dict()[name], array)
    assert loaded.inputs == ("x",)
    assert loaded.outputs == ("scores",)


def test_sources():
    described, _ = small_cnn()
    x = floats(1, 3, 8, 8)
    expected = load(described).predict(x)

    class Proto:
        def SerializeToString(self) -> bytes:
            return described.serialize()

    np.testing.assert_array_equal(xonnx.load(Proto(), device="cpu").predict(x), expected)
    with pytest.raises(TypeError, match="got int"):
        xonnx.load(5)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        xonnx.load(Path("nowhere.onnx"))


def test_training_changes_what_is_a_weight_and_nothing_else():
    arrays = {"w": floats(3, 1, 1), "one": np.float32(2.0), "axes": np.array([2, 3])}
    nodes = [
        node("Mul", "x w", "a"),
        node("Mul", "a one", "b"),
        node("Constant", "", "k", value=floats(3, 1, 1)),
        node("Add", "b k", "c"),
        node("ReduceSum", "c axes", "y", keepdims=0),
    ]
    loaded = load(model(nodes, [X], "y", arrays))
    assert list(loaded.parameters()) == ["w.value"]
    x = floats(4, 3, 8, 8)
    history = loaded.fit(x, floats(4, 3), epochs=2, optimizer="sgd", loss="mse", verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert (loaded.state_dict()["w.value"] != arrays["w"]).all()
    assert float(loaded.state_dict()["one.value"]) == 2.0


def test_names_of_weights_that_no_layer_takes():
    arrays = {"head.weight": floats(8, 2), "head.bias": floats(2), "scale": floats(1, 1, 1, 2)}
    nodes = [
        node("MatMul", "x head.weight", "a"),
        node("Add", "a head.bias", "b"),
        node("Mul", "b scale", "y"),
    ]
    loaded = load(model(nodes, [X], "y", arrays))
    assert set(loaded.state_dict()) == {"head.weight", "head.bias", "scale.value"}
    x = floats(2, 3, 8, 8)
    expected = (x @ arrays["head.weight"] + arrays["head.bias"]) * arrays["scale"]
    np.testing.assert_allclose(loaded.predict(x), expected, rtol=1e-5, atol=1e-5)


def test_saving_in_our_own_format(tmp_path):
    """Operations, constants and weights come back; also what has another dtype than the model."""
    arrays = {"w": floats(3, 1, 1), "shape": np.array([0, -1])}
    nodes = [
        node("Mul", "x w", "a"),
        node("Shape", "a", "s"),
        node("Cast", "s", "t", to=1),
        node("Constant", "", "k", value=np.array([2, 1, 0, 3])),
        node("Gather", "t k", "g"),
        node("Pad", "a pads", "b", mode="reflect"),
        node("Resize", "b - scales", "c", mode="linear"),
        node("Add", "c g", "d"),
        node("Reshape", "d shape", "y"),
    ]
    arrays |= {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "scales": np.float32([1, 1, 2, 0.4])}
    loaded = load(model(nodes, [X], "y", arrays))
    x = floats(2, 3, 8, 8)
    expected = loaded.predict(x)
    loaded.save(tmp_path / "model.xpcnn")
    again = xpcnn.Model.load(tmp_path / "model.xpcnn", device="cpu")
    np.testing.assert_array_equal(again.predict(x), expected)


def test_inputs_in_order_and_by_name():
    nodes = [node("Sub", "a b", "y"), node("Add", "a b", "z")]
    described = model(nodes, [value("a", ["n", 2]), value("b", ["n", 2])], "y z")
    a, b = floats(3, 2), floats(3, 2)
    loaded = load(described)
    for y, z in (loaded.predict(a, b), loaded.predict(b=b, a=a)):
        np.testing.assert_array_equal(y, a - b)
        np.testing.assert_array_equal(z, a + b)


def test_inputs_of_integers():
    nodes = [node("Gather", "table tokens", "y")]
    table = floats(7, 2)
    loaded = load(model(nodes, [value("tokens", ["n", 3], "int64")], "y", {"table": table}))
    tokens = np.array([[0, 6, 6], [1, 2, 3]])
    np.testing.assert_array_equal(loaded.predict(tokens), table[tokens])
    assert list(loaded.parameters()) == ["table.value"]


def test_double_precision():
    arrays = {"w": np.random.normal(size=(4, 3))}
    x = value("x", ["n", 3], "float64")
    loaded = load(model([node("Gemm", "x w", "y", transB=1)], [x], "y", arrays))
    given = np.random.normal(size=(2, 3))
    assert loaded.dtype == "float64"
    np.testing.assert_allclose(loaded.predict(given), given @ arrays["w"].T, rtol=1e-14)


def test_one_weight_of_two_nodes_stays_one():
    nodes = [node("Conv", "x w", "a"), node("Conv", "a w", "y")]
    loaded = load(model(nodes, [X], "y", {"w": floats(3, 3, 1, 1)}))
    assert list(loaded.parameters()) == ["w.value"]
    twice = node("Identity", "w", "copy"), node("Conv", "x w", "a"), node("Conv", "a copy", "y")
    loaded = load(model(twice, [X], "y", {"w": floats(3, 3, 1, 1)}))
    assert len(loaded.parameters()) == 2


def test_equal_scales_of_two_normalisations_are_two():
    """Exporters keep equal arrays once, and those of new normalisations are all ones."""
    names = "s b m v"
    arrays = {"s": np.ones(3, "f4"), "b": np.zeros(3, "f4"), "m": floats(3), "v": floats(3) ** 2}
    nodes = [
        node("BatchNormalization", f"x {names}", "a"),
        node("BatchNormalization", f"a {names}", "y"),
    ]
    assert len(load(model(nodes, [X], "y", arrays)).parameters()) == 4


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (2.0, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize("trans", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("c", [None, (5,), (1, 5), (4, 1), (4, 5)])
def test_gemm(c, trans, alpha, beta):
    a, b = floats(*((3, 4) if trans[0] else (4, 3))), floats(*((5, 3) if trans[1] else (3, 5)))
    arrays = {"b": b} | ({} if c is None else {"c": floats(*c)})
    given = node("Gemm", " ".join(["a", *arrays]), "y", transA=trans[0], transB=trans[1],
                 alpha=alpha, beta=beta)  # fmt: skip
    described = model([given], [value("a", a.shape)], "y", arrays)
    expected = alpha * (a.T if trans[0] else a) @ (b.T if trans[1] else b)
    if c is not None:
        expected = expected + beta * arrays["c"]
    loaded = load(described)
    np.testing.assert_allclose(loaded.forward(a), expected, rtol=1e-5, atol=1e-5)
    if (alpha, beta) == (1.0, 1.0) and not trans[0] and c in (None, (5,), (1, 5)):
        assert kinds(loaded) == ["Linear"]


@pytest.mark.parametrize("automatic", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_transposed_convolution_of_a_given_size(automatic):
    """Full output 3 * 2 + 2 = 8; of 3 elements too many, the odd one goes where ONNX says."""
    x, w = np.float32([[[1, 10, 100, 1000]]]), np.float32([[[1, 2]]])
    full = np.float32([1, 2, 10, 20, 100, 200, 1000, 2000])
    options = {} if automatic == "NOTSET" else {"auto_pad": automatic}
    given = node("ConvTranspose", "x w", "y", strides=[2], output_shape=[5], **options)
    described = model([given], [value("x", [1, 1, 4])], "y", {"w": w})
    front = 1 if automatic == "SAME_UPPER" else 2
    np.testing.assert_array_equal(run(described, x)[0, 0], full[front : front + 5])


def test_half_precision_inside_is_computed_in_single():
    """What converters make of a model to save space: input and output stay float32."""
    arrays = {"w": floats(4, 3).astype("float16"), "k": np.float16([[0.5]])}
    nodes = [
        node("Cast", "x", "h", to=10),
        node("Gemm", "h w", "a", transB=1),
        node("Mul", "a k", "b"),
        node("Cast", "b", "y", to=1),
    ]
    loaded = load(model(nodes, [value("x", ["n", 3])], "y", arrays))
    x = floats(2, 3)
    assert {str(array.dtype) for array in loaded.state_dict().values()} == {"float32"}
    assert len(loaded.parameters()) == 2
    expected = x @ arrays["w"].astype("float32").T * 0.5
    np.testing.assert_allclose(loaded.predict(x), expected, rtol=1e-5, atol=1e-6)
    whole = {name: np.float16(array) for name, array in arrays.items()}
    described = model(nodes[1:3], [value("h", ["n", 3], "float16")], "b", whole)
    assert load(described).dtype == "float16"


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax_of_old_versions_merges_axes(axis):
    x = floats(2, 3, 4)
    cut = axis % 3
    rows = x.reshape(int(np.prod(x.shape[:cut])), -1)
    exp = np.exp(rows - rows.max(axis=1, keepdims=True))
    expected = (exp / exp.sum(axis=1, keepdims=True)).reshape(x.shape)
    described = model(
        [node("Softmax", "x", "y", axis=axis)], [value("x", [2, 3, 4])], "y", opset=11
    )
    np.testing.assert_allclose(run(described, x), expected, rtol=1e-5)


OLD = [
    ("Clip", 6, {"min": -0.5, "max": 0.5}, lambda x: np.clip(x, -0.5, 0.5)),
    ("Squeeze", 11, {"axes": [0]}, lambda x: x[0]),
    ("Unsqueeze", 11, {"axes": [1]}, lambda x: x[:, None]),
    ("Slice", 9, {"starts": [1], "ends": [3], "axes": [2]}, lambda x: x[:, :, 1:3]),
    ("Pad", 10, {"pads": [0, 1, 0, 0, 0, 1], "value": 2.0},
     lambda x: np.pad(x, ((0, 0), (1, 0), (0, 1)), constant_values=2.0)),
    ("ReduceMean", 13, {"axes": [1]}, lambda x: x.mean(1, keepdims=True)),
    ("ReduceSum", 11, {"axes": [-1], "keepdims": 0}, lambda x: x.sum(-1)),
    ("Upsample", 7, {"scales": [1.0, 2.0, 3.0]}, lambda x: x.repeat(2, 1).repeat(3, 2)),
    ("Dropout", 7, {"ratio": 0.4}, lambda x: x),
    ("Split", 11, {"axis": 2, "split": [4]}, lambda x: x),
]  # fmt: skip


@pytest.mark.parametrize(("op", "opset", "attributes", "expected"), OLD)
def test_attributes_of_old_versions(op, opset, attributes, expected):
    x = floats(1, 3, 4)
    described = model(
        [node(op, "x", "y", **attributes)], [value("x", [1, 3, 4])], "y", opset=max(opset, 7)
    )
    np.testing.assert_allclose(run(described, x), expected(x), rtol=1e-6)


def test_shapes_computed_on_the_way():
    """What PyTorch exports for x.view(x.size(0), -1), with lengths that are known and not."""
    nodes = [
        node("Shape", "x", "s"),
        node("Constant", "", "zero", value=np.array(0)),
        node("Gather", "s zero", "n"),
        node("Constant", "", "axes", value=np.array([0])),
        node("Unsqueeze", "n axes", "n1"),
        node("Constant", "", "rest", value=np.array([-1])),
        node("Concat", "n1 rest", "shape", axis=0),
        node("Reshape", "x shape", "y"),
    ]
    loaded = load(model(nodes, [X], "y"))
    assert kinds(loaded) == ["Reshape"]
    for n in (1, 4):
        x = floats(n, 3, 8, 8)
        np.testing.assert_array_equal(loaded.predict(x), x.reshape(n, -1))


def test_lengths_of_other_values_than_the_one_that_is_reshaped():
    """The samples of the input are those of what convolution makes of it; its width is not."""
    front = [
        node("Shape", "x", "s", end=1),
        node("Shape", "a", "channels", start=1, end=2),
        node("Shape", "a", "width", start=2, end=3),
        node("Conv", "x w", "a", strides=[2]),
        node("Relu", "a", "r"),
        node("Constant", "", "rest", value=np.array([-1])),
        node("Constant", "", "one", value=np.array([1])),
    ]
    arrays = {"w": floats(4, 3, 2)}
    x = floats(2, 3, 8)
    for parts, expected, known in (
        ("s rest", (2, 16), True),
        ("s channels one rest", (2, 4, 1, 4), False),
        ("s one width channels", (2, 1, 4, 4), False),
        ("channels s width", (4, 2, 4), False),
        ("rest s", (16, 2), False),
    ):
        nodes = [*front, node("Concat", parts, "shape", axis=0), node("Reshape", "r shape", "y")]
        loaded = load(model(nodes, [value("x", ["n", 3, "l"])], "y", arrays))
        assert loaded.forward(x).shape == expected
        assert ("ShapeOf" not in kinds(loaded)) == known


def test_a_vector_that_is_broadcast_has_no_samples():
    """The sum has the shape (1, 5): its first length is not that of the vector."""
    nodes = [node("Add", "x c", "a"), node("Shape", "a", "s"), node("Reshape", "x s", "y")]
    arrays = {"c": np.zeros((1, 5), np.float32)}
    x = floats(5)
    assert run(model(nodes, [value("x", ["n"])], "y", arrays), x).shape == (1, 5)


def test_lengths_that_the_file_gives_are_computed_with():
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s axis", "channels"),
        node("Mul", "channels eight", "wide"),
        node("Unsqueeze", "wide zero", "w"),
        node("Concat", "rest w", "shape", axis=0),
        node("Reshape", "x shape", "y"),
    ]
    arrays = {
        "axis": np.array(1),
        "eight": np.array(8),
        "zero": np.array([0]),
        "rest": np.array([-1]),
    }
    loaded = load(model(nodes, [X], "y", arrays))
    assert kinds(loaded) == ["Reshape"]
    assert loaded.predict(floats(2, 3, 8, 8)).shape == (16, 24)


@pytest.mark.parametrize("keep", [0, 1])
def test_means_over_all_positions_are_poolings(keep):
    x = floats(2, 3, 8, 8)
    for axes, kind in (([-1, 2], "GlobalAvgPool2d"), ([1, 2], "ReduceMean")):
        given = node("ReduceMean", "x axes", "y", keepdims=keep)
        loaded = load(model([given], [X], "y", {"axes": np.array(axes)}, opset=18))
        assert kinds(loaded) == [kind]
        expected = x.mean(axis=tuple(axes), keepdims=bool(keep))
        np.testing.assert_allclose(loaded.predict(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axes", [None, [1], [-2, -1]])
def test_mean_variance_normalization(axes):
    ort = pytest.importorskip("onnxruntime")
    x = (3.0 + 2.0 * np.random.normal(size=(2, 3, 4, 5))).astype(np.float32)
    attributes = {} if axes is None else {"axes": axes}
    nodes = [node("MeanVarianceNormalization", "x", "y", **attributes)]
    described = model(nodes, [value("x", [2, 3, 4, 5])], [value("y", [2, 3, 4, 5])])
    over = (0, 2, 3) if axes is None else tuple(axes)
    expected = (x - x.mean(over, keepdims=True)) / x.std(over, keepdims=True)
    session = ort.InferenceSession(described.serialize(), providers=["CPUExecutionProvider"])
    for found in (run(described, x), *session.run(None, {"x": x})):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_scale_of_ones_beside_an_initializer_is_not_trained():
    nodes = [
        node("Constant", "", "ones", value=np.ones(3, "f4")),
        node("InstanceNormalization", "x ones b", "y"),
    ]
    loaded = load(model(nodes, [X], "y", {"b": floats(3)}))
    trained = {name: p.requires_grad for name, p in loaded.parameters().items()}
    assert sorted(trained.values()) == [False, True]
    assert not next(flag for name, flag in trained.items() if name.endswith("weight"))


def test_arithmetic_of_constants_is_done_once():
    nodes = [
        node("Constant", "", "a", value=np.array([4, 6])),
        node("Constant", "", "b", value=np.array([2, 2])),
        node("Div", "a b", "c"),
        node("Constant", "", "front", value=np.array([-1])),
        node("Concat", "front c", "shape", axis=0),
        node("Reshape", "x shape", "y"),
    ]
    loaded = load(model(nodes, [value("x", ["n", 6])], "y"))
    assert kinds(loaded) == ["Reshape"]
    assert loaded.predict(floats(2, 6)).shape == (2, 2, 3)


def test_arrays_beside_the_model(tmp_path):
    described, _ = small_cnn()
    expected = load(described).predict(x := floats(2, 3, 8, 8))
    data = b""
    for tensor in described.graph.initializer:
        notes = {"location": "weights.bin", "offset": len(data), "length": len(tensor.raw_data)}
        data += tensor.raw_data
        tensor.raw_data, tensor.data_location = None, 1
        tensor.external_data = [
            proto.StringStringEntryProto(key, str(note)) for key, note in notes.items()
        ]
    (tmp_path / "weights.bin").write_bytes(data)
    path = tmp_path / "model.onnx"
    path.write_bytes(described.serialize())
    np.testing.assert_array_equal(xonnx.load(path, device="cpu").predict(x), expected)
    np.testing.assert_array_equal(xonnx.load(str(path), device="cpu").predict(x), expected)
    with pytest.raises(ModelFileError, match="load the model by its path"):
        load(described)
    (tmp_path / "weights.bin").write_bytes(data[:-1])
    with pytest.raises(ModelFileError, match="truncated"):
        xonnx.load(path, device="cpu")


# -- What is refused -------------------------------------------------------------------------------


def test_one_error_lists_all_that_is_not_known():
    inner = proto.GraphProto(name="inner")
    nodes = [
        node("Relu", "x", "a"),
        node("NonMaxSuppression", "a", "b", name="boxes"),
        node("Loop", "b", "c", name="again", body=inner),
        node("Pad", "c pads", "d", name="/head/Pad", mode="sideways"),
        node("Relu", "d", "y"),
    ]
    nodes[1].domain = "ai.onnx"
    own = node("Fancy", "y", "z", name="own")
    own.domain = "com.example"
    with pytest.raises(UnsupportedModelError) as caught:
        load(model([*nodes, own], [X], "z", {"pads": np.zeros(8, np.int64)}))
    assert [entry[:2] for entry in caught.value.nodes] == [
        ("boxes", "NonMaxSuppression"),
        ("again", "Loop"),
        ("/head/Pad", "Pad"),
        ("own", "Fancy"),
    ]
    for word in ("4 nodes", "boxes", "'/head/Pad' (Pad): mode 'sideways'", "com.example"):
        assert word in str(caught.value)
    assert isinstance(caught.value, ModelFileError)


REFUSED = {
    "a loop": (
        model([node("Add", "x b", "a"), node("Relu", "a", "b")], [X], "b"),
        "cycle",
    ),
    "a node that needs itself": (model([node("Add", "x y", "y")], [X], "y"), "cycle"),
    "a value made twice": (
        model([node("Relu", "x", "y"), node("Tanh", "x", "y")], [X], "y"),
        "'y' stands for more than one",
    ),
    "an input made again": (model([node("Relu", "x", "x")], [X], "x"), "'x' stands for more"),
    "two arrays of one name": (
        proto.ModelProto(
            graph=proto.GraphProto(
                initializer=2 * model([], [], "", {"w": np.ones(1)}).graph.initializer
            ),
        ),
        "two arrays of the model are called 'w'",
    ),
    "a value from nowhere": (model([node("Relu", "z", "y")], [X], "y"), "'z', which no node"),
    "an output that no node produces": (model([node("Relu", "x", "y")], [X], "z"), "'z'"),
    "no output": (model([node("Relu", "x", "y")], [X], ""), "no output"),
    "no graph": (proto.ModelProto(ir_version=8), "no graph"),
    "an old version": (model([node("Relu", "x", "y")], [X], "y", opset=6), "version 6"),
    "no version": (
        proto.ModelProto(graph=model([node("Relu", "x", "y")], [X], "y").graph),
        "which version",
    ),
    "an attribute of the wrong type": (
        model([node("Concat", "x x", "y", axis="one")], [X], "y"),
        "'axis' is of the wrong type",
    ),
    "a kernel that does not fit its weight": (
        model([node("Conv", "x w", "y", kernel_shape=[3, 3])], [X], "y",
              {"w": np.ones((2, 3, 5, 5), "f4")}),
        "kernel",
    ),
    "normalisation of other channels than it says": (
        model([node("BatchNormalization", "x s s s t", "y")], [X], "y",
              {"s": np.ones(3, "f4"), "t": np.ones(4, "f4")}),
        "contradicts itself",
    ),
    "an array with a lying size": (
        proto.ModelProto(
            opset_import=[proto.OperatorSetIdProto("", 17)],
            graph=proto.GraphProto(
                initializer=[
                    proto.TensorProto(name="w", dims=[2**31, 2**31], data_type=1, raw_data=b"1234")
                ]
            ),
        ),
        "4 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_inconsistent_models_are_refused(name):
    described, message = REFUSED[name]
    with pytest.raises(ModelFileError, match=message):
        load(described)


@pytest.mark.parametrize(
    "content", [b"", b"not a model", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"{}"]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "file.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        xonnx.load(path)


def test_lengths_in_a_file_take_no_memory_when_it_is_read():
    """What a file asks to be made of large lengths is not made before somebody runs it."""
    nodes = [
        node("ConstantOfShape", "shape", "big"),
        node("Expand", "big wide", "a"),
        node("Tile", "a wide", "b"),
        node("Add", "x b", "c"),
        node("Pad", "c pads", "y"),
    ]
    arrays = {
        "shape": np.array([2**15, 2**15]),
        "wide": np.array([2**15, 1]),
        "pads": np.array([0, 2**31, 0, 2**31]),
    }
    data = model(nodes, [value("x", ["n", 1])], "y", arrays).serialize()
    tracemalloc.start()
    try:
        xonnx.load(data, device="cpu")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20


def test_every_damage_ends_in_a_clear_error():
    """A changed byte gives a model, or ModelFileError, whatever it is."""
    data = small_cnn()[0].serialize()
    rng = np.random.default_rng(1)
    header = [i for i in range(len(data)) if i < 600 or rng.random() < 0.02]
    outcomes = set()
    for position in rng.choice(header, size=300):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            xonnx.load(bytes(damaged), device="cpu")
            outcomes.add("model")
        except ModelFileError:
            outcomes.add("error")
    assert outcomes == {"model", "error"}


def test_outputs_behind_identities_keep_their_names():
    nodes = [
        node("Sigmoid", "x", "r"),
        node("Identity", "r", "y"),
        node("Identity", "r", "z"),
        node("Identity", "y", "w"),
        node("Identity", "x", "same"),
        node("Identity", "k", "constant"),
    ]
    k = np.arange(3)
    loaded = load(model(nodes, [value("x", [2, 3])], "y z same w constant", {"k": k}))
    assert loaded.outputs == ("y", "z", "same", "w", "constant")
    x = floats(2, 3)
    y, z, same, w, constant = loaded.forward(x)
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x)), rtol=1e-6)
    np.testing.assert_array_equal(z, y)
    np.testing.assert_array_equal(w, y)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(constant, k)


def test_one_value_may_be_an_output_and_go_on():
    nodes = [node("Relu", "x", "r"), node("Identity", "r", "y"), node("Neg", "r", "n")]
    loaded = load(model(nodes, [value("x", ["n", 3])], "y n"))
    assert loaded.outputs == ("y", "n")
    assert kinds(loaded) == ["ReLU", "Negative"]
    y, n = loaded.predict(x := floats(4, 3))
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(n, -y)
    flags = [node("Greater", "x k", "g"), node("Identity", "g", "a"), node("Identity", "g", "b")]
    both = load(model(flags, [value("x", ["n", 3])], "a b", {"k": np.zeros((), "f4")}))
    assert both.outputs == ("a", "b")
    np.testing.assert_array_equal(both.predict(x)[1], x > 0)


def rows_as_one() -> proto.ModelProto:
    """A network for one sample: for more it would mix them."""
    nodes = [node("Reshape", "x shape", "a"), node("Softmax", "a", "y", axis=1)]
    return model(nodes, [value("x", [1, 2, 3])], "y", {"shape": np.array([1, -1, 3])})


def test_a_number_of_samples_that_the_file_fixes_is_kept(tmp_path):
    loaded = load(rows_as_one())
    assert loaded.batch == 1
    x = floats(4, 2, 3)
    expected = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(loaded.predict(x), expected, rtol=1e-5)
    loaded.save(tmp_path / "model.st")
    again = xpcnn.Model.load(tmp_path / "model.st", device="cpu")
    np.testing.assert_array_equal(again.predict(x), loaded.predict(x))
    with pytest.raises(ValueError, match="1 samples? at a time"):
        loaded(x)


def test_predictions_in_groups_of_the_size_in_the_file():
    """The mean of a group is taken off: which samples are one matters."""
    nodes = [
        node("ReduceMean", "x", "m", axes=[0]),
        node("Sub", "x m", "a"),
        node("Mul", "a w", "y"),
    ]
    described = model(nodes, [value("x", [2, 3])], "y", {"w": np.ones(3, "f4")})
    loaded = load(described)
    x = floats(6, 3)
    groups = x.reshape(3, 2, 3)
    expected = (groups - groups.mean(axis=1, keepdims=True)).reshape(6, 3)
    np.testing.assert_allclose(loaded.predict(x), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="multiple of 2"):
        loaded.predict(x[:5])
    loaded.compile("sgd", "mse")
    with pytest.raises(ValueError, match="batch_size=2"):
        loaded.fit(x, x, batch_size=3, verbose=0)
    assert loaded.step == 0
    loaded.fit(x, x, batch_size=2, verbose=0)
    assert loaded.step == 3
    found = loaded.evaluate(x, x)["loss"]
    assert found == pytest.approx(np.mean((loaded.predict(x) - x) ** 2), rel=1e-5)


def test_a_number_of_samples_in_the_file_that_does_not_matter():
    described, _ = small_cnn()
    assert described.graph is not None
    described.graph.input = [value("x", [1, 3, 8, 8])]
    loaded = load(described)
    assert loaded.batch is None
    assert loaded(floats(5, 3, 8, 8)).shape == (5, 5)


def test_what_names_the_dtype_of_the_network_follows_it(tmp_path):
    nodes = [
        node("Constant", "", "shape", value=np.array([300, 3])),
        node("ConstantOfShape", "shape", "filled", value=np.array([0.1], "f4")),
        node("Range", "start end step", "range"),
        node("Cast", "i", "floats", to=1),
        node("Cast", "x", "again", to=1),
        node("Cast", "x", "whole", to=7),
        node("Clip", "again low high", "clipped"),
        node("Sum", "clipped filled range floats k", "y"),
    ]
    arrays = {
        "k": floats(3),
        "low": np.float32(-1),
        "high": np.float32(0.3),
        "start": np.float32(0),
        "end": np.float32(3),
        "step": np.float32(1),
    }
    inputs = [value("x", [300, 3]), value("i", [3], "int64")]
    loaded = load(model(nodes, inputs, "y whole", arrays))
    x, i = np.full((300, 3), 0.25) + 1e-10, np.arange(3)
    expected = x + float(np.float32(0.1)) + np.arange(3) + i + arrays["k"].astype(np.float64)
    assert loaded.forward(x.astype("f4"), i)[0].dtype == np.float32
    loaded.to(dtype="float64")
    y, whole = loaded.forward(x, i)
    assert (y.dtype, whole.dtype) == (np.float64, np.int64)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-14)
    loaded.save(tmp_path / "model.st")
    again = xpcnn.Model.load(tmp_path / "model.st", device="cpu")
    np.testing.assert_array_equal(again.forward(x, i)[0], y)
    loaded.to(dtype="float32")
    assert loaded.forward(x.astype("f4"), i)[0].dtype == np.float32


def test_a_dtype_other_than_that_of_the_network_stays():
    nodes = [node("Cast", "x", "wide", to=11), node("Cast", "wide", "y", to=1)]
    loaded = load(model(nodes, [value("x", ["n", 3])], "wide y"))
    loaded.to(dtype="float16")
    wide, y = loaded.forward(np.ones((2, 3), np.float16))
    assert (wide.dtype, y.dtype) == (np.float64, np.float16)


def test_a_cast_in_mixed_precision():
    nodes = [node("Cast", "x", "a", to=1), node("MatMul", "a w", "y")]
    described = model(nodes, [value("x", ["n", 3])], "y", {"w": floats(3, 2)})
    loaded = load(described)
    expected = loaded.predict(x := floats(4, 3))
    loaded.to(precision="float16")
    np.testing.assert_allclose(loaded.predict(x), expected, rtol=0.05, atol=0.05)
