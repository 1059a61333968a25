"""Activations: ONNX's operator of that name, or primitive ones where the version has none."""

from __future__ import annotations

from functools import partial
from math import pi, sqrt

from xpcnn import layers
from xpcnn.interop.onnx.writer import Call, Emitter, Value, Writer


def _plain(op: str, w: Writer, call: Call) -> str:
    return w.node(op, call.x)


def _leaky_relu(w: Writer, call: Call) -> str:
    return w.node("LeakyRelu", call.x, alpha=call.layer.negative_slope)


def _prelu(w: Writer, call: Call) -> str:
    """The slopes are broadcast from the last axis on, so the axes behind the channels are added."""
    count = call.layer.num_parameters
    after = 0 if count == 1 else max(call.x.rank - 2, 0)
    return w.node("PRelu", call.x, w.state(call, "weight", (count,) + (1,) * after))


def _log_sigmoid(w: Writer, call: Call) -> str:
    return w.node("Neg", w.node("Softplus", w.node("Neg", call.x)))


def _tanhshrink(w: Writer, call: Call) -> str:
    return w.node("Sub", call.x, w.node("Tanh", call.x))


def softmax_along(w: Writer, op: str, x: str, axis: int, rank: int) -> str:
    """Softmax, Hardmax, ... along one axis; before version 13 that has to be the last one."""
    axis %= rank
    if w.opset >= 13 or axis == rank - 1:
        return w.node(op, x, axis=axis)
    order = [a for a in range(rank) if a != axis] + [axis]
    turned = w.node(op, w.transpose(x, order), axis=rank - 1)
    return w.transpose(turned, [order.index(a) for a in range(rank)])


def _softmax(op: str, w: Writer, call: Call) -> str:
    return softmax_along(w, op, call.x.name, call.layer.dim, call.x.rank)


def _softmin(w: Writer, call: Call) -> str:
    return softmax_along(w, "Softmax", w.node("Neg", call.x), call.layer.dim, call.x.rank)


def _glu(w: Writer, call: Call) -> str:
    axis = call.layer.dim % call.x.rank
    half = call.output().shapes[0][axis]
    first, second = w.split(call.x, axis, (half, half))
    return w.node("Mul", first, w.node("Sigmoid", second))


def _elu(w: Writer, call: Call) -> str:
    return w.node("Elu", call.x, alpha=call.layer.alpha)


def _celu(w: Writer, call: Call) -> str:
    """Before version 28 the operator takes float32 only; and alpha may be negative here."""
    alpha = call.layer.alpha
    if w.opset >= 12 and w.dtype == "float32" and alpha > 0:
        return w.node("Celu", call.x, alpha=alpha)
    scaled = w.node("Div", call.x, w.number(alpha))
    rising = w.node("Sub", w.node("Exp", scaled), w.number(1.0))
    positive = w.node("Greater", call.x, w.number(0.0))
    return w.node("Where", positive, call.x, w.node("Mul", rising, w.number(alpha)))


def _gelu(w: Writer, call: Call) -> str:
    x, approximate = call.x, call.layer.approximate
    if w.opset >= 20:
        return w.node("Gelu", x, approximate=approximate)
    if approximate == "tanh":
        cube = w.node("Mul", w.node("Mul", x, x), x)
        inner = w.node("Add", x, w.node("Mul", cube, w.number(0.044715)))
        curve = w.node("Tanh", w.node("Mul", inner, w.number(sqrt(2.0 / pi))))
    else:
        curve = w.node("Erf", w.node("Mul", x, w.number(sqrt(0.5))))
    share = w.node("Mul", w.node("Add", curve, w.number(1.0)), w.number(0.5))
    return w.node("Mul", x, share)


def _silu(w: Writer, call: Call) -> str:
    return w.node("Mul", call.x, w.node("Sigmoid", call.x))


