"""Operators that rearrange, and those that tell or need shapes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Handler
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.layers.layer import Layer


def _steered(make: Callable[[Any], Layer], b: Builder, node: OnnxNode) -> None:
    """An operator whose second input says what to do; it may come with the file."""
    numbers = b.ints(node.input(1))
    known = numbers is not None or not node.input(1)
    b.emit(make(numbers), node.inputs[:1] if known else node.inputs, node.outputs)


def _reshape(b: Builder, node: OnnxNode) -> None:
    allow_zero = bool(node.int("allowzero", 0))
    shape = b.ints(node.input(1))
    if shape is None and not allow_zero:
        shape = b.lengths.new_shape(node.input(0), node.input(1))
    if shape is None:
        b.emit(op.Reshape(None, allow_zero), node.inputs, node.outputs)
    else:
        b.emit(op.Reshape(shape, allow_zero), node.inputs[:1], node.outputs)
        b.ranks[node.outputs[0]] = len(shape)


def _squeeze(kind: type, b: Builder, node: OnnxNode) -> None:
    if node.version < 13:
        b.emit(kind(node.ints("axes")), node.inputs, node.outputs)
    else:
        _steered(kind, b, node)


def _flatten(b: Builder, node: OnnxNode) -> None:
    axis = node.int("axis", 1)
    rank = b.rank(node.input(0))
    plain = b.dtype_of(node.input(0)) in (None, b.dtype)
    if axis == 1 and (rank is None or rank > 1) and plain:
        b.emit(layers.Flatten(), node.inputs, node.outputs)
    else:
        b.emit(op.MergeDims(axis), node.inputs, node.outputs)
    b.ranks[node.outputs[0]] = 2


def _transpose(b: Builder, node: OnnxNode) -> None:
    b.emit(op.Transpose(node.ints("perm")), node.inputs, node.outputs)


def _concat(b: Builder, node: OnnxNode) -> None:
    b.emit(op.Concat(node.int("axis", 1)), node.inputs, node.outputs)


def _shape(b: Builder, node: OnnxNode) -> None:
    b.emit(op.ShapeOf(node.int("start", 0), node.int("end")), node.inputs, node.outputs)
    b.ranks[node.outputs[0]] = 1
    b.dtypes[node.outputs[0]] = "int64"


def _size(b: Builder, node: OnnxNode) -> None:
    b.emit(op.Size(), node.inputs, node.outputs)


def _identity(b: Builder, node: OnnxNode) -> None:
    b.alias(node.outputs[0], node.input(0))


def _constant(b: Builder, node: OnnxNode) -> None:
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


def _constant_of_shape(b: Builder, node: OnnxNode) -> None:
    value = node.tensor("value") if node.has("value") else np.zeros(1, np.float32)
    assert value is not None
    if value.size != 1:
        raise UnsupportedError("the value is not a single number")
    dtype = b.widen(value).dtype.name
    layer = op.Filled(value.reshape(-1)[0].item(), dtype, follows=dtype == b.dtype)
    b.emit(layer, node.inputs, node.outputs)


def _depth_to_space(b: Builder, node: OnnxNode) -> None:
    mode = node.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise UnsupportedError(f"mode {mode!r} is not known")
    b.emit(op.DepthToSpace(node.int("blocksize"), mode), node.inputs, node.outputs)


def _space_to_depth(b: Builder, node: OnnxNode) -> None:
    layer = op.SpaceToDepth(node.int("blocksize"), node.text("mode", "DCR"))
    b.emit(layer, node.inputs, node.outputs)


def _range(b: Builder, node: OnnxNode) -> None:
    b.emit(op.Range(), node.inputs, node.outputs)


HANDLERS: dict[str, Handler] = {
    "Reshape": _reshape,
    "Squeeze": partial(_squeeze, op.Squeeze),
    "Unsqueeze": partial(_squeeze, op.Unsqueeze),
    "Expand": partial(_steered, op.Expand),
    "Tile": partial(_steered, op.Tile),
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Concat": _concat,
    "Shape": _shape,
    "Size": _size,
    "Identity": _identity,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Range": _range,
}
