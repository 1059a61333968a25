"""Padding: the operator, the layers, and what convolution and pooling need of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.table import Earlier, operator
from xpcnn.interop.onnx.writer import TO_THE_END, LayerCall, Name, Writer, fixed
from xpcnn.window import Pairs

# Ours, and ONNX's.
MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}

PAD = operator("Pad", inputs=(2, 4), earlier=Earlier(11, (1, 1), ("pads",)), keeps="rank")


@PAD.reads
def _read_pad(b: Builder, node: OnnxNode) -> None:
    name = node.text("mode", "constant")
    mode = next((ours for ours, theirs in MODES.items() if theirs == name), None)
    if mode is None:
        raise UnsupportedError(f"mode {name!r} is not known")
    if node.version < 11:
        layer = op.Pad(node.ints("pads"), mode, node.float("value", 0.0))
        b.emit(layer, node.inputs, node.outputs)
        return
    padding, dims = b.ints(node.input(1)), b.ints(node.input(3))
    value = b.array(node.input(2)) if node.input(2) else np.zeros(())
    known = padding is not None and value is not None and (dims is not None or not node.input(3))
    if known and value is not None:
        layer = op.Pad(padding, mode, value.item(), dims)
        b.emit(layer, node.inputs[:1], node.outputs)
    else:
        b.emit(op.Pad(mode=mode), node.inputs, node.outputs)


@PAD.writes(op.Pad)
def _write_pad(w: Writer, call: LayerCall) -> str:
    layer, x = call.layer, call.x
    if layer.padding is None or len(call.inputs) > 1:
        return _steered_by_inputs(w, call)
    dims = range(x.rank) if layer.dims is None else layer.dims
    sides: list[tuple[int, int]] = [(0, 0)] * x.rank
    count = len(layer.padding) // 2
    for i, dim in enumerate(dims):
        sides[dim % x.rank] = layer.padding[i], layer.padding[i + count]
    if layer.mode == "constant":
        return pad(w, x, x.shape, tuple(sides), "constant", layer.value, x.dtype)
    found = x.name
    for axis, (before, after) in enumerate(sides):
        if before or after:
            n = fixed([x.shape[axis]], "the length of an axis")[0]
            positions = layer.positions(n, before, after)
            found = w.node("Gather", found, w.ints(positions.tolist()), axis=axis)
    return found


def _steered_by_inputs(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    if layer.mode == "circular" and w.opset < 19:
        raise UnsupportedError("padding that wraps round needs version 19 of ONNX's operators")
    given = [*call.inputs[1:], None, None, None][:3]
    inputs: list[Name] = list(given)
    if inputs[0] is None:
        inputs[0] = w.ints(layer.padding)
    if inputs[1] is None and layer.mode == "constant":
        inputs[1] = w.constant(layer.value, call.x.dtype)
    if inputs[2] is None and layer.dims is not None:
        inputs[2] = w.ints(layer.dims)
    if inputs[2] is not None and w.opset < 18:
        raise UnsupportedError("axes as an input of Pad need version 18 of ONNX's operators")
    return w.node("Pad", call.x, *inputs, mode=MODES[layer.mode])


@PAD.writes(
    *(
        getattr(layers, f"{kind}Pad{ndim}d")
        for kind in ("Constant", "Zero", "Reflection", "Replication", "Circular")
        for ndim in (1, 2, 3)
    )
)
def _write_pad_layer(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    return pad(w, call.x, call.x.shape, layer.pairs, layer.mode, layer.value)


def pad(
    w: Writer,
    x: Name,
    shape: Sequence[int | None],
    padding: Pairs,
    mode: str,
    value: float = 0.0,
    dtype: str | None = None,
) -> str:
    """Extend the last axes by (before, after) elements; fewer than none crop, as in PyTorch."""
    first = len(shape) - len(padding)
    crops = [(max(-b, 0), max(-a, 0)) for b, a in padding]
    added = [(max(b, 0), max(a, 0)) for b, a in padding]
    if mode == "circular":
        return _circular(w, _crop(w, x, first, crops), shape, first, crops, added)
    if any(map(any, added)):
        befores, afters = zip(*added, strict=True)
        amounts = w.ints([0] * first + list(befores) + [0] * first + list(afters))
        given = [w.constant(value, dtype)] if mode == "constant" else []
        x = w.node("Pad", x, amounts, *given, mode=MODES[mode])
    return _crop(w, x, first, crops)


def _crop(w: Writer, x: Name, first: int, crops: Sequence[tuple[int, int]]) -> str:
    """Cut elements off both ends of the axes from the first one on."""
    axes = [i for i, sides in enumerate(crops) if any(sides)]
    if not axes:
        return x if isinstance(x, str) else x.name if x is not None else ""
    starts = [crops[i][0] for i in axes]
    ends = [-crops[i][1] or TO_THE_END for i in axes]
    return w.slice(x, starts, ends, [first + i for i in axes])


def _circular(
    w: Writer,
    x: str,
    shape: Sequence[int | None],
    first: int,
    crops: Sequence[tuple[int, int]],
    added: Sequence[tuple[int, int]],
) -> str:
    """Continue at the other end: pieces put together, since only version 19 can wrap round."""
    for i, (before, after) in enumerate(added):
        if not before and not after:
            continue
        axis = first + i
        n = fixed([shape[axis]], "the length of an axis")[0] - sum(crops[i])
        parts = [x]
        if before:
            parts.insert(0, w.slice(x, [n - before], [n], [axis]))
        if after:
            parts.append(w.slice(x, [0], [after], [axis]))
        x = w.node("Concat", *parts, axis=axis)
    return x
