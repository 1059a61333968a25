"""Parts of arrays."""

from __future__ import annotations

from math import inf

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.table import Attribute, Earlier, operator
from xpcnn.interop.onnx.writer import LayerCall, Name, Writer

SLICE = operator(
    "Slice",
    inputs=(3, 5),
    earlier=Earlier(10, (1, 1), ("starts", "ends")),
    keeps="rank",
    folds=True,
)


@SLICE.reads
def _read_slice(b: Builder, node: OnnxNode) -> None:
    if node.version < 10:
        layer = op.Slice(node.ints("starts"), node.ints("ends"), node.ints("axes"))
        b.emit(layer, node.inputs, node.outputs)
        return
    given = [b.ints(name) if name else None for name in node.inputs[1:]]
    if all(numbers is not None or not name
           for name, numbers in zip(node.inputs[1:], given, strict=True)):  # fmt: skip
        b.emit(op.Slice(*given), node.inputs[:1], node.outputs)
    else:
        b.emit(op.Slice(), node.inputs, node.outputs)


@SLICE.writes(op.Slice)
def _write_slice(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    given: list[Name] = [
        call.input_at(position) if own is None else w.ints(own)
        for position, own in enumerate((layer.starts, layer.ends, layer.dims, layer.steps), start=1)
    ]
    return w.node("Slice", call.x, *given)


AXIS = {"axis": Attribute("dim", int, 0)}
GATHER = operator("Gather", op.Gather, AXIS, inputs=(2, 2), folds=True, weights=(0,))


@GATHER.writes(layers.Embedding)
def _write_embedding(w: Writer, call: LayerCall) -> str:
    call.dtypes = [w.dtype]
    return w.node("Gather", w.state(call, "weight"), call.x, axis=0)


SPLIT = operator("Split", inputs=(1, 2), earlier=Earlier(13, (1, 1)), outputs=inf, keeps="rank")


@SPLIT.reads
def _read_split(b: Builder, node: OnnxNode) -> None:
    axis, count = node.int("axis", 0), len(node.outputs)
    sizes = node.ints("split") if node.version < 13 else b.ints(node.input(1))
    if sizes is not None:
        b.emit(op.Split(axis, sizes), node.inputs[:1], node.outputs)
    elif node.input(1):
        b.emit(op.Split(axis), node.inputs, node.outputs)
    else:
        if node.int("num_outputs", count) != count:
            raise UnsupportedError("num_outputs is not the number of outputs")
        b.emit(op.Split(axis, pieces=count), node.inputs[:1], node.outputs)


@SPLIT.writes(op.Split)
def _write_split(w: Writer, call: LayerCall) -> tuple[str, ...]:
    layer, x = call.layer, call.x
    if layer.sizes is None and layer.pieces is None:
        count = len(call.shapes)
        return w.node_of("Split", [x, call.input_at(1)], count, axis=layer.dim)
    axis = layer.dim % x.rank
    return w.split(x, axis, [shapes[0][axis] for shapes in call.shapes])
