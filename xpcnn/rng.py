"""Reproducible randomness: every random number follows from (seed, purpose, counter).

There is no generator state to save, so training that is stopped and resumed draws the numbers it
would have drawn. Everything is drawn on the host by NumPy, so every array library sees the same. A
kernel may draw the masks of dropout on the device: what NumPy draws, bit for bit.
"""

from __future__ import annotations

import secrets
import zlib

import numpy as np


def generator(seed: int, purpose: str, counter: int = 0) -> np.random.Generator:
    """Return the random generator for one purpose, such as ``"shuffle"``, at one point in time."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), counter])


def key(seed: int, purpose: str, counter: int = 0) -> np.ndarray:
    """Return the two numbers of 64 bits from which :func:`uniform` computes, for one point in time.

    The purpose and the counter are those of :func:`generator`.
    """
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), counter])
    return sequence.generate_state(2, np.uint64)


def uniform(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 numbers from 0 up to 1, from Philox4x64-10 (Salmon et al., 2011).

    Each number follows from the key and its place alone: eight from one block of 256 bits, 24 bits
    for each. So whoever computes them on a device starts where he likes.
    """
    return np.asarray(np.random.Generator(np.random.Philox(key=key)).random(shape, np.float32))


def scale_of_kept(p: float) -> float:
    """Return by what dropout of probability `p` multiplies what it keeps."""
    return 0.0 if p == 1.0 else 1.0 / (1.0 - p)


def fresh_seed() -> int:
    """Return an unpredictable seed, for when the user gave none."""
    return secrets.randbits(32)
