"""Values that do not come from an input: weights, constants, ranges, and what passes unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.table import operator, writes
from xpcnn.interop.onnx.writer import LayerCall, Writer

IDENTITY = operator("Identity")


@IDENTITY.reads
def _read_identity(b: Builder, node: OnnxNode) -> None:
    b.alias(node.outputs[0], node.input(0))


@writes(
    layers.Identity,
    layers.Dropout,
    layers.Dropout1d,
    layers.Dropout2d,
    layers.Dropout3d,
    layers.AlphaDropout,
    layers.StochasticDepth,
)
def _write_identity(w: Writer, call: LayerCall) -> str:
    """Return the input itself: nothing happens in inference."""
    return call.x.name


CONSTANT = operator("Constant", inputs=(0, 0))


@CONSTANT.reads
def _read_constant(b: Builder, node: OnnxNode) -> None:
    if node.has("value"):
        value: Any = node.tensor("value")
    elif node.has("value_float"):
        value = np.float32(node.float("value_float"))
    elif node.has("value_int"):
        value = np.int64(node.int("value_int"))
    elif node.has("value_floats"):
        value = np.asarray(node.floats("value_floats"), np.float32)
    elif node.has("value_ints"):
        value = np.asarray(node.ints("value_ints"), np.int64)
    else:
        raise UnsupportedError("a constant that is text, or mostly zeros, is not known here")
    name, array = node.outputs[0], b.widen(np.asarray(value))
    if name in b.weights_in_nodes:
        b.initializers[name], b.shapes[name] = array, array.shape
    else:
        b.constants[name] = array


@CONSTANT.writes(op.Constant)
def _write_constant(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    dtype = w.dtype if layer.follows else layer.dtype
    call.dtypes = [dtype]
    return w.constant(layer.value.value, dtype)


CONSTANT_OF_SHAPE = operator("ConstantOfShape", since=9)


@CONSTANT_OF_SHAPE.reads
def _read_constant_of_shape(b: Builder, node: OnnxNode) -> None:
    value = node.tensor("value") if node.has("value") else np.zeros(1, np.float32)
    assert value is not None
    if value.size != 1:
        raise UnsupportedError("the value is not a single number")
    dtype = b.widen(value).dtype.name
    layer = op.Filled(value.reshape(-1)[0].item(), dtype, follows=dtype == b.dtype)
    b.emit(layer, node.inputs, node.outputs)


@CONSTANT_OF_SHAPE.writes(op.Filled)
def _write_filled(w: Writer, call: LayerCall) -> str:
    dtype = call.layer.dtype
    call.dtypes = [dtype]
    value = w.tensor(np.asarray([call.layer.value]), dtype)
    return w.node("ConstantOfShape", call.x, value=value)


operator("Range", op.Range, since=11, inputs=(3, 3))


@writes(op.Weight)
def _write_weight(w: Writer, call: LayerCall) -> str:
    """A parameter without a layer: it has the node's name, as an import gives it."""
    call.dtypes = [w.dtype]
    return w.initializer(call.path, call.layer.value)


@writes(op.Weights)
def _write_weights(w: Writer, call: LayerCall) -> tuple[str, ...]:
    """Parameters without a layer, and arrays beside them that are not trained."""
    layer = call.layer
    call.dtypes = [w.dtype] * len(layer.arrays)
    return tuple(
        w.constant(getattr(layer, name).value) if name in layer.fixed else w.state(call, name)
        for name, _ in layer.arrays
    )
