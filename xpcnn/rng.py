"""Randomness that can be repeated: every random number follows from (seed, what for, counter).

There is no generator state to save, so training that is stopped and resumed draws the numbers it
would have drawn. Everything is drawn on the host by NumPy, so every array library sees the same.
"""

from __future__ import annotations

import secrets
import zlib

import numpy as np


def generator(seed: int, purpose: str, counter: int = 0) -> np.random.Generator:
    """Return the random generator for one purpose, such as ``"shuffle"``, at one point in time."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), counter])


def fresh_seed() -> int:
    """Return an unpredictable seed, for when the user gave none."""
    return secrets.randbits(32)
