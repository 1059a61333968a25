"""Softmax and cross-entropy with class labels, and their gradient, in one launch."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.cuda import source
from xpcnn.kernels.trace import Declined


def cross_entropy_forward(
    xp: ModuleType, x: Array, labels: Array, ignore_index: int, weight: Array | None = None,
    smoothing: float = 0.0, whole: bool = False,
) -> Any:  # fmt: skip
    """Return the terms of (N, C) scores, or their sum, and the number of labels that count.

    The number stays on the device, so that nobody waits for it. Labels on the device have not been
    looked at; those that are no class do not count, as in the generic kernels.
    """
    if refusal := source.refusal(x):
        return refusal
    if x.ndim != 2:
        return Declined(f"scores of shape {tuple(x.shape)}, not (N, C)")
    if weight is not None or smoothing:
        return Declined("weights of classes" if weight is not None else "label smoothing")
    x = source.laid_out(xp, x, False)
    labels = source.laid_out(xp, xp.astype(labels, xp.int64, copy=False), False)
    rows, classes = x.shape
    terms = source.empty(xp, (rows,), x, False)
    slopes = source.empty(xp, (rows, classes), x, False)
    counts = source.empty(xp, (rows,), x, False, source.computed(_xp.dtype_name(x)))
    blocks = -(-rows // (source.THREADS // source.LANES))
    source.launch(
        "loss.cu", "cross_entropy", x, blocks, x, labels, terms, slopes, counts, rows, classes,
        ignore_index,
    )  # fmt: skip
    found = xp.sum(terms, dtype=terms.dtype) if whole else terms
    return (found, xp.sum(counts)), slopes


def cross_entropy_backward(xp: ModuleType, scale: Array | float, slopes: Array) -> Array:
    """Return the gradient of ``sum(scale * terms)``; scale is for all terms, or one for each."""
    if isinstance(scale, float):
        scale = xp.full((), scale, dtype=slopes.dtype, device=_xp.device_of(slopes))
    scale = xp.astype(scale, slopes.dtype, copy=False)
    return slopes * (scale if scale.ndim == 0 else scale[:, None])
