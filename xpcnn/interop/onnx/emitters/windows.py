"""Convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf, isinf
from typing import Any

from xpcnn import functional as F
from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.emitters.pads import pad
from xpcnn.interop.onnx.node import UnsupportedError
from xpcnn.interop.onnx.writer import LayerCall, Name, Value, Write, Writer, fixed
from xpcnn.layers.layer import Shape
from xpcnn.window import Pairs, Window, as_ints, as_padding


def _sides(pairs: Pairs) -> list[int]:
    """All amounts before, then all behind, as ONNX has them."""
    return [before for before, _ in pairs] + [after for _, after in pairs]


def _geometry(window: Window) -> dict[str, Any]:
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": _sides(window.padding),
        "dilations": window.dilation,
    }


# -- Convolution -----------------------------------------------------------------------------------


def _conv(w: Writer, call: LayerCall) -> str:
    layer, x = call.layer, call.x.name
    window = layer.window(call.spatial)
    if layer.padding_mode != "zeros" and window.is_padded:
        x = pad(w, x, call.x.shape, window.padding, layer.padding_mode)
        window = window.without_padding()
    weights = [w.state(call, "weight")] + ([w.state(call, "bias")] if layer.bias else [])
    return w.node("Conv", x, *weights, **_geometry(window), group=layer.groups)


def _separable_conv(w: Writer, call: LayerCall) -> str:
    layer, window = call.layer, call.layer.window(call.spatial)
    deep = w.state(call, "depthwise_weight")
    between = w.node(
        "Conv", call.x, deep, **_geometry(window), group=call.x.shape[1], part="depthwise"
    )
    weights = [w.state(call, "pointwise_weight")] + ([w.state(call, "bias")] if layer.bias else [])
    return w.node("Conv", between, *weights, kernel_shape=(1,) * layer.ndim, part="pointwise")


def _transposed(
    w: Writer, inputs: Sequence[Name], spatial: Shape, window: Window, out: Shape, groups: int
) -> str:
    """Give the output the wanted size: cut less off its end, or add to it."""
    pairs, extra = [], []
    for n, m, s, extent, (before, after) in zip(
        spatial, out, window.stride, window.extent, window.padding, strict=True
    ):
        more = m - ((n - 1) * s + extent - before - after)
        # where nobody adds anything to the output, padding it is the same as not cutting it
        less = min(after, more) if more >= s else 0
        pairs.append((before, after - less))
        extra.append(more - less)
    geometry = _geometry(window) | {"pads": _sides(tuple(pairs)), "group": groups}
    if all(more < s for more, s in zip(extra, window.stride, strict=True)):
        added = extra if any(extra) else None
        return w.node("ConvTranspose", *inputs, **geometry, output_padding=added)
    # an output_padding from the stride on is not known everywhere; only the bias is added there
    y = w.node("ConvTranspose", *inputs[:2], **geometry)
    sides = tuple((0, more) for more in extra)
    y = pad(w, y, (None,) * (2 + len(sides)), sides, "constant")
    if len(inputs) < 3 or inputs[2] is None:
        return y
    return w.node("Add", y, w.reshape(inputs[2], (-1,) + (1,) * len(sides)))


def _conv_transpose(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    window, out = layer.transposed_window(call.spatial)
    weights = [w.state(call, "weight")] + ([w.state(call, "bias")] if layer.bias else [])
    return _transposed(w, [call.x, *weights], call.spatial, window, out, layer.groups)


def _kernel(call: LayerCall) -> Shape:
    weight = call.inputs[1]
    assert weight is not None, "a convolution has a weight"
    return fixed(weight.shape[2:], "the size of its kernel")


def _convolution(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    window = layer._resolve(call.spatial, _kernel(call), layer.stride, layer.dilation)
    return w.node("Conv", *call.inputs, **_geometry(window), group=layer.groups)


def _transposed_convolution(w: Writer, call: LayerCall) -> str:
    window, out = call.layer._window(call.spatial, _kernel(call))
    return _transposed(w, call.inputs, call.spatial, window, out, call.layer.groups)


# -- Pooling ---------------------------------------------------------------------------------------


def _fits(window: Window) -> bool:
    """Whether the padding is what pooling operators take: on no side as much as the kernel."""
    return all(max(sides) < k for sides, k in zip(window.padding, window.kernel, strict=True))


def _max(w: Writer, x: Name, shape: Sequence[int | None], window: Window) -> str:
    """Take maxima; the window has what ``ceil_mode`` adds, which ONNX counts in another way."""
    if not _fits(window):
        x = pad(w, x, shape, window.padding, "constant", -inf)
        window = window.without_padding()
    return w.node("MaxPool", x, **_geometry(window))


def _average(
    w: Writer,
    x: Name,
    like: Value,
    window: Window,
    asked: Pairs,
    include: bool,
    override: int | None,
) -> str:
    """Take means of elements; `asked` is the padding without what ``ceil_mode`` adds."""
    geometry = _geometry(window)
    del geometry["dilations"]
    if any(d != 1 for d in window.dilation) or not _fits(window):
        return _average_of_slices(w, x, like, window, asked, include, override)
    if override is not None:
        mean = w.node("AveragePool", x, **geometry, count_include_pad=1)
        return w.node("Mul", mean, w.number(window.taps / override))
    if include and asked != window.padding:
        # what was asked for counts, and what is added to it does not
        x = pad(w, x, like.shape, asked, "constant")
        rest = tuple(
            (before - b, after - a)
            for (before, after), (b, a) in zip(window.padding, asked, strict=True)
        )
        return w.node("AveragePool", x, **geometry | {"pads": _sides(rest)}, count_include_pad=0)
    return w.node("AveragePool", x, **geometry, count_include_pad=int(include))


def _average_of_slices(
    w: Writer,
    x: Name,
    like: Value,
    window: Window,
    asked: Pairs,
    include: bool,
    override: int | None,
) -> str:
    """Add up what each tap of the window sees, and divide."""
    spatial = fixed(like.shape[2:], "the size of its input")
    out = window.output_shape(spatial)
    divisor = F.avg_pool_divisor(window, spatial, asked, include, override)
    if window.is_padded:
        x = pad(w, x, like.shape, window.padding, "constant")
    axes = range(2, like.rank)
    seen = []
    for offset in window.offsets():
        parts = window.tap(offset, out)[2:]
        starts, ends, steps = zip(*((p.start, p.stop, p.step) for p in parts), strict=True)
        seen.append(w.slice(x, starts, ends, axes, steps))
    total = seen[0] if len(seen) == 1 else w.node("Sum", *seen)
    return w.node("Div", total, w.constant(divisor))


def _max_pool(w: Writer, call: LayerCall) -> str:
    return _max(w, call.x, call.x.shape, call.layer.window(call.spatial))


def _asked(call: LayerCall) -> Pairs:
    layer = call.layer
    return Window.resolve(
        call.spatial, layer.kernel_size, layer.stride, layer.padding, layer.dilation
    ).padding


def _avg_pool(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    window = layer.window(call.spatial)
    include, override = layer.count_include_pad, layer.divisor_override
    return _average(w, call.x, call.x, window, _asked(call), include, override)


def _lp_pool(w: Writer, call: LayerCall) -> str:
    """PyTorch's power mean keeps signs, which ONNX's LpPool takes away; so it is made of powers."""
    layer, p = call.layer, call.layer.norm_type
    window = layer.window(call.spatial)
    if isinf(p):
        size = w.node("Abs", call.x)
        if p > 0:
            return _max(w, size, call.x.shape, window)
        return w.node("Neg", _max(w, w.node("Neg", size), call.x.shape, window))
    powers = call.x.name if p == 1.0 else w.node("Pow", call.x, w.number(p))
    mean = _average(w, powers, call.x, window, _asked(call), True, None)
    total = w.node("Mul", mean, w.number(window.taps))
    return total if p == 1.0 else w.node("Pow", total, w.number(1.0 / p))


def _global_pool(name: str, w: Writer, call: LayerCall) -> str:
    pooled = w.node(name, call.x)
    if call.layer.keepdims:
        return pooled
    return w.node("Flatten", pooled, axis=1)


def _adaptive_pool(w: Writer, call: LayerCall) -> str:
    spatial, is_max = call.spatial, call.layer.kind == "max"
    size = F.adaptive_size(spatial, call.layer.output_size)
    if all(m == 1 for m in size):
        return w.node("GlobalMaxPool" if is_max else "GlobalAveragePool", call.x)
    if all(n % m == 0 for n, m in zip(spatial, size, strict=True)):
        kernel = [n // m for n, m in zip(spatial, size, strict=True)]
        name = "MaxPool" if is_max else "AveragePool"
        return w.node(name, call.x, kernel_shape=kernel, strides=kernel)
    x, reduce = call.x.name, "ReduceMax" if is_max else "ReduceMean"
    for axis, (n, m) in enumerate(zip(spatial, size, strict=True), start=2):
        if n != m:
            pieces = [
                w.reduce(reduce, w.slice(x, [i * n // m], [-(-(i + 1) * n // m)], [axis]), [axis])
                for i in range(m)
            ]
            x = w.node("Concat", *pieces, axis=axis)
    return x


# -- Operations ------------------------------------------------------------------------------------


def _max_pooling(w: Writer, call: LayerCall) -> str:
    shape = (1, 1, *call.spatial)
    return _max(w, call.x, call.x.shape, call.layer._windows(shape)[0])


def _average_pooling(w: Writer, call: LayerCall) -> str:
    window, asked = call.layer._windows((1, 1, *call.spatial))
    include, override = call.layer.count_include_pad, call.layer.divisor_override
    return _average(w, call.x, call.x, window, asked.padding, include, override)


def _max_positions(w: Writer, call: LayerCall) -> str:
    window = call.layer._windows((1, 1, *call.spatial))[0]
    if not _fits(window):
        raise UnsupportedError("its padding is as large as the window, and would be counted")
    call.dtypes = ["int64"]
    order = int(call.layer.column_major)
    return w.node_of("MaxPool", [call.x], 2, **_geometry(window), storage_order=order)[1]


def _global_pooling(w: Writer, call: LayerCall) -> str:
    kind = call.layer.kind
    return w.node("GlobalAveragePool" if kind == "mean" else "GlobalMaxPool", call.x)


def _col2im(w: Writer, call: LayerCall) -> str:
    if w.opset < 18:
        raise UnsupportedError("ONNX has Col2Im from version 18 of its operators on")
    if call.layer.padding == "same":
        raise UnsupportedError("its padding depends on the size of the window, which is an input")
    layer, size, who = call.layer, call.shapes[0][0][2:], "Col2Im"
    ndim = len(size)
    window = Window.resolve(
        size,
        (1,) * ndim,
        as_ints(layer.stride, ndim, who, "stride"),
        as_padding(layer.padding, ndim, who),
        as_ints(layer.dilation, ndim, who, "dilation"),
    )
    return w.node(
        "Col2Im",
        *call.inputs,
        strides=window.stride,
        pads=_sides(window.padding),
        dilations=window.dilation,
    )


EMITTERS: dict[type, Write] = {
    **dict.fromkeys((layers.Conv1d, layers.Conv2d, layers.Conv3d), _conv),
    **dict.fromkeys((layers.SeparableConv1d, layers.SeparableConv2d), _separable_conv),
    **dict.fromkeys(
        (layers.ConvTranspose1d, layers.ConvTranspose2d, layers.ConvTranspose3d), _conv_transpose
    ),
    **dict.fromkeys((layers.MaxPool1d, layers.MaxPool2d, layers.MaxPool3d), _max_pool),
    **dict.fromkeys((layers.AvgPool1d, layers.AvgPool2d, layers.AvgPool3d), _avg_pool),
    **dict.fromkeys((layers.LPPool1d, layers.LPPool2d, layers.LPPool3d), _lp_pool),
    **dict.fromkeys(
        (layers.GlobalAvgPool1d, layers.GlobalAvgPool2d, layers.GlobalAvgPool3d),
        partial(_global_pool, "GlobalAveragePool"),
    ),
    **dict.fromkeys(
        (layers.GlobalMaxPool1d, layers.GlobalMaxPool2d, layers.GlobalMaxPool3d),
        partial(_global_pool, "GlobalMaxPool"),
    ),
    **dict.fromkeys(
        (
            layers.AdaptiveAvgPool1d,
            layers.AdaptiveAvgPool2d,
            layers.AdaptiveAvgPool3d,
            layers.AdaptiveMaxPool1d,
            layers.AdaptiveMaxPool2d,
            layers.AdaptiveMaxPool3d,
        ),
        _adaptive_pool,
    ),
    op.Convolution: _convolution,
    op.TransposedConvolution: _transposed_convolution,
    op.MaxPooling: _max_pooling,
    op.AveragePooling: _average_pooling,
    op.MaxPositions: _max_positions,
    op.GlobalPooling: _global_pooling,
    op.Col2Im: _col2im,
}
