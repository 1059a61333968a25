"""Softmax and cross-entropy with class labels, and their gradient, in one launch."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.cuda import source
from xpcnn.kernels.trace import Declined


def cross_entropy_forward(xp: ModuleType, x: Array, labels: Any, ignore_index: int) -> Any:
    """Return the terms of (N, C) scores, and the number of labels that count.

    The labels have been checked. For labels in host memory the number is an ``int``; for labels on
    the device it stays there, so that nobody waits for it.
    """
    refusal = source.refusal(x)
    if refusal is None and x.ndim != 2:
        refusal = Declined(f"scores of shape {tuple(x.shape)}, not (N, C)")
    if refusal is not None:
        return refusal
    x = source.laid_out(xp, x, False)
    counted = (labels != ignore_index).sum()
    if isinstance(labels, np.ndarray):
        counted = int(counted)
        labels = xp.asarray(labels.astype(np.int64), device=_xp.device_of(x))
    labels = source.laid_out(xp, xp.astype(labels, xp.int64, copy=False), False)
    rows, classes = x.shape
    terms = source.empty(xp, (rows,), x, False)
    slopes = source.empty(xp, (rows, classes), x, False)
    blocks = -(-rows // (source.THREADS // source.LANES))
    source.launch(
        "loss.cu", "cross_entropy", x, blocks, x, labels, terms, slopes, rows, classes,
        ignore_index,
    )  # fmt: skip
    return (terms, counted), slopes


def cross_entropy_backward(xp: ModuleType, scale: Any, slopes: Array) -> Array:
    """Return the gradient of ``sum(scale * terms)``."""
    scale = xp.asarray(scale, dtype=slopes.dtype, device=_xp.device_of(slopes))
    return slopes * (scale if scale.ndim == 0 else scale[:, None])
