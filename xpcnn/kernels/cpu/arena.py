"""One piece of memory for many arrays: those share a place that are not needed together."""

from __future__ import annotations

from typing import NamedTuple

ALIGNMENT = 64
"""Bytes: a cache line."""


class Need(NamedTuple):
    """An array that is needed for a while.

    Attributes
    ----------
    size : int
        Bytes.
    first, last : int
        The first and the last moment at which it is needed.
    """

    size: int
    first: int
    last: int


def place(needs: list[Need]) -> tuple[list[int], int]:
    """Find a place for each array, so that those that are needed at one moment do not overlap.

    The largest are placed first, each as far in front as it can be. That is not always the least
    memory, but for networks it mostly is within some percent of the most that is needed at once.

    Returns
    -------
    offsets : list of int
        Bytes, multiples of :data:`ALIGNMENT`.
    total : int
        Bytes of the whole memory.
    """
    offsets, total = [0] * len(needs), 0
    placed: list[tuple[int, int, Need]] = []  # from and to, in the order of memory
    for number in sorted(range(len(needs)), key=lambda n: -needs[n].size):
        need, start = needs[number], 0
        size = -(-need.size // ALIGNMENT) * ALIGNMENT
        for begin, end, other in placed:
            if other.first <= need.last and need.first <= other.last:
                if begin - start >= size:
                    break
                start = max(start, end)
        offsets[number] = start
        placed.append((start, start + size, need))
        placed.sort(key=lambda item: item[0])
        total = max(total, start + size)
    return offsets, total
