"""How kernels are launched: on how many threads, and with BLAS out of the way."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from xpcnn.kernels import threads
from xpcnn.kernels.cpu import arena, buffers, jobs

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
    """The launches of this thread while this is entered, to be done again in memory of their own.

    Each storage that is taken meanwhile is needed from the first launch that gets it to the last.
    """

    def __init__(self) -> None:
        self._launches: list[tuple[int, int, int, np.ndarray]] = []
        self._taken = buffers.Taken()
        self._held: list[np.ndarray] = []
        self._uses: list[tuple[int, int, int, int]] = []
        """Number of the launch, of the argument and of the storage, and bytes from its start."""
        self._memory = np.empty(0, np.uint8)
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
        launch = kernel.pack(wanted, count, arguments)
        for number, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray):
                found = self._taken.find(int(launch[3][number]))
                if found is None:
                    self._held.append(argument)
                else:
                    self._uses.append((len(self._launches), number, *found))
        self._launches.append(launch)

    def settle(self, result: np.ndarray) -> np.ndarray:
        """Give the launches memory of their own, and return where they will leave the result.

        The memory is full of NaN: whoever reads what nobody has written will notice.
        """
        end = len(self._launches)
        left = self._taken.find(result.__array_interface__["data"][0])
        uses = [(launch, storage) for launch, _, storage, _ in self._uses]
        uses += [] if left is None else [(end, left[0])]
        spans: dict[int, tuple[int, int]] = {}
        for launch, storage in uses:
            first, _ = spans.get(storage, (launch, launch))
            spans[storage] = first, launch
        needs = [arena.Need(self._taken.size(number), *span) for number, span in spans.items()]
        places, size = arena.place(needs)
        offsets = dict(zip(spans, places, strict=True))
        self._memory = buffers.aligned(size)
        self._memory.fill(0xFF)
        start = self._memory.ctypes.data
        for launch, argument, storage, within in self._uses:
            self._launches[launch][3][argument] = start + offsets[storage] + within
        if left is None:
            return result
        offset = offsets[left[0]] + left[1]
        return np.ndarray(result.shape, result.dtype, self._memory, offset, result.strides)

    @property
    def memory(self) -> int:
        """Bytes that the launches have to themselves."""
        return self._memory.nbytes

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
