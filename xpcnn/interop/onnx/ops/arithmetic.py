"""Functions of each element, arithmetic, comparisons and logic."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Any

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.table import Operator, operator, writes
from xpcnn.interop.onnx.tensors import number_of
from xpcnn.interop.onnx.writer import LayerCall, Writer
from xpcnn.layers.layer import Layer

UNARY: dict[str, Any] = {"keeps": "samples", "folds": True}
BINARY: dict[str, Any] = {"inputs": (2, 2), "keeps": "broadcast", "folds": True}
VARIADIC: dict[str, Any] = BINARY | {"inputs": (1, inf)}

operator("Abs", op.Absolute, **UNARY)
operator("Ceil", op.Ceil, **UNARY)
operator("Exp", op.Exp, **UNARY)
operator("Floor", op.Floor, **UNARY)
operator("Log", op.Log, **UNARY)
operator("Neg", op.Negative, **UNARY)
operator("Not", op.Not, dtype="bool", **UNARY)
operator("Reciprocal", op.Reciprocal, **UNARY)
operator("Round", op.Round, since=11, **UNARY)
operator("Sign", op.Sign, since=9, **UNARY)
operator("Sqrt", op.SquareRoot, **UNARY)

operator("Cos", op.Cos, keeps="samples")
operator("Erf", op.Erf, since=9, keeps="samples")
operator("IsNaN", op.IsNaN, dtype="bool", since=9, keeps="samples")
operator("Sin", op.Sin, keeps="samples")

operator("And", op.And, dtype="bool", **BINARY)
operator("Div", op.Divide, **BINARY)
operator("Equal", op.Equal, dtype="bool", **BINARY)
operator("Greater", op.Greater, dtype="bool", **BINARY)
operator("Less", op.Less, dtype="bool", **BINARY)
operator("Mul", op.Multiply, **BINARY)
operator("Or", op.Or, dtype="bool", **BINARY)
operator("Sub", op.Subtract, **BINARY)
operator("Xor", op.Xor, dtype="bool", inputs=(2, 2), keeps="broadcast")


# -- Where versions differ -------------------------------------------------------------------------


def _write_or_equal(strict: str, w: Writer, call: LayerCall) -> str:
    call.dtypes = ["bool"]
    return w.node("Or", w.node(strict, *call.inputs), w.node("Equal", *call.inputs))


GREATER_OR_EQUAL = operator("GreaterOrEqual", op.GreaterEqual, dtype="bool", since=12, **BINARY)
GREATER_OR_EQUAL.writes_before(partial(_write_or_equal, "Greater"))

LESS_OR_EQUAL = operator("LessOrEqual", op.LessEqual, dtype="bool", since=12, **BINARY)
LESS_OR_EQUAL.writes_before(partial(_write_or_equal, "Less"))


def _check_integers(w: Writer, call: LayerCall) -> None:
    if w.opset < 12 and "float" not in call.x.dtype:
        raise UnsupportedError("of whole numbers it needs version 12 of ONNX's operators")


def _write_extremum(row: Operator, w: Writer, call: LayerCall) -> str:
    _check_integers(w, call)
    return row.write(w, call)


MAX = operator("Max", op.Maximum, **VARIADIC)
MAX.writes(op.Maximum)(partial(_write_extremum, MAX))

MIN = operator("Min", op.Minimum, **VARIADIC)
MIN.writes(op.Minimum)(partial(_write_extremum, MIN))

POW = operator("Pow", op.Power, **BINARY)


@POW.writes(op.Power)
def _write_power(w: Writer, call: LayerCall) -> str:
    """The operator takes exponents of another dtype from version 12 on."""
    base, exponent = call.x, call.needed(1)
    if w.opset >= 12 or base.dtype == exponent.dtype:
        return w.node("Pow", base, exponent)
    return w.node("Pow", base, w.node("Cast", exponent, to=number_of(base.dtype)))


CLIP = operator("Clip", inputs=(1, 3), keeps="samples")


@CLIP.reads
def _read_clip(b: Builder, node: OnnxNode) -> None:
    if node.version < 11:
        _read_limits(b, node, node.float("min"), node.float("max"))
        return
    limits = [b.array(name) if name else None for name in (node.input(1), node.input(2))]
    if any(name and limit is None for name, limit in zip(node.inputs[1:3], limits, strict=False)):
        b.emit(op.Clip(), node.inputs, node.outputs)
        return
    low, high = (None if limit is None else limit.item() for limit in limits)
    _read_limits(b, node, low, high)


def _read_limits(b: Builder, node: OnnxNode, low: float | None, high: float | None) -> None:
    is_relu6 = (low, high) == (0.0, 6.0) and b.dtype_of(node.input(0)) in (None, b.dtype)
    layer: Layer = layers.ReLU6() if is_relu6 else op.Clip(low, high)
    b.emit(layer, node.inputs[:1], node.outputs)


@CLIP.writes(op.Clip)
def _write_clip(w: Writer, call: LayerCall) -> str:
    _check_integers(w, call)
    limits = [
        w.number(own, call.x) if own is not None else call.input_at(position)
        for position, own in ((1, call.layer.min), (2, call.layer.max))
    ]
    if limits == [None, None]:
        return call.x.name
    return w.node("Clip", call.x, *limits)


@CLIP.writes(layers.ReLU6)
def _write_relu6(w: Writer, call: LayerCall) -> str:
    return w.node("Clip", call.x, w.number(0.0), w.number(6.0))


@CLIP.writes(layers.Hardtanh)
def _write_hardtanh(w: Writer, call: LayerCall) -> str:
    return w.node("Clip", call.x, w.number(call.layer.min_val), w.number(call.layer.max_val))


# -- Sums of several, and what they are made of ----------------------------------------------------

ADD = operator("Add", op.Add, **BINARY)
operator("Sum", op.Add, **VARIADIC)


@ADD.writes(op.Add)
def _write_add(w: Writer, call: LayerCall) -> str:
    if len(call.inputs) > 2 and "float" in call.x.dtype:
        return w.node("Sum", *call.inputs)
    total = call.x.name
    for other in call.inputs[1:]:
        total = w.node("Add", total, other)
    return total


MEAN = operator("Mean", inputs=(1, inf), keeps="broadcast")


@MEAN.reads
def _read_mean(b: Builder, node: OnnxNode) -> None:
    total = b.apply(op.Add(), *node.inputs)
    b.emit(op.Affine(1.0 / len(node.inputs)), [total], node.outputs)


@writes(op.Affine)
def _write_affine(w: Writer, call: LayerCall) -> str:
    scale, shift = call.layer.scale, call.layer.shift
    y = call.x.name
    if scale != 1.0:
        y = w.node("Mul", y, w.number(scale, call.x))
    return w.node("Add", y, w.number(shift, call.x)) if shift else y


MOD = operator("Mod", since=10, **BINARY)


@MOD.reads
def _read_mod(b: Builder, node: OnnxNode) -> None:
    sign = "dividend" if node.int("fmod", 0) else "divisor"
    b.emit(op.Modulo(sign), node.inputs, node.outputs)


@MOD.writes(op.Modulo)
def _write_modulo(w: Writer, call: LayerCall) -> str:
    """Of floats the operator takes the sign of the dividend only."""
    x, y = call.inputs
    is_float = "float" in call.x.dtype
    if call.layer.sign == "dividend":
        return w.node("Mod", x, y, fmod=1)
    if not is_float:
        return w.node("Mod", x, y)
    rest = w.node("Mod", x, y, fmod=1)
    signs = w.node("Mul", w.node("Sign", rest), w.node("Sign", y))
    differ = w.node("Less", signs, w.number(0.0, call.x))
    return w.node("Where", differ, w.node("Add", rest, y), rest)


# -- Dtypes and choices ----------------------------------------------------------------------------

CAST = operator("Cast", required=("to",), **UNARY)
CAST_LIKE = operator("CastLike", since=15, inputs=(2, 2), keeps="samples")


@CAST.reads
def _read_cast(b: Builder, node: OnnxNode) -> None:
    dtype = b.numpy_dtype(node.int("to"))
    b.emit(op.Cast(dtype, follows=dtype == b.dtype), node.inputs[:1], node.outputs)
    b.dtypes[node.outputs[0]] = dtype


@CAST_LIKE.reads
def _read_cast_like(b: Builder, node: OnnxNode) -> None:
    b.emit(op.Cast(), node.inputs, node.outputs)


@CAST.writes(op.Cast)
def _write_cast(w: Writer, call: LayerCall) -> str:
    dtype = call.layer.dtype or call.needed(1).dtype
    call.dtypes = [dtype]
    return w.node("Cast", call.x, to=number_of(dtype))


WHERE = operator("Where", op.Where, since=9, **BINARY | {"inputs": (3, 3)})


@WHERE.writes(op.Where)
def _write_where(w: Writer, call: LayerCall) -> str:
    call.dtypes = [call.needed(1).dtype]
    return w.node("Where", *call.inputs)
