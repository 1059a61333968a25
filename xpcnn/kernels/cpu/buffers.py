"""Memory that is used again: arrays whose storage comes from those that nobody holds any more.

Fresh pages from the operating system cost more than most kernels spend on them. Memory comes in
chunks, of which each array gets a part. That is free when no array refers to it any more, which a
weak reference tells; nothing has to be given back, and an array that a user keeps is never
overwritten. A part serves the next array of its size, or becomes one again with the free ones
beside it, so that what some arrays leave can serve others of any size.
"""

from __future__ import annotations

import itertools
import math
import sys
import threading
import weakref
from bisect import bisect_left, insort
from functools import lru_cache

import numpy as np

from xpcnn.kernels.workspace import idle_limit

ALIGNMENT = 64
"""Bytes: a cache line, so that no vector lies across two."""

SMALL = 4096
"""Bytes up to which the allocator of NumPy is as good."""

FORGET = 2000
"""Requests after which a chunk from which nothing was wanted is given up."""

LARGE = 1 << 20
"""Bytes from which on free parts are put together before one is cut: that saves memory, and takes
some microseconds, in which a small array would be worked out."""

CHUNK = 1 << 22
"""Bytes that are asked of the operating system at least, of which only those in use take memory."""


def aligned(size: int) -> np.ndarray:
    """Return that many bytes of new memory, which begin with a cache line."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    shift = -raw.ctypes.data % ALIGNMENT
    # Views refer to the owner of memory, so the aligned piece must be an owner of its own.
    return np.frombuffer(raw.data[shift : shift + size], np.uint8)


class _Chunk:
    """Memory from the operating system, and the number of the request that last took of it."""

    __slots__ = ("address", "memory", "size", "used")

    def __init__(self, size: int) -> None:
        self.memory = aligned(size)
        self.address, self.size, self.used = self.memory.ctypes.data, size, 0


class _Lease(weakref.ref[np.ndarray]):
    """A part of a chunk that is in use: it refers to the array that all others there refer to."""

    __slots__ = ("chunk", "end", "start")
    chunk: int
    start: int
    end: int


_lock = threading.RLock()  # an exception may come where it is let go of, and leave it held
_chunks: dict[int, _Chunk] = {}
_numbers = itertools.count()
_leases: dict[tuple[int, int], _Lease] = {}
"""By chunk and start."""
_ended: list[_Lease] = []
"""Those whose array is gone. No Python code puts them here, in which a Ctrl-C could come."""

_left: dict[int, list[tuple[int, int]]] = {}
"""By size, chunk and start of parts that the next request of that size gets as they are."""

# The other free parts. An exception in between leaves a part that is never used again, but none
# that is used twice: a part is taken away before anything is done with it, from the list first.
_free: list[tuple[int, int, int]] = []
"""Size, chunk and start of each, in order: the smallest that is large enough is taken."""
_starts: dict[tuple[int, int], int] = {}
"""Where a part ends, by chunk and start."""
_ends: dict[tuple[int, int], int] = {}
"""Where a part starts, by chunk and end."""

_requests = 0
_noted: dict[int, list[tuple[int, int]]] = {}
"""By thread, address and size of the storage it takes, for those that want to know."""
_counts = getattr(sys, "_is_gil_enabled", lambda: True)() and hasattr(sys, "getrefcount")


def empty(shape: int | tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Return an array with undefined contents, like ``numpy.empty``; aligned to cache lines."""
    wanted, size = _sizes(shape, dtype)
    if wanted <= SMALL or not _counts:
        return np.empty(shape, dtype)
    with _lock:
        return np.ndarray(shape, dtype, _take(size))


