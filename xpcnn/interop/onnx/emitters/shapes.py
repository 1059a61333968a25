"""What only rearranges, and what tells or needs shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import UnsupportedError
from xpcnn.interop.onnx.writer import TO_THE_END, Call, Emitter, Name, Writer, fixed


def _same(w: Writer, call: Call) -> str:
    """Return the input itself: nothing happens in inference."""
    return call.x.name


def _flatten(w: Writer, call: Call) -> str:
    layer, rank = call.layer, call.x.rank
    if layer.start_dim % rank == 1 and layer.end_dim % rank == rank - 1:
        return w.node("Flatten", call.x, axis=1)
    return w.reshape_to(call.x, call.x, call.output())


def _reshaped(w: Writer, call: Call) -> str:
    return w.reshape_to(call.x, call.x, call.output())


def _rearranged(w: Writer, x: Name, cut: Sequence[int], order: Sequence[int]) -> str:
    """Cut axes behind the first into pieces and reorder them; the first stays as it is."""
    return w.transpose(w.reshape(x, [0, *cut[1:]]), order)


def _rearrange(w: Writer, call: Call) -> str:
    after = fixed(call.output().shape[1:], "a length")
    cut, order = call.layer._plan(call.x.shapes[0])
    return w.reshape(_rearranged(w, call.x, cut, order), [0, *after])


def _pixel_shuffle(w: Writer, call: Call) -> str:
    return w.node("DepthToSpace", call.x, blocksize=call.layer.upscale_factor, mode="CRD")


def _depth_to_space(w: Writer, call: Call) -> str:
    layer = call.layer
    return w.node("DepthToSpace", call.x, blocksize=layer.block_size, mode=layer.mode)


def _space_to_depth(w: Writer, call: Call) -> str:
    b = call.layer.block_size
    if call.layer.mode == "DCR":
        return w.node("SpaceToDepth", call.x, blocksize=b)
    c, height, width = fixed(call.x.shape[1:], "a length")
    cut = (0, c, height // b, b, width // b, b)
    pieces = _rearranged(w, call.x, cut, (0, 1, 3, 5, 2, 4))
    return w.reshape(pieces, (0, c * b * b, height // b, width // b))


# -- Operations ------------------------------------------------------------------------------------


def steered(w: Writer, call: Call, numbers: Sequence[int] | None, since: int = 0) -> Name:
    """Return the second input of an operator: given as an argument, or at run time."""
    if numbers is not None:
        return w.ints(numbers)
    given = call.input_at(1)
    if given is not None and w.opset < since:
        raise UnsupportedError(f"numbers given at run time need version {since} of the operators")
    return given


def _reshape(w: Writer, call: Call) -> str:
    allow_zero = call.layer.allow_zero
    shape = call.layer.shape
    if allow_zero and w.opset < 14:
        if shape is None or 0 in shape:
            raise UnsupportedError("lengths of 0 need version 14 of ONNX's operators")
        allow_zero = False
    given = steered(w, call, shape)
    return w.node("Reshape", call.x, given, allowzero=1 if allow_zero else None)


def _squeeze(w: Writer, call: Call) -> str:
    if call.layer.dims is not None or call.input_at(1) is None:
        return w.squeeze(call.x, call.layer.dims)
    return w.node("Squeeze", call.x, steered(w, call, None, 13))


def _unsqueeze(w: Writer, call: Call) -> str:
    if call.layer.dims is not None:
        return w.unsqueeze(call.x, call.layer.dims)
    return w.node("Unsqueeze", call.x, steered(w, call, None, 13))


def _merge_dims(w: Writer, call: Call) -> str:
    return w.node("Flatten", call.x, axis=call.layer.dim)


def _transpose(w: Writer, call: Call) -> str:
    return w.node("Transpose", call.x, perm=call.layer.dims)


def _expand(w: Writer, call: Call) -> str:
    return w.node("Expand", call.x, steered(w, call, call.layer.shape))


def _tile(w: Writer, call: Call) -> str:
    return w.node("Tile", call.x, steered(w, call, call.layer.repeats))


def _shape_of(w: Writer, call: Call) -> str:
    call.dtypes = ["int64"]
    start, end = call.layer.start, call.layer.end
    if start == 0 and end is None:
        return w.node("Shape", call.x)
    if w.opset >= 15:
        return w.node("Shape", call.x, start=start, end=end)
    last = TO_THE_END if end is None else end
    return w.slice(w.node("Shape", call.x), [start], [last], [0])


def _size(w: Writer, call: Call) -> str:
    call.dtypes = ["int64"]
    return w.node("Size", call.x)


def _concat(w: Writer, call: Call) -> str:
    return w.node("Concat", *call.inputs, axis=call.layer.dim)


# -- Values that come with the network -------------------------------------------------------------


def _weight(w: Writer, call: Call) -> str:
    """A parameter without a layer: it has the node's name, as an import gives it."""
    call.dtypes = [w.dtype]
    return w.initializer(call.path, call.layer.value)


def _weights(w: Writer, call: Call) -> tuple[str, ...]:
    """Parameters without a layer, and arrays beside them that are not trained."""
    layer = call.layer
    call.dtypes = [w.dtype] * len(layer.arrays)
    return tuple(
        w.constant(getattr(layer, name).value) if name in layer.fixed else w.state(call, name)
        for name, _ in layer.arrays
    )


def _repeat_for_batch(w: Writer, call: Call) -> str:
    count = w.slice(w.node("Shape", call.inputs[1]), [0], [1], [0])
    shape = w.node("Concat", count, w.ints([1] * (call.x.rank - 1)), axis=0)
    return w.node("Expand", call.x, shape)


def _constant(w: Writer, call: Call) -> str:
    layer = call.layer
    dtype = w.dtype if layer.follows else layer.dtype
    call.dtypes = [dtype]
    return w.constant(layer.value.value, dtype)


def _filled(w: Writer, call: Call) -> str:
    dtype = call.layer.dtype
    call.dtypes = [dtype]
    value = w.tensor(np.asarray([call.layer.value]), dtype)
    return w.node("ConstantOfShape", call.x, value=value)


def _range(w: Writer, call: Call) -> str:
    return w.node("Range", *call.inputs)


EMITTERS: dict[type, Emitter] = {
    layers.Identity: _same,
    **dict.fromkeys(
        (
            layers.Dropout,
            layers.Dropout1d,
            layers.Dropout2d,
            layers.Dropout3d,
            layers.AlphaDropout,
            layers.FeatureAlphaDropout,
            layers.StochasticDepth,
        ),
        _same,
    ),
    layers.Flatten: _flatten,
    layers.Unflatten: _reshaped,
    layers.PixelShuffle: _pixel_shuffle,
    layers.PixelUnshuffle: _rearrange,
    layers.ChannelShuffle: _rearrange,
    op.DepthToSpace: _depth_to_space,
    op.SpaceToDepth: _space_to_depth,
    op.Reshape: _reshape,
    op.Squeeze: _squeeze,
    op.Unsqueeze: _unsqueeze,
    op.MergeDims: _merge_dims,
    op.Transpose: _transpose,
    op.Expand: _expand,
    op.Tile: _tile,
    op.ShapeOf: _shape_of,
    op.Size: _size,
    op.Concat: _concat,
    op.Weight: _weight,
    op.Weights: _weights,
    op.RepeatForBatch: _repeat_for_batch,
    op.Constant: _constant,
    op.Filled: _filled,
    op.Range: _range,
}
