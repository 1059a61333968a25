"""Activations: ONNX's operator of that name, or primitive ones where the version has none."""

from __future__ import annotations

from functools import partial
from math import pi, sqrt

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.ops.indexing import split
from xpcnn.interop.onnx.table import Attribute, operator, same_names, writes
from xpcnn.interop.onnx.writer import LayerCall, Value, Writer

operator("Relu", layers.ReLU, keeps="samples")
operator("Sigmoid", layers.Sigmoid, keeps="samples")
operator("Tanh", layers.Tanh, keeps="samples")
operator("Softsign", layers.Softsign, keeps="samples")
operator("Elu", layers.ELU, same_names(alpha=1.0), keeps="samples")
SLOPE = {"alpha": Attribute("negative_slope", float, 0.01)}
operator("LeakyRelu", layers.LeakyReLU, SLOPE, keeps="samples")


# -- Operators that came later, and what is written before -----------------------------------------

CELU = operator("Celu", layers.CELU, same_names(alpha=1.0), since=12, keeps="samples")


@CELU.writes(layers.CELU)
def _write_celu(w: Writer, call: LayerCall) -> str:
    """Before version 28 the operator takes float32 only; and alpha may be negative here."""
    alpha = call.layer.alpha
    if w.opset >= CELU.since and w.dtype == "float32" and alpha > 0:
        return CELU.write(w, call)
    scaled = w.node("Div", call.x, w.number(alpha))
    rising = w.node("Sub", w.node("Exp", scaled), w.number(1.0))
    positive = w.node("Greater", call.x, w.number(0.0))
    return w.node("Where", positive, call.x, w.node("Mul", rising, w.number(alpha)))


GELU = operator("Gelu", layers.GELU, same_names(approximate="none"), since=20, keeps="samples")


@GELU.writes_before
def _write_gelu(w: Writer, call: LayerCall) -> str:
    x = call.x
    if call.layer.approximate == "tanh":
        cube = w.node("Mul", w.node("Mul", x, x), x)
        inner = w.node("Add", x, w.node("Mul", cube, w.number(0.044715)))
        curve = w.node("Tanh", w.node("Mul", inner, w.number(sqrt(2.0 / pi))))
    else:
        curve = w.node("Erf", w.node("Mul", x, w.number(sqrt(0.5))))
    share = w.node("Mul", w.node("Add", curve, w.number(1.0)), w.number(0.5))
    return w.node("Mul", x, share)


MISH = operator("Mish", layers.Mish, since=18, keeps="samples")


@MISH.writes_before
def _write_mish(w: Writer, call: LayerCall) -> str:
    return w.node("Mul", call.x, w.node("Tanh", w.node("Softplus", call.x)))


HARD_SWISH = operator("HardSwish", layers.Hardswish, since=14, keeps="samples")


@HARD_SWISH.writes_before
def _write_hardswish(w: Writer, call: LayerCall) -> str:
    return w.node("Mul", call.x, _write_hardsigmoid(w, call))


SWISH = operator("Swish", since=24, keeps="samples")


@SWISH.reads
def _read_swish(b: Builder, node: OnnxNode) -> None:
    alpha = node.float("alpha", 1.0)
    if alpha == 1.0:
        b.emit(layers.SiLU(), node.inputs, node.outputs)
        return
    gate = b.apply(layers.Sigmoid(), b.apply(op.Affine(alpha), node.input(0)))
    b.emit(op.Multiply(), [node.input(0), gate], node.outputs)


@writes(layers.SiLU)
def _write_silu(w: Writer, call: LayerCall) -> str:
    return w.node("Mul", call.x, w.node("Sigmoid", call.x))


# -- Operators and layers with different arguments -------------------------------------------------

SELU = operator("Selu", layers.SELU, keeps="samples")


@SELU.reads
def _read_selu(b: Builder, node: OnnxNode) -> None:
    alpha = node.float("alpha", 1.67326319217681884765625)
    gamma = node.float("gamma", 1.05070102214813232421875)
    if abs(alpha - 1.6732632) < 1e-6 and abs(gamma - 1.0507010) < 1e-6:
        b.emit(layers.SELU(), node.inputs, node.outputs)
        return
    curve = b.apply(layers.ELU(alpha), node.input(0))
    b.emit(op.Affine(gamma), [curve], node.outputs)


