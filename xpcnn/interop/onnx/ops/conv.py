"""Convolution and its transpose, with what they and pooling share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.ops.pad import pad
from xpcnn.interop.onnx.table import operator
from xpcnn.interop.onnx.writer import LayerCall, Name, Writer, fixed
from xpcnn.layers.layer import Shape
from xpcnn.window import Pairs, Window

Padding = Any

CONVOLUTIONS = (layers.Conv1d, layers.Conv2d, layers.Conv3d)
TRANSPOSED = (layers.ConvTranspose1d, layers.ConvTranspose2d, layers.ConvTranspose3d)

# -- The geometry of windows -----------------------------------------------------------------------


def padding_of(node: OnnxNode, ndim: int) -> Padding:
    """Return "same", "same_lower", "valid", a number for each axis, or pairs."""
    automatic = node.text("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        return {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}[automatic]
    if automatic != "NOTSET":
        raise UnsupportedError(f"auto_pad {automatic!r} is not known")
    pads = node.ints("pads", (0,) * (2 * ndim))
    if len(pads) != 2 * ndim:
        raise ModelFileError(f"{node.who}: pads {pads} do not fit {ndim} axes")
    pairs = tuple(zip(pads[:ndim], pads[ndim:], strict=True))
    if any(n < 0 for n in pads):
        raise UnsupportedError("negative padding is not supported")
    return pads[:ndim] if all(before == after for before, after in pairs) else pairs


def both_sides(pairs: Pairs) -> list[int]:
    """Return all amounts before, then all behind, as ONNX has them."""
    return [before for before, _ in pairs] + [after for _, after in pairs]


def geometry(window: Window) -> dict[str, Any]:
    """Return the attributes that a window becomes."""
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": both_sides(window.padding),
        "dilations": window.dilation,
    }


class _Filter:
    """The attributes that convolution and its transpose share."""

    def __init__(self, b: Builder, node: OnnxNode) -> None:
        weight = b.weight(node.input(1))
        rank = b.rank(node.input(1)) or b.rank(node.input(0))
        kernel = node.ints("kernel_shape") or (None if weight is None else weight.shape[2:])
        if kernel is None and rank is None:
            raise UnsupportedError("the number of spatial axes is not given by the file")
        self.kernel: tuple[int, ...] | None = kernel
        self.ndim = len(kernel) if kernel is not None else (rank or 2) - 2
        if weight is not None and (weight.ndim != self.ndim + 2 or weight.shape[2:] != kernel):
            raise ModelFileError(f"{node.who}: a weight {weight.shape} has no kernel {kernel}")
        self.stride = node.ints("strides", (1,) * self.ndim)
        self.dilation = node.ints("dilations", (1,) * self.ndim)
        self.groups = node.int("group", 1)
        self.settings: dict[str, Any] = {"stride": self.stride, "dilation": self.dilation}
        self.settings["groups"] = self.groups
        b.ranks[node.outputs[0]] = self.ndim + 2


# -- Convolution -----------------------------------------------------------------------------------

CONV = operator("Conv", inputs=(2, 3), keeps="samples", weights=(1, 2), names_layer=True)


@CONV.reads
def _read_conv(b: Builder, node: OnnxNode) -> None:
    f = _Filter(b, node)
    padding = padding_of(node, f.ndim)
    state = b.weight_and_bias(node)
    if state is None or padding == "same_lower" or not 1 <= f.ndim <= 3:
        b.emit(op.Convolution(padding=padding, **f.settings), node.inputs, node.outputs)
        return
    outputs, inputs, *kernel = state["weight"].shape
    settings = {"padding": padding, "bias": "bias" in state} | f.settings
    made = CONVOLUTIONS[f.ndim - 1](inputs * f.groups, outputs, kernel, **settings)
    b.layer(node, made, state)


@CONV.writes(*CONVOLUTIONS, op.Convolution)
def _write_conv(w: Writer, call: LayerCall) -> str:
    layer, x = call.layer, call.x.name
    window = layer.window(*_sizes(call))
    if layer.padding_mode != "zeros" and window.is_padded:
        x = pad(w, x, call.x.shape, window.padding, layer.padding_mode)
        window = window.without_padding()
    return w.node("Conv", x, *_weights(w, call), **geometry(window), group=layer.groups)


@CONV.writes(layers.SeparableConv1d, layers.SeparableConv2d)
def _write_separable_conv(w: Writer, call: LayerCall) -> str:
    layer, window = call.layer, call.layer.window(call.spatial)
    deep = w.state(call, "depthwise_weight")
    between = w.node(
        "Conv", call.x, deep, **geometry(window), group=call.x.shape[1], part="depthwise"
    )
    weights = [w.state(call, "pointwise_weight")] + ([w.state(call, "bias")] if layer.bias else [])
    return w.node("Conv", between, *weights, kernel_shape=(1,) * layer.ndim, part="pointwise")


def _sizes(call: LayerCall) -> tuple[Shape, ...]:
    """Return the sizes that decide about the window: the kernel's too where it is an input."""
    if len(call.inputs) == 1:
        return (call.spatial,)
    return call.spatial, fixed(call.needed(1).shape[2:], "the size of its kernel")


