"""Convolution of CuPy arrays: cuDNN, and where it has no plan, im2col and cuBLAS.

Everything here works on channels-last memory. One dimension is computed as two, of which the first
has length 1.
"""

from __future__ import annotations

from functools import partial
from math import prod
from types import ModuleType
from typing import Any, NamedTuple

from xpcnn._xp import Array, dtype_name
from xpcnn.kernels.cuda import columns, cudnn, elementwise, source
from xpcnn.kernels.cuda.cudnn import B, Problem, Product, W, X, Y
from xpcnn.kernels.lifting import lift, lift_window, lower
from xpcnn.kernels.trace import Declined, note
from xpcnn.kernels.workspace import batch_chunks
from xpcnn.ops import conv as generic
from xpcnn.ops import conv_transpose
from xpcnn.window import Ints, Window


class ConvState(NamedTuple):
    """What the backward needs; all of it channels-last and with two dimensions at least."""

    x: Array
    w: Array
    has_bias: bool
    gate: Array | None
    """The result, where ReLU came after the convolution."""


Result = tuple[Array, ConvState] | Declined


def _forward(
    relu: bool, xp: ModuleType, x: Array, w: Array, b: Array | None, window: Window, groups: int
) -> Result:
    """Convolve; with `relu`, replace negative results by zero. See :mod:`xpcnn.ops.conv`."""
    if declined := _refusal(window, x, w, b):
        return declined
    window = lift_window(window)
    with _on_device_of(x):
        image, filters = cudnn.channels_last(xp, lift(x)), cudnn.channels_last(xp, lift(w))
        bias = None if b is None else cudnn.aligned(xp, b)
        result = _convolve(xp, image, filters, bias, window, groups, relu)
    if isinstance(result, Declined):
        return result
    state = ConvState(image, filters, b is not None, result if relu else None)
    return lower(result, x.ndim), state


conv_forward, conv_relu_forward = partial(_forward, False), partial(_forward, True)


def _backward(
    transposed: bool, xp: ModuleType, dy: Array, saved: ConvState, window: Window, groups: int,
    need_dx: bool,
) -> tuple[Array | None, Array, Array | None]:  # fmt: skip
    """Return the gradients (dx, dw, db), of a convolution with or without ReLU behind it.

    For a transposed one the products are those of the convolution that it undoes: there `x` is
    the result, and its gradient a forward.
    """
    x, w, has_bias, gate = saved
    window = lift_window(window)
    with _on_device_of(x):
        d = cudnn.channels_last(xp, lift(dy))
        if gate is not None:
            d = elementwise.apply(xp, "gate", d, gate)
        dw = source.empty(xp, w.shape, w, last=True)
        dx = source.empty(xp, x.shape, x, last=True) if need_dx else None
        image, result = (d, x) if transposed else (x, d)
        done = _by_cudnn("dw", {X: image, W: dw, Y: result}, window)
        if done and dx is not None and transposed:
            done = _by_cudnn("y", {X: d, W: w, Y: dx}, window)
        elif done and dx is not None:
            done = _by_cudnn("dx", {X: dx, W: w, Y: d}, window)
        if not done and transposed:
            dx, dw, _ = conv_transpose.backward(xp, d, (x, w, False), window, groups, need_dx)
        elif not done:
            dx, dw = _gradients_by_columns(xp, d, x, w, window, groups, need_dx)
        db = _sum_pixels(xp, d) if has_bias else None
        # Parameters, and what optimizers keep, are in the order of their axes.
        dw = xp.ascontiguousarray(lower(dw, dy.ndim))
        return (None if dx is None else lower(dx, dy.ndim)), dw, db


conv_backward, conv_transpose_backward = partial(_backward, False), partial(_backward, True)


