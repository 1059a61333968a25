"""Linear layers: cuBLAS through CuPy, told first how to multiply float32 numbers."""

from __future__ import annotations

from types import ModuleType

from xpcnn._xp import Array
from xpcnn.kernels.cuda import cudnn
from xpcnn.kernels.generic import linear as generic
from xpcnn.kernels.trace import note


def linear_forward(
    xp: ModuleType, x: Array, w: Array, b: Array | None
) -> tuple[Array, generic.LinearState]:
    """Multiply the last axis of x (..., I) by w (O, I) and add b (O,)."""
    cudnn.set_compute_type()
    note("cuBLAS")
    return generic.linear_forward(xp, x, w, b)


def linear_backward(
    xp: ModuleType, dy: Array, saved: generic.LinearState, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db)."""
    cudnn.set_compute_type()
    return generic.linear_backward(xp, dy, saved, need_dx)
