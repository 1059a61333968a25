"""Kernels for PyTorch's tensors, on any of its devices: what ATen has, forward and backward.

Autograd has no part in it: each forward keeps what the backward function of ATen asks for. What
ATen does not take as it is (padding that differs between the sides, say) is padded first, or left
to the generic kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from xpcnn._xp import dtype_name
from xpcnn.kernels.dispatch import OpPair
from xpcnn.kernels.half import HALVES
from xpcnn.kernels.lifting import lift, lift_window, lower
from xpcnn.kernels.precision import float32_products, get_deterministic
from xpcnn.kernels.trace import Declined
from xpcnn.ops.update import adam_numbers, no_backward
from xpcnn.window import Ints, Pairs, Window

Tensor = Any
"""A tensor of PyTorch."""
Numbers = list[int]

_aten = torch.ops.aten
_NOTHING = nullcontext()

# -- What PyTorch has switches for, on NVIDIA's GPUs ----------------------------------------------


def _as_chosen(x: Tensor) -> AbstractContextManager[None]:
    """Return a context in which PyTorch computes as :mod:`xpcnn.kernels.precision` says."""
    return _gpu_switches() if x.is_cuda else _NOTHING


@contextmanager
def _gpu_switches() -> Iterator[None]:
    """Set PyTorch's switches, which hold for the whole process, and set them back at the end."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = float32_products.get() == "tf32"
    wanted: list[tuple[Any, str, Any]]
    if hasattr(cudnn, "conv"):
        kind = "tf32" if tf32 else "ieee"
        wanted = [(cudnn.conv, "fp32_precision", kind), (matmul, "fp32_precision", kind)]
    else:  # PyTorch before 2.9
        wanted = [(cudnn, "allow_tf32", tf32), (matmul, "allow_tf32", tf32)]
    if get_deterministic():
        wanted.append((cudnn, "deterministic", True))
    before = [(where, name, getattr(where, name)) for where, name, _ in wanted]
    try:
        for where, name, value in wanted:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)


def _varies(x: Tensor) -> Declined | None:
    """Decline what adds up in the order of chance on a GPU, where the same bits are asked for."""
    if x.is_cuda and get_deterministic():
        return Declined("results that may differ from run to run")
    return None


# -- The kernels ---------------------------------------------------------------------------------


def _symmetric(window: Window) -> Numbers | None:
    """Return the padding if it is the same before and after."""
    if all(before == after for before, after in window.padding):
        return [before for before, _ in window.padding]
    return None


def _pad(x: Tensor, padding: Pairs) -> Tensor:
    """Put zeros around the spatial axes."""
    return functional.pad(x, [n for pair in reversed(padding) for n in pair])


def _crop(x: Tensor, padding: Pairs) -> Tensor:
    """Take the padding off again."""
    for axis, (before, after) in enumerate(padding, start=2):
        x = x.narrow(axis, before, x.shape[axis] - before - after)
    return x


def conv_forward(
    xp: Any, x: Tensor, w: Tensor, b: Tensor | None, window: Window, groups: int
) -> tuple[Tensor, Any]:
    """Convolve; see :func:`xpcnn.ops.conv.conv_forward`."""
    padding, nowhere = _symmetric(window), [0] * window.ndim
    seen = x if padding is not None else _pad(x, window.padding)
    with _as_chosen(x):
        y = torch.convolution(
            seen, w, b, window.stride, padding or nowhere, window.dilation, False, nowhere, groups
        )
    return y, (seen, w, b is not None)


