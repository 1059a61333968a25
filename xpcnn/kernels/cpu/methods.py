"""Which way a convolution is computed: each of its three products by the method that is fastest.

Depthwise convolutions have kernels of their own. 3x3 convolutions of many channels go through
Winograd's transform (:mod:`xpcnn.kernels.cpu.winograd`) where that pays, unless exact sums are
wanted (:func:`xpcnn.set_precision`). Everything else is summed directly.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpcnn.kernels.cpu import conv, depthwise, sparse, winograd, winograd_volumes
from xpcnn.kernels.cpu.conv import Pair
from xpcnn.kernels.cpu.layout import (
    RELU,
    UNLIMITED,
    Image,
    Limits,
    as_image,
    in_order,
    new_output,
    source,
    takes_images,
)
from xpcnn.kernels.cpu.strips import GATE, UNPOOL, Source
from xpcnn.kernels.cpu.sums import sum_rows
from xpcnn.kernels.cpu.vector import WIDTH
from xpcnn.kernels.lifting import lift, lift_window, lower
from xpcnn.kernels.precision import get_precision
from xpcnn.kernels.trace import Declined, note
from xpcnn.window import Ints, Window

FEW_TILES = 12
"""Tiles below which reading transformed filters, four times as large, takes the longest."""


def conv_forward(
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, *, limits: Limits = UNLIMITED
) -> Any:
    """Convolve, and keep results between limits in the same pass; backward knows those of ReLU."""
    if declined := takes_images(x, w):
        return declined
    if w.shape[0] // groups < WIDTH and depthwise.takes(x, w, groups) is None:
        note("depthwise")
        y, saved = depthwise.conv_forward(xp, x, w, b, window, groups, limits=limits)
        return y, (True, saved)
    g, image = lift_window(window), lift(x)
    if winograd_pays(image.shape, w, g, groups):
        note("Winograd")
    y = lower(convolve(image, w, b, g, groups, limits), x.ndim)
    return y, (False, (x, w, b is not None, y if limits == RELU else None))


def conv_hardtanh_forward(
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, min_val: float, max_val: float
) -> Any:
    """Convolve, and keep results between two limits in the same pass."""
    found = conv_forward(xp, x, w, b, window, groups, limits=(min_val, max_val))
    if isinstance(found, Declined):
        return found
    y, saved = found
    return y, (saved, y, min_val, max_val)


def conv_hardtanh_backward(
    xp: Any, dy: Any, saved: Any, window: Window, groups: int, need_dx: bool
) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db)."""
    (is_depthwise, state), y, min_val, max_val = saved
    state = (*state[:-1], None)  # what is beyond the limits is dropped here, not by ReLU's gate
    dy = np.where((y > min_val) & (y < max_val), dy, np.float32(0))
    return conv_backward(xp, dy, (is_depthwise, state), window, groups, need_dx)


def convolve(
    x: np.ndarray, w: np.ndarray, b: Any, g: Window, groups: int, limits: Limits
) -> np.ndarray:
    """Convolve images (N, C, H, W) or volumes (N, C, D, H, W) by the method that is fastest."""
    if not winograd_pays(x.shape, w, g, groups):
        y = conv.forward(x, w, b, g, groups, limits)
        if len(w) < WIDTH:
            y, _ = in_order(None, y)  # most of the memory of a few filters is empty
        return y
    if x.ndim == 5:
        return winograd_volumes.forward(x, w, b, g, limits)
    n, _, *spatial = x.shape
    out = g.output_shape(spatial)
    flat, y = new_output(n, len(w), out, len(w))
    winograd.forward(
        as_image(source(x), n), n, tuple(spatial), _before(g), w, b, limits, flat,
        _strides(out, len(w)), out,
    )  # fmt: skip
    return y


def conv_backward(
    xp: Any, dy: Any, saved: Any, window: Window, groups: int, need_dx: bool
) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db), of a convolution with or without ReLU behind it."""
    is_depthwise, state = saved
    if is_depthwise:
        return depthwise.conv_backward(xp, dy, state, window, groups, need_dx)
    x, w, has_bias, gate = state
    d = lift(dy)
    what = source(d) if gate is None else source(d, GATE, lift(gate))
    return gradients(what, d.shape[2:], x, w, has_bias, window, groups, need_dx)


def gradients(
    d: Source, out: Ints, x: Any, w: Any, has_bias: bool, window: Window, groups: int,
    need_dx: bool,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Return (dx, dw, db); `d` is the gradient of the convolution's output."""
    g, image = lift_window(window), lift(x)
    is_sparse = d.given[0] == UNPOOL and sparse.pays(g, w.shape[1], (d.given[12], d.given[13]))
    pays = not is_sparse and winograd_pays(image.shape, w, g, groups, weights=True)
    pays_dx = need_dx and winograd_pays(image.shape, w, g, groups, dx=True)
    if x.ndim == 5:
        return _volume_gradients(d, out, x, w, has_bias, g, groups, need_dx, pays, pays_dx)
    whole = as_image(d, len(image)) if pays or pays_dx else None
    dx = None
    if whole is not None and pays_dx:
        dx = winograd_input_gradient(whole, out, image.shape, w, g)
    elif need_dx:
        dx = conv.input_gradient(d, out, image.shape, w, g, groups)
    db: np.ndarray | None
    if is_sparse:
        dw, db = sparse.weight_gradient(image, d, w, g)
    elif whole is not None and pays:
        n, channels, *spatial = image.shape
        dw = winograd.weight_gradient(
            as_image(source(image), n), n, tuple(spatial), _before(g), whole, out, len(w), channels
        )
        db = channel_sums(whole, len(image), out, w.shape[0]) if has_bias else None
    else:
        dw, db = conv.weight_gradient(image, d, out, w, g, groups)
    return (
        None if dx is None else lower(dx, x.ndim),
        dw.reshape(w.shape),
        db if has_bias else None,
    )


