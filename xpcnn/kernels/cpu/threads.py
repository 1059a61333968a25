"""How kernels are launched: on how many threads, and with BLAS out of the way."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from xpcnn.kernels import threads
from xpcnn.kernels.cpu import buffers, jobs

WORTH_IT = 100_000
"""Elementary operations below which waking other threads takes longer than the work itself."""

_recordings: dict[int, Recording] = {}
"""By thread, for those that record."""


def launch(operations: int, kernel: jobs.Job, count: int, *arguments: Any) -> None:
    """Run a kernel, on one thread if its work is small.

    Parameters
    ----------
    operations : int
        How much it does, roughly.
    kernel : Job
    count : int
        Jobs.
    *arguments
        Those of the kernel after the number of the job.
    """
    threads.hold_blas()
    wanted = workers() if operations >= WORTH_IT else 1
    if _recordings:
        recording = _recordings.get(threading.get_ident())
        if recording is not None:
            recording.add(wanted, kernel, count, arguments)
    kernel.launch(wanted, count, arguments)


class Recording:
    """The launches of this thread while this is entered, and the memory they work on."""

    def __init__(self) -> None:
        self._launches: list[tuple[int, int, int, np.ndarray]] = []
        self._taken = buffers.Taken()
        self._held: list[np.ndarray] = []
        self._program: Any = None

    def __enter__(self) -> Recording:
        self._taken.__enter__()
        _recordings[threading.get_ident()] = self
        return self

    def __exit__(self, *_: object) -> None:
        del _recordings[threading.get_ident()]
        self._taken.__exit__()

    def add(self, wanted: int, kernel: jobs.Job, count: int, arguments: tuple[Any, ...]) -> None:
        """Note a launch."""
        self._launches.append(kernel.pack(wanted, count, arguments))
        # What was taken meanwhile may serve several launches, as it does now.
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        self._held += [a for a in arrays if not self._taken.has(a)]

    def hold(self, result: np.ndarray) -> bool:
        """Reserve the memory; ``False`` if something other than the result is kept in it."""
        return self._taken.hold(result)

    @property
    def memory(self) -> int:
        """Bytes that are reserved."""
        return self._taken.bytes

    def repeat(self) -> None:
        """Launch the same again; nothing of it asks BLAS."""
        if not self._launches:
            return
        if self._program is None:
            self._program = jobs.machine().program(self._launches)
        self._program.run()


def workers() -> int:
    """Return how many threads a kernel with much work gets."""
    return min(threads.get_num_threads(), threads.most())


def scratch(size: int) -> np.ndarray:
    """Return memory to work in, that many numbers for each worker there may be."""
    return buffers.empty(max(1, size) * threads.most())