@lru_cache(maxsize=4096)
def _sizes(shape: int | tuple[int, ...], dtype: type) -> tuple[int, int]:
    """Return the bytes of an array, and those of the part that it gets."""
    count = shape if isinstance(shape, int) else math.prod(shape)
    wanted = count * np.dtype(dtype).itemsize
    step = 1 << max(wanted.bit_length() - 4, 6)
    return wanted, -(-wanted // step) * step


def zeros(shape: int | tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Return an array of zeros, like ``numpy.zeros``."""
    out = empty(shape, dtype)
    out.fill(0)
    return out


def clear() -> None:
    """Give up all chunks in which no array lies."""
    with _lock:
        _forget(0)


def idle() -> int:
    """Return the bytes of all storage that no array refers to."""
    with _lock:
        _merge()
        return sum(size for size, _, _ in _free)


def _take(size: int) -> np.ndarray:
    """Return a free part, as an array of bytes."""
    global _requests
    _requests += 1
    _take_back()
    same = _left.get(size)
    if same:
        number, start = same.pop()
    else:
        number, start = _find(size)
    chunk, end = _chunks[number], start + size
    chunk.used = _requests
    memory = np.frombuffer(chunk.memory.data[start:end], np.uint8)
    lease = _Lease(memory, _ended.append)
    lease.chunk, lease.start, lease.end = number, start, end
    _leases[number, start] = lease
    if _noted:
        _noted.get(threading.get_ident(), []).append((chunk.address + start, size))
    return memory


def _find(size: int) -> tuple[int, int]:
    """Return chunk and start of a part of some size, cut from a larger one or from a new chunk."""
    most = idle_limit()
    place = _smallest(size, most) if size < LARGE else None
    if place is None:
        _merge()
        place = _smallest(size, most)
    if place is None:
        _forget(FORGET)
        if most is not None and idle() > most:
            _forget(0)
        room, number, start = _add_chunk(size if most is not None else max(size, CHUNK))
    else:
        room, number, start = _free.pop(place)
        del _starts[number, start], _ends[number, start + room]
    if room > size:
        _set_free(number, start + size, start + room)
    return number, start


def _smallest(size: int, most: int | None) -> int | None:
    """Return the place of the smallest free part that is large enough.

    Under a limit no chunk is cut into parts, each of which would keep all of it.
    """
    place = bisect_left(_free, (size, -1, -1))
    if place == len(_free) or (most is not None and _free[place][0] > size):
        return None
    return place


def _add_chunk(size: int) -> tuple[int, int, int]:
    """Return size, number and start of a new chunk."""
    number = next(_numbers)
    _chunks[number] = _Chunk(size)
    return size, number, 0


def _take_back() -> None:
    """Take back the parts whose array is gone."""
    while _ended:
        lease = _ended.pop()
        if not hasattr(lease, "end"):
            continue  # an exception came before it was known what it stands for
        _leases.pop((lease.chunk, lease.start), None)
        _left.setdefault(lease.end - lease.start, []).append((lease.chunk, lease.start))


def _merge() -> None:
    """Make one part of each one that was taken back and the free ones before and behind it."""
    _take_back()
    while _left:
        size, row = _left.popitem()
        for number, start in row:
            end = start + size
            before, behind = _ends.get((number, start)), _starts.get((number, end))
            if before is not None:
                _set_used(number, before, start)
                start = before
            if behind is not None:
                _set_used(number, end, behind)
                end = behind
            _set_free(number, start, end)


def _set_free(number: int, start: int, end: int) -> None:
    _starts[number, start], _ends[number, end] = end, start
    insort(_free, (end - start, number, start))


def _set_used(number: int, start: int, end: int) -> None:
    part = (end - start, number, start)
    place = bisect_left(_free, part)
    if place < len(_free) and _free[place] == part:
        del _free[place]
    del _starts[number, start], _ends[number, end]


def _forget(age: int) -> None:
    """Drop the free chunks of which the last `age` requests wanted nothing."""
    _merge()
    for number, chunk in list(_chunks.items()):
        if _starts.get((number, 0)) == chunk.size and chunk.used + age <= _requests:
            _set_used(number, 0, chunk.size)
            del _chunks[number]


class Taken:
    """The storage that this thread takes while this is entered, numbered in that order."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, int]] = []

    def __enter__(self) -> Taken:
        _noted[threading.get_ident()] = self._parts
        return self

    def __exit__(self, *_: object) -> None:
        del _noted[threading.get_ident()]

    def find(self, address: int) -> tuple[int, int] | None:
        """Return which storage is at an address now, and how many bytes from its start."""
        for number in reversed(range(len(self._parts))):
            start, size = self._parts[number]
            if 0 <= address - start < size:
                return number, address - start
        return None

    def size(self, number: int) -> int:
        """Return how many bytes a storage has."""
        return self._parts[number][1]