def conv_transpose_forward(
    xp: ModuleType, x: Array, w: Array, b: Array | None, window: Window, out: Ints, groups: int
) -> Result:
    """Run a convolution backwards; see :func:`xpcnn.ops.conv_transpose.forward`.

    The gradient of the input, by cuDNN alone.
    """
    if declined := _refusal(window, x, w, b):
        return declined
    if window.output_shape(out) != tuple(x.shape[2:]):
        return Declined("output_padding that leaves room for another window")
    window = lift_window(window)
    with _on_device_of(x):
        image, filters = cudnn.channels_last(xp, lift(x)), cudnn.channels_last(xp, lift(w))
        size = (1, *out) if x.ndim == 3 else out
        y = source.empty(xp, (x.shape[0], w.shape[1] * groups, *size), x, last=True)
        if not _by_cudnn("dx", {X: y, W: filters, Y: image}, window):
            return Declined("cuDNN has no plan")
        note("cuDNN")
        if b is not None:
            rows = _pixels(xp, y)
            rows += b
    return lower(y, x.ndim), ConvState(image, filters, b is not None, None)


# -- Which way -----------------------------------------------------------------------------------


def _on_device_of(x: Array) -> Any:
    """Return what makes the device of x the current one."""
    return x.device


def _refusal(window: Window, *arrays: Array | None) -> Declined | None:
    if window.ndim > 3:
        return Declined(f"{window.ndim} spatial dimensions")
    return source.refusal(*arrays)


def _convolve(
    xp: ModuleType, x: Array, w: Array, b: Array | None, window: Window, groups: int, relu: bool
) -> Array | Declined:
    """Return the result; cuDNN does all of it at once, or the products alone, or nothing."""
    shape = (x.shape[0], w.shape[0], *window.output_shape(x.shape[2:]))
    y = source.empty(xp, shape, x, last=True)
    arrays = {X: x, W: w, Y: y}
    if _by_cudnn("y", arrays if b is None else arrays | {B: b}, window, relu):
        return y
    has_more = b is not None or relu
    if not (has_more and _by_cudnn("y", arrays, window)):
        try:
            _by_columns(xp, x, w, window, groups, y)
        except MemoryError:
            raise
        except Exception as error:  # no compiler, most likely
            return Declined(f"neither cuDNN nor im2col works ({_without_columns(error)})")
    if b is not None:
        rows = _pixels(xp, y)
        rows += b
    return elementwise.apply(xp, "relu_forward", y) if relu else y


def _by_cudnn(
    product: Product, arrays: dict[int, Array], window: Window, relu: bool = False
) -> bool:
    """Compute one product; says whether cuDNN did."""
    x, w = arrays[X], arrays[W]
    shapes = tuple(x.shape), tuple(w.shape)
    settings = cudnn.get_settings()
    problem = Problem(product, *shapes, window, dtype_name(x), B in arrays, relu, settings)
    done = cudnn.execute(problem, arrays)
    if done and product == "y":
        note("cuDNN")
    return done


# -- im2col and cuBLAS ---------------------------------------------------------------------------
#
# A row of the columns is what the window sees at one position, all channels of a tap side by side.
# So y = columns @ filters^T is channels-last, and so are the gradients.


def _by_columns(xp: ModuleType, x: Array, w: Array, window: Window, groups: int, y: Array) -> None:
    """Write the convolution to y."""
    cudnn.set_compute_type()
    filters, rows = _filter_matrices(xp, w, groups), _pixels(xp, y)
    positions = prod(y.shape[2:])
    for chunk in batch_chunks(x, generic.column_bytes(x.shape[1], w, positions)):
        gathered = _columns(xp, x[chunk, ...], window, groups)
        product = _product(xp, gathered, filters.transpose(0, 2, 1))
        rows[chunk.start * positions : chunk.stop * positions] = _join(product)
    note("im2col and cuBLAS")


def _gradients_by_columns(
    xp: ModuleType, dy: Array, x: Array, w: Array, window: Window, groups: int, need_dx: bool
) -> tuple[Array | None, Array]:
    """Return (dx, dw); by the generic kernels if there is no compiler."""
    try:
        return _column_gradients(xp, dy, x, w, window, groups, need_dx)
    except MemoryError:
        raise
    except Exception as error:
        _without_columns(error)
        dx, dw, _ = generic.backward(xp, dy, (x, w, False), window, groups, need_dx)
        return dx, dw


