"""Softmax and cross-entropy with class labels, and their gradient, row by row in one pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpcnn.kernels.cpu import buffers, threads
from xpcnn.kernels.cpu.jobs import Floats, Ints, Job
from xpcnn.kernels.trace import Declined

ROWS = 64
"""Samples in a job."""


@Job
def _entropy(
    job: int, x: Floats, labels: Ints, rows: int, classes: int, ignored: int, terms: Floats,
    slopes: Floats,
) -> None:  # fmt: skip
    for i in range(job * ROWS, min(rows, (job + 1) * ROWS)):
        at = i * classes
        highest = x[at]
        for c in range(1, classes):
            # NaN is not larger than anything, but spoils the sum below.
            highest = max(highest, x[at + c])
        # The label's share is kept apart: softmax minus one is minus that of the others, and a
        # difference would lose it where the label is sure.
        label = labels[i]
        own = others = 0.0
        for c in range(classes):
            e = math.exp(x[at + c] - highest)
            slopes[at + c] = e
            if c == label:
                own = e
            else:
                others += e
        total = own + others
        keep = np.float32(0.0 if label == ignored else 1.0)
        share = np.float32(1.0 / total) * keep
        for c in range(classes):
            slopes[at + c] *= share
        if label == ignored:
            terms[i] = 0.0
            continue
        below = x[at + label] - highest
        terms[i] = math.log1p(others) if below == 0.0 else math.log(total) - below
        slopes[at + label] = -others / total


def cross_entropy_forward(xp: Any, x: Any, labels: Any, ignore_index: int) -> Any:
    """Return the terms of (N, C) scores, and the number of labels that count.

    The labels have been checked.
    """
    if x.dtype != np.float32 or x.ndim != 2 or x.size == 0:
        return Declined("float32 scores of shape (N, C) only")
    rows, classes = x.shape
    x = np.ascontiguousarray(x)
    labels = np.ascontiguousarray(labels, np.int64)
    terms, slopes = buffers.empty(rows), buffers.empty((rows, classes))
    threads.launch(
        30 * x.size, _entropy, -(-rows // ROWS), x, labels, rows, classes, ignore_index, terms,
        slopes,
    )  # fmt: skip
    return (terms, int((labels != ignore_index).sum())), slopes


def cross_entropy_backward(xp: Any, scale: Any, slopes: Any) -> np.ndarray:
    """Return the gradient of ``sum(scale * terms)``."""
    return np.multiply(slopes, np.float32(scale) if np.ndim(scale) == 0 else scale[:, None])
