"""The two halves of operations: a forward that keeps what its backward needs, and the backward.

They are the operations of :mod:`xpcnn.ops` under names of their own. A forward returns the output
and what it saved, the geometry included; ``saved(dy, ...)``, with the gradient of the output, is
the backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.kernels import Saved
from xpcnn.kernels.dispatch import OPS
from xpcnn.ops.checks import check_float
from xpcnn.ops.conv import CONV
from xpcnn.ops.conv_pool import CONV_RELU_MAX_POOL
from xpcnn.ops.conv_transpose import CONV_TRANSPOSE
from xpcnn.ops.embedding import EMBEDDING, host_indices
from xpcnn.ops.fused import CONV_RELU
from xpcnn.ops.linear import LINEAR
from xpcnn.ops.lp_pool import LP_POOL
from xpcnn.ops.pool import AVG_POOL, MAX_POOL, MAX_POOL_INDICES
from xpcnn.ops.resize import RESIZE
from xpcnn.window import Ints, Window

Gradients = tuple[Array | None, Array, Array | None]


def conv_forward(
    x: Array, w: Array, b: Array | None, window: Window, groups: int = 1, *, who: str = "conv"
) -> tuple[Array, Saved]:
    """Convolve and keep what the backward pass needs.

    Parameters
    ----------
    x : array of shape (N, C, *spatial)
    w : array of shape (O, C / groups, *kernel)
    b : array of shape (O,) or None
    window : Window
        Geometry; its kernel must be the spatial shape of `w`.
    groups : int
        The input and output channels are cut into this many independent convolutions.
    who : str
        Name for error messages.

    Returns
    -------
    y : array of shape (N, O, *out)
    saved : Saved
        To be given to :func:`conv_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the kernel does not fit into the padded input.
    TypeError
        If the arrays come from different libraries or differ in dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x, w, b = np.array([[[1.0, 2.0, 4.0]]]), np.array([[[1.0, 10.0]]]), np.array([0.5])
    >>> window = F.pool_window((3,), (2,), (1,), (0,), (1,), False, "example")
    >>> y, saved = F.conv_forward(x, w, b, window)
    >>> y.tolist()
    [[[21.5, 42.5]]]
    """
    return CONV(x, w, b, window, groups, who=who)


def conv_backward(dy: Array, saved: Saved, *, need_dx: bool = True) -> Gradients:
    """Return the gradients (dx, dw, db) of a convolution; dx is None unless `need_dx`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x, w, b = np.array([[[1.0, 2.0, 4.0]]]), np.array([[[1.0, 10.0]]]), np.array([0.5])
    >>> window = F.pool_window((3,), (2,), (1,), (0,), (1,), False, "example")
    >>> y, saved = F.conv_forward(x, w, b, window)
    >>> dx, dw, db = F.conv_backward(np.array([[[1.0, 100.0]]]), saved)
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[[1.0, 110.0, 1000.0]]], [[[201.0, 402.0]]], [101.0])
    """
    found: Gradients = saved(dy, need_dx)
    return found


def conv_transpose_forward(
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    out: Ints,
    groups: int = 1,
    *,
    who: str = "conv_transpose",
) -> tuple[Array, Saved]:
    """Run a convolution backwards and keep what the backward pass needs.

    Parameters
    ----------
    x : array of shape (N, I, *spatial)
    w : array of shape (I, O / groups, *kernel)
    b : array of shape (O,) or None
    window : Window
        As :func:`transposed_window` returns it, together with `out`.
    out : tuple of int
        Spatial size of the output.
    groups : int
    who : str
        Name for error messages.

    Returns
    -------
    y : array of shape (N, O, *out)
    saved : Saved
        To be given to :func:`conv_transpose_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    TypeError
        If the arrays come from different libraries or differ in dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x, w = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0]]])
    >>> window, out = F.transposed_window((2,), (2,), (1,), (0,), (0,), (1,), "example")
    >>> y, saved = F.conv_transpose_forward(x, w, None, window, out)
    >>> y.tolist()
    [[[1.0, 12.0, 20.0]]]
    """
    return CONV_TRANSPOSE(x, w, b, window, out, groups, who=who)


def conv_transpose_backward(dy: Array, saved: Saved, *, need_dx: bool = True) -> Gradients:
    """Return the gradients (dx, dw, db); dx is None unless `need_dx`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x, w = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0]]])
    >>> window, out = F.transposed_window((2,), (2,), (1,), (0,), (0,), (1,), "example")
    >>> y, saved = F.conv_transpose_forward(x, w, None, window, out)
    >>> dx, dw, db = F.conv_transpose_backward(np.array([[[1.0, 0.0, 3.0]]]), saved)
    >>> dx.tolist(), dw.tolist(), db
    ([[[1.0, 30.0]]], [[[1.0, 6.0]]], None)
    """
    return conv_backward(dy, saved, need_dx=need_dx)


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
) -> tuple[Array, Saved] | None:
    """Compute ``max_pool(relu(conv(x, w) + b))`` in one go; without `pool`, the ReLU is last.

    Returns
    -------
    (y, saved)
        With ``training=False`` the saved part is of no use.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x, w = np.array([[[1.0, -2.0, 4.0]]]), np.array([[[1.0, 1.0]]])
    >>> window = F.pool_window((3,), (2,), (1,), (0,), (1,), False, "example")
    >>> y, saved = F.conv_block_forward(x, w, None, window, 1, None)  # no pooling
    >>> y.tolist()
    [[[0.0, 2.0]]]
    """
    xp = _xp.namespace(x, w, b)
    found: tuple[Array, Saved]
    if pool is None:
        found = CONV_RELU.run(xp, x, w, b, window, groups)
    else:
        settings = {"training": training, "flat": flat}
        found = CONV_RELU_MAX_POOL.run(xp, x, w, b, window, groups, pool, **settings)
    return found


def conv_block_backward(dy: Array, saved: Saved, *, need_dx: bool = True) -> Gradients:
    """Return the gradients (dx, dw, db); dx is None unless `need_dx`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x, w = np.array([[[1.0, -2.0, 4.0]]]), np.array([[[1.0, 1.0]]])
    >>> window = F.pool_window((3,), (2,), (1,), (0,), (1,), False, "example")
    >>> y, saved = F.conv_block_forward(x, w, None, window, 1, None)  # 0 and 2
    >>> dy = np.array([[[10.0, 100.0]]])
    >>> dx, dw, db = F.conv_block_backward(dy, saved)
    >>> dx.tolist(), dw.tolist()
    ([[[0.0, 100.0, 100.0]]], [[[-200.0, 400.0]]])
    """
    return conv_backward(dy, saved, need_dx=need_dx)


def max_pool_forward(x: Array, window: Window, *, who: str = "max_pool") -> tuple[Array, Saved]:
    """Take the maximum under each window and keep what the backward pass needs.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> window = F.pool_window((4,), (2,), (2,), (0,), (1,), False, "example")
    >>> y, saved = F.max_pool_forward(np.array([[[1.0, 3.0, 2.0, 5.0]]]), window)
    >>> y.tolist()
    [[[3.0, 5.0]]]
    """
    return MAX_POOL(x, window, who=who)


def max_pool_indices_forward(
    x: Array, window: Window, *, who: str = "max_pool_indices"
) -> tuple[tuple[Array, Array], Saved]:
    """Take maxima and their places, and keep what :func:`pool_backward` needs for the maxima.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> window = F.pool_window((4,), (2,), (2,), (0,), (1,), False, "example")
    >>> x = np.array([[[1.0, 3.0, 2.0, 5.0]]])
    >>> (y, places), saved = F.max_pool_indices_forward(x, window)
    >>> y.tolist(), places.tolist()
    ([[[3.0, 5.0]]], [[[1, 3]]])
    """
    return MAX_POOL_INDICES(x, window, who=who)


def avg_pool_forward(
    x: Array, window: Window, divisor: np.ndarray | float, *, who: str = "avg_pool"
) -> tuple[Array, Saved]:
    """Average under each window and keep what the backward pass needs.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> window = F.pool_window((4,), (2,), (2,), (0,), (1,), False, "example")
    >>> y, saved = F.avg_pool_forward(np.array([[[1.0, 3.0, 2.0, 6.0]]]), window, 2.0)
    >>> y.tolist()
    [[[2.0, 4.0]]]
    """
    return AVG_POOL(x, window, divisor, who=who)


def pool_backward(dy: Array, saved: Saved) -> Array:
    """Return the gradient dx of a max or average pooling.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> window = F.pool_window((4,), (2,), (2,), (0,), (1,), False, "example")
    >>> y, saved = F.max_pool_forward(np.array([[[1.0, 3.0, 2.0, 5.0]]]), window)
    >>> F.pool_backward(np.array([[[10.0, 20.0]]]), saved).tolist()
    [[[0.0, 10.0, 0.0, 20.0]]]
    """
    dx: Array = saved(dy)
    return dx


def lp_pool_forward(
    x: Array, window: Window, divisor: np.ndarray | float, p: float, *, who: str = "lp_pool"
) -> tuple[Array, Saved]:
    """Take the power mean under each window and keep what the backward pass needs.

    `divisor` is that of an average, from :func:`avg_pool_divisor`. The average is multiplied by
    the size of the window afterwards, as in PyTorch: what ``ceil_mode`` leaves of a window at the
    border counts as if it were a whole one.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> window = F.pool_window((2,), (2,), (2,), (0,), (1,), False, "example")
    >>> y, saved = F.lp_pool_forward(np.array([[[3.0, 4.0]]]), window, 2.0, 2.0)
    >>> y.tolist()
    [[[5.0]]]
    """
    return LP_POOL(x, window, divisor / window.taps, p, who=who)


def lp_pool_backward(dy: Array, saved: Saved) -> Array:
    """Return the gradient dx of a power-mean pooling.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> window = F.pool_window((2,), (2,), (2,), (0,), (1,), False, "example")
    >>> y, saved = F.lp_pool_forward(np.array([[[3.0, 4.0]]]), window, 2.0, 2.0)
    >>> F.lp_pool_backward(np.array([[[10.0]]]), saved).round(6).tolist()
    [[[6.0, 8.0]]]
    """
    return pool_backward(dy, saved)


def linear_forward(
    x: Array, w: Array, b: Array | None, *, who: str = "linear"
) -> tuple[Array, Saved]:
    """Multiply the last axis of `x` by `w` and add `b`; keep what the backward pass needs.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> y, saved = F.linear_forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), None)
    >>> y.tolist()
    [[11.0]]
    """
    return LINEAR(x, w, b, who=who)


def embedding_forward(w: Array, indices: Array, *, who: str = "embedding") -> tuple[Array, Saved]:
    """Return the rows of w (V, D) that the integers in `indices` name, and what backward needs.

    Raises
    ------
    ValueError
        If an index is not from 0 to V - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> y, saved = F.embedding_forward(rows, np.array([1, 0, 1]))
    >>> y.tolist()
    [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    """
    return EMBEDDING(w, host_indices(w, indices, who), who=who)


def resize_forward(x: Array, axes: Any, *, who: str = "resize") -> tuple[Array, Saved]:
    """Resize some axes of x, each by its table, and keep what ``run_backward`` needs.

    Parameters
    ----------
    x : array
    axes : sequence of (axis, Taps)
        Axes count from 0.
    who : str
        Name for error messages.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> taps = F.nearest_taps(np.array([0.0, 0.0, 1.0]), 2)
    >>> y, saved = F.resize_forward(np.array([[5.0, 7.0]]), [(1, taps)])
    >>> y.tolist()
    [[5.0, 5.0, 7.0]]
    """
    return RESIZE(x, tuple(axes), who=who)


# -- Operations by name ---------------------------------------------------------------------------


def run(op: str, x: Array, *arguments: Any, who: str) -> tuple[Array, Saved]:
    """Run the forward of an operation that takes one array, and keep what backward needs.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> y, saved = F.run("relu", np.array([-1.0, 2.0]), who="example")
    >>> y.tolist()
    [0.0, 2.0]
    """
    xp = _xp.namespace(x, who=who)
    check_float(x, who)
    found: tuple[Array, Saved] = OPS[op].run(xp, x, *arguments)
    return found


def run_if_any(op: str, x: Array, *arguments: Any, **options: Any) -> tuple[Any, Saved] | None:
    """Run the forward of an operation that not every kernel set has; ``None`` if none takes it.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.run_if_any("no such operation", np.array([1.0])) is None
    True
    """
    found: tuple[Any, Saved] | None = kernels.run(_xp.namespace(x), op, x, *arguments, **options)
    return found


def run_backward(dy: Array, saved: Saved, *needs: bool) -> Any:
    """Run the backward that belongs to `saved`; `needs` says which gradients are needed.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> y, saved = F.run("relu", np.array([-1.0, 2.0]), who="example")
    >>> F.run_backward(np.array([10.0, 20.0]), saved).tolist()
    [0.0, 20.0]
    """
    return saved(dy, *needs)


def in_order(x: Array) -> Array:
    """Return x in the memory order of its axes, where a kernel does that faster than reshaping.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.in_order(np.array([[1.0, 2.0], [3.0, 4.0]]).T).tolist()  # the same elements
    [[1.0, 3.0], [2.0, 4.0]]
    """
    xp = _xp.namespace(x)
    result = kernels.run(xp, "in_order", x) if kernels.select(xp, "in_order") else None
    return x if result is None else result[0]


def concat(arrays: Sequence[Array], axis: int) -> Array:
    """Return arrays one behind the other along an axis, by a kernel where there is one for that.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.concat([np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])], 1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    xp = _xp.namespace(*arrays)
    result = None
    if kernels.select(xp, "concat"):
        result = kernels.run(xp, "concat", arrays[0], arrays[1:], axis)
    return xp.concat(arrays, axis=axis) if result is None else result[0]


def rearrange(x: Array, cut: Ints, order: Ints, merged: Ints) -> Array:
    """Cut the axes of x, bring the pieces into another order, and merge them again.

    Parameters
    ----------
    x : array
    cut : tuple of int
        The shape with the axes cut.
    order : tuple of int
        The new order of the pieces.
    merged : tuple of int
        The shape of the result.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> x = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> F.rearrange(x, cut=(1, 2, 2), order=(0, 2, 1), merged=(1, 4)).tolist()
    [[1.0, 3.0, 2.0, 4.0]]
    """
    xp = _xp.namespace(x)
    result = None
    if kernels.select(xp, "rearrange"):
        result = kernels.run(xp, "rearrange", x, cut, order, merged)
    if result is not None:
        return result[0]
    return xp.reshape(xp.permute_dims(xp.reshape(x, cut), order), merged)
