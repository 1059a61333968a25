"""Which way a convolution is computed: each of its three products by the method that is fastest.

Depthwise convolutions have kernels of their own. 3x3 convolutions of many channels go through
Winograd's transform (:mod:`xpcnn.kernels.cpu.winograd`) where that pays, unless exact sums are
wanted (:func:`xpcnn.set_precision`). Everything else is summed directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpcnn.kernels.cpu import (
    activations,
    conv,
    depthwise,
    few,
    sparse,
    winograd,
    winograd_volumes,
)
from xpcnn.kernels.cpu.conv import Pair
from xpcnn.kernels.cpu.epilogue import NOTHING, RELU, Epilogue
from xpcnn.kernels.cpu.layout import (
    Image,
    as_image,
    dense_image,
    float32,
    in_order,
    in_place,
    new_output,
    source,
    takes_images,
)
from xpcnn.kernels.cpu.product import COLUMNS
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
    xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, *, epilogue: Epilogue = NOTHING,
    other: Any = None,
) -> Any:  # fmt: skip
    """Convolve, with a sum and an activation in the same pass; backward knows ReLU alone."""
    if declined := takes_images(x, w):
        return declined
    if other is not None and (declined := _adds(other, x, w, window, groups)):
        return declined
    if w.shape[0] // groups < WIDTH and depthwise.takes(x, w, groups) is None:
        note("depthwise")
        y, saved = depthwise.conv_forward(xp, x, w, b, window, groups, epilogue=epilogue)
        return y, (True, saved)
    g, image = lift_window(window), lift(x)
    if winograd_pays(image.shape, w, g, groups):
        note("Winograd")
    past = None if other is None else _in_rows(lift(other))
    y = lower(convolve(image, w, b, g, groups, epilogue, past), x.ndim)
    return y, (False, (x, w, b is not None, y if epilogue == RELU else None))


def _adds(other: Any, x: Any, w: Any, window: Window, groups: int) -> Declined | None:
    """Say why an array cannot be added to results at once; ``None`` if it can."""
    shape = (x.shape[0], w.shape[0], *window.output_shape(x.shape[2:]))
    if other.dtype != np.float32 or other.shape != shape:
        return Declined(f"a sum with {other.dtype} of shape {other.shape}")
    if lift(x).ndim > 4:
        return Declined("a sum behind a convolution of volumes")
    if w.shape[0] // groups % COLUMNS:
        return Declined(f"a sum behind {w.shape[0] // groups} filters, no multiple of {COLUMNS}")
    return None


def _in_rows(images: np.ndarray) -> np.ndarray:
    """Return the memory of images, channels last and dense; copies if it must."""
    n, channels, height, width = images.shape
    image, line, pixel = _strides((height, width), channels)
    what = source(images)
    if in_place(what) == (image, 1, line, pixel, 0):
        return what.flat
    return dense_image(what, n).flat


def conv_and_forward(
    name: str, xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, *options: Any,
    training: bool = True,
) -> Any:  # fmt: skip
    """Convolve, with the activation of some name in the same pass."""
    by_output = activations.tells_gradient(name)
    if training and not by_output:
        return Declined("backward needs what goes into the activation")
    epilogue = activations.epilogue_of(name, options)
    if isinstance(epilogue, Declined):
        return epilogue
    found = conv_forward(xp, x, w, b, window, groups, epilogue=epilogue)
    if isinstance(found, Declined):
        return found
    y, (is_depthwise, saved) = found
    if not by_output:
        return y, None
    # The activation has a gradient of its own, ReLU too if it is written with limits.
    conv_saved = is_depthwise, (*saved[:-1], None)
    return y, (conv_saved, activations.State(y, float32(epilogue.settings)))


def conv_and_backward(
    name: str, xp: Any, dy: Any, saved: Any, window: Window, groups: int, need_dx: bool
) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db), of an activation that tells its own from its output."""
    conv_saved, state = saved
    dy = activations.backward(name, xp, dy, state)
    return conv_backward(xp, dy, conv_saved, window, groups, need_dx)


def conv_add_forward(
    name: str, xp: Any, x: Any, w: Any, b: Any, window: Window, groups: int, other: Any,
    *options: Any, training: bool = True,
) -> Any:  # fmt: skip
    """Convolve, add another array, and apply the activation of some name, without training."""
    if training:
        return Declined("backward goes through each by itself")
    epilogue = activations.epilogue_of(name, options)
    if isinstance(epilogue, Declined):
        return epilogue
    found = conv_forward(xp, x, w, b, window, groups, epilogue=epilogue, other=other)
    return found if isinstance(found, Declined) else (found[0], None)


def conv_concat_forward(xp: Any, convolutions: Sequence[Sequence[Any]]) -> Any:
    """Convolve several images, each result in its place among the channels of one array.

    Each convolution is given by image, filters, bias, window, groups, and the name of its
    activation ("" for none) with its options.
    """
    epilogues, shapes = [], set()
    for x, w, _, window, groups, name, *options in convolutions:
        if declined := takes_images(x, w):
            return declined
        if groups != 1 or w.shape[0] % COLUMNS:
            return Declined(f"{w.shape[0]} filters in {groups} groups, no multiple of {COLUMNS}")
        epilogue = activations.epilogue_of(name, tuple(options))
        if isinstance(epilogue, Declined):
            return epilogue
        epilogues.append(epilogue)
        shapes.add((x.shape[0], *window.output_shape(x.shape[2:])))
    if len(shapes) > 1:
        return Declined("results of several sizes")
    first = convolutions[0][0]
    total = sum(w.shape[0] for _, w, *_ in convolutions)
    ((n, *spatial),) = shapes
    out = (1, *spatial) if first.ndim == 3 else tuple(spatial)
    flat, y = new_output(n, total, out, total)
    start = 0
    for (x, w, b, window, *_), epilogue in zip(convolutions, epilogues, strict=True):
        _convolve_into(lift(x), w, b, lift_window(window), 1, epilogue, flat[start:], total)
        start += w.shape[0]
    return lower(y, first.ndim), None


def convolve(
    x: np.ndarray, w: np.ndarray, b: Any, g: Window, groups: int, epilogue: Epilogue,
    other: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Convolve images or volumes by the method that is fastest; `other` as in `conv.forward`."""
    (n, _, *spatial), filters = x.shape, len(w)
    out = g.output_shape(spatial)
    if few.takes(w, g, groups, out):
        return few.forward(x, w, b, g, out, epilogue)
    row = filters
    if not winograd_pays(x.shape, w, g, groups):
        row = conv.output_row(groups, filters // groups, -(-filters // groups // COLUMNS))
    flat, y = new_output(n, filters, out, row)
    _convolve_into(x, w, b, g, groups, epilogue, flat, row, other)
    if filters < WIDTH:
        y, _ = in_order(None, y)  # most of the memory of a few filters is empty
    return y


def _convolve_into(
    x: np.ndarray, w: np.ndarray, b: Any, g: Window, groups: int, epilogue: Epilogue,
    flat: np.ndarray, row: int, other: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Write a convolution to memory with the channels last and pixels `row` numbers apart."""
    if not winograd_pays(x.shape, w, g, groups):
        conv.forward(x, w, b, g, groups, epilogue, flat, row, other)
        return
    if x.ndim == 5:
        winograd_volumes.forward(x, w, b, g, epilogue, flat, row)
        return
    n, _, *spatial = x.shape
    out = g.output_shape(spatial)
    winograd.forward(
        as_image(source(x), n), n, tuple(spatial), _before(g), w, b, epilogue, flat,
        _strides(out, row), out, other,
    )  # fmt: skip


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
