"""Operators that rearrange, and those that tell or need shapes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Call, Handler, UnsupportedError
from xpcnn.layers.layer import Layer


def _steered(make: Callable[[Any], Layer], b: Builder, call: Call) -> None:
    """An operator whose second input says what to do; it may come with the file."""
    numbers = b.ints(call.input(1))
    known = numbers is not None or not call.input(1)
    b.emit(make(numbers), call.inputs[:1] if known else call.inputs, call.outputs)


def _reshape(b: Builder, call: Call) -> None:
    allow_zero = bool(call.int("allowzero", 0))
    shape = b.ints(call.input(1))
    if shape is None and not allow_zero:
        shape = b.sizes.new_shape(b, call.input(0), call.input(1))
    if shape is None:
        b.emit(op.Reshape(None, allow_zero), call.inputs, call.outputs)
    else:
        b.emit(op.Reshape(shape, allow_zero), call.inputs[:1], call.outputs)
        b.ranks[call.outputs[0]] = len(shape)


def _squeeze(kind: type, b: Builder, call: Call) -> None:
    if call.version < 13:
        b.emit(kind(call.ints("axes")), call.inputs, call.outputs)
    else:
        _steered(kind, b, call)


def _flatten(b: Builder, call: Call) -> None:
    axis = call.int("axis", 1)
    rank = b.rank(call.input(0))
    plain = b.dtype_of(call.input(0)) in (None, b.dtype)
    if axis == 1 and (rank is None or rank > 1) and plain:
        b.emit(layers.Flatten(), call.inputs, call.outputs)
    else:
        b.emit(op.MergeDims(axis), call.inputs, call.outputs)
    b.ranks[call.outputs[0]] = 2


def _transpose(b: Builder, call: Call) -> None:
    b.emit(op.Transpose(call.ints("perm")), call.inputs, call.outputs)


def _concat(b: Builder, call: Call) -> None:
    b.emit(op.Concat(call.int("axis", 1)), call.inputs, call.outputs)


def _shape(b: Builder, call: Call) -> None:
    b.emit(op.ShapeOf(call.int("start", 0), call.int("end")), call.inputs, call.outputs)
    b.ranks[call.outputs[0]] = 1
    b.dtypes[call.outputs[0]] = "int64"


def _size(b: Builder, call: Call) -> None:
    b.emit(op.Size(), call.inputs, call.outputs)


def _identity(b: Builder, call: Call) -> None:
    b.alias(call.outputs[0], call.input(0))


def _constant(b: Builder, call: Call) -> None:
    if call.has("value"):
        value: Any = call.tensor("value")
    elif call.has("value_float"):
        value = np.float32(call.float("value_float"))
    elif call.has("value_int"):
        value = np.int64(call.int("value_int"))
    elif call.has("value_floats"):
        value = np.asarray(call.floats("value_floats"), np.float32)
    elif call.has("value_ints"):
        value = np.asarray(call.ints("value_ints"), np.int64)
    else:
        raise UnsupportedError("a constant that is text, or mostly zeros, is not known here")
    name, array = call.outputs[0], b.widen(np.asarray(value))
    if name in b.weights_in_nodes:
        b.initializers[name], b.shapes[name] = array, array.shape
    else:
        b.constants[name] = array


def _constant_of_shape(b: Builder, call: Call) -> None:
    value = call.tensor("value") if call.has("value") else np.zeros(1, np.float32)
    assert value is not None
    if value.size != 1:
        raise UnsupportedError("the value is not a single number")
    dtype = b.widen(value).dtype.name
    layer = op.Filled(value.reshape(-1)[0].item(), dtype, follows=dtype == b.dtype)
    b.emit(layer, call.inputs, call.outputs)


def _depth_to_space(b: Builder, call: Call) -> None:
    mode = call.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise UnsupportedError(f"mode {mode!r} is not known")
    b.emit(op.DepthToSpace(call.int("blocksize"), mode), call.inputs, call.outputs)


def _space_to_depth(b: Builder, call: Call) -> None:
    layer = op.SpaceToDepth(call.int("blocksize"), call.text("mode", "DCR"))
    b.emit(layer, call.inputs, call.outputs)


def _range(b: Builder, call: Call) -> None:
    b.emit(op.Range(), call.inputs, call.outputs)


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
