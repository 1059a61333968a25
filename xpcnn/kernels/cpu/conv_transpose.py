"""Transposed convolution: the products of convolution, each in the place of another.

Forward is its gradient of the input, and the gradient of the input is its forward.
"""

from __future__ import annotations

from typing import Any

from xpcnn.kernels.cpu import conv, methods, winograd_volumes
from xpcnn.kernels.cpu.epilogue import NOTHING
from xpcnn.kernels.cpu.layout import as_image, in_order, source, takes_images
from xpcnn.kernels.cpu.vector import WIDTH
from xpcnn.kernels.lifting import lift, lift_window, lower
from xpcnn.kernels.trace import Declined, note
from xpcnn.window import Ints, Window


def forward(xp: Any, x: Any, w: Any, b: Any, window: Window, out: Ints, groups: int) -> Any:
    """Run a convolution backwards; see :func:`xpcnn.ops.conv_transpose.forward`."""
    if declined := takes_images(x, w):
        return declined
    if window.output_shape(out) != tuple(x.shape[2:]):
        return Declined("output_padding that leaves room for another window")
    g, image = lift_window(window), lift(x)
    d, positions = source(image), image.shape[2:]
    shape = (len(x), w.shape[1] * groups, *((1, *out) if x.ndim == 3 else out))
    if methods.winograd_pays(shape, w, g, groups, dx=True):
        note("Winograd")
        if x.ndim == 5:
            y = winograd_volumes.input_gradient(d, positions, shape, w, g)
        else:
            y = methods.winograd_input_gradient(as_image(d, len(x)), positions, shape, w, g)
        if b is not None:
            y += b.reshape(-1, *(1,) * (y.ndim - 2))
    else:
        y = conv.input_gradient(d, positions, shape, w, g, groups, b)
        if y.shape[1] < WIDTH:
            y, _ = in_order(None, y)  # most of the memory of a few channels is empty
    return lower(y, x.ndim), (x, w, b is not None)


def backward(
    xp: Any, dy: Any, saved: Any, window: Window, groups: int, need_dx: bool
) -> tuple[Any, Any, Any]:
    """Return the gradients (dx, dw, db)."""
    x, w, has_bias = saved
    image = lift(dy)
    dx = None
    if need_dx:
        dx = lower(methods.convolve(image, w, None, lift_window(window), groups, NOTHING), x.ndim)
    d = source(lift(x))
    _, dw, _ = methods.gradients(d, lift(x).shape[2:], dy, w, False, window, groups, False)
    db = None
    if has_bias:
        n, channels, *size = image.shape
        db = methods.channel_sums(as_image(source(image), n), n, tuple(size), channels)
    return dx, dw, db