HARD_SIGMOID = operator("HardSigmoid", keeps="samples")


@HARD_SIGMOID.reads
def _read_hard_sigmoid(b: Builder, node: OnnxNode) -> None:
    alpha, beta = node.float("alpha", 0.2), node.float("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        b.emit(layers.Hardsigmoid(), node.inputs, node.outputs)
        return
    line = b.apply(op.Affine(alpha, beta), node.input(0))
    b.emit(op.Clip(0.0, 1.0), [line], node.outputs)


@HARD_SIGMOID.writes(layers.Hardsigmoid)
def _write_hardsigmoid(w: Writer, call: LayerCall) -> str:
    return w.node("HardSigmoid", call.x, alpha=1 / 6, beta=0.5)


SOFTPLUS = operator("Softplus", layers.Softplus, keeps="samples")


@SOFTPLUS.writes(layers.Softplus)
def _write_softplus(w: Writer, call: LayerCall) -> str:
    beta, threshold = call.layer.beta, call.layer.threshold
    scaled = call.x.name if beta == 1.0 else w.node("Mul", call.x, w.number(beta))
    curve = w.node("Softplus", scaled)
    if beta != 1.0:
        curve = w.node("Div", curve, w.number(beta))
    # above 20 the curve is the line in float32 anyway
    if threshold >= 20.0:
        return curve
    return w.node("Where", w.node("Greater", scaled, w.number(threshold)), call.x, curve)


SHRINK = operator("Shrink", op.Shrink, same_names(lambd=0.5, bias=0.0), since=9, keeps="samples")


@SHRINK.writes(op.Shrink)
def _write_shrink(w: Writer, call: LayerCall) -> str:
    return _shrink(w, call.x, call.layer.lambd, call.layer.bias)


@SHRINK.writes(layers.Softshrink)
def _write_softshrink(w: Writer, call: LayerCall) -> str:
    return _shrink(w, call.x, call.layer.lambd, call.layer.lambd)


@SHRINK.writes(layers.Hardshrink)
def _write_hardshrink(w: Writer, call: LayerCall) -> str:
    return _shrink(w, call.x, call.layer.lambd, 0.0)


def _shrink(w: Writer, x: Value, lambd: float, bias: float) -> str:
    """Move towards zero by `bias` beyond `lambd`, and to zero elsewhere."""
    if x.dtype != "bfloat16":
        return w.node("Shrink", x, lambd=lambd, bias=bias)
    # the operator does not take it
    limit, offset = w.number(lambd, x), w.number(bias, x)
    below = w.node("Less", x, w.node("Neg", limit))
    low = w.node("Where", below, w.node("Add", x, offset), w.number(0.0, x))
    return w.node("Where", w.node("Greater", x, limit), w.node("Sub", x, offset), low)


THRESHOLDED_RELU = operator("ThresholdedRelu", since=10, keeps="samples")


@THRESHOLDED_RELU.reads
def _read_thresholded_relu(b: Builder, node: OnnxNode) -> None:
    b.emit(layers.Threshold(node.float("alpha", 1.0), 0.0), node.inputs, node.outputs)


@THRESHOLDED_RELU.writes(layers.Threshold)
def _write_threshold(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    if layer.value == 0.0:
        return w.node("ThresholdedRelu", call.x, alpha=layer.threshold)
    above = w.node("Greater", call.x, w.number(layer.threshold))
    return w.node("Where", above, call.x, w.number(layer.value))


PRELU = operator("PRelu", inputs=(2, 2), keeps="samples", weights=(1,), names_layer=True)


@PRELU.reads
def _read_prelu(b: Builder, node: OnnxNode) -> None:
    slope = b.weight(node.input(1))
    rank = b.rank(node.input(0))
    per_channel = slope is not None and (
        slope.size == 1 or (rank is not None and slope.shape == (slope.size,) + (1,) * (rank - 2))
    )
    if per_channel and slope is not None:
        layer = layers.PReLU(slope.size)
        b.layer(node, layer, {"weight": slope.reshape(-1)}, {"weight": node.input(1)})
        return
    negative = b.apply(op.Less(), node.input(0), b.number(0.0))
    scaled = b.apply(op.Multiply(), node.input(0), node.input(1))
    b.emit(op.Where(), [negative, scaled, node.input(0)], node.outputs)


@PRELU.writes(layers.PReLU)
def _write_prelu(w: Writer, call: LayerCall) -> str:
    """The slopes are broadcast from the last axis on, so the axes behind the channels are added."""
    count = call.layer.num_parameters
    after = 0 if count == 1 else max(call.x.rank - 2, 0)
    return w.node("PRelu", call.x, w.state(call, "weight", (count,) + (1,) * after))


# -- Along one axis --------------------------------------------------------------------------------

SOFTMAX = operator("Softmax", layers.Softmax, keeps="samples")
LOG_SOFTMAX = operator("LogSoftmax", layers.LogSoftmax, keeps="samples")
HARDMAX = operator("Hardmax", keeps="samples")


@SOFTMAX.reads
@LOG_SOFTMAX.reads
def _read_softmax(b: Builder, node: OnnxNode) -> None:
    kind = layers.Softmax if node.op == "Softmax" else layers.LogSoftmax
    rank = b.rank(node.input(0))
    axis = node.int("axis", -1 if node.version >= 13 else 1)
    if node.version >= 13 or axis == -1 or (rank is not None and axis == rank - 1):
        b.emit(kind(dim=axis), node.inputs, node.outputs)
        return
    # older versions work on the axes from this one on as if they were one
    rows = b.apply(op.MergeDims(axis), node.input(0))
    rows = b.apply(kind(dim=1), rows)
    shape = b.apply(op.ShapeOf(), node.input(0))
    b.emit(op.Reshape(allow_zero=True), [rows, shape], node.outputs)


@HARDMAX.reads
def _read_hardmax(b: Builder, node: OnnxNode) -> None:
    if node.version < 13 and node.int("axis", 1) != -1:
        raise UnsupportedError("before version 13 of the operators, Hardmax works on merged axes")
    b.emit(op.Hardmax(node.int("axis", -1)), node.inputs, node.outputs)


def _along(w: Writer, name: str, x: str, axis: int, rank: int) -> str:
    """Append an operator on one axis; before version 13 that has to be the last one."""
    axis %= rank
    if w.opset >= 13 or axis == rank - 1:
        return w.node(name, x, axis=axis)
    order = [a for a in range(rank) if a != axis] + [axis]
    turned = w.node(name, w.transpose(x, order), axis=rank - 1)
    return w.transpose(turned, [order.index(a) for a in range(rank)])


def _write_along(name: str, w: Writer, call: LayerCall) -> str:
    return _along(w, name, call.x.name, call.layer.dim, call.x.rank)


SOFTMAX.writes(layers.Softmax, layers.Softmax2d)(partial(_write_along, "Softmax"))
LOG_SOFTMAX.writes(layers.LogSoftmax)(partial(_write_along, "LogSoftmax"))
HARDMAX.writes(op.Hardmax)(partial(_write_along, "Hardmax"))


@SOFTMAX.writes(layers.Softmin)
def _write_softmin(w: Writer, call: LayerCall) -> str:
    return _along(w, "Softmax", w.node("Neg", call.x), call.layer.dim, call.x.rank)


# -- Layers for which ONNX has no operator of their own --------------------------------------------


@writes(layers.LogSigmoid)
def _write_log_sigmoid(w: Writer, call: LayerCall) -> str:
    return w.node("Neg", w.node("Softplus", w.node("Neg", call.x)))


@writes(layers.Tanhshrink)
def _write_tanhshrink(w: Writer, call: LayerCall) -> str:
    return w.node("Sub", call.x, w.node("Tanh", call.x))


@writes(layers.GLU)
def _write_glu(w: Writer, call: LayerCall) -> str:
    axis = call.layer.dim % call.x.rank
    half = call.output().shapes[0][axis]
    first, second = split(w, call.x, axis, (half, half))
    return w.node("Mul", first, w.node("Sigmoid", second))