def _volume_gradients(
    d: Source, out: Ints, x: Any, w: Any, has_bias: bool, g: Window, groups: int, need_dx: bool,
    pays: bool, pays_dx: bool,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Return (dx, dw, db) for volumes; `pays` and `pays_dx` say where Winograd's transform does."""
    dx = None
    if need_dx and pays_dx:
        dx = winograd_volumes.input_gradient(d, out, x.shape, w, g)
    elif need_dx:
        dx = conv.input_gradient(d, out, x.shape, w, g, groups)
    if pays:
        dw, db = winograd_volumes.weight_gradient(x, d, out, w, g)
    else:
        dw, db = conv.weight_gradient(x, d, out, w, g, groups)
    return dx, dw.reshape(w.shape), db if has_bias else None


def winograd_pays(
    shape: tuple[int, ...], w: Any, g: Window, groups: int, *, weights: bool = False,
    dx: bool = False,
) -> bool:  # fmt: skip
    """Whether Winograd's transform is allowed and faster, for one of the three products."""
    kinds = (weights, dx, get_precision())
    return _winograd_pays(tuple(shape), w.shape[0], g, groups, *kinds)


@lru_cache(maxsize=1024)
def _winograd_pays(
    shape: tuple[int, ...], filters: int, g: Window, groups: int, weights: bool, dx: bool,
    precision: str,
) -> bool:  # fmt: skip
    if g.ndim == 3:
        if dx and g.stride[0] > 1:
            return False
        n, channels, *spatial = shape
        planes = spatial[0] if dx else g.output_shape(spatial)[0]
        more = g.kernel[0]  # taps in depth count as channels
        images = (n * planes, channels if dx else channels * more, *spatial[1:])
        plane = Window(g.kernel[1:], g.stride[1:], g.padding[1:], g.dilation[1:])
        filters *= more if dx else 1
        return _winograd_pays(images, filters, plane, groups, weights, dx, precision)
    plain = g.kernel == (3, 3) and g.stride == g.dilation == (1, 1) and groups == 1
    if not plain or max(g.padding[0][0], g.padding[1][0]) > 2 or precision == "exact":
        return False
    n, channels, *spatial = shape
    if not weights and n * -(-spatial[0] // 4) * -(-spatial[1] // 4) < FEW_TILES:
        return False
    if dx:
        return winograd.pays(n, filters, channels, tuple(spatial))
    return winograd.pays(n, channels, filters, g.output_shape(spatial), weights=weights)


def channel_sums(d: Image, n: int, out: Ints, channels: int) -> np.ndarray:
    """Sum each channel of some images or volumes."""
    if d.image == prod(out) * channels:
        return sum_rows(d.flat.reshape(-1, channels))
    planes, height, width = (1, *out)[-3:]
    distances = (d.image, d.plane, d.line, d.pixel, 1)
    image = as_strided(
        d.flat, (n, planes, height, width, channels), tuple(4 * step for step in distances)
    )
    total: np.ndarray = image.sum(axis=(0, 1, 2, 3), dtype=np.float64).astype(np.float32)
    return total


def winograd_input_gradient(
    d: Image, out: Pair, shape: tuple[int, ...], w: np.ndarray, g: Window
) -> np.ndarray:
    """Return the gradient of an input of that shape by Winograd's transform, channels last."""
    n, channels, height, width = shape
    flat, dx = new_output(n, channels, (height, width), channels)
    before = (2 - g.padding[0][0], 2 - g.padding[1][0])
    strides = _strides((height, width), channels)
    winograd.input_gradient(d, n, out, before, w, flat, strides, (height, width))
    return dx


def _before(g: Window) -> Pair:
    """Return the padding at the top and on the left."""
    return g.padding[0][0], g.padding[1][0]


def _strides(size: Pair, channels: int) -> tuple[int, int, int]:
    """Return the distances of images, lines and pixels, channels last and dense."""
    return size[0] * size[1] * channels, size[1] * channels, channels