def _column_gradients(
    xp: ModuleType, dy: Array, x: Array, w: Array, window: Window, groups: int, need_dx: bool
) -> tuple[Array | None, Array]:
    cudnn.set_compute_type()
    filters, rows = _filter_matrices(xp, w, groups), _pixels(xp, dy)
    positions, sums = prod(dy.shape[2:]), source.computed(dtype_name(w))
    dx = source.empty(xp, x.shape, x, last=True) if need_dx else None
    dw: Any = 0.0
    for chunk in batch_chunks(x, generic.column_bytes(x.shape[1], w, positions)):
        d = _split(rows[chunk.start * positions : chunk.stop * positions], groups)
        gathered = _columns(xp, x[chunk, ...], window, groups)
        dw = dw + _product(xp, d.transpose(0, 2, 1), gathered).astype(sums)
        if dx is not None:
            spread = _join_columns(_product(xp, d, filters), window)
            dx[chunk, ...] = columns.col2im(xp, spread, x[chunk, ...].shape, window)
    shape = (w.shape[0], *w.shape[2:], w.shape[1])
    return dx, xp.moveaxis(dw.astype(w.dtype).reshape(shape), -1, 1)


def _without_columns(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    cudnn.warn_once("columns", f"convolution goes without im2col on the GPU: {text}")
    return text


def _pixels(xp: ModuleType, x: Array) -> Array:
    """View channels-last (N, C, *spatial) as (N * pixels, C)."""
    return xp.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def _filter_matrices(xp: ModuleType, w: Array, groups: int) -> Array:
    """View channels-last filters (O, C / groups, *kernel) as (groups, O / groups, taps * C)."""
    return xp.moveaxis(w, 1, -1).reshape(groups, w.shape[0] // groups, -1)


def _columns(xp: ModuleType, x: Array, window: Window, groups: int) -> Array:
    """Gather the columns, (groups, N * positions, taps * channels of the group)."""
    rows = columns.im2col(xp, x, window)
    by_tap = rows.reshape(len(rows), window.taps, groups, -1)
    return by_tap.transpose(2, 0, 1, 3).reshape(groups, len(rows), -1)


def _join_columns(gathered: Array, window: Window) -> Array:
    """Undo the grouping of :func:`_columns`."""
    groups, rows, _ = gathered.shape
    by_tap = gathered.reshape(groups, rows, window.taps, -1)
    return by_tap.transpose(1, 2, 0, 3).reshape(rows, -1)


def _split(rows: Array, groups: int) -> Array:
    """Turn (rows, channels) into (groups, rows, channels of the group)."""
    return rows.reshape(len(rows), groups, -1).transpose(1, 0, 2)


def _join(parts: Array) -> Array:
    """Undo :func:`_split`."""
    return parts.transpose(1, 0, 2).reshape(parts.shape[1], -1)


def _product(xp: ModuleType, a: Array, b: Array) -> Array:
    """Multiply matrices, group by group."""
    if len(a) == 1:
        return xp.matmul(a[0], b[0])[None]
    if dtype_name(a) == "bfloat16":  # CuPy 14 multiplies two matrices of it, but not many at once
        return xp.matmul(a.astype("float32"), b.astype("float32")).astype(a.dtype)
    return xp.matmul(a, b)


def _sum_pixels(xp: ModuleType, d: Array) -> Array:
    """Sum each channel, in float32 at least; line by line first, which keeps more threads busy."""
    lines = xp.moveaxis(d, 1, -1).reshape(d.shape[0] * d.shape[2], -1, d.shape[1])
    total = lines.sum(axis=1, dtype=source.computed(dtype_name(d))).sum(axis=0)
    return total.astype(d.dtype)
