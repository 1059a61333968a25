"""Convolution and pooling."""

from __future__ import annotations

from functools import partial
from typing import Any

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx.builder import Builder, Handler
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError

Padding = Any

_CONVOLUTIONS = {1: layers.Conv1d, 2: layers.Conv2d, 3: layers.Conv3d}
_TRANSPOSED = {
    1: layers.ConvTranspose1d,
    2: layers.ConvTranspose2d,
    3: layers.ConvTranspose3d,
}
_MAX_POOLS = {1: layers.MaxPool1d, 2: layers.MaxPool2d, 3: layers.MaxPool3d}
_AVG_POOLS = {1: layers.AvgPool1d, 2: layers.AvgPool2d, 3: layers.AvgPool3d}
_GLOBAL_POOLS = {
    "mean": {1: layers.GlobalAvgPool1d, 2: layers.GlobalAvgPool2d, 3: layers.GlobalAvgPool3d},
    "max": {1: layers.GlobalMaxPool1d, 2: layers.GlobalMaxPool2d, 3: layers.GlobalMaxPool3d},
}


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
        raise UnsupportedError("negative padding is not known here")
    return pads[:ndim] if all(before == after for before, after in pairs) else pairs


def _conv(b: Builder, node: OnnxNode) -> None:
    weight = b.weight(node.input(1))
    bias = b.weight(node.input(2), shared=True) if node.input(2) else None
    ndim = b.rank(node.input(1)) or b.rank(node.input(0))
    kernel = node.ints("kernel_shape") or (weight.shape[2:] if weight is not None else None)
    if kernel is None and ndim is None:
        raise UnsupportedError("the number of spatial axes is not given by the file")
    ndim = len(kernel) if kernel is not None else (ndim or 2) - 2
    padding = padding_of(node, ndim)
    stride = node.ints("strides", (1,) * ndim)
    dilation = node.ints("dilations", (1,) * ndim)
    groups = node.int("group", 1)
    b.ranks[node.outputs[0]] = ndim + 2
    known = weight is not None and (bias is not None or not node.input(2))
    if not known or weight is None or padding == "same_lower" or ndim not in _CONVOLUTIONS:
        layer = op.Convolution(stride, padding, dilation, groups)
        b.emit(layer, node.inputs, node.outputs)
        return
    if weight.ndim != ndim + 2 or weight.shape[2:] != tuple(kernel or ()):
        raise ModelFileError(f"{node.who}: a weight {weight.shape} has no kernel {kernel}")
    out_channels, per_group = weight.shape[:2]
    made = _CONVOLUTIONS[ndim](
        per_group * groups,
        out_channels,
        weight.shape[2:],
        stride,
        padding,
        dilation,
        groups,
        bias=bias is not None,
    )
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    b.layer(node, made, state, {"weight": node.input(1), "bias": node.input(2)})


def _conv_transpose(b: Builder, node: OnnxNode) -> None:
    weight = b.weight(node.input(1))
    bias = b.weight(node.input(2), shared=True) if node.input(2) else None
    kernel = node.ints("kernel_shape") or (weight.shape[2:] if weight is not None else None)
    rank = b.rank(node.input(1)) or b.rank(node.input(0))
    if kernel is None and rank is None:
        raise UnsupportedError("the number of spatial axes is not given by the file")
    ndim = len(kernel) if kernel is not None else (rank or 2) - 2
    stride = node.ints("strides", (1,) * ndim)
    dilation = node.ints("dilations", (1,) * ndim)
    extra = node.ints("output_padding", (0,) * ndim)
    groups = node.int("group", 1)
    b.ranks[node.outputs[0]] = ndim + 2
    padding, extra = _transposed_padding(b, node, ndim, kernel, stride, dilation, extra)
    known = weight is not None and (bias is not None or not node.input(2))
    symmetric = all(isinstance(n, int) for n in padding)
    # PyTorch's limit on what is added to the output
    small = all(e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True))
    if not known or weight is None or not symmetric or not small or ndim > 3:
        layer = op.TransposedConvolution(stride, padding, extra, groups, dilation)
        b.emit(layer, node.inputs, node.outputs)
        return
    made = _TRANSPOSED[ndim](
        weight.shape[0],
        weight.shape[1] * groups,
        weight.shape[2:],
        stride,
        padding,
        extra,
        groups,
        bias is not None,
        dilation,
    )
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    b.layer(node, made, state, {"weight": node.input(1), "bias": node.input(2)})


