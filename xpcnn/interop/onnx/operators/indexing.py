"""Parts of arrays, padding and resizing."""

from __future__ import annotations

import numpy as np

from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Handler
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError


def _slice(b: Builder, node: OnnxNode) -> None:
    if node.version < 10:
        layer = op.Slice(node.ints("starts"), node.ints("ends"), node.ints("axes"))
        b.emit(layer, node.inputs, node.outputs)
        return
    given = [b.ints(name) if name else None for name in node.inputs[1:]]
    if all(numbers is not None or not name
           for name, numbers in zip(node.inputs[1:], given, strict=True)):  # fmt: skip
        b.emit(op.Slice(*given), node.inputs[:1], node.outputs)
    else:
        b.emit(op.Slice(), node.inputs, node.outputs)


def _gather(b: Builder, node: OnnxNode) -> None:
    b.emit(op.Gather(node.int("axis", 0)), node.inputs, node.outputs)


def _split(b: Builder, node: OnnxNode) -> None:
    axis, count = node.int("axis", 0), len(node.outputs)
    sizes = node.ints("split") if node.version < 13 else b.ints(node.input(1))
    if sizes is not None:
        b.emit(op.Split(axis, sizes), node.inputs[:1], node.outputs)
    elif node.input(1):
        b.emit(op.Split(axis), node.inputs, node.outputs)
    else:
        if node.int("num_outputs", count) != count:
            raise UnsupportedError("num_outputs is not the number of outputs")
        b.emit(op.Split(axis, pieces=count), node.inputs[:1], node.outputs)


_PADDING = {
    "constant": "constant",
    "reflect": "reflect",
    "edge": "replicate",
    "wrap": "circular",
}


def _pad(b: Builder, node: OnnxNode) -> None:
    mode = node.text("mode", "constant")
    if mode not in _PADDING:
        raise UnsupportedError(f"mode {mode!r} is not known")
    if node.version < 11:
        layer = op.Pad(node.ints("pads"), _PADDING[mode], node.float("value", 0.0))
        b.emit(layer, node.inputs, node.outputs)
        return
    padding, dims = b.ints(node.input(1)), b.ints(node.input(3))
    value = b.array(node.input(2)) if node.input(2) else np.zeros(())
    known = padding is not None and value is not None and (dims is not None or not node.input(3))
    if known and value is not None:
        layer = op.Pad(padding, _PADDING[mode], value.item(), dims)
        b.emit(layer, node.inputs[:1], node.outputs)
    else:
        b.emit(op.Pad(mode=_PADDING[mode]), node.inputs, node.outputs)


def _upsample(b: Builder, node: OnnxNode) -> None:
    """Resize as it was before it could be told how to place and to round."""
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise UnsupportedError(f"mode {mode!r} is not known")
    if node.op == "Upsample" and node.version < 9:
        scales = node.floats("scales")
    else:
        array = b.array(node.input(1))
        scales = None if array is None else array.reshape(-1).tolist()
    options = {"mode": mode, "coordinates": "asymmetric"}
    if scales is None:
        if node.op == "Resize" and mode == "nearest":
            raise UnsupportedError("how it rounds depends on scales that are not in the file")
        inputs = [node.input(0), "", node.input(1)]
        b.emit(op.Resize(**options, nearest="floor"), inputs, node.outputs)
        return
    # where an axis gets shorter, onnxruntime rounds up, and otherwise down
    x, shorter = node.input(0), [min(scale, 1.0) for scale in scales]
    if mode == "nearest" and min(shorter, default=1.0) < 1.0:
        x = b.apply(op.Resize(shorter, **options, nearest="ceil"), x)
        scales = [max(scale, 1.0) for scale in scales]
    b.emit(op.Resize(scales, **options, nearest="floor"), [x], node.outputs)


def _resize(b: Builder, node: OnnxNode) -> None:
    if node.version < 11:
        _upsample(b, node)
        return
    options = {
        "mode": node.text("mode", "nearest"),
        "coordinates": node.text("coordinate_transformation_mode", "half_pixel"),
        "nearest": node.text("nearest_mode", "round_prefer_floor"),
        "cubic_coeff": node.float("cubic_coeff_a", -0.75),
        "exclude_outside": bool(node.int("exclude_outside", 0)),
        "extrapolation_value": node.float("extrapolation_value", 0.0),
        "antialias": bool(node.int("antialias", 0)),
        "policy": node.text("keep_aspect_ratio_policy", "stretch"),
        "dims": node.ints("axes"),
    }
    scales = b.array(node.input(2)) if node.input(2) else np.zeros(0)
    sizes = b.ints(node.input(3)) if node.input(3) else ()
    region_matters = options["coordinates"] == "tf_crop_and_resize"
    try:
        if scales is not None and sizes is not None and not region_matters:
            layer = op.Resize(scales.reshape(-1).tolist() or None, sizes or None, **options)
            b.emit(layer, node.inputs[:1], node.outputs)
        else:
            b.emit(op.Resize(**options), node.inputs, node.outputs)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error


HANDLERS: dict[str, Handler] = {
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
    "Pad": _pad,
    "Upsample": _upsample,
    "Resize": _resize,
}
