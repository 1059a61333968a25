"""How kernels are launched: on how many threads, and with BLAS out of the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numba
from numba.np.ufunc import parallel

from xpcnn.kernels import threads
from xpcnn.kernels.cpu import compiling

WORTH_IT = 250_000
"""Elementary operations below which waking other threads takes longer than the work itself."""

_ready = False
_preparing = threading.Lock()
_most = 1
_get: Callable[[], int]
_set: Callable[[int], Any]
_lock: threading.Lock | None = None
"""Numba's own thread layer, the last resort, ends the process if two threads call it at once."""


def launch(operations: int, kernel: Callable[..., None], *arguments: Any) -> None:
    """Run a parallel kernel, on one thread if its work is small.

    Numba's own setting is left as it was.
    """
    if not _ready:
        _prepare()
    threads.hold_blas()
    wanted = 1
    if operations >= WORTH_IT:
        wanted = threads.get_num_threads()
        if wanted > _most:
            wanted = _most
    before = _get()
    if before != wanted:
        _set(wanted)
    try:
        if _lock is None:
            kernel(*arguments)
        else:
            with _lock:
                kernel(*arguments)
    finally:
        if before != wanted:
            _set(before)
    if compiling.fresh:
        compiling.count_launch()


def workers() -> int:
    """Return how many threads a kernel with much work gets."""
    if not _ready:
        _prepare()
    return min(_most, threads.get_num_threads())


def _prepare() -> None:
    """Make ready what the first launch needs, once all kernels are known."""
    global _ready, _most, _lock, _get, _set
    with _preparing:
        if _ready:
            return
        compiling.adopt()
        _most = numba.config.NUMBA_NUM_THREADS
        numba.get_num_threads()  # starts them, which settles the thread layer
        # What the public functions call in the end, in a tenth of their time: they take two locks.
        _get = getattr(parallel, "_get_num_threads", numba.get_num_threads)
        _set = getattr(parallel, "_set_num_threads", numba.set_num_threads)
        if numba.threading_layer() == "workqueue":
            _lock = threading.Lock()
        _ready = True
