"""What rearranges, and what tells or needs shapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.ops.steering import Steering, steer, steering, write_steered
from xpcnn.interop.onnx.table import Attribute, Earlier, operator, writes
from xpcnn.interop.onnx.writer import TO_THE_END, LayerCall, Name, Writer, fixed

# -- Axes of length 1 ------------------------------------------------------------------------------

_BEFORE, _NEEDS_AXES = Earlier(13, (1, 1)), Earlier(13, (1, 1), ("axes",))
SQUEEZE = operator("Squeeze", op.Squeeze, inputs=(1, 2), earlier=_BEFORE, folds=True)
UNSQUEEZE = operator("Unsqueeze", op.Unsqueeze, inputs=(2, 2), earlier=_NEEDS_AXES, folds=True)
steer(SQUEEZE, "dims", "axes", 13)
steer(UNSQUEEZE, "dims", "axes", 13)


def squeeze(w: Writer, x: Name, axes: Steering) -> str:
    """Remove axes of length 1."""
    return write_steered(w, "Squeeze", x, axes, 13)


def unsqueeze(w: Writer, x: Name, axes: Steering) -> str:
    """Add axes of length 1."""
    return write_steered(w, "Unsqueeze", x, axes, 13)


# -- Repeating -------------------------------------------------------------------------------------

steer(operator("Expand", op.Expand, since=8, inputs=(2, 2)), "shape")
steer(operator("Tile", op.Tile, inputs=(2, 2)), "repeats")


@writes(op.RepeatForBatch)
def _write_repeat_for_batch(w: Writer, call: LayerCall) -> str:
    count = w.slice(w.node("Shape", call.inputs[1]), [0], [1], [0])
    shape = w.node("Concat", count, w.ints([1] * (call.x.rank - 1)), axis=0)
    return w.node("Expand", call.x, shape)


# -- Reshaping -------------------------------------------------------------------------------------

RESHAPE = operator("Reshape", inputs=(2, 2), folds=True)


@RESHAPE.reads
def _read_reshape(b: Builder, node: OnnxNode) -> None:
    allow_zero = bool(node.int("allowzero", 0))
    shape = b.ints(node.input(1))
    if shape is None and not allow_zero:
        shape = b.lengths.new_shape(node.input(0), node.input(1))
    if shape is None:
        b.emit(op.Reshape(None, allow_zero), node.inputs, node.outputs)
    else:
        b.emit(op.Reshape(shape, allow_zero), node.inputs[:1], node.outputs)
        b.ranks[node.outputs[0]] = len(shape)


@RESHAPE.writes(op.Reshape)
def _write_reshape(w: Writer, call: LayerCall) -> str:
    allow_zero = call.layer.allow_zero
    shape = call.layer.shape
    if allow_zero and w.opset < 14:
        if shape is None or 0 in shape:
            raise UnsupportedError("lengths of 0 need version 14 of ONNX's operators")
        allow_zero = False
    allowzero = 1 if allow_zero else None
    return write_steered(w, "Reshape", call.x, steering(call, "shape"), allowzero=allowzero)


@RESHAPE.writes(layers.Unflatten)
def _write_unflatten(w: Writer, call: LayerCall) -> str:
    return w.reshape_to(call.x, call.x, call.output())


FLATTEN = operator("Flatten", op.MergeDims, {"axis": Attribute("dim", int, 1)})


@FLATTEN.reads
def _read_flatten(b: Builder, node: OnnxNode) -> None:
    axis = node.int("axis", 1)
    rank = b.rank(node.input(0))
    plain = b.dtype_of(node.input(0)) in (None, b.dtype)
    if axis == 1 and (rank is None or rank > 1) and plain:
        b.emit(layers.Flatten(), node.inputs, node.outputs)
    else:
        b.emit(op.MergeDims(axis), node.inputs, node.outputs)
    b.ranks[node.outputs[0]] = 2


@FLATTEN.writes(layers.Flatten)
def _write_flatten(w: Writer, call: LayerCall) -> str:
    layer, rank = call.layer, call.x.rank
    if layer.start_dim % rank == 1 and layer.end_dim % rank == rank - 1:
        return w.node("Flatten", call.x, axis=1)
    return w.reshape_to(call.x, call.x, call.output())


# -- Reordering and joining ------------------------------------------------------------------------

PERM = {"perm": Attribute("dims", tuple)}
operator("Transpose", op.Transpose, PERM, keeps="rank", folds=True)
operator(
    "Concat",
    op.Concat,
    {"axis": Attribute("dim", int, 1)},
    inputs=(1, inf),
    required=("axis",),
    keeps="rank",
    folds=True,
)

BLOCKS = {"blocksize": Attribute("block_size", int), "mode": Attribute("mode", str, "DCR")}
DEPTH_TO_SPACE = operator(
    "DepthToSpace", op.DepthToSpace, BLOCKS, required=("blocksize",), keeps="samples"
)
SPACE_TO_DEPTH = operator(
    "SpaceToDepth", op.SpaceToDepth, BLOCKS, required=("blocksize",), keeps="samples"
)


@DEPTH_TO_SPACE.reads
def _read_depth_to_space(b: Builder, node: OnnxNode) -> None:
    mode = node.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise UnsupportedError(f"mode {mode!r} is not known")
    b.emit(op.DepthToSpace(node.int("blocksize"), mode), node.inputs, node.outputs)


@DEPTH_TO_SPACE.writes(layers.PixelShuffle)
def _write_pixel_shuffle(w: Writer, call: LayerCall) -> str:
    return w.node("DepthToSpace", call.x, blocksize=call.layer.upscale_factor, mode="CRD")


@SPACE_TO_DEPTH.writes(op.SpaceToDepth)
def _write_space_to_depth(w: Writer, call: LayerCall) -> str:
    b = call.layer.block_size
    if call.layer.mode == "DCR":
        return w.node("SpaceToDepth", call.x, blocksize=b)
    c, height, width = fixed(call.x.shape[1:], "a length")
    cut = (0, c, height // b, b, width // b, b)
    pieces = _rearranged(w, call.x, cut, (0, 1, 3, 5, 2, 4))
    return w.reshape(pieces, (0, c * b * b, height // b, width // b))


@writes(layers.PixelUnshuffle, layers.ChannelShuffle)
def _write_rearrange(w: Writer, call: LayerCall) -> str:
    after = fixed(call.output().shape[1:], "a length")
    cut, order = call.layer.plan(call.x.shapes[0])
    return w.reshape(_rearranged(w, call.x, cut, order), [0, *after])


def _rearranged(w: Writer, x: Name, cut: Sequence[int], order: Sequence[int]) -> str:
    """Cut axes behind the first into pieces and reorder them; the first stays as it is."""
    return w.transpose(w.reshape(x, [0, *cut[1:]]), order)


# -- Shapes as values ------------------------------------------------------------------------------

SHAPE = operator("Shape", folds=True)
operator("Size", op.Size, dtype="int64", folds=True)


@SHAPE.reads
def _read_shape(b: Builder, node: OnnxNode) -> None:
    b.emit(op.ShapeOf(node.int("start", 0), node.int("end")), node.inputs, node.outputs)
    b.ranks[node.outputs[0]] = 1
    b.dtypes[node.outputs[0]] = "int64"


@SHAPE.writes(op.ShapeOf)
def _write_shape_of(w: Writer, call: LayerCall) -> str:
    call.dtypes = ["int64"]
    start, end = call.layer.start, call.layer.end
    if start == 0 and end is None:
        return w.node("Shape", call.x)
    if w.opset >= 15:
        return w.node("Shape", call.x, start=start, end=end)
    last = TO_THE_END if end is None else end
    return w.slice(w.node("Shape", call.x), [start], [last], [0])