def _weights(w: Writer, call: LayerCall) -> Sequence[Name]:
    """Return weight and bias: inputs, or arrays of the layer."""
    return call.inputs[1:] or w.weight_and_bias(call)


# -- Transposed convolution ------------------------------------------------------------------------

CONV_TRANSPOSE = operator(
    "ConvTranspose", inputs=(2, 3), keeps="samples", weights=(1, 2), names_layer=True
)


@CONV_TRANSPOSE.reads
def _read_conv_transpose(b: Builder, node: OnnxNode) -> None:
    f = _Filter(b, node)
    padding, extra = _transposed_padding(b, node, f)
    state = b.weight_and_bias(node)
    symmetric = all(isinstance(n, int) for n in padding)
    # PyTorch's limit on what is added to the output
    small = all(n < max(s, d) for n, s, d in zip(extra, f.stride, f.dilation, strict=True))
    if state is None or not symmetric or not small or not 1 <= f.ndim <= 3:
        layer = op.TransposedConvolution(padding=padding, output_padding=extra, **f.settings)
        b.emit(layer, node.inputs, node.outputs)
        return
    inputs, outputs, *kernel = state["weight"].shape
    settings = {"padding": padding, "output_padding": extra, "bias": "bias" in state} | f.settings
    made = TRANSPOSED[f.ndim - 1](inputs, outputs * f.groups, kernel, **settings)
    b.layer(node, made, state)


def _transposed_padding(b: Builder, node: OnnxNode, f: _Filter) -> tuple[Padding, tuple[int, ...]]:
    """Return what is cut off the output, and what is added, so that it has the wanted size."""
    ndim = f.ndim
    extra = node.ints("output_padding", (0,) * ndim)
    wanted = node.ints("output_shape")
    automatic = node.text("auto_pad", "NOTSET")
    if wanted is None and automatic not in ("SAME_UPPER", "SAME_LOWER"):
        padding = padding_of(node, ndim)
        return (0,) * ndim if padding == "valid" else padding, extra
    taps: tuple[int | None, ...] = f.kernel or b.shapes.get(b.resolve(node.input(1)), ())[2:]
    if len(taps) != ndim or None in taps:
        raise UnsupportedError("the size of the kernel is not given by the file")
    spatial: tuple[int | None, ...] = (None,) * ndim
    if wanted is not None:
        spatial = b.shapes.get(b.resolve(node.input(0)), ())[2:]
        wanted = wanted[-ndim:]
        if len(spatial) != ndim or None in spatial:
            raise UnsupportedError("output_shape needs an input whose size the file gives")
    pairs, more = [], list(extra)
    for axis in range(ndim):
        total = ((taps[axis] or 1) - 1) * f.dilation[axis] + 1 + extra[axis] - f.stride[axis]
        if wanted is not None:
            total += f.stride[axis] * (spatial[axis] or 0) - wanted[axis]
        if total < 0:
            more[axis], total = more[axis] - total, 0
        half = total // 2
        pairs.append((half, total - half) if automatic != "SAME_LOWER" else (total - half, half))
    if wanted is not None and automatic == "NOTSET":
        pairs = [(after, before) for before, after in pairs]
    if all(before == after for before, after in pairs):
        return tuple(before for before, _ in pairs), tuple(more)
    return tuple(pairs), tuple(more)


@CONV_TRANSPOSE.writes(*TRANSPOSED, op.TransposedConvolution)
def _write_conv_transpose(w: Writer, call: LayerCall) -> str:
    """Give the output the wanted size: cut less off its end, or add to it."""
    window, out = call.layer.transposed_window(*_sizes(call))
    inputs: list[Name] = [call.x, *_weights(w, call)]
    pairs, extra = [], []
    for n, m, s, extent, (before, after) in zip(
        call.spatial, out, window.stride, window.extent, window.padding, strict=True
    ):
        more = m - ((n - 1) * s + extent - before - after)
        # where nobody adds anything to the output, padding it is the same as not cutting it
        less = min(after, more) if more >= s else 0
        pairs.append((before, after - less))
        extra.append(more - less)
    attributes = geometry(window) | {"pads": both_sides(tuple(pairs)), "group": call.layer.groups}
    if all(more < s for more, s in zip(extra, window.stride, strict=True)):
        added = extra if any(extra) else None
        return w.node("ConvTranspose", *inputs, **attributes, output_padding=added)
    # an output_padding from the stride on is not known everywhere; only the bias is added there
    y = w.node("ConvTranspose", *inputs[:2], **attributes)
    added_pairs = tuple((0, more) for more in extra)
    y = pad(w, y, (None,) * (2 + len(extra)), added_pairs, "constant")
    if len(inputs) < 3 or inputs[2] is None:
        return y
    return w.node("Add", y, w.reshape(inputs[2], (-1,) + (1,) * len(extra)))
