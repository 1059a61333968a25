"""Activations: the layers of the same name, where the attributes are what these take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Handler
from xpcnn.interop.onnx.node import OnnxNode


def _layer(make: Callable[[OnnxNode], Any], b: Builder, node: OnnxNode) -> None:
    b.emit(make(node), node.inputs[:1], node.outputs)


_LAYERS: dict[str, Callable[[OnnxNode], Any]] = {
    "Relu": lambda node: layers.ReLU(),
    "LeakyRelu": lambda node: layers.LeakyReLU(node.float("alpha", 0.01)),
    "Sigmoid": lambda node: layers.Sigmoid(),
    "Tanh": lambda node: layers.Tanh(),
    "Elu": lambda node: layers.ELU(node.float("alpha", 1.0)),
    "Celu": lambda node: layers.CELU(node.float("alpha", 1.0)),
    "Gelu": lambda node: layers.GELU(node.text("approximate", "none")),
    "HardSwish": lambda node: layers.Hardswish(),
    "Mish": lambda node: layers.Mish(),
    "Softplus": lambda node: layers.Softplus(),
    "Softsign": lambda node: layers.Softsign(),
    "Shrink": lambda node: op.Shrink(node.float("lambd", 0.5), node.float("bias", 0.0)),
    "ThresholdedRelu": lambda node: layers.Threshold(node.float("alpha", 1.0), 0.0),
}


def _selu(b: Builder, node: OnnxNode) -> None:
    alpha = node.float("alpha", 1.67326319217681884765625)
    gamma = node.float("gamma", 1.05070102214813232421875)
    if abs(alpha - 1.6732632) < 1e-6 and abs(gamma - 1.0507010) < 1e-6:
        b.emit(layers.SELU(), node.inputs, node.outputs)
        return
    curve = b.apply(layers.ELU(alpha), node.input(0))
    b.emit(op.Affine(gamma), [curve], node.outputs)


def _hard_sigmoid(b: Builder, node: OnnxNode) -> None:
    alpha, beta = node.float("alpha", 0.2), node.float("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        b.emit(layers.Hardsigmoid(), node.inputs, node.outputs)
        return
    line = b.apply(op.Affine(alpha, beta), node.input(0))
    b.emit(op.Clip(0.0, 1.0), [line], node.outputs)


def _swish(b: Builder, node: OnnxNode) -> None:
    alpha = node.float("alpha", 1.0)
    if alpha == 1.0:
        b.emit(layers.SiLU(), node.inputs, node.outputs)
        return
    gate = b.apply(layers.Sigmoid(), b.apply(op.Affine(alpha), node.input(0)))
    b.emit(op.Multiply(), [node.input(0), gate], node.outputs)


def _prelu(b: Builder, node: OnnxNode) -> None:
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


def _softmax(kind: type, b: Builder, node: OnnxNode) -> None:
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


HANDLERS: dict[str, Handler] = {
    **{name: partial(_layer, make) for name, make in _LAYERS.items()},
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "Swish": _swish,
    "PRelu": _prelu,
    "Softmax": partial(_softmax, layers.Softmax),
    "LogSoftmax": partial(_softmax, layers.LogSoftmax),
}
