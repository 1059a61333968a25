"""The order in which the axes of an array lie in memory.

Python between kernels takes as long as a kernel on some thousand numbers, so that what follows from
strides alone is worked out once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xpcnn.window import Ints


def memory_order(x: np.ndarray) -> Ints:
    """Return the axes of x, those with the longest steps in memory first."""
    return _longest_first(x.strides)


@lru_cache(maxsize=1024)
def _longest_first(strides: Ints) -> Ints:
    return tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))


@lru_cache(maxsize=1024)
def inverse(order: Ints) -> Ints:
    """Return the order of axes that undoes another."""
    return tuple(sorted(range(len(order)), key=lambda place: order[place]))


def in_order(x: np.ndarray, order: Ints) -> np.ndarray:
    """Return x as dense float32 with its axes in some order; in place if it lies in it."""
    turned = x.transpose(order)
    if is_dense(turned):
        return turned
    return np.require(turned, np.float32, ["C", "A"])


def is_dense(x: np.ndarray) -> bool:
    """Whether kernels can read x as it lies in memory: float32, aligned, without gaps."""
    flags = x.flags
    return bool(x.dtype == np.float32 and flags.c_contiguous and flags.aligned)
