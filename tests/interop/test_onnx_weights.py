"""Which arrays of an ONNX file are parameters: initializers, and nodes in the part of weights."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.interop.onnx_models import model, node, value
from xpcnn.interop import onnx
from xpcnn.interop.onnx import proto

RNG = np.random.default_rng(11)
IMAGES = value("x", ["n", 3, 6, 6])
ROWS = value("x", ["n", 4])


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def in_nodes(described: proto.ModelProto) -> proto.ModelProto:
    """Move all arrays of floats from initializers into Constant nodes."""
    graph = described.graph
    assert graph is not None
    moved = [tensor for tensor in graph.initializer if tensor.data_type == 1]
    graph.initializer = [tensor for tensor in graph.initializer if tensor not in moved]
    constants = []
    for tensor in moved:
        constant = node("Constant", "", tensor.name or "")
        constant.attribute = [proto.AttributeProto(name="value", type=proto.TENSOR, t=tensor)]
        constants.append(constant)
    graph.node = [*constants, *graph.node]
    return described


def networks() -> dict[str, proto.ModelProto]:
    """Return networks all of whose floats are weights."""
    four = {name: floats(4) for name in ("scale", "shift", "mean")}
    norm = four | {"variance": np.abs(floats(4)) + 1}
    conv = {"conv.weight": floats(4, 3, 3, 3), "conv.bias": floats(4)}
    first = node("Conv", "x conv.weight conv.bias", "a")
    found = {
        "Conv": ([node("Conv", "x conv.weight conv.bias", "y")], conv),
        "ConvTranspose": (
            [node("ConvTranspose", "x w b", "y")],
            {"w": floats(3, 2, 2, 2), "b": floats(2)},
        ),
        "BatchNormalization": (
            [first, node("BatchNormalization", "a scale shift mean variance", "y")],
            conv | norm,
        ),
        "fresh BatchNormalization": (
            [first, node("BatchNormalization", "a scale shift mean variance", "y")],
            conv | norm | {"scale": np.ones(4, "f4"), "shift": np.zeros(4, "f4")},
        ),
        "InstanceNormalization": (
            [first, node("InstanceNormalization", "a scale shift", "y")],
            conv | {"scale": floats(4), "shift": floats(4)},
        ),
        "LayerNormalization": (
            [node("LayerNormalization", "x scale shift", "y")],
            {"scale": floats(6), "shift": floats(6)},
        ),
        "PRelu": ([node("PRelu", "x slope", "y")], {"slope": floats(3, 1, 1)}),
    }
    described = {
        name: model(nodes, [IMAGES], "y", arrays) for name, (nodes, arrays) in found.items()
    }
    matrices = {"fc.weight": floats(5, 4), "fc.bias": floats(5)}
    rows = {
        "Gemm": ([node("Gemm", "x fc.weight fc.bias", "y", transB=1)], matrices),
        "Gemm scaled": ([node("Gemm", "x fc.weight fc.bias", "y", transB=1, alpha=0.5)], matrices),
        "MatMul": ([node("MatMul", "x w", "y")], {"w": floats(4, 5)}),
        "MatMul and Add": (
            [node("MatMul", "x w", "a"), node("Add", "b a", "y")],
            {"w": floats(4, 5), "b": floats(5)},
        ),
        "turned": (
            [node("Transpose", "w", "t"), node("Identity", "t", "i"), node("MatMul", "x i", "y")],
            {"w": floats(300, 4)},
        ),
    }
    described |= {name: model(nodes, [ROWS], "y", arrays) for name, (nodes, arrays) in rows.items()}
    words = [node("Gather", "table x", "y")]
    described["Gather"] = model(words, [value("x", ["n"], "int64")], "y", {"table": floats(7, 3)})
    return described


@pytest.mark.parametrize("name", networks())
def test_weights_in_nodes_are_as_good_as_initializers(name):
    expected = onnx.load(networks()[name].serialize(), device="cpu")
    data = in_nodes(networks()[name]).serialize()
    found = onnx.load(data, device="cpu")
    shapes = [[p.value.shape for p in m.parameters().values()] for m in (found, expected)]
    assert sorted(shapes[0]) == sorted(shapes[1]) != []
    assert all(p.requires_grad for p in found.parameters().values())


def test_training_reaches_weights_in_nodes():
    described = in_nodes(networks()["MatMul and Add"])
    loaded = onnx.load(described.serialize(), device="cpu")
    before = loaded.state_dict()
    loaded.compile("sgd", "mse")
    loaded.train_on_batch(floats(2, 4), floats(2, 5))
    after = loaded.state_dict()
    for name in loaded.parameters():
        assert (before[name] != after[name]).any(), name


def test_what_is_added_or_multiplied_elsewhere_is_no_weight():
    nodes = [
        node("Constant", "", "k", value=floats(3, 1, 1)),
        node("Mul", "x k", "a"),
        node("Conv", "a w", "b"),
        node("Constant", "", "offset", value=floats(2, 1, 1)),
        node("Add", "b offset", "y"),
    ]
    loaded = onnx.load(
        model(nodes, [IMAGES], "y", {"w": floats(2, 3, 3, 3)}).serialize(), device="cpu"
    )
    assert sum(p.value.size for p in loaded.parameters().values()) == 54


def test_a_normalisation_without_weights_stays_one():
    nodes = [
        node("Conv", "x w", "a"),
        node("Constant", "", "ones", value=np.ones(2, "f4")),
        node("Constant", "", "zeros", value=np.zeros(2, "f4")),
        node("InstanceNormalization", "a ones zeros", "y"),
    ]
    arrays = {"w": floats(2, 3, 3, 3)}
    loaded = onnx.load(model(nodes, [IMAGES], "y", arrays).serialize(), device="cpu")
    assert len(loaded.parameters()) == 1


def test_training_a_network_without_weights_is_an_error():
    loaded = onnx.load(model([node("Relu", "x", "y")], [ROWS], "y").serialize(), device="cpu")
    loaded.compile("sgd", "mse")
    x = floats(2, 4)
    with pytest.raises(RuntimeError, match="no parameters"):
        loaded.train_on_batch(x, x)
    frozen = xpcnn.Model([xpcnn.Linear(4, 4)], device="cpu", seed=0)
    frozen.build((None, 4))
    frozen.compile("sgd", "mse")
    for parameter in frozen.parameters().values():
        parameter.requires_grad = False
    with pytest.raises(RuntimeError, match="frozen"):
        frozen.fit(x, x, verbose=0)
    assert frozen.epoch == frozen.step == 0
    assert set(frozen.evaluate(x, x)) == {"loss"}
