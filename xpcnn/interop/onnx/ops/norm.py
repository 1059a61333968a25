"""Normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.ops.reduce import reduce
from xpcnn.interop.onnx.table import operator, writes
from xpcnn.interop.onnx.writer import LayerCall, Name, Value, Writer, fixed
from xpcnn.layers.layer import Layer

BATCH_NORMS = (layers.BatchNorm1d, layers.BatchNorm2d, layers.BatchNorm3d)
INSTANCE_NORMS = (layers.InstanceNorm1d, layers.InstanceNorm2d, layers.InstanceNorm3d)

# What operators with a scale and a shift have in common.
NORM: dict[str, Any] = {
    "inputs": (3, 3),
    "keeps": "samples",
    "weights": (1, 2),
    "neutral": (1.0, 0.0),
    "names_layer": True,
}


def _scale_and_shift(w: Writer, call: LayerCall, count: int) -> tuple[str, str]:
    """Name weight and bias; ones and zeros where the layer has none."""
    layer = call.layer
    scale = w.state(call, "weight") if layer.weight else w.constant(np.ones(count))
    shift = w.state(call, "bias") if layer.bias else w.constant(np.zeros(count))
    return scale, shift


# -- Batch -----------------------------------------------------------------------------------------

BATCH_NORM = operator("BatchNormalization", outputs=5, **NORM | {"inputs": (5, 5)})


@BATCH_NORM.reads
def _read_batch_norm(b: Builder, node: OnnxNode) -> None:
    if not node.int("spatial", 1):
        raise UnsupportedError("spatial=0 keeps statistics for each pixel")
    eps, momentum = node.float("epsilon", 1e-5), node.float("momentum", 0.9)
    in_training = bool(node.int("training_mode", 0))
    extra = any(node.has_output(position) for position in range(1, len(node.outputs)))
    if extra and not in_training:
        raise UnsupportedError("more than one output, which only training has")
    # scale and shift are a layer's own even where the file keeps equal ones once
    arrays = [b.weight(name, shared=True) for name in node.inputs[1:]]
    rank = b.rank(node.input(0)) or 0
    if not 2 <= rank <= 5 or extra or any(array is None for array in arrays):
        given = [*node.inputs[:3], *(b.fix(name) for name in node.inputs[3:])]
        layer = op.BatchNormalization(eps, momentum if in_training else None)
        outputs = node.outputs + [""] * (3 if in_training else 1)
        b.emit(layer, given, outputs[: 3 if in_training else 1])
        return
    scale, shift, mean, variance = (np.asarray(array) for array in arrays)
    # PyTorch's momentum is the share of what is new
    affine = not b.changes_nothing(node.input(1), node.input(2))
    kind = BATCH_NORMS[max(rank - 3, 0)]
    made = kind(len(scale), eps, round(1.0 - momentum, 7), affine)
    state = {
        "running_mean": mean,
        "running_var": variance,
        "num_batches_tracked": np.zeros((), np.int64),
    }
    state |= {"weight": scale, "bias": shift} if affine else {}
    names = {"weight": node.input(1)} if affine else {"running_mean": node.input(3)}
    b.layer(node, made, state, names, outputs=node.outputs[:1])


@BATCH_NORM.writes(*BATCH_NORMS)
def _write_batch_norm(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    if not layer.track_running_stats:
        raise UnsupportedError(
            "without running statistics it normalises by the batch it gets, which inference in "
            "ONNX does not"
        )
    momentum = None if layer.momentum is None else 1.0 - layer.momentum
    given = [*_scale_and_shift(w, call, layer.num_features)]
    given += [w.state(call, name) for name in ("running_mean", "running_var")]
    return w.node("BatchNormalization", call.x, *given, epsilon=layer.eps, momentum=momentum)


@BATCH_NORM.writes(op.BatchNormalization)
def _write_batch_normalization(w: Writer, call: LayerCall) -> str | tuple[str, ...]:
    layer = call.layer
    if layer.momentum is None:
        return w.node("BatchNormalization", *call.inputs, epsilon=layer.eps)
    if w.opset < 14:
        raise UnsupportedError("normalising by the batch needs version 14 of ONNX's operators")
    options = {"epsilon": layer.eps, "momentum": layer.momentum, "training_mode": 1}
    return w.node_of("BatchNormalization", call.inputs, 3, **options)


# -- Channels and groups of channels ---------------------------------------------------------------

INSTANCE_NORM = operator("InstanceNormalization", **NORM)
GROUP_NORM = operator("GroupNormalization", since=18, required=("num_groups",), **NORM)


@INSTANCE_NORM.reads
def _read_instance_norm(b: Builder, node: OnnxNode) -> None:
    rank, eps = b.rank(node.input(0)) or 0, node.float("epsilon", 1e-5)
    make = partial(INSTANCE_NORMS[rank - 3], eps=eps) if 3 <= rank <= 5 else None
    _read_per_channel(b, node, make, op.GroupStandardize(None, eps))


@GROUP_NORM.reads
def _read_group_norm(b: Builder, node: OnnxNode) -> None:
    groups, eps = node.int("num_groups"), node.float("epsilon", 1e-5)
    make = None
    if node.version >= 21:  # before, there is one scale for each group, not for each channel
        make = partial(layers.GroupNorm, groups, eps=eps)
    _read_per_channel(b, node, make, op.GroupStandardize(groups, eps))


def _read_per_channel(
    b: Builder, node: OnnxNode, make: Callable[..., Layer] | None, standard: Layer
) -> None:
    """A layer with its own scale and shift, or a normalisation and these as inputs."""
    state = b.weight_and_bias(node, shared=True)
    if make is None or state is None:
        value = b.apply(standard, node.input(0))
        b.emit(op.PerChannel(), [value, *node.inputs[1:]], node.outputs)
        return
    count = len(state["weight"])
    if b.changes_nothing(node.input(1), node.input(2)):
        b.emit(make(count, affine=False), node.inputs[:1], node.outputs)
    else:
        b.layer(node, make(count, affine=True), state)


@INSTANCE_NORM.writes(*INSTANCE_NORMS)
def _write_instance_norm(w: Writer, call: LayerCall) -> str:
    if call.layer.track_running_stats:
        return _write_batch_norm(w, call)
    given = _scale_and_shift(w, call, call.layer.num_features)
    return w.node("InstanceNormalization", call.x, *given, epsilon=call.layer.eps)


@GROUP_NORM.writes(layers.GroupNorm)
def _write_group_norm(w: Writer, call: LayerCall) -> str:
    """Before version 21 the operator has one scale for each group, not for each channel."""
    layer, channels = call.layer, call.layer.num_channels
    if w.opset >= 21 and call.x.rank > 2:
        given = _scale_and_shift(w, call, channels)
        groups = layer.num_groups
        return w.node("GroupNormalization", call.x, *given, epsilon=layer.eps, num_groups=groups)
    y = _in_groups(w, call.x, layer.num_groups, layer.eps)
    shape = (channels,) + (1,) * (call.x.rank - 2)
    return w.scale_and_shift(y, call, shape)


@writes(op.GroupStandardize)
def _write_group_standardize(w: Writer, call: LayerCall) -> str:
    channels = fixed(call.x.shape[1:2], "the number of channels")[0]
    return _in_groups(w, call.x, call.layer.num_groups or channels, call.layer.eps)


def _in_groups(w: Writer, x: Value, groups: int, eps: float) -> str:
    """Bring groups of channels to mean 0 and variance 1: each becomes one channel for that."""
    rows = w.reshape(x, (0, groups, -1))
    scale, shift = w.constant(np.ones(groups)), w.constant(np.zeros(groups))
    y = w.node("InstanceNormalization", rows, scale, shift, epsilon=eps)
    return w.reshape_to(y, Value("", x.dtype, _rows(x, groups)), x)


def _rows(x: Value, groups: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    first, second = ((s[0], groups, prod(s[1:]) // groups) for s in x.shapes)
    return first, second


@writes(op.PerChannel)
def _write_per_channel(w: Writer, call: LayerCall) -> str:
    x = call.x
    channels = fixed(x.shape[1:2], "the number of channels")[0]
    spread = []
    for values in (call.needed(1), call.needed(2)):
        (count,) = fixed(values.shape, "the number of scales")
        name = values.name
        if count != channels:
            name = w.node("Expand", w.reshape(name, (count, 1)), w.ints((count, channels // count)))
        spread.append(w.reshape(name, (channels,) + (1,) * (x.rank - 2)))
    return w.node("Add", w.node("Mul", x, spread[0]), spread[1])


# -- Samples ---------------------------------------------------------------------------------------

LAYER_NORM = operator("LayerNormalization", since=17, outputs=3, **NORM | {"inputs": (2, 3)})


@LAYER_NORM.reads
def _read_layer_norm(b: Builder, node: OnnxNode) -> None:
    axis, eps = node.int("axis", -1), node.float("epsilon", 1e-5)
    rank = b.rank(node.input(0))
    axis = axis - rank if axis >= 0 and rank is not None else axis
    state = b.weight_and_bias(node, shared=True)
    if state is not None and len(node.outputs) == 1 and state["weight"].ndim == -axis:
        shape = state["weight"].shape
        if b.changes_nothing(node.input(1), node.input(2)):
            layer = layers.LayerNorm(shape, eps, elementwise_affine=False)
            b.emit(layer, node.inputs[:1], node.outputs)
        else:
            b.layer(node, layers.LayerNorm(shape, eps, bias="bias" in state), state)
        return
    outputs = [b.fresh("standard"), *node.outputs[1:], "", ""][:3]
    b.emit(op.Standardize(node.int("axis", -1), eps), node.inputs[:1], outputs)
    value = outputs[0]
    scaled = b.fresh("scaled") if node.input(2) else node.outputs[0]
    b.emit(op.Multiply(), [value, node.input(1)], [scaled])
    if node.input(2):
        b.emit(op.Add(), [scaled, node.input(2)], node.outputs[:1])


@LAYER_NORM.writes(layers.LayerNorm)
def _write_layer_norm(w: Writer, call: LayerCall) -> str:
    layer, count = call.layer, len(call.layer.normalized_shape)
    if w.opset >= LAYER_NORM.since:
        scale = (
            w.state(call, "weight") if layer.weight else w.constant(np.ones(layer.normalized_shape))
        )
        shift = w.state(call, "bias") if layer.bias else None
        return w.node("LayerNormalization", call.x, scale, shift, axis=-count, epsilon=layer.eps)
    y, _, _ = _standardize(w, call.x, range(-count, 0), layer.eps)
    return w.scale_and_shift(y, call)


@writes(op.Standardize)
def _write_standardize(w: Writer, call: LayerCall) -> tuple[str, str, str]:
    return _standardize(w, call.x, call.layer.axes(call.x.rank), call.layer.eps)


def _standardize(w: Writer, x: Name, axes: Sequence[int], eps: float) -> tuple[str, str, str]:
    """Bring elements along axes to mean 0 and variance 1; also give mean and 1 / deviation."""
    mean = reduce(w, "ReduceMean", x, axes)
    centered = w.node("Sub", x, mean)
    variance = reduce(w, "ReduceMean", w.node("Mul", centered, centered), axes)
    deviation = w.node("Sqrt", w.node("Add", variance, w.number(eps)))
    inverse = w.node("Reciprocal", deviation)
    return w.node("Mul", centered, inverse), mean, inverse


@writes(layers.RMSNorm)
def _write_rms_norm(w: Writer, call: LayerCall) -> str:
    """RMSNormalization exists from version 23 on, and few programs know it."""
    layer = call.layer
    eps = layer.eps
    if eps is None:
        eps = float(np.finfo(np.float64 if w.dtype == "float64" else np.float32).eps)
    axes = range(-len(layer.normalized_shape), 0)
    square = reduce(w, "ReduceMean", w.node("Mul", call.x, call.x), axes)
    root = w.node("Sqrt", w.node("Add", square, w.number(eps)))
    y = w.node("Div", call.x, root)
    return w.node("Mul", y, w.state(call, "weight")) if layer.weight else y


# -- Any axes --------------------------------------------------------------------------------------

MEAN_VARIANCE_NORM = operator("MeanVarianceNormalization", since=9, keeps="samples")


@MEAN_VARIANCE_NORM.reads
def _read_mean_variance_norm(b: Builder, node: OnnxNode) -> None:
    """The formula of the standard: its epsilon is added to the deviation, not to the variance."""
    axes = node.ints("axes", (0, 2, 3))
    mean = b.apply(op.ReduceMean(axes), node.input(0))
    centered = b.apply(op.Subtract(), node.input(0), mean)
    square = b.apply(op.Multiply(), centered, centered)
    deviation = b.apply(op.SquareRoot(), b.apply(op.ReduceMean(axes), square))
    b.emit(op.Divide(), [centered, b.apply(op.Affine(1.0, 1e-9), deviation)], node.outputs)


# -- Neighbouring channels -------------------------------------------------------------------------

LRN = operator("LRN", required=("size",), keeps="samples")


@LRN.reads
def _read_local_response_norm(b: Builder, node: OnnxNode) -> None:
    size = node.int("size")
    if size % 2 == 0:
        raise UnsupportedError("an even size reaches further to the other side than PyTorch's")
    layer = layers.LocalResponseNorm(
        size, node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("bias", 1.0)
    )
    b.emit(layer, node.inputs, node.outputs)


@LRN.writes(layers.LocalResponseNorm)
def _write_local_response_norm(w: Writer, call: LayerCall) -> str:
    """Of an even number of channels PyTorch has one more in front, and ONNX one more behind."""
    layer, x = call.layer, call.x
    if layer.size % 2 and x.rank == 4:
        return w.node("LRN", x, size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)
    rows = w.reshape(w.node("Mul", x, x), (0, 1, x.shape[1] or 0, -1))
    before, after = layer.size // 2, (layer.size - 1) // 2
    mean = w.node(
        "AveragePool",
        rows,
        kernel_shape=(layer.size, 1),
        pads=(before, 0, after, 0),
        count_include_pad=1,
    )
    first, second = ((s[0], 1, s[1], prod(s[2:])) for s in x.shapes)
    mean = w.reshape_to(mean, Value("", x.dtype, (first, second)), x)
    base = w.node("Add", w.node("Mul", mean, w.number(layer.alpha)), w.number(layer.k))
    return w.node("Div", x, w.node("Pow", base, w.number(layer.beta)))
