"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf
from typing import Any, NamedTuple

from xpcnn import functional as F
from xpcnn import layers
from xpcnn import operations as op
from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.ops.conv import Padding, both_sides, geometry, padding_of
from xpcnn.interop.onnx.ops.pad import pad
from xpcnn.interop.onnx.ops.reduce import reduce
from xpcnn.interop.onnx.table import operator, writes
from xpcnn.interop.onnx.writer import LayerCall, Name, Value, Writer, fixed
from xpcnn.layers.layer import Shape
from xpcnn.ops.pool import is_half_padded
from xpcnn.window import Pairs, Window, as_window

MAX_POOLS = (layers.MaxPool1d, layers.MaxPool2d, layers.MaxPool3d)
AVG_POOLS = (layers.AvgPool1d, layers.AvgPool2d, layers.AvgPool3d)
GLOBAL_AVG_POOLS = (layers.GlobalAvgPool1d, layers.GlobalAvgPool2d, layers.GlobalAvgPool3d)
GLOBAL_MAX_POOLS = (layers.GlobalMaxPool1d, layers.GlobalMaxPool2d, layers.GlobalMaxPool3d)

# -- Windows ---------------------------------------------------------------------------------------


def _fits_layer(padding: Padding, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether a pooling layer takes this padding: at most half the window."""
    if isinstance(padding, str):
        return padding != "same_lower"
    return is_half_padded(Window.resolve((), kernel, kernel, padding, dilation))


class _Window:
    """The attributes that all poolings share."""

    def __init__(self, node: OnnxNode) -> None:
        kernel = node.ints("kernel_shape")
        if not kernel:
            raise ModelFileError(f"{node.who}: has no kernel_shape")
        self.ndim = len(kernel)
        padding = padding_of(node, self.ndim)
        dilation = node.ints("dilations", (1,) * self.ndim)
        self.arguments: dict[str, Any] = {
            "kernel_size": kernel,
            "stride": node.ints("strides", (1,) * self.ndim),
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": bool(node.int("ceil_mode", 0)),
        }
        self.fits = self.ndim <= 3 and _fits_layer(padding, kernel, dilation)


def _fits(window: Window) -> bool:
    """Whether the padding is what pooling operators take: on no side as much as the kernel."""
    return all(max(sides) < k for sides, k in zip(window.padding, window.kernel, strict=True))


# -- Maxima ----------------------------------------------------------------------------------------

MAX_POOL = operator("MaxPool", required=("kernel_shape",), outputs=2, keeps="samples")


@MAX_POOL.reads
def _read_max_pool(b: Builder, node: OnnxNode) -> None:
    window = _Window(node)
    x, dtype = node.input(0), b.dtype_of(node.input(0))
    if dtype is not None and "float" not in dtype:
        x = b.apply(op.Cast(b.dtype, follows=True), x)
    cast_back = x != node.input(0)
    output = b.fresh("pooled") if cast_back else node.outputs[0]
    kind: Any = MAX_POOLS[window.ndim - 1] if window.fits else op.MaxPooling
    b.emit(kind(**window.arguments), [x], [output])
    if cast_back:
        b.emit(op.Cast(dtype), [output], node.outputs[:1])
    if node.has_output(1):
        column_major = bool(node.int("storage_order", 0))
        b.emit(
            op.MaxPositions(**window.arguments, column_major=column_major), [x], node.outputs[1:]
        )


@MAX_POOL.writes(*MAX_POOLS, op.MaxPooling)
def _write_max_pool(w: Writer, call: LayerCall) -> str:
    return _write_max(w, call.x, call.x.shape, call.layer.window(call.spatial))


def _write_max(w: Writer, x: Name, shape: Sequence[int | None], window: Window) -> str:
    """Take maxima; the window has what ``ceil_mode`` adds, which ONNX counts in another way."""
    if not _fits(window):
        x = pad(w, x, shape, window.padding, "constant", -inf)
        window = window.without_padding()
    return w.node("MaxPool", x, **geometry(window))


@MAX_POOL.writes(op.MaxPositions)
def _write_max_positions(w: Writer, call: LayerCall) -> str:
    window = call.layer.window(call.spatial)
    if not _fits(window):
        raise UnsupportedError("its padding is as large as the window, and would be counted")
    call.dtypes = ["int64"]
    order = int(call.layer.column_major)
    return w.node_of("MaxPool", [call.x], 2, **geometry(window), storage_order=order)[1]


# -- Means -----------------------------------------------------------------------------------------

AVERAGE_POOL = operator("AveragePool", required=("kernel_shape",), keeps="samples")


@AVERAGE_POOL.reads
def _read_average_pool(b: Builder, node: OnnxNode) -> None:
    window = _Window(node)
    include = bool(node.int("count_include_pad", 0))
    kind: Any = AVG_POOLS[window.ndim - 1] if window.fits else op.AveragePooling
    b.emit(kind(**window.arguments, count_include_pad=include), node.inputs, node.outputs)


class _Mean(NamedTuple):
    """How means are taken; `asked` is the padding without what ``ceil_mode`` adds."""

    window: Window
    asked: Pairs
    include: bool = True
    override: int | None = None


@AVERAGE_POOL.writes(*AVG_POOLS, op.AveragePooling)
def _write_average_pool(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    mean = _mean_of(call, layer.count_include_pad, layer.divisor_override)
    return _write_mean(w, call.x, call.x, mean)


def _mean_of(call: LayerCall, include: bool = True, override: int | None = None) -> _Mean:
    layer, spatial = call.layer, call.spatial
    asked = layer.window_without_ceil(spatial).padding
    return _Mean(layer.window(spatial), asked, include, override)


def _write_mean(w: Writer, x: Name, like: Value, mean: _Mean) -> str:
    """Take means of elements."""
    window, asked, include, override = mean
    attributes = geometry(window)
    del attributes["dilations"]
    if any(d != 1 for d in window.dilation) or not _fits(window):
        return _average_of_slices(w, x, like, mean)
    if override is not None:
        pooled = w.node("AveragePool", x, **attributes, count_include_pad=1)
        return w.node("Mul", pooled, w.number(window.taps / override))
    if include and asked != window.padding:
        # what was asked for counts, and what is added to it does not
        x = pad(w, x, like.shape, asked, "constant")
        rest = tuple(
            (before - b, after - a)
            for (before, after), (b, a) in zip(window.padding, asked, strict=True)
        )
        return w.node(
            "AveragePool", x, **attributes | {"pads": both_sides(rest)}, count_include_pad=0
        )
    return w.node("AveragePool", x, **attributes, count_include_pad=int(include))


def _average_of_slices(w: Writer, x: Name, like: Value, mean: _Mean) -> str:
    """Add up what each tap of the window sees, and divide."""
    window, asked, include, override = mean
    spatial = fixed(like.shape[2:], "the size of its input")
    out = window.output_shape(spatial)
    divisor = F.avg_pool_divisor(window, spatial, asked, include, override)
    seen = _slices(w, x, like, window, out)
    total = seen[0] if len(seen) == 1 else w.node("Sum", *seen)
    return w.node("Div", total, w.constant(divisor))


def _slices(w: Writer, x: Name, like: Value, window: Window, out: Shape) -> list[str]:
    """Return what each tap of the window sees."""
    if window.is_padded:
        x = pad(w, x, like.shape, window.padding, "constant")
    seen = []
    for offset in window.offsets():
        parts = window.tap(offset, out)[2:]
        starts, ends, steps = zip(*((p.start, p.stop, p.step) for p in parts), strict=True)
        seen.append(w.slice(x, starts, ends, range(2, like.rank), steps))
    return seen


# -- Power means -----------------------------------------------------------------------------------

LP_POOL = operator("LpPool", required=("kernel_shape",), keeps="samples")


@LP_POOL.reads
def _read_lp_pool(b: Builder, node: OnnxNode) -> None:
    """The p-th root of the sum of p-th powers, made of a sum and two powers."""
    window = _Window(node)
    p = node.int("p", 2)
    if p < 1:
        raise UnsupportedError(f"p={p} is not a norm")
    size = b.apply(op.Absolute(), node.input(0))
    size = b.apply(op.Power(), size, b.number(p))
    size = b.apply(op.AveragePooling(**window.arguments, divisor_override=1), size)
    b.emit(op.Power(), [size, b.number(1.0 / p)], node.outputs)


@writes(layers.LPPool1d, layers.LPPool2d, layers.LPPool3d)
def _write_lp_pool(w: Writer, call: LayerCall) -> str:
    """PyTorch's power mean keeps signs, which ONNX's LpPool takes away; so it is made of powers."""
    layer, p = call.layer, call.layer.norm_type
    window = layer.window(call.spatial)
    if isinf(p):
        size = w.node("Abs", call.x)
        if p > 0:
            return _write_max(w, size, call.x.shape, window)
        return w.node("Neg", _write_max(w, w.node("Neg", size), call.x.shape, window))
    powers = call.x.name if p == 1.0 else w.node("Pow", call.x, w.number(p))
    mean = _write_mean(w, powers, call.x, _mean_of(call))
    total = w.node("Mul", mean, w.number(window.taps))
    return total if p == 1.0 else w.node("Pow", total, w.number(1.0 / p))


# -- One number, or a given number, for each channel -----------------------------------------------


GLOBAL_AVERAGE_POOL = operator("GlobalAveragePool", keeps="samples")
GLOBAL_MAX_POOL = operator("GlobalMaxPool", keeps="samples")


@GLOBAL_AVERAGE_POOL.reads
@GLOBAL_MAX_POOL.reads
def _read_global_pool(b: Builder, node: OnnxNode) -> None:
    is_max, rank = node.op == "GlobalMaxPool", b.rank(node.input(0)) or 0
    layer: Any = op.GlobalPooling("max" if is_max else "mean")
    if 3 <= rank <= 5:
        layer = (GLOBAL_MAX_POOLS if is_max else GLOBAL_AVG_POOLS)[rank - 3](keepdims=True)
    b.emit(layer, node.inputs, node.outputs)


@GLOBAL_AVERAGE_POOL.writes(*GLOBAL_AVG_POOLS, op.GlobalPooling)
@GLOBAL_MAX_POOL.writes(*GLOBAL_MAX_POOLS, op.GlobalPooling)
def _write_global_pool(w: Writer, call: LayerCall) -> str:
    is_max = call.layer.op == "global_max_pool"
    pooled = w.node("GlobalMaxPool" if is_max else "GlobalAveragePool", call.x)
    return pooled if call.layer.keepdims else w.node("Flatten", pooled, axis=1)


@writes(
    layers.AdaptiveAvgPool1d,
    layers.AdaptiveAvgPool2d,
    layers.AdaptiveAvgPool3d,
    layers.AdaptiveMaxPool1d,
    layers.AdaptiveMaxPool2d,
    layers.AdaptiveMaxPool3d,
)
def _write_adaptive_pool(w: Writer, call: LayerCall) -> str:
    spatial, is_max = call.spatial, call.layer.kind == "max"
    size = F.adaptive_size(spatial, call.layer.output_size)
    if all(m == 1 for m in size):
        return w.node("GlobalMaxPool" if is_max else "GlobalAveragePool", call.x)
    if all(n % m == 0 for n, m in zip(spatial, size, strict=True)):
        kernel = [n // m for n, m in zip(spatial, size, strict=True)]
        name = "MaxPool" if is_max else "AveragePool"
        return w.node(name, call.x, kernel_shape=kernel, strides=kernel)
    x, name = call.x.name, "ReduceMax" if is_max else "ReduceMean"
    for axis, (n, m) in enumerate(zip(spatial, size, strict=True), start=2):
        if n != m:
            pieces = [
                reduce(w, name, w.slice(x, [i * n // m], [-(-(i + 1) * n // m)], [axis]), [axis])
                for i in range(m)
            ]
            x = w.node("Concat", *pieces, axis=axis)
    return x


# -- Columns, and the way back ---------------------------------------------------------------------


@writes(layers.Unfold)
def _write_unfold(w: Writer, call: LayerCall) -> str:
    """Put what the taps of the window see side by side; ONNX has the way back only."""
    layer, spatial, channels = call.layer, call.spatial, call.x.shape[1] or 0
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    window = as_window(spatial, *geometry, "Unfold")
    seen = _slices(w, call.x, call.x, window, window.output_shape(spatial))
    rows = [w.reshape(one, (0, channels, 1, -1)) for one in seen]
    return w.reshape(w.node("Concat", *rows, axis=2), (0, channels * window.taps, -1))


COL2IM = operator("Col2Im", since=18, inputs=(3, 3))


@COL2IM.reads
def _read_col2im(b: Builder, node: OnnxNode) -> None:
    pads = node.ints("pads")
    padding = padding_of(node, len(pads) // 2) if pads else 0
    layer = op.Col2Im(node.ints("strides") or 1, padding, node.ints("dilations") or 1)
    b.emit(layer, node.inputs, node.outputs)


@COL2IM.writes(op.Col2Im)
def _write_col2im(w: Writer, call: LayerCall) -> str:
    if w.opset < COL2IM.since:
        raise UnsupportedError("ONNX has Col2Im from version 18 of its operators on")
    if call.layer.padding == "same":
        raise UnsupportedError("its padding depends on the size of the window, which is an input")
    layer, size = call.layer, call.shapes[0][0][2:]
    window = as_window(size, 1, layer.stride, layer.padding, layer.dilation, "Col2Im")
    return w.node("Col2Im", *call.inputs, **geometry(window) | {"kernel_shape": None})
