"""A workload as one library runs it, and what makes the libraries' runs comparable."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np

SAMPLES = 256
"""Elements that stand for an array when results are compared; copies would count as memory."""

Digest = dict[str, list[float]]


@dataclass(frozen=True)
class Program:
    """A workload made ready.

    Attributes
    ----------
    step : callable
        Does the work once; what it returns is ready to be read, not promised.
    arrays : callable
        Names the arrays or numbers in what `step` returned.
    """

    step: Callable[[], Any]
    arrays: Callable[[Any], Mapping[str, Any]]


def first_value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the first value of a parameter, the same in every library.

    Weights of convolutions and linear layers keep the size of what passes through them and a ReLU;
    scales lie about one, shifts about zero.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        values = rng.standard_normal(shape, dtype=np.float32)
        return values * np.float32(sqrt(2 / prod(shape[1:])))
    values = rng.random(shape, dtype=np.float32) * np.float32(0.2) - np.float32(0.1)
    return values + np.float32(1) if name.endswith("weight") else values


def first_values(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Draw the first values of the parameters of one layer, by their place, not their names."""
    return {
        name: first_value(f"{place}.{'weight' if name.endswith('weight') else 'bias'}", shape)
        for place, (name, shape) in enumerate(shapes.items())
    }


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Draw an input."""
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def labels(count: int) -> np.ndarray:
    """Draw labels of ten classes."""
    return np.random.default_rng(1).integers(0, 10, count)


def output_gradient(shape: tuple[int, ...]) -> np.ndarray:
    """Draw the gradient that comes back to a layer."""
    return np.random.default_rng(2).standard_normal(shape, dtype=np.float32)


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return the same array with the channels next to each other in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def digest(arrays: Mapping[str, Any]) -> Digest:
    """Take the same few elements out of every array; a list of arrays counts as one array."""
    found: Digest = {}
    for name, value in arrays.items():
        parts = value if isinstance(value, list) else [value]
        found[name] = [float(element) for part in parts for element in _elements(part)]
    return found


def _elements(value: Any) -> np.ndarray:
    array = np.asarray(value)
    count = min(array.size, SAMPLES)
    chosen = np.random.default_rng(array.size).choice(array.size, count, replace=False)
    return array[np.unravel_index(chosen, array.shape)] if array.ndim else array.reshape(1)


def difference(ours: Digest, theirs: Digest) -> dict[str, float]:
    """Return, by name, the L2 norm of the difference relative to that of their array.

    It is infinite for arrays that do not fit together and for numbers that are not finite. A name
    that only we have is left out.
    """
    return {name: _distance(ours.get(name, []), other) for name, other in theirs.items()}


def _distance(own: list[float], other: list[float]) -> float:
    a, b = np.asarray(own), np.asarray(other)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0))
