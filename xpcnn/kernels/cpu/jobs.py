"""Loops over jobs on several threads, whose body is compiled by itself.

Numba compiles the body of a ``prange`` loop about five times: alone, twice in the wrapper that its
threads call, and twice in the function around the loop. Here the loop is one function for all
kernels, compiled once for each list of argument types, and the body a C function which it calls
through its address. The call costs nothing beside a job of some microseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

from xpcnn.kernels.cpu import compiling

Floats = Any
"""Annotates a pointer to float32 numbers; an array is given."""
Ints = Any
"""The same for int64."""
Bytes = Any
"""The same for uint8."""

_KINDS: dict[str, Any] = {
    "int": types.intp,
    "float": types.float32,
    "Floats": types.CPointer(types.float32),
    "Ints": types.CPointer(types.int64),
    "Bytes": types.CPointer(types.uint8),
}
_DTYPES = {"Floats": np.float32, "Ints": np.int64, "Bytes": np.uint8}
_compiling = threading.Lock()


class Job:
    """A function that does one of many jobs; a decorator.

    Its first argument is the number of the job. Each argument is annotated with ``int``, ``float``
    (float32), ``Floats``, ``Ints`` or ``Bytes`` as a string, which ``from __future__ import
    annotations`` makes of it. Pointers know no sizes: those are arguments of their own. Called with
    the number of jobs and the arguments after the first, it does all jobs; see
    :func:`xpcnn.kernels.cpu.threads.launch`.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        hints = [hint for name, hint in function.__annotations__.items() if name != "return"]
        self._signature = types.void(*(_KINDS[hint] for hint in hints))
        self._hints = hints[1:]
        self._checked = False
        self._compiled: Any = None  # it holds the machine code

    @cached_property
    def address(self) -> int:
        """Where the machine code is; made or loaded when it is first asked for."""
        with _compiling:
            if self._compiled is None:
                self._compiled = compiling.c_function(self.function, self._signature)
            return int(self._compiled.address)

    def __call__(self, jobs: int, *arguments: Any) -> None:
        if not self._checked:
            self._check(arguments)
        _run(self.address, jobs, arguments)

    def _check(self, arguments: tuple[Any, ...]) -> None:
        """Compare the first arguments ever given with the annotations: wrong ones go anywhere."""
        for number, (hint, value) in enumerate(zip(self._hints, arguments, strict=True)):
            if hint in _DTYPES:
                good = isinstance(value, np.ndarray) and value.dtype == _DTYPES[hint]
            else:
                numbers = int if hint == "int" else (int, float, np.floating)
                good = isinstance(value, numbers)
            if not good:
                name = self.function.__name__
                raise TypeError(f"{name}: argument {number + 1} is to be {hint}, got {value!r}")
        self._checked = True


@intrinsic
def _call(typing: Any, address: Any, job: Any, arguments: Any) -> tuple[Any, Any]:
    """Call the body: arrays as pointers, whole numbers as int64, others as float32."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        passed = [values[1]]
        for position, kind in enumerate(arguments):
            value = builder.extract_value(values[2], position)
            if isinstance(kind, types.Array):
                value = context.make_array(kind)(context, builder, value).data
            else:
                wanted = types.intp if isinstance(kind, types.Integer) else types.float32
                value = context.cast(builder, value, kind, wanted)
            passed.append(value)
        body = ir.FunctionType(ir.VoidType(), [value.type for value in passed])
        builder.call(builder.inttoptr(values[0], body.as_pointer()), passed)
        return context.get_dummy_value()

    return types.void(types.uintp, types.intp, arguments), generate


@njit(nogil=True, parallel=True, cache=True)
def _run(address: int, jobs: int, arguments: tuple[Any, ...]) -> None:
    for job in prange(jobs):
        _call(address, job, arguments)
