"""Padding: the layers, the operation, and what convolution and pooling need of it."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.node import UnsupportedError
from xpcnn.interop.onnx.writer import TO_THE_END, LayerCall, Name, Write, Writer, fixed
from xpcnn.window import Pairs

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


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
        return _circular(w, crop(w, x, first, crops), shape, first, crops, added)
    if any(map(any, added)):
        befores, afters = zip(*added, strict=True)
        amounts = w.ints([0] * first + list(befores) + [0] * first + list(afters))
        given = [w.constant(value, dtype)] if mode == "constant" else []
        x = w.node("Pad", x, amounts, *given, mode=MODES[mode])
    return crop(w, x, first, crops)


def crop(w: Writer, x: Name, first: int, crops: Sequence[tuple[int, int]]) -> str:
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


def _pad_layer(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    return pad(w, call.x, call.x.shape, layer.pairs, layer.mode, layer.value)


def _pad_operation(w: Writer, call: LayerCall) -> str:
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
            positions = layer._positions(n, before, after)
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


EMITTERS: dict[type, Write] = {
    **{
        getattr(layers, f"{kind}Pad{ndim}d"): _pad_layer
        for kind in ("Constant", "Zero", "Reflection", "Replication", "Circular")
        for ndim in (1, 2, 3)
    },
    op.Pad: _pad_operation,
}
