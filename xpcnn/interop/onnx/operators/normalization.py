"""Normalisation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx.builder import Builder, Call, Handler, UnsupportedError
from xpcnn.layers.layer import Layer

_BATCH_NORMS = {
    2: layers.BatchNorm1d,
    3: layers.BatchNorm1d,
    4: layers.BatchNorm2d,
    5: layers.BatchNorm3d,
}


def _batch_norm(b: Builder, call: Call) -> None:
    if not call.int("spatial", 1):
        raise UnsupportedError("spatial=0 keeps statistics for each pixel")
    if len(call.inputs) != 5:
        raise ModelFileError(f"{call.who}: expected five inputs, got {len(call.inputs)}")
    eps, momentum = call.float("epsilon", 1e-5), call.float("momentum", 0.9)
    in_training = bool(call.int("training_mode", 0))
    extra = any(call.has_output(position) for position in range(1, len(call.outputs)))
    if extra and not in_training:
        raise UnsupportedError("more than one output, which only training has")
    # scale and shift are a layer's own even where the file keeps equal ones once
    arrays = [b.weight(name, shared=True) for name in call.inputs[1:]]
    kind = _BATCH_NORMS.get(b.rank(call.input(0)) or 0)
    if kind is None or extra or any(array is None for array in arrays):
        given = [*call.inputs[:3], *(b.fix(name) for name in call.inputs[3:])]
        layer = op.BatchNormalization(eps, momentum if in_training else None)
        outputs = call.outputs + [""] * (3 if in_training else 1)
        b.emit(layer, given, outputs[: 3 if in_training else 1])
        return
    scale, shift, mean, variance = (np.asarray(array) for array in arrays)
    # PyTorch's momentum is the share of what is new
    affine = not b.changes_nothing(call.input(1), call.input(2))
    made = kind(len(scale), eps, round(1.0 - momentum, 7), affine)
    state = {
        "running_mean": mean,
        "running_var": variance,
        "num_batches_tracked": np.zeros((), np.int64),
    }
    state |= {"weight": scale, "bias": shift} if affine else {}
    names = {"weight": call.input(1)} if affine else {"running_mean": call.input(3)}
    b.layer(call, made, state, names, outputs=call.outputs[:1])


def _layer_norm(b: Builder, call: Call) -> None:
    axis, eps = call.int("axis", -1), call.float("epsilon", 1e-5)
    rank = b.rank(call.input(0))
    axis = axis - rank if axis >= 0 and rank is not None else axis
    weight = b.weight(call.input(1), shared=True)
    bias = b.weight(call.input(2), shared=True) if call.input(2) else None
    known = weight is not None and (bias is not None or not call.input(2))
    if known and weight is not None and len(call.outputs) == 1 and weight.ndim == -axis:
        if b.changes_nothing(call.input(1), call.input(2)):
            layer = layers.LayerNorm(weight.shape, eps, elementwise_affine=False)
            b.emit(layer, call.inputs[:1], call.outputs)
            return
        layer = layers.LayerNorm(weight.shape, eps, bias=bias is not None)
        state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        b.layer(call, layer, state, {"weight": call.input(1), "bias": call.input(2)})
        return
    outputs = [b.fresh("standard"), *call.outputs[1:], "", ""][:3]
    b.emit(op.Standardize(call.int("axis", -1), eps), call.inputs[:1], outputs)
    value = outputs[0]
    scaled = b.fresh("scaled") if call.input(2) else call.outputs[0]
    b.emit(op.Multiply(), [value, call.input(1)], [scaled])
    if call.input(2):
        b.emit(op.Add(), [scaled, call.input(2)], call.outputs[:1])


_INSTANCE_NORMS = {
    3: layers.InstanceNorm1d,
    4: layers.InstanceNorm2d,
    5: layers.InstanceNorm3d,
}


def _instance_norm(b: Builder, call: Call) -> None:
    kind = _INSTANCE_NORMS.get(b.rank(call.input(0)) or 0)
    eps = call.float("epsilon", 1e-5)
    make = None if kind is None else partial(kind, eps=eps)
    _per_channel(b, call, make, op.GroupStandardize(None, eps))


def _group_norm(b: Builder, call: Call) -> None:
    groups, eps = call.int("num_groups"), call.float("epsilon", 1e-5)
    make = None
    if call.version >= 21:  # before, there is one scale for each group, not for each channel
        make = partial(layers.GroupNorm, groups, eps=eps)
    _per_channel(b, call, make, op.GroupStandardize(groups, eps))


def _per_channel(
    b: Builder, call: Call, make: Callable[..., Layer] | None, standard: Layer
) -> None:
    """A layer with its own scale and shift, or a normalisation and these as inputs."""
    weight, bias = (b.weight(name, shared=True) for name in (call.input(1), call.input(2)))
    if make is None or weight is None or bias is None:
        value = b.apply(standard, call.input(0))
        b.emit(op.PerChannel(), [value, *call.inputs[1:]], call.outputs)
        return
    if b.changes_nothing(call.input(1), call.input(2)):
        b.emit(make(len(weight), affine=False), call.inputs[:1], call.outputs)
        return
    names = {"weight": call.input(1), "bias": call.input(2)}
    b.layer(call, make(len(weight), affine=True), {"weight": weight, "bias": bias}, names)


def _local_response_norm(b: Builder, call: Call) -> None:
    size = call.int("size")
    if size % 2 == 0:
        raise UnsupportedError("an even size reaches further to the other side than PyTorch's")
    layer = layers.LocalResponseNorm(
        size, call.float("alpha", 1e-4), call.float("beta", 0.75), call.float("bias", 1.0)
    )
    b.emit(layer, call.inputs, call.outputs)


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": _batch_norm,
    "LRN": _local_response_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
}
