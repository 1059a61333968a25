"""Arrays that lie in files, of which each batch reads its rows."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.training.dataset import Batch, Numbered, Order, Turn
from xpcnn.training.sources.kinds import mapping_of

SMALL = 64 * 2**20
"""Bytes that may be read together."""


class Rows:
    """The rows of an array, wherever it lies, or some of them that follow one another.

    Parameters
    ----------
    array : array, in memory or not
    start, stop : int
        Which of its rows these are; all of them if left out.

    Attributes
    ----------
    shape : tuple of int
    """

    def __init__(self, array: Any, start: int = 0, stop: int | None = None) -> None:
        self._array, self._start = array, start
        stop = int(array.shape[0]) if stop is None else stop
        self.shape = (stop - start, *(int(n) for n in array.shape[1:]))
        self._touched = 0  # bytes of a mapped file that lie in memory because of this

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: tuple[slice, Any]) -> Rows:
        """Return some of the rows; nothing is read."""
        start, stop, _ = index[0].indices(self.shape[0])
        return Rows(self._array, self._start + start, self._start + stop)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Read some rows, in the order of the indices."""
        indices = indices + self._start
        if not isinstance(self._array, np.ndarray):
            return self._read(indices)
        rows = np.asarray(self._array[indices])
        self._touched += rows.nbytes
        if self._touched > SMALL:
            self._touched = 0
            _give_back(self._array)
        return rows

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """Read rows of what has slices only: in increasing order, neighbours together."""
        order = np.argsort(indices, kind="stable")
        increasing = indices[order]
        found: Any = None
        for start, stop in self._runs(increasing):
            low, high = int(increasing[start]), int(increasing[stop - 1]) + 1
            block = _xp.to_numpy(self._array[low:high])
            if high - low == stop - start == len(indices) and (order[1:] > order[:-1]).all():
                return block
            if found is None:
                found = np.empty((len(indices), *block.shape[1:]), block.dtype)
            found[order[start:stop]] = block[increasing[start:stop] - low]
        return np.asarray(found)

    def _runs(self, increasing: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yield places from and to which rows are read together.

        Those are neighbours, and rows of one chunk of a file, which is unpacked as a whole.
        """
        chunks = getattr(self._array, "chunks", None)
        chunk = chunks[0] if isinstance(chunks, tuple) and chunks else 1
        chunk = chunk if isinstance(chunk, int) and chunk > 0 else 1
        size = max(math.prod(self.shape[1:]) * np.dtype(self._array.dtype).itemsize, 1)
        near = (np.diff(increasing) == 1) | (np.diff(increasing // chunk) == 0)
        start = 0
        for stop in range(1, len(increasing) + 1):
            if stop < len(increasing) and near[stop - 1]:
                spanned = int(increasing[stop] - increasing[start]) + 1
                if spanned * size <= SMALL or spanned == stop - start + 1:
                    continue
            yield start, stop
            start = stop


def _give_back(array: np.ndarray) -> None:
    """Let the system have the memory in which it keeps what was read of a mapped file."""
    mapping, base = mapping_of(array), array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base  # type: ignore[assignment]
    shared = isinstance(base, np.memmap) and base.mode in ("r", "r+", "w+")  # not copy on write
    if mapping is not None and shared and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(OSError, ValueError):  # it is no more than a hint
            mapping.madvise(mmap.MADV_DONTNEED)


def is_small(array: Any) -> bool:
    """Whether an array may be read as a whole."""
    dtype = np.dtype(array.dtype)
    return math.prod(array.shape) * dtype.itemsize <= SMALL


class LazySamples(Numbered):
    """Samples in arrays that lie in files.

    Parameters
    ----------
    data : Batch
        Its inputs are :class:`Rows`, and its labels may be.
    read : callable
        Reads some samples and checks them, told which: ``read(data, indices)``, and returns a
        batch on the host.
    bring : callable
        Brings it to the device.
    order : Order
    """

    def __init__(
        self,
        data: Batch,
        read: Callable[[Batch, np.ndarray], Batch],
        bring: Callable[[Batch], Batch],
        order: Order,
    ) -> None:
        super().__init__(order)
        self._data, self._read, self._bring = data, read, bring

    def epoch(self, number: int, *, ahead: bool = True) -> Iterator[Turn]:
        """Yield the batches of an epoch."""
        for indices in self.order.epoch(number):
            load = partial(self._bring, self._read(self._data, indices))
            yield Turn(len(indices), load, load)
            del load

    def some(self, count: int) -> tuple[Array, ...]:
        """Return the inputs of the first samples on the device."""
        indices = np.arange(min(count, self.order.samples))
        return self._bring(self._read(self._data, indices)).inputs
