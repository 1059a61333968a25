"""Normalisation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx.builder import Builder, Handler
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.layers.layer import Layer

_BATCH_NORMS = {
    2: layers.BatchNorm1d,
    3: layers.BatchNorm1d,
    4: layers.BatchNorm2d,
    5: layers.BatchNorm3d,
}


def _batch_norm(b: Builder, node: OnnxNode) -> None:
    if not node.int("spatial", 1):
        raise UnsupportedError("spatial=0 keeps statistics for each pixel")
    if len(node.inputs) != 5:
        raise ModelFileError(f"{node.who}: expected five inputs, got {len(node.inputs)}")
    eps, momentum = node.float("epsilon", 1e-5), node.float("momentum", 0.9)
    in_training = bool(node.int("training_mode", 0))
    extra = any(node.has_output(position) for position in range(1, len(node.outputs)))
    if extra and not in_training:
        raise UnsupportedError("more than one output, which only training has")
    # scale and shift are a layer's own even where the file keeps equal ones once
    arrays = [b.weight(name, shared=True) for name in node.inputs[1:]]
    kind = _BATCH_NORMS.get(b.rank(node.input(0)) or 0)
    if kind is None or extra or any(array is None for array in arrays):
        given = [*node.inputs[:3], *(b.fix(name) for name in node.inputs[3:])]
        layer = op.BatchNormalization(eps, momentum if in_training else None)
        outputs = node.outputs + [""] * (3 if in_training else 1)
        b.emit(layer, given, outputs[: 3 if in_training else 1])
        return
    scale, shift, mean, variance = (np.asarray(array) for array in arrays)
    # PyTorch's momentum is the share of what is new
    affine = not b.changes_nothing(node.input(1), node.input(2))
    made = kind(len(scale), eps, round(1.0 - momentum, 7), affine)
    state = {
        "running_mean": mean,
        "running_var": variance,
        "num_batches_tracked": np.zeros((), np.int64),
    }
    state |= {"weight": scale, "bias": shift} if affine else {}
    names = {"weight": node.input(1)} if affine else {"running_mean": node.input(3)}
    b.layer(node, made, state, names, outputs=node.outputs[:1])


def _layer_norm(b: Builder, node: OnnxNode) -> None:
    axis, eps = node.int("axis", -1), node.float("epsilon", 1e-5)
    rank = b.rank(node.input(0))
    axis = axis - rank if axis >= 0 and rank is not None else axis
    weight = b.weight(node.input(1), shared=True)
    bias = b.weight(node.input(2), shared=True) if node.input(2) else None
    known = weight is not None and (bias is not None or not node.input(2))
    if known and weight is not None and len(node.outputs) == 1 and weight.ndim == -axis:
        if b.changes_nothing(node.input(1), node.input(2)):
            layer = layers.LayerNorm(weight.shape, eps, elementwise_affine=False)
            b.emit(layer, node.inputs[:1], node.outputs)
            return
        layer = layers.LayerNorm(weight.shape, eps, bias=bias is not None)
        state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        b.layer(node, layer, state, {"weight": node.input(1), "bias": node.input(2)})
        return
    outputs = [b.fresh("standard"), *node.outputs[1:], "", ""][:3]
    b.emit(op.Standardize(node.int("axis", -1), eps), node.inputs[:1], outputs)
    value = outputs[0]
    scaled = b.fresh("scaled") if node.input(2) else node.outputs[0]
    b.emit(op.Multiply(), [value, node.input(1)], [scaled])
    if node.input(2):
        b.emit(op.Add(), [scaled, node.input(2)], node.outputs[:1])


_INSTANCE_NORMS = {
    3: layers.InstanceNorm1d,
    4: layers.InstanceNorm2d,
    5: layers.InstanceNorm3d,
}


def _instance_norm(b: Builder, node: OnnxNode) -> None:
    kind = _INSTANCE_NORMS.get(b.rank(node.input(0)) or 0)
    eps = node.float("epsilon", 1e-5)
    make = None if kind is None else partial(kind, eps=eps)
    _per_channel(b, node, make, op.GroupStandardize(None, eps))


def _group_norm(b: Builder, node: OnnxNode) -> None:
    groups, eps = node.int("num_groups"), node.float("epsilon", 1e-5)
    make = None
    if node.version >= 21:  # before, there is one scale for each group, not for each channel
        make = partial(layers.GroupNorm, groups, eps=eps)
    _per_channel(b, node, make, op.GroupStandardize(groups, eps))


def _per_channel(
    b: Builder, node: OnnxNode, make: Callable[..., Layer] | None, standard: Layer
) -> None:
    """A layer with its own scale and shift, or a normalisation and these as inputs."""
    weight, bias = (b.weight(name, shared=True) for name in (node.input(1), node.input(2)))
    if make is None or weight is None or bias is None:
        value = b.apply(standard, node.input(0))
        b.emit(op.PerChannel(), [value, *node.inputs[1:]], node.outputs)
        return
    if b.changes_nothing(node.input(1), node.input(2)):
        b.emit(make(len(weight), affine=False), node.inputs[:1], node.outputs)
        return
    names = {"weight": node.input(1), "bias": node.input(2)}
    b.layer(node, make(len(weight), affine=True), {"weight": weight, "bias": bias}, names)


def _local_response_norm(b: Builder, node: OnnxNode) -> None:
    size = node.int("size")
    if size % 2 == 0:
        raise UnsupportedError("an even size reaches further to the other side than PyTorch's")
    layer = layers.LocalResponseNorm(
        size, node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("bias", 1.0)
    )
    b.emit(layer, node.inputs, node.outputs)


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": _batch_norm,
    "LRN": _local_response_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
}
