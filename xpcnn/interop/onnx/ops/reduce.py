"""Sums, means and the like along axes."""

from __future__ import annotations

from functools import partial

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.ops.steering import Steering, read_steering, write_steered
from xpcnn.interop.onnx.table import Attribute, Operator, operator
from xpcnn.interop.onnx.writer import LayerCall, Name, Writer
from xpcnn.layers.layer import Layer

GLOBAL_POOLS = {3: layers.GlobalAvgPool1d, 4: layers.GlobalAvgPool2d, 5: layers.GlobalAvgPool3d}


def _axes_since(name: str) -> int:
    """Return the version from which on the axes are an input."""
    return 13 if name == "ReduceSum" else 18


def reduce(w: Writer, name: str, x: Name, axes: Steering, keepdims: bool = True) -> str:
    """Append a sum, a mean, ..."""
    return write_steered(w, name, x, axes, _axes_since(name), keepdims=int(keepdims))


def _read_reduction(layer: type, b: Builder, node: OnnxNode) -> None:
    keep = bool(node.int("keepdims", 1))
    empty_is_all = not node.int("noop_with_empty_axes", 0)
    dims, inputs = read_steering(b, node, "axes", _axes_since(node.op))
    made: Layer = layer(dims, keep, empty_is_all)
    rank = b.rank(node.input(0))
    if node.op == "ReduceMean" and rank in GLOBAL_POOLS:
        # the mean of all positions of a channel is a pooling, which has kernels of its own
        whole = list(range(2, rank))
        if sorted(dim % rank for dim in dims or ()) == whole:
            made = GLOBAL_POOLS[rank](keepdims=keep)
    b.emit(made, inputs, node.outputs)
    if rank is not None and keep:
        b.ranks[node.outputs[0]] = rank


def _write_reduction(row: Operator, w: Writer, call: LayerCall) -> str:
    layer, given, since = call.layer, call.input_at(1), _axes_since(row.name)
    keepdims = int(layer.keepdim)
    if layer.dims or (given is None and layer.empty_is_all):
        return reduce(w, row.name, call.x, layer.dims or None, layer.keepdim)
    if given is None and w.opset < since:
        raise UnsupportedError(f"without axes it needs version {since} of the operators")
    noop = int(not layer.empty_is_all)
    return write_steered(
        w, row.name, call.x, given, since, keepdims=keepdims, noop_with_empty_axes=noop
    )


for _layer in (
    op.ReduceL1,
    op.ReduceL2,
    op.ReduceLogSum,
    op.ReduceLogSumExp,
    op.ReduceMax,
    op.ReduceMean,
    op.ReduceMin,
    op.ReduceProd,
    op.ReduceSum,
    op.ReduceSumSquare,
):
    _folds = _layer in (op.ReduceProd, op.ReduceSum)
    _row = operator(_layer.__name__, _layer, inputs=(1, 2), folds=_folds)
    _row.reads(partial(_read_reduction, _layer))
    _row.writes(_layer)(partial(_write_reduction, _row))


def _write_position(row: Operator, w: Writer, call: LayerCall) -> str:
    layer = call.layer
    call.dtypes = ["int64"]
    if layer.last and w.opset < 12:
        raise UnsupportedError("the last of equal elements needs version 12 of the operators")
    last = 1 if layer.last else None
    keepdims = int(layer.keepdim)
    return w.node(row.name, call.x, axis=layer.dim, keepdims=keepdims, select_last_index=last)


POSITION = {
    "axis": Attribute("dim", int, 0),
    "keepdims": Attribute("keepdim", bool, True),
    "select_last_index": Attribute("last", bool, False),
}
ARG_MAX = operator("ArgMax", op.ArgMax, POSITION)
ARG_MAX.writes(op.ArgMax)(partial(_write_position, ARG_MAX))

ARG_MIN = operator("ArgMin", op.ArgMin, POSITION)
ARG_MIN.writes(op.ArgMin)(partial(_write_position, ARG_MIN))
