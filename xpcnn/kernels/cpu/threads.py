"""How many threads a kernel gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

WORTH_IT = 1_000_000
"""Elementary operations below which waking other threads takes longer than the work itself."""


def launch(operations: int, kernel: Callable[..., None], *arguments: Any) -> None:
    """Run a parallel kernel, on one thread if its work is small.

    The number of threads is Numba's own setting, which is left as it was.
    """
    threads = numba.get_num_threads()
    if operations >= WORTH_IT or threads == 1:
        kernel(*arguments)
        return
    numba.set_num_threads(1)
    try:
        kernel(*arguments)
    finally:
        numba.set_num_threads(threads)
