"""How kernels are launched: on how many threads, and with BLAS out of the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.np.ufunc import parallel

from xpcnn.interrupts import deferred
from xpcnn.kernels import threads
from xpcnn.kernels.cpu import buffers, compiling, jobs

WORTH_IT = 250_000
"""Elementary operations below which waking other threads takes longer than the work itself."""

_ready = False
_preparing = threading.Lock()
_most = 1
_get: Callable[[], int]
_set: Callable[[int], Any]
_recordings: dict[int, Recording] = {}
"""By thread, for those that record."""
_lock: threading.Lock | None = None
"""Numba's own thread layer, the last resort, ends the process if two threads call it at once."""


def launch(operations: int, kernel: jobs.Job, *arguments: Any) -> None:
    """Run a kernel, on one thread if its work is small.

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
    if _recordings:
        recording = _recordings.get(threading.get_ident())
        if recording is not None:
            recording.add(wanted, kernel, arguments)
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


class Launch(NamedTuple):
    """How many threads a launch gets, and what :func:`jobs.run_packed` takes."""

    threads: int
    packed: tuple[int, int, np.ndarray]


class Recording:
    """The launches of this thread while this is entered, and the memory they work on."""

    def __init__(self) -> None:
        self._launches: list[Launch] = []
        self._taken = buffers.Taken()
        self._held: list[np.ndarray] = []

    def __enter__(self) -> Recording:
        self._taken.__enter__()
        _recordings[threading.get_ident()] = self
        return self

    def __exit__(self, *_: object) -> None:
        del _recordings[threading.get_ident()]
        self._taken.__exit__()

    def add(self, wanted: int, kernel: jobs.Job, arguments: tuple[Any, ...]) -> None:
        """Note a launch."""
        self._launches.append(Launch(wanted, kernel.pack(*arguments)))
        # What was taken meanwhile may serve several launches, as it does now.
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        self._held += [a for a in arrays if not self._taken.has(a)]

    def hold(self, result: np.ndarray) -> bool:
        """Reserve the memory; ``False`` if something other than the result is kept in it."""
        return self._taken.hold(result)

    def repeat(self) -> None:
        """Launch the same again."""
        if not self._launches:
            return  # and perhaps there never was a launch that made threads ready
        threads.hold_blas()
        with _lock or nullcontext():
            before = now = _get()
            try:
                for launch in self._launches:
                    if launch.threads != now:
                        now = launch.threads
                        _set(now)
                    jobs.run_packed(*launch.packed)
            finally:
                if now != before:
                    _set(before)


def workers() -> int:
    """Return how many threads a kernel with much work gets."""
    if not _ready:
        _prepare()
    return min(_most, threads.get_num_threads())


def _prepare() -> None:
    """Make ready what the first launch needs, once all kernels are known."""
    global _ready, _most, _lock, _get, _set
    with deferred(), _preparing:
        if _ready:
            return
        _most = numba.config.NUMBA_NUM_THREADS
        jobs.start_threads()
        # What the public functions call in the end, in a tenth of their time: they take two locks.
        _get = getattr(parallel, "_get_num_threads", numba.get_num_threads)
        _set = getattr(parallel, "_set_num_threads", numba.set_num_threads)
        if numba.threading_layer() == "workqueue":
            _lock = threading.Lock()
        _ready = True