def _mish(w: Writer, call: Call) -> str:
    if w.opset >= 18:
        return w.node("Mish", call.x)
    return w.node("Mul", call.x, w.node("Tanh", w.node("Softplus", call.x)))


def _softplus(w: Writer, call: Call) -> str:
    beta, threshold = call.layer.beta, call.layer.threshold
    scaled = call.x.name if beta == 1.0 else w.node("Mul", call.x, w.number(beta))
    curve = w.node("Softplus", scaled)
    if beta != 1.0:
        curve = w.node("Div", curve, w.number(beta))
    # above 20 the curve is the line in float32 anyway
    if threshold >= 20.0:
        return curve
    return w.node("Where", w.node("Greater", scaled, w.number(threshold)), call.x, curve)


def _clip(low: float, high: float, w: Writer, call: Call) -> str:
    return w.node("Clip", call.x, w.number(low), w.number(high))


def _hardtanh(w: Writer, call: Call) -> str:
    return _clip(call.layer.min_val, call.layer.max_val, w, call)


def _hardsigmoid(w: Writer, call: Call) -> str:
    return w.node("HardSigmoid", call.x, alpha=1 / 6, beta=0.5)


def _hardswish(w: Writer, call: Call) -> str:
    if w.opset >= 14:
        return w.node("HardSwish", call.x)
    return w.node("Mul", call.x, _hardsigmoid(w, call))


def shrink(w: Writer, x: Value, lambd: float, bias: float) -> str:
    """Move towards zero by `bias` beyond `lambd`, and to zero elsewhere."""
    if x.dtype != "bfloat16":
        return w.node("Shrink", x, lambd=lambd, bias=bias)
    # the operator does not take it
    limit, offset = w.number(lambd, x), w.number(bias, x)
    below = w.node("Less", x, w.node("Neg", limit))
    low = w.node("Where", below, w.node("Add", x, offset), w.number(0.0, x))
    return w.node("Where", w.node("Greater", x, limit), w.node("Sub", x, offset), low)


def _softshrink(w: Writer, call: Call) -> str:
    return shrink(w, call.x, call.layer.lambd, call.layer.lambd)


def _hardshrink(w: Writer, call: Call) -> str:
    return shrink(w, call.x, call.layer.lambd, 0.0)


def _threshold(w: Writer, call: Call) -> str:
    layer = call.layer
    if layer.value == 0.0:
        return w.node("ThresholdedRelu", call.x, alpha=layer.threshold)
    above = w.node("Greater", call.x, w.number(layer.threshold))
    return w.node("Where", above, call.x, w.number(layer.value))


EMITTERS: dict[type, Emitter] = {
    layers.ReLU: partial(_plain, "Relu"),
    layers.LeakyReLU: _leaky_relu,
    layers.PReLU: _prelu,
    layers.Sigmoid: partial(_plain, "Sigmoid"),
    layers.LogSigmoid: _log_sigmoid,
    layers.Tanh: partial(_plain, "Tanh"),
    layers.Tanhshrink: _tanhshrink,
    layers.Softsign: partial(_plain, "Softsign"),
    layers.Softmax: partial(_softmax, "Softmax"),
    layers.Softmax2d: partial(_softmax, "Softmax"),
    layers.LogSoftmax: partial(_softmax, "LogSoftmax"),
    layers.Softmin: _softmin,
    layers.GLU: _glu,
    layers.ELU: _elu,
    layers.SELU: partial(_plain, "Selu"),
    layers.CELU: _celu,
    layers.GELU: _gelu,
    layers.SiLU: _silu,
    layers.Mish: _mish,
    layers.Softplus: _softplus,
    layers.Hardtanh: _hardtanh,
    layers.ReLU6: partial(_clip, 0.0, 6.0),
    layers.Hardsigmoid: _hardsigmoid,
    layers.Hardswish: _hardswish,
    layers.Softshrink: _softshrink,
    layers.Hardshrink: _hardshrink,
    layers.Threshold: _threshold,
}