def conv_backward(
    xp: Any, dy: Tensor, saved: Any, window: Window, groups: int, need_dx: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Return the gradients (dx, dw, db)."""
    seen, w, has_bias = saved
    padding, nowhere = _symmetric(window), [0] * window.ndim
    settings = (window.stride, padding or nowhere, window.dilation, False, nowhere, groups)
    dx, dw, db = _conv_gradients(dy, seen, w, w.shape[0], settings, has_bias, need_dx)
    if dx is not None and padding is None:
        dx = _crop(dx, window.padding)
    return dx, dw, db


def _conv_gradients(
    dy: Tensor, x: Tensor, w: Tensor, filters: int, settings: Any, has_bias: bool, need_dx: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    with _as_chosen(x):
        dx, dw, db = _aten.convolution_backward(
            dy, x, w, [filters], *settings, [need_dx, True, has_bias]
        )
    return (dx if need_dx else None), dw, (db if has_bias else None)


def conv_transpose_forward(
    xp: Any, x: Tensor, w: Tensor, b: Tensor | None, window: Window, out: Ints, groups: int
) -> Any:
    """Run a convolution backwards; see :func:`xpcnn.ops.conv_transpose.forward`."""
    # What ATen cuts off is the same on both sides; the rest is cut here.
    padding = [min(sides) for sides in window.padding]
    start = [before - p for (before, _), p in zip(window.padding, padding, strict=True)]
    whole = [
        (n - 1) * s + e - 2 * p
        for n, s, e, p in zip(x.shape[2:], window.stride, window.extent, padding, strict=True)
    ]
    extra = [max(0, a + m - n) for a, m, n in zip(start, out, whole, strict=True)]
    limits = [max(s, d) for s, d in zip(window.stride, window.dilation, strict=True)]
    if any(e >= limit for e, limit in zip(extra, limits, strict=True)):
        return Declined("an output longer than output_padding allows")
    with _as_chosen(x):
        y = torch.convolution(x, w, b, window.stride, padding, window.dilation, True, extra, groups)
    behind = [y.shape[2 + i] - a - m for i, (a, m) in enumerate(zip(start, out, strict=True))]
    sides = tuple(zip(start, behind, strict=True))
    return _crop(y, sides), (x, w, b is not None, padding, extra, sides)


def conv_transpose_backward(
    xp: Any, dy: Tensor, saved: Any, window: Window, groups: int, need_dx: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Return the gradients (dx, dw, db)."""
    x, w, has_bias, padding, extra, sides = saved
    settings = (window.stride, padding, window.dilation, True, extra, groups)
    filters = w.shape[1] * groups
    return _conv_gradients(_pad(dy, sides), x, w, filters, settings, has_bias, need_dx)


def linear_forward(xp: Any, x: Tensor, w: Tensor, b: Tensor | None) -> tuple[Tensor, Any]:
    """Multiply the last axis of x (..., I) by w (O, I) and add b."""
    with _as_chosen(x):
        return functional.linear(x, w, b), (x, w, b is not None)


def linear_backward(
    xp: Any, dy: Tensor, saved: Any, need_dx: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Return the gradients (dx, dw, db)."""
    x, w, has_bias = saved
    rows = dy.reshape(-1, w.shape[0])
    with _as_chosen(x):
        dw = rows.t() @ x.reshape(-1, w.shape[1])
        dx = dy @ w if need_dx else None
    return dx, dw, (rows.sum(0) if has_bias else None)


def relu_forward(xp: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return max(x, 0)."""
    y = torch.relu(x)
    return y, y


def relu_backward(xp: Any, dy: Tensor, y: Tensor) -> Tensor:
    """Return the gradient where the output was positive."""
    return _aten.threshold_backward(dy, y, 0)


# ATen pools images and volumes, so a signal (N, C, L) is an image of one line there.


def _geometry(window: Window) -> tuple[Numbers, Numbers, Numbers, Numbers] | None:
    """Return kernel, stride, padding and dilation for ATen's pooling, if it takes such a window."""
    window = lift_window(window)
    padding = _symmetric(window)
    if padding is None or any(2 * p > k for p, k in zip(padding, window.kernel, strict=True)):
        return None
    return list(window.kernel), list(window.stride), padding, list(window.dilation)


def _by_rank(name: str, x: Tensor) -> Any:
    """Return the function of ATen for images, or volumes; the name has {} for the dimensions."""
    return getattr(_aten, name.format(x.ndim - 2))


def _shape_of(x: Tensor) -> Tensor:
    """Return a tensor of that shape without its memory: ATen reads none of it going backward.

    It goes by the order of the axes in memory, so that x itself is returned if that is another.
    """
    return x.new_empty(1).expand(x.shape) if x.is_contiguous() else x


def max_pool_forward(xp: Any, x: Tensor, window: Window) -> Any:
    """Take the largest element under each window."""
    geometry = _geometry(window)
    if geometry is None:
        return Declined("padding that differs between the sides, or above half of the kernel")
    if varies := _varies(x):
        return varies
    images = lift(x)
    y, indices = _by_rank("max_pool{}d_with_indices", images)(images, *geometry, False)
    return lower(y, x.ndim), (_shape_of(images), indices, geometry, x.ndim)


def max_pool_backward(xp: Any, dy: Tensor, saved: Any, window: Window) -> Tensor:
    """Send each gradient to the element that won."""
    images, indices, geometry, ndim = saved
    backward = _by_rank("max_pool{}d_with_indices_backward", images)
    return lower(backward(lift(dy), images, *geometry, False, indices), ndim)


def avg_pool_forward(xp: Any, x: Tensor, window: Window, divisor: np.ndarray | float) -> Any:
    """Add what lies under each window and divide by `divisor`, one for all or per position."""
    geometry = _geometry(window)
    if geometry is None or any(d > 1 for d in window.dilation):
        return Declined("dilation, or padding that ATen does not take")
    if x.ndim == 5 and x.device.type == "cpu" and dtype_name(x) in HALVES:
        return Declined("half precision, which ATen does not take for volumes on the CPU")
    if varies := _varies(x):
        return varies
    images = lift(x)
    pool = _by_rank("avg_pool{}d", images)
    scale = torch.as_tensor(np.asarray(1.0 / divisor), dtype=x.dtype, device=x.device)
    total = lower(pool(images, *geometry[:3], False, True, 1), x.ndim)
    return total * scale, (_shape_of(images), scale, geometry, x.ndim)


def avg_pool_backward(xp: Any, dy: Tensor, saved: Any, window: Window) -> Tensor:
    """Give each element under a window its share of the gradient."""
    images, scale, geometry, ndim = saved
    backward = _by_rank("avg_pool{}d_backward", images)
    share = lift(dy * scale)
    return lower(backward(share, images, *geometry[:3], False, True, 1), ndim)


def batch_norm_forward(
    xp: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float, statistics: Any
) -> Any:
    """Normalise; see :func:`xpcnn.ops.norm.batch_norm_forward`."""
    count = x.numel() // x.shape[1]
    own = statistics is None
    if own and count < 2:
        return Declined("a single value per channel")
    if own:
        # ATen takes statistics of the weight's dtype, or of float32 for half precision.
        kind = torch.float32 if dtype_name(x) in HALVES else x.dtype
        kind = kind if gamma is None else gamma.dtype
        mean, variance = (x.new_zeros(x.shape[1], dtype=kind) for _ in range(2))
    else:
        mean, variance = statistics
    # With a momentum of 1, running statistics become those of the batch; the variance divides by
    # count - 1.
    y, used_mean, inv_std = torch.native_batch_norm(x, gamma, beta, mean, variance, own, 1.0, eps)
    if own:
        variance = variance * ((count - 1) / count)
    return (y, mean, variance), (x, gamma, mean, variance, used_mean, inv_std, own, eps)


def batch_norm_backward(
    xp: Any, dy: Tensor, saved: Any, need_dx: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Return the gradients (dx, dgamma, dbeta)."""
    x, gamma, mean, variance, used_mean, inv_std, own, eps = saved
    weight = torch.ones_like(mean) if gamma is None else gamma
    dx, dgamma, dbeta = _aten.native_batch_norm_backward(
        dy, x, weight, mean, variance, used_mean, inv_std, own, eps, [need_dx, True, True]
    )
    return (dx if need_dx else None), dgamma, dbeta


def adam(
    xp: Any, parameters: Any, gradients: Any, means: Any, squares: Any, steps: Any, lr: float,
    betas: tuple[float, float], eps: float, decay: tuple[float, float], numbers: Any = None,
) -> Any:  # fmt: skip
    """Make one update of Adam to all parameters together; see the generic kernel."""
    if numbers is not None:
        return Declined("numbers on the device")
    p, g = list(parameters), list(gradients)
    if decay[0]:
        g = torch._foreach_add(g, p, alpha=decay[0])
    if decay[1]:
        p = torch._foreach_mul(p, 1.0 - decay[1])
    m = _average(means, g, betas[0])
    v = _average(squares, torch._foreach_mul(g, g), betas[1])
    sizes, smalls = zip(*(adam_numbers(lr, betas, eps, step) for step in steps), strict=True)
    change = torch._foreach_sqrt(v)
    torch._foreach_add_(change, list(smalls))
    change = torch._foreach_div(m, change)
    torch._foreach_mul_(change, [-size for size in sizes])
    return (torch._foreach_add(p, change), m, v), None


def _average(old: Any, new: list[Tensor], keep: float) -> list[Tensor]:
    """Return ``keep * old + (1 - keep) * new``; what is not there yet counts as zeros."""
    old = [torch.zeros_like(g) if a is None else a for a, g in zip(old, new, strict=True)]
    kept = list(torch._foreach_mul(old, keep))
    torch._foreach_add_(kept, new, alpha=1.0 - keep)
    return kept


PAIRS: dict[str, OpPair] = {
    "conv": OpPair(conv_forward, conv_backward),
    "conv_transpose": OpPair(conv_transpose_forward, conv_transpose_backward),
    "linear": OpPair(linear_forward, linear_backward),
    "relu": OpPair(relu_forward, relu_backward),
    "max_pool": OpPair(max_pool_forward, max_pool_backward),
    "avg_pool": OpPair(avg_pool_forward, avg_pool_backward),
    "batch_norm": OpPair(batch_norm_forward, batch_norm_backward),
    "adam": OpPair(adam, no_backward),
}
