"""Activations: the layers of the same name, where the attributes are what these take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Call, Handler


def _layer(make: Callable[[Call], Any], b: Builder, call: Call) -> None:
    b.emit(make(call), call.inputs[:1], call.outputs)


_LAYERS: dict[str, Callable[[Call], Any]] = {
    "Relu": lambda call: layers.ReLU(),
    "LeakyRelu": lambda call: layers.LeakyReLU(call.float("alpha", 0.01)),
    "Sigmoid": lambda call: layers.Sigmoid(),
    "Tanh": lambda call: layers.Tanh(),
    "Elu": lambda call: layers.ELU(call.float("alpha", 1.0)),
    "Celu": lambda call: layers.CELU(call.float("alpha", 1.0)),
    "Gelu": lambda call: layers.GELU(call.text("approximate", "none")),
    "HardSwish": lambda call: layers.Hardswish(),
    "Mish": lambda call: layers.Mish(),
    "Softplus": lambda call: layers.Softplus(),
    "Softsign": lambda call: layers.Softsign(),
    "Shrink": lambda call: op.Shrink(call.float("lambd", 0.5), call.float("bias", 0.0)),
    "ThresholdedRelu": lambda call: layers.Threshold(call.float("alpha", 1.0), 0.0),
}


def _selu(b: Builder, call: Call) -> None:
    alpha = call.float("alpha", 1.67326319217681884765625)
    gamma = call.float("gamma", 1.05070102214813232421875)
    if abs(alpha - 1.6732632) < 1e-6 and abs(gamma - 1.0507010) < 1e-6:
        b.emit(layers.SELU(), call.inputs, call.outputs)
        return
    curve = b.apply(layers.ELU(alpha), call.input(0))
    b.emit(op.Affine(gamma), [curve], call.outputs)


def _hard_sigmoid(b: Builder, call: Call) -> None:
    alpha, beta = call.float("alpha", 0.2), call.float("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        b.emit(layers.Hardsigmoid(), call.inputs, call.outputs)
        return
    line = b.apply(op.Affine(alpha, beta), call.input(0))
    b.emit(op.Clip(0.0, 1.0), [line], call.outputs)


def _swish(b: Builder, call: Call) -> None:
    alpha = call.float("alpha", 1.0)
    if alpha == 1.0:
        b.emit(layers.SiLU(), call.inputs, call.outputs)
        return
    gate = b.apply(layers.Sigmoid(), b.apply(op.Affine(alpha), call.input(0)))
    b.emit(op.Multiply(), [call.input(0), gate], call.outputs)


def _prelu(b: Builder, call: Call) -> None:
    slope = b.weight(call.input(1))
    rank = b.rank(call.input(0))
    per_channel = slope is not None and (
        slope.size == 1 or (rank is not None and slope.shape == (slope.size,) + (1,) * (rank - 2))
    )
    if per_channel and slope is not None:
        layer = layers.PReLU(slope.size)
        b.layer(call, layer, {"weight": slope.reshape(-1)}, {"weight": call.input(1)})
        return
    negative = b.apply(op.Less(), call.input(0), b.number(0.0))
    scaled = b.apply(op.Multiply(), call.input(0), call.input(1))
    b.emit(op.Where(), [negative, scaled, call.input(0)], call.outputs)


def _softmax(kind: type, b: Builder, call: Call) -> None:
    rank = b.rank(call.input(0))
    axis = call.int("axis", -1 if call.version >= 13 else 1)
    if call.version >= 13 or axis == -1 or (rank is not None and axis == rank - 1):
        b.emit(kind(dim=axis), call.inputs, call.outputs)
        return
    # older versions work on the axes from this one on as if they were one
    rows = b.apply(op.MergeDims(axis), call.input(0))
    rows = b.apply(kind(dim=1), rows)
    shape = b.apply(op.ShapeOf(), call.input(0))
    b.emit(op.Reshape(allow_zero=True), [rows, shape], call.outputs)


HANDLERS: dict[str, Handler] = {
    **{name: partial(_layer, make) for name, make in _LAYERS.items()},
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "Swish": _swish,
    "PRelu": _prelu,
    "Softmax": partial(_softmax, layers.Softmax),
    "LogSoftmax": partial(_softmax, layers.LogSoftmax),
}
