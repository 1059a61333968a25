"""How many threads a kernel gets."""

from __future__ import annotations

import numba

WORTH_IT = 1_000_000
"""Elementary operations below which waking other threads takes longer than the work itself."""


def for_work(operations: int) -> None:
    """Choose the threads of the next kernel this thread runs, by the size of its work."""
    threads = 1 if operations < WORTH_IT else numba.config.NUMBA_NUM_THREADS
    if numba.get_num_threads() != threads:
        numba.set_num_threads(threads)
