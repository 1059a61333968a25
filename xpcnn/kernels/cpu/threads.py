"""How kernels are launched: on how many threads, and with BLAS out of the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numba
from numba.np.ufunc import parallel

from xpcnn.kernels import threads
from xpcnn.kernels.cpu import compiling, jobs

WORTH_IT = 250_000
"""Elementary operations below which waking other threads takes longer than the work itself."""

_ready = False
_preparing = threading.Lock()
_most = 1
_get: Callable[[], int]
_set: Callable[[int], Any]
_recorded: dict[int, list[Launch]] = {}
"""By thread, for those that record."""
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
    if _recorded:
        _keep(wanted, kernel, arguments)
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
    """What a launch does, and the arrays that it works on."""

    threads: int
    run: Callable[..., None]
    arguments: tuple[Any, ...]
    held: tuple[Any, ...]


@contextmanager
def record() -> Iterator[list[Launch]]:
    """Collect the launches of this thread."""
    launches = _recorded[threading.get_ident()] = []
    try:
        yield launches
    finally:
        del _recorded[threading.get_ident()]


def _keep(wanted: int, kernel: Any, arguments: tuple[Any, ...]) -> None:
    launches = _recorded.get(threading.get_ident())
    if launches is None:
        return
    if isinstance(kernel, jobs.Job):
        launches.append(Launch(wanted, jobs.run_packed, kernel.pack(*arguments), arguments))
    else:
        launches.append(Launch(wanted, kernel, arguments, ()))


def repeat(launches: list[Launch]) -> None:
    """Do launches again."""
    threads.hold_blas()
    with _lock or nullcontext():
        before = now = _get()
        try:
            for launch in launches:
                if launch.threads != now:
                    now = launch.threads
                    _set(now)
                launch.run(*launch.arguments)
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
