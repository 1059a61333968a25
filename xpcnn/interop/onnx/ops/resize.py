"""Resizing: ONNX's operator where it gives PyTorch's numbers, tables of elements elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any, NamedTuple

import numpy as np

from xpcnn import functional as F
from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.table import Attribute, Earlier, operator
from xpcnn.interop.onnx.writer import LayerCall, Name, Writer
from xpcnn.ops.resize import Taps

UPSAMPLE = operator(
    "Upsample", inputs=(2, 2), earlier=Earlier(9, (1, 1), ("scales",)), keeps="rank"
)
RESIZE = operator(
    "Resize",
    None,
    {
        "mode": Attribute("mode", str, "nearest"),
        "coordinate_transformation_mode": Attribute("coordinates", str, "half_pixel"),
        "nearest_mode": Attribute("nearest", str, "round_prefer_floor"),
        "cubic_coeff_a": Attribute("cubic_coeff", float, -0.75),
        "exclude_outside": Attribute("exclude_outside", bool, False),
        "extrapolation_value": Attribute("extrapolation_value", float, 0.0),
        "antialias": Attribute("antialias", bool, False),
        "keep_aspect_ratio_policy": Attribute("policy", str, "stretch"),
        "axes": Attribute("dims", tuple),
    },
    since=10,
    inputs=(1, 4),
    earlier=Earlier(11, (2, 2)),
    keeps="rank",
)
ALWAYS = ("mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a")
"""Attributes of Resize that are written even where they have their default."""


@UPSAMPLE.reads
def _read_upsample(b: Builder, node: OnnxNode) -> None:
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
        b.emit(op.Resizing(**options, nearest="floor"), inputs, node.outputs)
        return
    # where an axis gets shorter, onnxruntime rounds up, and otherwise down
    x, shorter = node.input(0), [min(scale, 1.0) for scale in scales]
    if mode == "nearest" and min(shorter, default=1.0) < 1.0:
        x = b.apply(op.Resizing(shorter, **options, nearest="ceil"), x)
        scales = [max(scale, 1.0) for scale in scales]
    b.emit(op.Resizing(scales, **options, nearest="floor"), [x], node.outputs)


@RESIZE.reads
def _read_resize(b: Builder, node: OnnxNode) -> None:
    if node.version < 11:
        _read_upsample(b, node)
        return
    options = RESIZE.arguments(node)
    scales = b.array(node.input(2)) if node.input(2) else np.zeros(0)
    sizes = b.ints(node.input(3)) if node.input(3) else ()
    region_matters = options["coordinates"] == "tf_crop_and_resize"
    try:
        if scales is not None and sizes is not None and not region_matters:
            layer = op.Resizing(scales.reshape(-1).tolist() or None, sizes or None, **options)
            b.emit(layer, node.inputs[:1], node.outputs)
        else:
            b.emit(op.Resizing(**options), node.inputs, node.outputs)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error


# -- The operation ---------------------------------------------------------------------------------


@RESIZE.writes(op.Resizing)
def _write_resize(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    if _is_known(layer, w.opset):
        return _resize_as_it_is(w, call)
    if len(call.inputs) > 1 or layer.coordinates == "tf_crop_and_resize":
        raise UnsupportedError(f"version {w.opset} of the operators has no such Resize")
    axes = layer.resized_axes(call.x.shapes[0], ())
    if any(call.x.shape[axis.dim] is None for axis in axes):
        raise UnsupportedError("it resizes the axis of the samples")
    tables = [(axis.dim, layer.taps(axis)) for axis in axes]
    return by_tables(w, call.x.name, call.x.rank, tables)


def _is_known(layer: Any, opset: int) -> bool:
    """Whether a version of Resize has all that the operation asks for."""
    if layer.coordinates == "tf_half_pixel_for_nn":
        return opset < 13
    if layer.coordinates == "half_pixel_symmetric":
        return opset >= 19
    new = layer.antialias or layer.dims is not None or layer.policy != "stretch"
    return opset >= 18 or not new


def _resize_as_it_is(w: Writer, call: LayerCall) -> str:
    layer, given = call.layer, [*call.inputs[1:], None, None, None][:3]
    steering: list[Name] = [given[0] or _nothing(w), given[1], given[2]]
    if layer.scales is not None:
        steering[1:] = [w.constant(np.asarray(layer.scales), "float32")]
    elif layer.sizes is not None:
        steering[1:] = [_nothing(w), w.ints(layer.sizes)]
    attributes = {
        name: value
        for name, value in RESIZE.values(layer).items()
        if name in ALWAYS or value != RESIZE.attributes[name].default
    }
    # these count in one mode only, and are always written there
    attributes |= {
        "nearest_mode": layer.nearest if layer.mode == "nearest" else None,
        "cubic_coeff_a": layer.cubic_coeff if layer.mode == "cubic" else None,
    }
    return w.node("Resize", call.x, *steering, **attributes)


def _nothing(w: Writer) -> Name:
    """Return an input of Resize that holds nothing; from version 13 on it may be left out."""
    return "" if w.opset >= 13 else w.constant(np.zeros(0), "float32")


def by_tables(w: Writer, x: str, rank: int, tables: Sequence[tuple[int, Taps]]) -> str:
    """Gather the elements, weigh them, and add them up, one axis after the other."""
    for axis, (indices, weights) in tables:
        terms = []
        for tap in range(indices.shape[1]):
            term = w.node("Gather", x, w.ints(indices[:, tap].tolist()), axis=axis)
            if weights is not None:
                behind = (1,) * (rank - 1 - axis)
                factor = w.constant(weights[:, tap].reshape(-1, *behind))
                term = w.node("Mul", term, factor)
            terms.append(term)
        x = terms[0] if len(terms) == 1 else w.node("Sum", *terms)
    return x


# -- Layers ----------------------------------------------------------------------------------------

# What PyTorch's modes are called in ONNX: mode, places, rounding.
_MODES = {
    "nearest": ("nearest", "asymmetric", "floor"),
    "nearest-exact": ("nearest", "half_pixel", "round_prefer_ceil"),
    "linear": ("linear", "half_pixel", None),
    "bilinear": ("linear", "half_pixel", None),
    "trilinear": ("linear", "half_pixel", None),
    "bicubic": ("cubic", "half_pixel", None),
}


class _Axis(NamedTuple):
    """How one axis is resized; the scale is new over old length as the layer computes it."""

    n: int
    out: int
    scale: float
    taps: Taps


@RESIZE.writes(layers.Upsample, layers.UpsamplingNearest2d, layers.UpsamplingBilinear2d)
def _write_upsample(w: Writer, call: LayerCall) -> str:
    layer, out, corners = call.layer, call.output().shapes[0][2:], bool(call.layer.align_corners)
    found = []
    tables = layer.taps((1, 1, *call.spatial), w.dtype)
    for n, m, factor, taps in zip(call.spatial, out, layer.factors(len(out)), tables, strict=True):
        # with aligned corners the lengths alone count
        by_length = factor is None or corners
        found.append(_Axis(n, m, m / n if by_length else factor, taps))
    mode, places, rounding = _MODES[layer.mode]
    places = "align_corners" if corners else places
    by_sizes = w.opset >= 18 and all(axis.scale == axis.out / axis.n for axis in found)
    scales = [axis.scale if by_sizes else _float32(axis) for axis in found]
    exact = w.dtype != "float64" or all(s == a.scale for s, a in zip(scales, found, strict=True))
    # onnxruntime copies where no length changes, whatever the scales
    still = any(axis.n == axis.out and axis.scale != 1.0 for axis in found)
    if still or not exact or not _same_elements(found, scales, places, rounding):
        return by_tables(w, call.x.name, call.x.rank, list(enumerate(tables, start=2)))
    steering: list[Name] = ["", "", w.ints(out)] if by_sizes else [_nothing(w)]
    if not by_sizes:
        steering.append(w.constant(np.asarray([1.0, 1.0, *scales]), "float32"))
    return w.node(
        "Resize",
        call.x,
        *steering,
        mode=mode,
        coordinate_transformation_mode=places,
        nearest_mode=rounding,
        axes=list(range(2, call.x.rank)) if by_sizes else None,
    )


def _float32(axis: _Axis) -> float:
    """Return the scale in float32, so that the new length rounded down is what it shall be."""
    scale = np.float32(axis.scale)
    if floor(axis.n * float(scale)) < axis.out:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


def _same_elements(
    axes: Sequence[_Axis], scales: Sequence[float], places: str, rounding: str | None
) -> bool:
    """Whether ONNX's formula takes the elements that the layer takes, in float32 too."""
    if rounding is None:
        return True
    for axis, scale in zip(axes, scales, strict=True):
        for dtype in ("float32", "float64"):
            i, (s, half) = np.arange(axis.out).astype(dtype), np.asarray([scale, 0.5], dtype)
            where = i / s if places == "asymmetric" else (i + half) / s - half
            wanted = F.nearest_taps(where, axis.n, rounding)
            if not np.array_equal(wanted.indices, axis.taps.indices):
                return False
    return True
