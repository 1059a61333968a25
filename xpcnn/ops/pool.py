"""Max and average pooling of any spatial rank.

A pooling window has few taps, so both directions loop over the taps and treat all window positions
at once: tap t of every window is one strided slice of the padded input.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op
from xpcnn.ops.checks import check_floats, check_image, check_spatial
from xpcnn.ops.im2col import crop_spatial, pad_spatial
from xpcnn.ops.select import beats, renumber
from xpcnn.ops.sums import mean
from xpcnn.ops.tables import along
from xpcnn.window import Ints, Pairs, Window, as_window

MaxPoolState = tuple[Array, Ints]
AvgPoolState = tuple[Array, Ints]


def pool_window(
    spatial: Ints,
    kernel: Ints,
    stride: Ints,
    padding: str | Ints | Pairs,
    dilation: Ints,
    ceil_mode: bool,
    who: str,
) -> Window:
    """Make the window of a pooling for one input size.

    Raises
    ------
    ValueError
        If the padding is more than half the window (a window could then lie wholly in it), or the
        window does not fit into the padded input.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> window = F.pool_window((5,), (2,), (2,), (0,), (1,), False, "example")
    >>> window.output_shape((5,))
    (2,)
    >>> F.pool_window((5,), (2,), (2,), (0,), (1,), True, "example").output_shape((5,))
    (3,)
    """
    window = Window.resolve(spatial, kernel, stride, padding, dilation)
    if not is_half_padded(window):
        raise ValueError(
            f"{who}: padding may be at most half the window, got padding {window.padding} "
            f"with a window covering {window.extent}"
        )
    if ceil_mode:
        window = window.with_ceil(spatial)
    window.output_shape(spatial, who)
    return window


def is_half_padded(window: Window) -> bool:
    """Whether the padding is at most half the window, as pooling layers want it."""
    return all(
        2 * min(sides) <= extent and max(sides) < extent
        for sides, extent in zip(window.padding, window.extent, strict=True)
    )


def check(who: str, x: Array, window: Window, *_: Any) -> None:
    """Raise unless the window is for such images."""
    check_image(x, window.ndim, who)


def max_pool_forward(xp: ModuleType, x: Array, window: Window) -> tuple[Array, MaxPoolState]:
    """Take the largest element under each window; padding never wins, NaN always does.

    Saved is the number of the winning tap: of equal ones the first, of several NaN the last.
    """
    out = window.output_shape(x.shape[2:])
    padded = pad_spatial(xp, x, window, -xp.inf)
    winner = _first_real_tap(xp, x, window, out)
    best = padded[window.tap((0,) * window.ndim, out)]
    for number, offset in enumerate(window.offsets()):
        if number > 0:
            value = padded[window.tap(offset, out)]
            winner = renumber(xp, beats(xp, value, best), number, winner)
            best = xp.maximum(best, value)
    if window.taps == 1:
        best = xp.asarray(best, copy=True)
    return best, (winner, tuple(x.shape))


def max_pool_backward(xp: ModuleType, dy: Array, saved: MaxPoolState, window: Window) -> Array:
    """Send each gradient to the element that won."""
    winner, shape = saved
    shares = (_xp.zero_where(winner != number, dy) for number in range(window.taps))
    return _spread(xp, dy, shares, shape, window)


def _spread(
    xp: ModuleType, dy: Array, shares: Iterable[Array], shape: Ints, window: Window
) -> Array:
    """Add to what each tap sees its share of the gradient; the input had this shape."""
    out = tuple(dy.shape[2:])
    padded_shape = (*shape[:2], *window.padded_shape(shape[2:]))
    dx = xp.zeros(padded_shape, dtype=dy.dtype, device=_xp.device_of(dy))
    for offset, share in zip(window.offsets(), shares, strict=True):
        dx = _xp.add_at(dx, window.tap(offset, out), share)
    return crop_spatial(dx, window, shape[2:])


def max_pool_indices_forward(
    xp: ModuleType, x: Array, window: Window
) -> tuple[tuple[Array, Array], MaxPoolState]:
    """Take the largest element under each window, and its place in the image.

    Places are counted row by row in the input without its padding, each channel by itself. The
    first of equal elements wins, and the last NaN.
    """
    out = window.output_shape(x.shape[2:])
    padded = pad_spatial(xp, x, window, -xp.inf)
    winner = xp.astype(_first_real_tap(xp, x, window, out), xp.int32)
    best = padded[window.tap((0,) * window.ndim, out)]
    for number, offset in enumerate(window.offsets()):
        if number > 0:
            value = padded[window.tap(offset, out)]
            wins = beats(xp, value, best)
            winner = xp.where(wins, number, winner)
            best = xp.where(wins, value, best)
    indices = _places(xp, winner, window, tuple(x.shape[2:]))
    return (xp.asarray(best, copy=True), indices), (winner, tuple(x.shape))


def _places(xp: ModuleType, winner: Array, window: Window, spatial: Ints) -> Array:
    """Turn numbers of taps into places in the image."""
    place: Array = 0
    apart = 1
    for axis in reversed(range(window.ndim)):
        starts = window.stride[axis] * np.arange(winner.shape[2 + axis]) - window.padding[axis][0]
        starts = along(xp, winner, 2 + axis, starts * apart)
        tap = xp.astype(winner % window.kernel[axis], starts.dtype)
        place = place + starts + tap * (window.dilation[axis] * apart)
        winner = winner // window.kernel[axis]
        apart *= spatial[axis]
    return place


def _first_real_tap(xp: ModuleType, x: Array, window: Window, out: Ints) -> Array:
    """Number the first tap of each window that is not in the padding.

    It is the winner as long as nothing beats minus infinity.
    """
    dtype = "uint8" if window.taps <= 256 else "int32"
    shape, device = (*x.shape[:2], *out), _xp.device_of(x)
    if not window.is_padded:
        return xp.zeros(shape, dtype=getattr(xp, dtype), device=device)
    first = np.zeros((), dtype=np.int64)
    geometry = (window.kernel, window.stride, window.dilation, window.padding)
    for m, k, s, d, (before, _) in zip(out, *geometry, strict=True):
        in_padding = before - s * np.arange(m)
        first = np.add.outer(first * k, np.clip(-(-in_padding // d), 0, k - 1))
    return xp.broadcast_to(xp.asarray(first.astype(dtype), device=device), shape)


def avg_pool_forward(
    xp: ModuleType, x: Array, window: Window, divisor: np.ndarray | float
) -> tuple[Array, AvgPoolState]:
    """Add what lies under each window and divide by `divisor`, one for all or one per position."""
    out = window.output_shape(x.shape[2:])
    padded = pad_spatial(xp, x, window)
    total = None
    for offset in window.offsets():
        value = padded[window.tap(offset, out)]
        total = value if total is None else total + value
    scale = xp.asarray(np.asarray(1.0 / divisor), dtype=x.dtype, device=_xp.device_of(x))
    return total * scale, (scale, tuple(x.shape))


def avg_pool_backward(xp: ModuleType, dy: Array, saved: AvgPoolState, window: Window) -> Array:
    """Give each element under a window its share of the gradient."""
    scale, shape = saved
    return _spread(xp, dy, [dy * scale] * window.taps, shape, window)


def global_avg_pool_forward(xp: ModuleType, x: Array) -> tuple[Array, Ints]:
    """Average over all positions: (N, C, *spatial) to (N, C)."""
    return mean(xp, x, tuple(range(2, x.ndim))), tuple(x.shape)


def global_avg_pool_backward(xp: ModuleType, dy: Array, shape: Ints) -> Array:
    """Spread each gradient evenly over the positions."""
    share = xp.reshape(dy / prod(shape[2:]), (*shape[:2], *(1,) * (len(shape) - 2)))
    return xp.broadcast_to(share, shape)


def global_max_pool_forward(xp: ModuleType, x: Array) -> tuple[Array, tuple[Array, Ints]]:
    """Take the largest of all positions: (N, C, *spatial) to (N, C).

    Of equal ones the first wins, of several NaN the last.
    """
    rows = xp.reshape(x, (*x.shape[:2], prod(x.shape[2:])))
    y, winner = xp.max(rows, axis=2), xp.argmax(rows, axis=2)
    from_end = xp.argmax(xp.astype(xp.flip(xp.isnan(rows), axis=2), xp.uint8), axis=2)
    winner = xp.where(xp.isnan(y), rows.shape[2] - 1 - from_end, winner)
    return y, (winner, tuple(x.shape))


def global_max_pool_backward(xp: ModuleType, dy: Array, saved: tuple[Array, Ints]) -> Array:
    """Send each gradient to the position that won."""
    winner, shape = saved
    positions = xp.arange(prod(shape[2:]), dtype=winner.dtype, device=_xp.device_of(dy))
    dx = xp.where(winner[..., None] == positions, dy[..., None], 0.0)
    return xp.reshape(dx, shape)


MAX_POOL = Op("max_pool", max_pool_forward, max_pool_backward, check=check)
MAX_POOL_INDICES = Op("max_pool_indices", max_pool_indices_forward, max_pool_backward, check=check)
AVG_POOL = Op("avg_pool", avg_pool_forward, avg_pool_backward, check=check)
GLOBAL_AVG_POOL = Op(
    "global_avg_pool", global_avg_pool_forward, global_avg_pool_backward, check=check_floats
)
GLOBAL_MAX_POOL = Op(
    "global_max_pool", global_max_pool_forward, global_max_pool_backward, check=check_floats
)


def avg_pool_divisor(
    window: Window,
    spatial: Ints,
    padding: Pairs,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray | float:
    """Say by what each window's sum is divided.

    `padding` is what the user asked for: elements that only ``ceil_mode`` added never count.

    Examples
    --------
    >>> from xpcnn import functional as F
    >>> window = F.pool_window((3,), (2,), (2,), (1,), (1,), False, "example")
    >>> F.avg_pool_divisor(window, (3,), window.padding, False, None).tolist()
    [1.0, 2.0]
    >>> F.avg_pool_divisor(window, (3,), window.padding, True, None)
    2.0
    """
    if divisor_override is not None:
        return float(divisor_override)
    counts = np.ones(())
    for axis, m in enumerate(window.output_shape(spatial)):
        taps = window.dilation[axis] * np.arange(window.kernel[axis]) - window.padding[axis][0]
        seen = window.stride[axis] * np.arange(m)[:, None] + taps
        before, after = padding[axis] if count_include_pad else (0, 0)
        inside = (seen >= -before) & (seen < spatial[axis] + after)
        # A dilated window can see nothing but padding; the mean of nothing is 0.
        counts = np.multiply.outer(counts, np.maximum(inside.sum(axis=1), 1))
    return float(counts.flat[0]) if (counts == counts.flat[0]).all() else counts


def max_pool(
    x: Array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Array:
    """Max pooling of any spatial rank; the arguments are those of :class:`xpcnn.MaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.max_pool(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    array([[[3., 5.]]])
    """
    who = "max_pool"
    window, _ = window_of(x, kernel_size, stride, padding, dilation, ceil_mode, who)
    return MAX_POOL(x, window, who=who)[0]


def max_pool_indices(
    x: Array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """Max pooling that also returns the position of each maximum.

    The arguments are those of :class:`xpcnn.MaxPool2d`.

    Returns
    -------
    y : array of shape (N, C, *out)
    indices : array of integers of that shape
        Place in the input without its padding, counted row by row from zero in each channel of
        each sample, as PyTorch's ``return_indices=True`` has it.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.max_pool_indices(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    (array([[[3., 5.]]]), array([[[1, 3]]]))
    """
    who = "max_pool_indices"
    window, _ = window_of(x, kernel_size, stride, padding, dilation, ceil_mode, who)
    return MAX_POOL_INDICES(x, window, who=who)[0]


def avg_pool(
    x: Array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Average pooling of any spatial rank; the arguments are those of :class:`xpcnn.AvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F
    >>> F.avg_pool(np.array([[[1.0, 3.0, 2.0, 6.0]]]), 2)
    array([[[2., 4.]]])
    """
    who = "avg_pool"
    window, asked = window_of(x, kernel_size, stride, padding, 1, ceil_mode, who)
    divisor = avg_pool_divisor(
        window, tuple(x.shape[2:]), asked, count_include_pad, divisor_override
    )
    return AVG_POOL(x, window, divisor, who=who)[0]


def window_of(
    x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, who: str
) -> tuple[Window, Pairs]:
    """Return the window of a pooling, and the padding that the user asked for."""
    _xp.namespace(x, who=who)
    check_spatial(x.shape, who)
    spatial = tuple(x.shape[2:])
    stride = kernel if stride is None else stride
    asked = as_window(spatial, kernel, stride, padding, dilation, who)
    return pool_window(spatial, *asked, ceil_mode, who), asked.padding
