"""How many threads compute on the CPU, and how many of them the BLAS library behind NumPy may use.

The compiled kernels bring threads of their own. Those of BLAS go on spinning for a while after
their work, on the cores that the compiled kernels then want, so BLAS is held to one thread where
compiled kernels run. Nothing here costs anything while nothing changes.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from xpcnn.interrupts import deferred
from xpcnn.window import as_int

_chosen: int | None = None
_number: int | None = None
"""What counts now, once somebody asked: looking it up costs more than a small kernel."""
held = False
"""Whether BLAS has one thread because compiled kernels run; for others to read."""
_blas: list[tuple[Any, int]] | None = None
"""The BLAS libraries of the process, and how many threads each had when it was found."""


def available() -> int:
    """Return the most threads that can be had: the cores this process may use.

    ``XPCNN_NUM_THREADS``, if set, takes the place of their number, and so does
    ``NUMBA_NUM_THREADS``.
    """
    for name in ("XPCNN_NUM_THREADS", "NUMBA_NUM_THREADS"):
        wanted = os.environ.get(name, "")
        if wanted.isdecimal() and int(wanted) > 0:
            return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def most() -> int:
    """Return how many threads compiled kernels ever get at most: each has memory of its own."""
    return available()


def get_num_threads() -> int:
    """Return how many threads compute on the CPU; see :func:`set_num_threads`.

    Examples
    --------
    >>> import xpcnn
    >>> xpcnn.get_num_threads() >= 1
    True
    """
    global _number
    if _number is None:
        _number = available() if _chosen is None else _chosen
    return _number


def set_num_threads(n: int | None) -> None:
    """Choose how many threads compute on NumPy arrays, in the whole process.

    It counts for the compiled kernels, and for the matrix products of the generic kernels, which
    NumPy's BLAS library does. Results do not depend on it beyond rounding; those of the compiled
    kernels not at all. Other array libraries have settings of their own.

    Parameters
    ----------
    n : int or None
        From 1 to the number of cores that this process may use, or ``XPCNN_NUM_THREADS`` where
        that is set; ``None`` goes back to that number, which is the default.

    Raises
    ------
    TypeError, ValueError
        If `n` is no such number.

    Examples
    --------
    >>> import xpcnn
    >>> xpcnn.set_num_threads(1)
    >>> xpcnn.get_num_threads()
    1
    >>> xpcnn.set_num_threads(None)
    """
    global _chosen, _number
    if n is not None:
        n = as_int(n, "set_num_threads", "n", 1)
        if n > available():
            raise ValueError(
                f"set_num_threads: n must be at most {available()}, the number of cores that this "
                f"process may use (or XPCNN_NUM_THREADS), got {n}"
            )
    _chosen, _number = n, None
    if not held:
        _tell_blas(n)


def hold_blas() -> None:
    """Leave BLAS one thread; compiled kernels are about to run."""
    global held
    if not held:
        held = True
        _tell_blas(1)


def release_blas() -> None:
    """Give BLAS its threads back, if it was held; the next compiled kernel holds it again."""
    global held
    if held:
        held = False
        _tell_blas(_chosen)


def _tell_blas(n: int | None) -> None:
    """Set the number of threads; ``None`` goes back to what it was."""
    for library, before in _find_blas():
        library.set_num_threads(before if n is None else n)


def _find_blas() -> list[tuple[Any, int]]:
    """List the BLAS libraries of the process; looked up once, since that takes milliseconds."""
    global _blas
    if _blas is None:
        with deferred():
            from threadpoolctl import ThreadpoolController

        found = ThreadpoolController().select(user_api="blas").lib_controllers
        _blas = [(library, library.get_num_threads()) for library in found]
    return _blas
