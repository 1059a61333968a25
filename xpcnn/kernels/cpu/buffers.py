"""Memory that is used again: arrays whose storage comes from those that nobody holds any more.

Fresh pages from the operating system cost more than most kernels spend on them. A storage block is
free when no array refers to it, which CPython's reference counts tell; nothing has to be given
back, and an array that a user keeps is never overwritten.
"""

from __future__ import annotations

import math
import sys
import threading
from functools import lru_cache

import numpy as np

from xpcnn.kernels.workspace import idle_limit

ALIGNMENT = 64
"""Bytes: a cache line, so that no vector lies across two."""

SMALL = 4096
"""Bytes up to which the allocator of NumPy is as good."""

FORGET = 2000
"""Requests after which a block that was not wanted is given up."""


def aligned(size: int) -> np.ndarray:
    """Return that many bytes of new memory, which begin with a cache line."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    shift = -raw.ctypes.data % ALIGNMENT
    # Views refer to the owner of memory, so the aligned piece must be an owner of its own.
    return np.frombuffer(raw.data[shift : shift + size], np.uint8)


class _Block:
    """Storage, and the number of the request that last took it."""

    __slots__ = ("address", "memory", "used")

    def __init__(self, size: int, used: int) -> None:
        self.memory = aligned(size)
        self.address = self.memory.ctypes.data
        self.used = used


def _references(block: _Block) -> int:
    return sys.getrefcount(block.memory)


_lock = threading.RLock()  # an exception may come where it is let go of, and leave it held
_blocks: dict[int, list[_Block]] = {}
_requests = 0
_noted: dict[int, list[_Block]] = {}
"""By thread, the storage it takes, for those that want to know."""
_counts = getattr(sys, "_is_gil_enabled", lambda: True)() and hasattr(sys, "getrefcount")
_IDLE = _references(_Block(64, 0)) if _counts else 0


def empty(shape: int | tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Return an array with undefined contents, like ``numpy.empty``; aligned to cache lines."""
    wanted, size = _sizes(shape, dtype)
    if wanted <= SMALL or not _counts:
        return np.empty(shape, dtype)
    with _lock:
        return np.ndarray(shape, dtype, _take(size))


@lru_cache(maxsize=4096)
def _sizes(shape: int | tuple[int, ...], dtype: type) -> tuple[int, int]:
    """Return the bytes of an array, and those of the block that it gets."""
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
    """Give up all storage that no array refers to."""
    with _lock:
        _forget(0)


def idle() -> int:
    """Return the bytes of all storage that no array refers to."""
    blocks = [block for row in _blocks.values() for block in row]
    return sum(block.memory.nbytes for block in blocks if _references(block) == _IDLE)


def _take(size: int) -> np.ndarray:
    global _requests
    _requests += 1
    for block in _blocks.get(size, ()):
        if _references(block) == _IDLE:
            block.used = _requests
            break
    else:
        _forget(FORGET)
        most = idle_limit()
        if most is not None and idle() > most:
            _forget(0)
        block = _Block(size, _requests)
        _blocks.setdefault(size, []).append(block)
    if _noted:
        _noted.get(threading.get_ident(), []).append(block)
    return block.memory


class Taken:
    """The storage that this thread takes while this is entered, numbered in that order."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []

    def __enter__(self) -> Taken:
        _noted[threading.get_ident()] = self._blocks
        return self

    def __exit__(self, *_: object) -> None:
        del _noted[threading.get_ident()]

    def find(self, address: int) -> tuple[int, int] | None:
        """Return which storage is at an address now, and how many bytes from its start."""
        for number in reversed(range(len(self._blocks))):
            block = self._blocks[number]
            within = address - block.address
            if 0 <= within < block.memory.nbytes:
                return number, within
        return None

    def size(self, number: int) -> int:
        """Return how many bytes a storage has."""
        return self._blocks[number].memory.nbytes


def _forget(age: int) -> None:
    """Drop the free blocks that the last `age` requests did not want."""
    for size, row in list(_blocks.items()):
        kept = [b for b in row if _references(b) != _IDLE or b.used + age > _requests]
        if kept:
            _blocks[size] = kept
        else:
            del _blocks[size]
