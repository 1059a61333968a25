"""Parts of arrays."""

from __future__ import annotations

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.writer import LayerCall, Name, Write, Writer


def _slice(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    given: list[Name] = [
        call.input_at(position) if own is None else w.ints(own)
        for position, own in enumerate((layer.starts, layer.ends, layer.dims, layer.steps), start=1)
    ]
    return w.node("Slice", call.x, *given)


def _gather(w: Writer, call: LayerCall) -> str:
    return w.node("Gather", *call.inputs, axis=call.layer.dim)


def _embedding(w: Writer, call: LayerCall) -> str:
    call.dtypes = [w.dtype]
    return w.node("Gather", w.state(call, "weight"), call.x, axis=0)


def _split(w: Writer, call: LayerCall) -> tuple[str, ...]:
    layer, x = call.layer, call.x
    if layer.sizes is None and layer.pieces is None:
        count = len(call.shapes)
        return w.node_of("Split", [x, call.input_at(1)], count, axis=layer.dim)
    axis = layer.dim % x.rank
    return w.split(x, axis, [shapes[0][axis] for shapes in call.shapes])


EMITTERS: dict[type, Write] = {
    op.Slice: _slice,
    op.Gather: _gather,
    op.Split: _split,
    layers.Embedding: _embedding,
}
