"""Several operations in one, where a kernel set has them."""

from __future__ import annotations

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.window import Window


def conv_relu_max_pool_forward(
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    groups: int,
    pool: Window,
    *,
    training: bool = True,
) -> tuple[Array, kernels.Saved] | None:
    """Compute ``max_pool(relu(conv(x, w) + b))`` in one go.

    Returns
    -------
    (y, saved) or None
        ``None`` if no kernel set takes these arguments; the caller then runs the three operations.
        With ``training=False`` the saved part is of no use.
    """
    xp = _xp.namespace(x, w, b)
    return kernels.run(xp, "conv_relu_max_pool", x, w, b, window, groups, pool, training=training)


def conv_relu_max_pool_backward(
    dy: Array, saved: kernels.Saved, window: Window, groups: int, pool: Window, need_dx: bool
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db)."""
    xp = _xp.namespace(dy)
    gradients: tuple[Array | None, Array, Array | None]
    gradients = saved.backward(xp, dy, saved.state, window, groups, pool, need_dx)
    return gradients
