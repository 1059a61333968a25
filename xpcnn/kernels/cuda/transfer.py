"""Rows of arrays in host memory on their way to the GPU, beside what it computes.

They are gathered into pinned memory, from which the GPU copies by itself, on a stream of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn._xp import Array

SLOTS = 2
"""Sets of pinned arrays: one is filled while the GPU copies from the other."""


class Ticket(NamedTuple):
    """Rows that were asked for, and the arrays that take them.

    Attributes
    ----------
    indices : numpy.ndarray
    arrays : list of cupy.ndarray
    free, filled : cupy.cuda.Event
        From when the arrays may be written to, and from when they hold the rows.
    """

    indices: np.ndarray
    arrays: list[Any]
    free: Any
    filled: Any


class Transfer:
    """Brings rows of some arrays to a GPU; :class:`xpcnn.kernels.Transfer` says how it is used.

    The arrays on the GPU are taken in the stream that computes, not in that of the copies: CuPy's
    pool gives memory back to the stream it was taken in, and the copies would otherwise write to
    what is still being read.
    """

    def __init__(self, sources: Sequence[np.ndarray], physical: Any) -> None:
        import cupy

        self._sources, self._physical, self._cuda = list(sources), physical, cupy.cuda
        with physical:
            self._stream = cupy.cuda.Stream(non_blocking=True)
        self._slots: list[list[np.ndarray]] = [[] for _ in range(SLOTS)]
        self._copied: list[Any] = [None] * SLOTS
        self._turn = 0

    def begin(self, indices: np.ndarray) -> Ticket:
        """Take memory for rows, in the current stream."""
        import cupy

        shapes = [(len(indices), *a.shape[1:]) for a in self._sources]
        arrays = [
            cupy.empty(shape, dtype=a.dtype) for shape, a in zip(shapes, self._sources, strict=True)
        ]
        free, filled = (self._cuda.Event(disable_timing=True) for _ in range(2))
        free.record()
        return Ticket(indices, arrays, free, filled)

    def carry(self, ticket: Ticket) -> None:
        """Gather the rows, and let the GPU copy them."""
        with self._physical:
            slot = self._slot(len(ticket.indices))
            for source, rows in zip(self._sources, slot, strict=True):
                gather(source, ticket.indices, rows)
            self._stream.wait_event(ticket.free)
            for rows, array in zip(slot, ticket.arrays, strict=True):
                array.set(rows, stream=self._stream)
            ticket.filled.record(self._stream)
            copied = self._cuda.Event(block=True, disable_timing=True)
            copied.record(self._stream)
            self._copied[self._turn] = copied
        self._turn = (self._turn + 1) % SLOTS

    def finish(self, ticket: Ticket) -> list[Array]:
        """Return the arrays; what comes next in the current stream waits until they are filled."""
        self._cuda.get_current_stream().wait_event(ticket.filled)
        return ticket.arrays

    def close(self) -> None:
        """Wait for the last copy: after it, memory may go wherever."""
        with self._physical:
            self._stream.synchronize()
        self._slots, self._copied = [[] for _ in range(SLOTS)], [None] * SLOTS

    def _slot(self, n: int) -> list[np.ndarray]:
        """Return pinned arrays for n rows, once the GPU no longer reads from them."""
        if self._copied[self._turn] is not None:
            self._copied[self._turn].synchronize()  # in a thread that has nothing else to do
        slot = self._slots[self._turn]
        if not slot or len(slot[0]) < n:
            slot = [self._pinned((n, *a.shape[1:]), a.dtype) for a in self._sources]
            self._slots[self._turn] = slot
        return [rows[:n] for rows in slot]

    def _pinned(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        count = prod(shape)
        memory = self._cuda.alloc_pinned_memory(count * dtype.itemsize)
        return np.frombuffer(memory, dtype, count).reshape(shape)


def gather(source: np.ndarray, indices: np.ndarray, rows: np.ndarray) -> None:
    """Write ``source[indices]`` into `rows`; the indices are known to be right."""
    if source.flags.c_contiguous:
        np.take(source, indices, axis=0, out=rows, mode="clip")  # any other mode would copy first
    else:
        rows[...] = source[indices]
