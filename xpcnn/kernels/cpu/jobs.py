"""Kernels: functions that do one of many jobs, whose bodies are compiled.

A body is written in the part of Python that Numba compiles, and becomes a C function of packed
arguments (:mod:`xpcnn.kernels.native`): ahead of time, or in this process where there is no
library. In a process that does not compile, bodies are never looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from xpcnn.kernels.native import choice, library

Floats = Any
"""Annotates a pointer to float32 numbers; an array is given."""
Doubles = Any
"""The same for float64."""
Ints = Any
"""The same for int64."""
Bytes = Any
"""The same for uint8."""
Worker = int
"""Annotates the number of the worker that does the job, for scratch memory; it is not given."""

ALL: dict[str, Job] = {}
"""All kernels, by the names of their C functions; each is added when it is made."""
_compiling: dict[str, Any] = {}
"""What compiles in this process, by "here", once it is there."""
_DTYPES = {"Floats": np.float32, "Doubles": np.float64, "Ints": np.int64, "Bytes": np.uint8}


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let bodies call a function; a decorator. It becomes part of their machine code."""
    if not choice.chosen().compiles:
        return function
    from numba import njit

    from xpcnn.kernels.native.compiler import NEVER_RAISES

    compiled: Callable[..., Any] = njit(
        nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **NEVER_RAISES
    )(function)
    return compiled


class Job:
    """A function that does one of many jobs; a decorator.

    Its first argument is the number of the job. Each argument is annotated with ``int``, ``float``
    (float32), ``Floats``, ``Doubles``, ``Ints``, ``Bytes`` or ``Worker``, as a string, which ``from
    __future__ import annotations`` makes of it. Pointers know no sizes: those are arguments of
    their own. See :func:`xpcnn.kernels.cpu.threads.launch`.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.hints = tuple(h for name, h in function.__annotations__.items() if name != "return")
        module = function.__module__.rpartition(".")[2]
        self.symbol = library.symbol(f"{module}.{function.__name__}")
        self._letters = library.letters(self.hints)
        self._address = 0
        ALL[self.symbol] = self

    def __call__(self, jobs: int, *arguments: Any) -> None:
        """Do all jobs on this thread; arguments are those after the first."""
        self.launch(1, jobs, arguments)

    def launch(self, threads: int, jobs: int, arguments: tuple[Any, ...]) -> None:
        """Do all jobs on some threads."""
        address = self._address or self._prepare(arguments)
        machine().launch(arguments, self._letters, address, jobs, threads)

    def pack(
        self, threads: int, jobs: int, arguments: tuple[Any, ...]
    ) -> tuple[int, int, int, np.ndarray]:
        """Return a launch for later; the arrays have to be held until then."""
        address = self._address or self._prepare(arguments)
        return address, jobs, threads, machine().pack(arguments, self._letters)

    def _prepare(self, arguments: tuple[Any, ...]) -> int:
        """Return where the machine code is."""
        self._check(arguments)
        self._address = machine().address(self)
        return self._address

    def _check(self, arguments: tuple[Any, ...]) -> None:
        """Compare the first arguments ever given with the annotations: wrong ones go anywhere."""
        hints = [hint for hint in self.hints[1:] if hint != "Worker"]
        name = self.function.__name__
        if len(arguments) != len(hints):
            raise TypeError(f"{name}: takes {len(hints)} arguments, got {len(arguments)}")
        for number, (hint, value) in enumerate(zip(hints, arguments, strict=True), 1):
            if hint in _DTYPES:
                good = isinstance(value, np.ndarray) and value.dtype == _DTYPES[hint]
            else:
                numbers = int if hint == "int" else (int, float, np.floating)
                good = isinstance(value, numbers)
            if not good:
                raise TypeError(f"{name}: argument {number} is to be {hint}, got {value!r}")


@cache
def machine() -> Any:
    """Return what holds machine code and runs it: a library, or what compiles in this process."""
    found = choice.chosen()
    if found.library is not None:
        return found.library
    from xpcnn.kernels.native.jit import Jit

    assert found.target is not None
    # Threads that come here at once have to share one: an address belongs to what compiled it.
    return _compiling.setdefault("here", Jit(found.target))


def addresses_of(arrays: list[np.ndarray]) -> np.ndarray:
    """Return where the numbers of arrays lie in memory, as one array of int64.

    NumPy says so too, array by array, and takes longer than a kernel on small ones.
    """
    found: np.ndarray = machine().pack(tuple(arrays), b"p" * len(arrays))[: len(arrays)]
    return found
