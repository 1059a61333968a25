"""Parts of arrays, padding and resizing."""

from __future__ import annotations

import numpy as np

from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Call, Handler, UnsupportedError
from xpcnn.interop.onnx.operators.arithmetic import REDUCTIONS


def _slice(b: Builder, call: Call) -> None:
    if call.version < 10:
        layer = op.Slice(call.ints("starts"), call.ints("ends"), call.ints("axes"))
        b.emit(layer, call.inputs, call.outputs)
        return
    given = [b.ints(name) if name else None for name in call.inputs[1:]]
    if all(numbers is not None or not name
           for name, numbers in zip(call.inputs[1:], given, strict=True)):  # fmt: skip
        b.emit(op.Slice(*given), call.inputs[:1], call.outputs)
    else:
        b.emit(op.Slice(), call.inputs, call.outputs)


def _gather(b: Builder, call: Call) -> None:
    b.emit(op.Gather(call.int("axis", 0)), call.inputs, call.outputs)


def _split(b: Builder, call: Call) -> None:
    axis, count = call.int("axis", 0), len(call.outputs)
    sizes = call.ints("split") if call.version < 13 else b.ints(call.input(1))
    if sizes is not None:
        b.emit(op.Split(axis, sizes), call.inputs[:1], call.outputs)
    elif call.input(1):
        b.emit(op.Split(axis), call.inputs, call.outputs)
    else:
        if call.int("num_outputs", count) != count:
            raise UnsupportedError("num_outputs is not the number of outputs")
        b.emit(op.Split(axis, pieces=count), call.inputs[:1], call.outputs)


_PADDING = {
    "constant": "constant",
    "reflect": "reflect",
    "edge": "replicate",
    "wrap": "circular",
}


def _pad(b: Builder, call: Call) -> None:
    mode = call.text("mode", "constant")
    if mode not in _PADDING:
        raise UnsupportedError(f"mode {mode!r} is not known")
    if call.version < 11:
        layer = op.Pad(call.ints("pads"), _PADDING[mode], call.float("value", 0.0))
        b.emit(layer, call.inputs, call.outputs)
        return
    padding, dims = b.ints(call.input(1)), b.ints(call.input(3))
    value = b.array(call.input(2)) if call.input(2) else np.zeros(())
    known = padding is not None and value is not None and (dims is not None or not call.input(3))
    if known and value is not None:
        layer = op.Pad(padding, _PADDING[mode], value.item(), dims)
        b.emit(layer, call.inputs[:1], call.outputs)
    else:
        b.emit(op.Pad(mode=_PADDING[mode]), call.inputs, call.outputs)


def _upsample(b: Builder, call: Call) -> None:
    """Resize as it was before it could be told how to place and to round."""
    mode = call.text("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise UnsupportedError(f"mode {mode!r} is not known")
    if call.op == "Upsample" and call.version < 9:
        scales = call.floats("scales")
    else:
        array = b.array(call.input(1))
        scales = None if array is None else array.reshape(-1).tolist()
    options = {"mode": mode, "coordinates": "asymmetric"}
    if scales is None:
        if call.op == "Resize" and mode == "nearest":
            raise UnsupportedError("how it rounds depends on scales that are not in the file")
        inputs = [call.input(0), "", call.input(1)]
        b.emit(op.Resize(**options, nearest="floor"), inputs, call.outputs)
        return
    # where an axis gets shorter, onnxruntime rounds up, and otherwise down
    x, shorter = call.input(0), [min(scale, 1.0) for scale in scales]
    if mode == "nearest" and min(shorter, default=1.0) < 1.0:
        x = b.apply(op.Resize(shorter, **options, nearest="ceil"), x)
        scales = [max(scale, 1.0) for scale in scales]
    b.emit(op.Resize(scales, **options, nearest="floor"), [x], call.outputs)


def _resize(b: Builder, call: Call) -> None:
    if call.version < 11:
        _upsample(b, call)
        return
    options = {
        "mode": call.text("mode", "nearest"),
        "coordinates": call.text("coordinate_transformation_mode", "half_pixel"),
        "nearest": call.text("nearest_mode", "round_prefer_floor"),
        "cubic_coeff": call.float("cubic_coeff_a", -0.75),
        "exclude_outside": bool(call.int("exclude_outside", 0)),
        "extrapolation_value": call.float("extrapolation_value", 0.0),
        "antialias": bool(call.int("antialias", 0)),
        "policy": call.text("keep_aspect_ratio_policy", "stretch"),
        "dims": call.ints("axes"),
    }
    scales = b.array(call.input(2)) if call.input(2) else np.zeros(0)
    sizes = b.ints(call.input(3)) if call.input(3) else ()
    region_matters = options["coordinates"] == "tf_crop_and_resize"
    try:
        if scales is not None and sizes is not None and not region_matters:
            layer = op.Resize(scales.reshape(-1).tolist() or None, sizes or None, **options)
            b.emit(layer, call.inputs[:1], call.outputs)
        else:
            b.emit(op.Resize(**options), call.inputs, call.outputs)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error


HANDLERS: dict[str, Handler] = {
    **REDUCTIONS,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
    "Pad": _pad,
    "Upsample": _upsample,
    "Resize": _resize,
}