def _transposed_padding(
    b: Builder,
    node: OnnxNode,
    ndim: int,
    kernel: tuple[int, ...] | None,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    extra: tuple[int, ...],
) -> tuple[Padding, tuple[int, ...]]:
    """Return what is cut off the output, and what is added, so that it has the wanted size."""
    wanted = node.ints("output_shape")
    automatic = node.text("auto_pad", "NOTSET")
    if wanted is None and automatic not in ("SAME_UPPER", "SAME_LOWER"):
        padding = padding_of(node, ndim)
        return (0,) * ndim if padding == "valid" else padding, extra
    taps: tuple[int | None, ...] = kernel or b.shapes.get(b.resolve(node.input(1)), ())[2:]
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
        total = ((taps[axis] or 1) - 1) * dilation[axis] + 1 + extra[axis] - stride[axis]
        if wanted is not None:
            total += stride[axis] * (spatial[axis] or 0) - wanted[axis]
        if total < 0:
            more[axis], total = more[axis] - total, 0
        half = total // 2
        pairs.append((half, total - half) if automatic != "SAME_LOWER" else (total - half, half))
    if wanted is not None and automatic == "NOTSET":
        pairs = [(after, before) for before, after in pairs]
    if all(before == after for before, after in pairs):
        return tuple(before for before, _ in pairs), tuple(more)
    return tuple(pairs), tuple(more)


def _fits_layer(padding: Padding, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether a pooling layer takes this padding: at most half the window."""
    if isinstance(padding, str):
        return padding != "same_lower"
    for sides, k, d in zip(padding, kernel, dilation, strict=True):
        before, after = sides if isinstance(sides, tuple) else (sides, sides)
        extent = d * (k - 1) + 1
        if 2 * min(before, after) > extent or max(before, after) >= extent:
            return False
    return True


class _Window:
    """The attributes that all poolings share."""

    def __init__(self, node: OnnxNode) -> None:
        self.kernel = node.ints("kernel_shape")
        if not self.kernel:
            raise ModelFileError(f"{node.who}: has no kernel_shape")
        ndim = len(self.kernel)
        self.stride = node.ints("strides", (1,) * ndim)
        self.dilation = node.ints("dilations", (1,) * ndim)
        self.padding = padding_of(node, ndim)
        self.ceil_mode = bool(node.int("ceil_mode", 0))
        self.fits = ndim <= 3 and _fits_layer(self.padding, self.kernel, self.dilation)

    @property
    def all(self) -> dict[str, Any]:
        """The arguments of the operations."""
        return {
            "kernel_size": self.kernel,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }


def _max_pool(b: Builder, node: OnnxNode) -> None:
    window = _Window(node)
    x, dtype = node.input(0), b.dtype_of(node.input(0))
    if dtype is not None and "float" not in dtype:
        x = b.apply(op.Cast(b.dtype, follows=True), x)
    cast_back = x != node.input(0)
    output = b.fresh("pooled") if cast_back else node.outputs[0]
    if window.fits:
        layer: Any = _MAX_POOLS[len(window.kernel)](
            window.kernel, window.stride, window.padding, window.dilation, False, window.ceil_mode
        )
    else:
        layer = op.MaxPooling(**window.all)
    b.emit(layer, [x], [output])
    if cast_back:
        b.emit(op.Cast(dtype), [output], node.outputs[:1])
    if node.has_output(1):
        positions = op.MaxPositions(**window.all, column_major=bool(node.int("storage_order", 0)))
        b.emit(positions, [x], node.outputs[1:])


def _average_pool(b: Builder, node: OnnxNode) -> None:
    window = _Window(node)
    include = bool(node.int("count_include_pad", 0))
    if window.fits:
        layer: Any = _AVG_POOLS[len(window.kernel)](
            window.kernel,
            window.stride,
            window.padding,
            window.ceil_mode,
            include,
            None,
            window.dilation,
        )
    else:
        layer = op.AveragePooling(**window.all, count_include_pad=include)
    b.emit(layer, node.inputs, node.outputs)


def _lp_pool(b: Builder, node: OnnxNode) -> None:
    """The p-th root of the sum of p-th powers, made of a sum and two powers."""
    window = _Window(node)
    p = node.int("p", 2)
    if p < 1:
        raise UnsupportedError(f"p={p} is no norm")
    size = b.apply(op.Absolute(), node.input(0))
    size = b.apply(op.Power(), size, b.number(p))
    size = b.apply(op.AveragePooling(**window.all, divisor_override=1), size)
    b.emit(op.Power(), [size, b.number(1.0 / p)], node.outputs)


def _global_pool(kind: str, b: Builder, node: OnnxNode) -> None:
    rank = b.rank(node.input(0))
    known = None if rank is None else _GLOBAL_POOLS[kind].get(rank - 2)
    layer = op.GlobalPooling(kind) if known is None else known(keepdims=True)
    b.emit(layer, node.inputs, node.outputs)


def _col2im(b: Builder, node: OnnxNode) -> None:
    ndim = (
        len(node.ints("pads", ())) // 2
        or len(node.ints("strides", ()))
        or len(node.ints("dilations", ()))
    )
    layer = op.Col2Im(
        node.ints("strides", 1) if node.has("strides") else 1,
        padding_of(node, ndim) if node.has("pads") else 0,
        node.ints("dilations") if node.has("dilations") else 1,
    )
    b.emit(layer, node.inputs, node.outputs)


HANDLERS: dict[str, Handler] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "LpPool": _lp_pool,
    "GlobalAveragePool": partial(_global_pool, "mean"),
    "GlobalMaxPool": partial(_global_pool, "max"),
    "Col2Im": _col2im,
}
