"""Linear layers: cuBLAS through CuPy; in a capture, where CuPy refuses it, cuDNN.

A linear layer is a convolution of images of a single pixel.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from xpcnn._xp import Array
from xpcnn.kernels.cuda import conv, cudnn, source
from xpcnn.kernels.trace import Declined, note
from xpcnn.ops import linear as generic
from xpcnn.window import Window

_PIXEL = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))


class _Pixels(NamedTuple):
    """What a forward as a convolution leaves for its backward."""

    state: Any
    shape: tuple[int, ...]


def linear_forward(xp: ModuleType, x: Array, w: Array, b: Array | None) -> Any:
    """Multiply the last axis of x (..., I) by w (O, I) and add b (O,)."""
    if not source.is_for_capture():
        cudnn.set_compute_type()
        note("cuBLAS")
        return generic.linear_forward(xp, x, w, b)
    result = conv.conv_forward(xp, _pixels(xp, x), w[:, :, None, None], b, _PIXEL, 1)
    if isinstance(result, Declined):
        return result
    y, state = result
    return xp.reshape(y, (*x.shape[:-1], w.shape[0])), _Pixels(state, tuple(x.shape))


def linear_backward(
    xp: ModuleType, dy: Array, saved: Any, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db)."""
    if not isinstance(saved, _Pixels):
        cudnn.set_compute_type()
        return generic.linear_backward(xp, dy, saved, need_dx)
    dx, dw, db = conv.conv_backward(xp, _pixels(xp, dy), saved.state, _PIXEL, 1, need_dx)
    return None if dx is None else xp.reshape(dx, saved.shape), xp.reshape(dw, dw.shape[:2]), db


def _pixels(xp: ModuleType, x: Array) -> Array:
    """View x (..., C) as images (N, C, 1, 1)."""
    return xp.reshape(x, (-1, x.shape[-1], 1, 1))
