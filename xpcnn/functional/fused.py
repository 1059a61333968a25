"""Several operations in one, where a kernel set has them."""

from __future__ import annotations

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.window import Window


def conv_block_forward(
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    groups: int,
    pool: Window | None,
    *,
    training: bool = True,
    flat: bool = False,
) -> tuple[Array, kernels.Saved] | None:
    """Compute ``max_pool(relu(conv(x, w) + b))`` in one go; without `pool`, the ReLU is last.

    Returns
    -------
    (y, saved) or None
        ``None`` if no kernel set takes these arguments; the caller then runs the operations one by
        one. With ``training=False`` the saved part is of no use.
    """
    xp = _xp.namespace(x, w, b)
    if pool is None:
        return kernels.run(xp, "conv_relu", x, w, b, window, groups, training=training)
    return kernels.run(
        xp, "conv_relu_max_pool", x, w, b, window, groups, pool, training=training, flat=flat
    )


def conv_block_backward(
    dy: Array,
    saved: kernels.Saved,
    window: Window,
    groups: int,
    pool: Window | None,
    need_dx: bool,
) -> tuple[Array | None, Array, Array | None]:
    """Return the gradients (dx, dw, db)."""
    xp = _xp.namespace(dy)
    windows = (window, groups) if pool is None else (window, groups, pool)
    gradients: tuple[Array | None, Array, Array | None]
    gradients = saved.backward(xp, dy, saved.state, *windows, need_dx)
    return gradients
