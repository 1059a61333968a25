"""Inputs of layers and losses: the same numbers for every library."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], np.ndarray]


class Input(NamedTuple):
    """What to draw, and in which shape."""

    draw: Draw
    shape: Shape


def draw_all(inputs: tuple[Input, ...]) -> list[np.ndarray]:
    """Draw the inputs of a case."""
    rng = np.random.default_rng(0)
    return [each.draw(rng, each.shape) for each in inputs]


def normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw numbers of either sign, about 1 in size."""
    return rng.standard_normal(shape, dtype=np.float32)


def shares(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw numbers between 0 and 1, neither too close."""
    return rng.random(shape, dtype=np.float32) * np.float32(0.9) + np.float32(0.05)


def distributions(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw probabilities that add up to 1 along axis 1."""
    values = shares(rng, shape)
    return values / values.sum(axis=1, keepdims=True)


def log_distributions(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw logarithms of such probabilities."""
    return np.log(distributions(rng, shape))


def yes_or_no(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw zeros and ones, as floats."""
    return rng.integers(0, 2, shape).astype(np.float32)


def signs(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw numbers that are -1 or 1."""
    return 2 * yes_or_no(rng, shape) - 1


def numbers_below(count: int) -> Draw:
    """Return what draws whole numbers from 0 to `count` - 1, such as labels."""
    return lambda rng, shape: rng.integers(0, count, shape)


def class_lists(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw for each sample a list of three of its classes, with -1 behind it."""
    count, classes = shape
    lists = np.full(shape, -1)
    for row in range(count):
        lists[row, :3] = rng.choice(classes, 3, replace=False)
    return lists
