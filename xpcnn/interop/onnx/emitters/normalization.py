"""Normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.node import UnsupportedError
from xpcnn.interop.onnx.writer import LayerCall, Name, Value, Write, Writer, fixed


def _scale_and_shift(w: Writer, call: LayerCall, count: int) -> tuple[str, str]:
    """Name weight and bias; ones and zeros where the layer has none."""
    layer = call.layer
    scale = w.state(call, "weight") if layer.weight else w.constant(np.ones(count))
    shift = w.state(call, "bias") if layer.bias else w.constant(np.zeros(count))
    return scale, shift


def _batch_norm(w: Writer, call: LayerCall) -> str:
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


def _instance_norm(w: Writer, call: LayerCall) -> str:
    if call.layer.track_running_stats:
        return _batch_norm(w, call)
    given = _scale_and_shift(w, call, call.layer.num_features)
    return w.node("InstanceNormalization", call.x, *given, epsilon=call.layer.eps)


def _group_norm(w: Writer, call: LayerCall) -> str:
    """Before version 21 the operator has one scale for each group, not for each channel."""
    layer, channels = call.layer, call.layer.num_channels
    if w.opset >= 21 and call.x.rank > 2:
        given = _scale_and_shift(w, call, channels)
        groups = layer.num_groups
        return w.node("GroupNormalization", call.x, *given, epsilon=layer.eps, num_groups=groups)
    y = _in_groups(w, call.x, layer.num_groups, layer.eps)
    shape = (channels,) + (1,) * (call.x.rank - 2)
    if layer.weight:
        y = w.node("Mul", y, w.state(call, "weight", shape))
    return w.node("Add", y, w.state(call, "bias", shape)) if layer.bias else y


def _in_groups(w: Writer, x: Value, groups: int, eps: float) -> str:
    """Bring groups of channels to mean 0 and variance 1: each becomes one channel for that."""
    rows = w.reshape(x, (0, groups, -1))
    scale, shift = w.constant(np.ones(groups)), w.constant(np.zeros(groups))
    y = w.node("InstanceNormalization", rows, scale, shift, epsilon=eps)
    return w.reshape_to(y, Value("", x.dtype, _rows(x, groups)), x)


def _rows(x: Value, groups: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    first, second = ((s[0], groups, prod(s[1:]) // groups) for s in x.shapes)
    return first, second


def standardize(w: Writer, x: Name, axes: Sequence[int], eps: float) -> tuple[str, str, str]:
    """Bring elements along axes to mean 0 and variance 1; also give mean and 1 / deviation."""
    mean = w.reduce("ReduceMean", x, axes)
    centered = w.node("Sub", x, mean)
    variance = w.reduce("ReduceMean", w.node("Mul", centered, centered), axes)
    deviation = w.node("Sqrt", w.node("Add", variance, w.number(eps)))
    inverse = w.node("Reciprocal", deviation)
    return w.node("Mul", centered, inverse), mean, inverse


def _layer_norm(w: Writer, call: LayerCall) -> str:
    layer, count = call.layer, len(call.layer.normalized_shape)
    if w.opset >= 17:
        scale = (
            w.state(call, "weight") if layer.weight else w.constant(np.ones(layer.normalized_shape))
        )
        shift = w.state(call, "bias") if layer.bias else None
        return w.node("LayerNormalization", call.x, scale, shift, axis=-count, epsilon=layer.eps)
    y, _, _ = standardize(w, call.x, range(-count, 0), layer.eps)
    if layer.weight:
        y = w.node("Mul", y, w.state(call, "weight"))
    return w.node("Add", y, w.state(call, "bias")) if layer.bias else y


def _rms_norm(w: Writer, call: LayerCall) -> str:
    """RMSNormalization exists from version 23 on, and few programs know it."""
    layer = call.layer
    eps = layer.eps
    if eps is None:
        eps = float(np.finfo(np.float64 if w.dtype == "float64" else np.float32).eps)
    axes = range(-len(layer.normalized_shape), 0)
    square = w.reduce("ReduceMean", w.node("Mul", call.x, call.x), axes)
    root = w.node("Sqrt", w.node("Add", square, w.number(eps)))
    y = w.node("Div", call.x, root)
    return w.node("Mul", y, w.state(call, "weight")) if layer.weight else y


def _local_response_norm(w: Writer, call: LayerCall) -> str:
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


# -- Operations ------------------------------------------------------------------------------------


def _standardize(w: Writer, call: LayerCall) -> tuple[str, str, str]:
    return standardize(w, call.x, call.layer._axes(call.x.rank), call.layer.eps)


def _group_standardize(w: Writer, call: LayerCall) -> str:
    channels = fixed(call.x.shape[1:2], "the number of channels")[0]
    return _in_groups(w, call.x, call.layer.num_groups or channels, call.layer.eps)


def _per_channel(w: Writer, call: LayerCall) -> str:
    x = call.x
    channels = fixed(x.shape[1:2], "the number of channels")[0]
    spread = []
    for values in call.inputs[1:]:
        assert values is not None, "scale and shift are never left out"
        (count,) = fixed(values.shape, "the number of scales")
        name = values.name
        if count != channels:
            name = w.node("Expand", w.reshape(name, (count, 1)), w.ints((count, channels // count)))
        spread.append(w.reshape(name, (channels,) + (1,) * (x.rank - 2)))
    return w.node("Add", w.node("Mul", x, spread[0]), spread[1])


def _batch_normalization(w: Writer, call: LayerCall) -> str | tuple[str, ...]:
    layer = call.layer
    if layer.momentum is None:
        return w.node("BatchNormalization", *call.inputs, epsilon=layer.eps)
    if w.opset < 14:
        raise UnsupportedError("normalising by the batch needs version 14 of ONNX's operators")
    options = {"epsilon": layer.eps, "momentum": layer.momentum, "training_mode": 1}
    return w.node_of("BatchNormalization", call.inputs, 3, **options)


EMITTERS: dict[type, Write] = {
    **dict.fromkeys((layers.BatchNorm1d, layers.BatchNorm2d, layers.BatchNorm3d), _batch_norm),
    **dict.fromkeys(
        (layers.InstanceNorm1d, layers.InstanceNorm2d, layers.InstanceNorm3d), _instance_norm
    ),
    layers.GroupNorm: _group_norm,
    layers.LayerNorm: _layer_norm,
    layers.RMSNorm: _rms_norm,
    layers.LocalResponseNorm: _local_response_norm,
    op.Standardize: _standardize,
    op.GroupStandardize: _group_standardize,
    op.PerChannel: _per_channel,
    op.BatchNormalization: _batch_normalization,
}
