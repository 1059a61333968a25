"""Loops over jobs on several threads, whose body is compiled by itself.

Numba compiles the body of a ``prange`` loop about five times: alone, twice in the wrapper that its
threads call, and twice in the function around the loop. Here the body is a C function, compiled
once, and there is one loop for all kernels. It knows nothing of their arguments, which lie packed
in memory. For each list of argument types there are two small functions: one packs the arguments,
the other takes them from there and calls the body. They are made in a few milliseconds, and cost
nothing beside a job of some microseconds.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import get_num_threads, njit, prange, types
from numba.extending import intrinsic

from xpcnn.interrupts import deferred
from xpcnn.kernels.cpu import compiling

Floats = Any
"""Annotates a pointer to float32 numbers; an array is given."""
Doubles = Any
"""The same for float64."""
Ints = Any
"""The same for int64."""
Bytes = Any
"""The same for uint8."""

inner = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **compiling.NEVER_RAISES)
"""Decorates a function that bodies call. Python cannot, which saves a third of its compilation.

It becomes part of the bodies' machine code, and is not kept by itself.
"""

_KINDS: dict[str, Any] = {
    "int": types.intp,
    "float": types.float32,
    "Floats": types.CPointer(types.float32),
    "Doubles": types.CPointer(types.float64),
    "Ints": types.CPointer(types.int64),
    "Bytes": types.CPointer(types.uint8),
}
_LONG, _DOUBLE, _OBJECT = ir.IntType(64), ir.DoubleType(), ir.IntType(8).as_pointer()
_PACKED = _LONG.as_pointer()
_BODY = ("int",)
"""What is packed before the arguments: the address of the body."""
_DTYPES = {"Floats": np.float32, "Doubles": np.float64, "Ints": np.int64, "Bytes": np.uint8}
_AROUND = ("enter", "pack")
"""What the two functions around a body are called, before the kinds of its arguments."""
_PYTHON = ("PyTuple_GetItem", "PyLong_AsLongLong", "PyFloat_AsDouble")
"""What packing calls of Python's interface for C."""
_AT_ONCE = 8
"""How many addresses are read by one call."""
_WAITING = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
"""Environment variables that say how OpenMP's threads wait."""
TRIES = "3000"
"""How often a thread looks for work before it sleeps: for longer than most kernels are apart."""
_compiling = threading.Lock()


class Job:
    """A function that does one of many jobs; a decorator.

    Its first argument is the number of the job. Each argument is annotated with ``int``, ``float``
    (float32), ``Floats``, ``Doubles``, ``Ints`` or ``Bytes``, as a string, which ``from __future__
    import annotations`` makes of it. Pointers know no sizes: those are arguments of their own.
    Called with the number of jobs and the arguments after the first, it does all jobs; see
    :func:`xpcnn.kernels.cpu.threads.launch`.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        hints = [hint for name, hint in function.__annotations__.items() if name != "return"]
        self._signature = types.void(*(_KINDS[hint] for hint in hints))
        self._hints = tuple(hints[1:])
        self._size = 1 + len(self._hints)
        self._compiled: Any = None  # it holds the machine code
        self._ready: tuple[int, int, Callable[..., None]] | None = None

    def __call__(self, jobs: int, *arguments: Any) -> None:
        run_packed(*self.pack(jobs, *arguments))

    def pack(self, jobs: int, *arguments: Any) -> tuple[int, int, np.ndarray]:
        """Return what :func:`run_packed` takes; the arrays have to be held until then."""
        body, enter, pack = self._ready or self._prepare(arguments)
        packed = np.empty(self._size, np.int64)
        pack((body, *arguments), packed)
        return enter, jobs, packed

    def _prepare(self, arguments: tuple[Any, ...]) -> tuple[int, int, Callable[..., None]]:
        """Return the addresses of the body and of what calls it, and what packs arguments."""
        self._check(arguments)
        with deferred(), _compiling:
            start_threads()  # machine code that asks for its thread cannot load before
            if self._compiled is None:
                self._compiled = compiling.c_function(self.function, self._signature)
            self._ready = (int(self._compiled.address), *_around(self._hints))
        return self._ready

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


def addresses_of(arrays: list[np.ndarray]) -> np.ndarray:
    """Return where the numbers of arrays lie in memory, as one array of int64.

    NumPy says so too, array by array, and takes longer than a kernel on small ones.
    """
    _, pack = _around(("Floats",) * _AT_ONCE)
    found = np.empty((-(-len(arrays) // _AT_ONCE), len(_BODY) + _AT_ONCE), np.int64)
    for row, at in zip(found, range(0, len(arrays), _AT_ONCE), strict=True):
        some = arrays[at : at + _AT_ONCE]
        pack((0, *some, *some[:1] * (_AT_ONCE - len(some))), row)
    return found[:, len(_BODY) :].reshape(-1)[: len(arrays)]


@cache
def start_threads() -> None:
    """Start Numba's threads, which settles its thread layer.

    Numba then tells OpenMP how many threads it wants, for the thread that asks; and PyTorch asks
    OpenMP how many it may use. So that its number stays what it was, a thread asks that ends.
    """
    with _patient_threads():
        asking = threading.Thread(target=get_num_threads)
        asking.start()
        asking.join()
    get_num_threads()  # raises what that thread could not


@contextmanager
def _patient_threads() -> Iterator[None]:
    """Have OpenMP, while it is loaded, choose that its threads soon sleep when they have no work.

    As a rule they try again and again, a hundred times as often. Where other processes want the
    cores too, that uses up their turn, and when there is work they have to wait for the next.
    Threads that sleep at once take as long to wake as a small kernel runs.
    """
    if _WAITING & os.environ.keys():
        yield  # the user has chosen
        return
    os.environ["GOMP_SPINCOUNT"] = TRIES
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


@cache
def _around(hints: tuple[str, ...]) -> tuple[int, Callable[..., None]]:
    """Make the two functions that stand around a body with such arguments.

    Returns
    -------
    enter : int
        Address of a C function that takes a job and packed arguments, and calls the body.
    pack : callable
        Takes the body's address and the arguments as a tuple, and an array to pack them into.
    """
    kinds = "_".join(hints)
    made = compiling.keep(
        "jobs", f"{kinds} {object.__basicsize__}", partial(_make_around, kinds, hints)
    )
    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(made))
    engine.finalize_object()
    enter, pack = (int(engine.get_function_address(f"{name}_{kinds}")) for name in _AROUND)
    # Python's own lock stays held.
    return enter, ctypes.PYFUNCTYPE(None, ctypes.py_object, ctypes.py_object)(pack)


def _make_around(kinds: str, hints: tuple[str, ...]) -> bytes:
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    enter, pack = (f"{name}_{kinds}" for name in _AROUND)
    _write_enter(module, enter, hints)
    _write_pack(module, pack, (*_BODY, *hints))
    code: bytes = _machine().emit_object(llvm.parse_assembly(str(module)))
    return code


@cache
def _machine() -> Any:
    """Return what makes machine code of these functions."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(jit=True)


@cache
def _engine() -> Any:
    """Return what holds the machine code of these functions."""
    for name in _PYTHON:
        address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
        llvm.add_symbol(name, address)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())


def _write_enter(module: Any, name: str, hints: tuple[str, ...]) -> None:
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_LONG, _PACKED]), name)
    builder = ir.IRBuilder(function.append_basic_block())
    job, packed = function.args
    passed = [job]
    for position, hint in enumerate(hints, len(_BODY)):
        value = builder.load(builder.gep(packed, [_LONG(position)]))
        if hint == "float":
            value = builder.fptrunc(builder.bitcast(value, _DOUBLE), ir.FloatType())
        elif hint != "int":
            value = builder.inttoptr(value, _OBJECT)
        passed.append(value)
    body = ir.FunctionType(ir.VoidType(), [value.type for value in passed])
    builder.call(builder.inttoptr(builder.load(packed), body.as_pointer()), passed)
    builder.ret_void()


def _write_pack(module: Any, name: str, hints: tuple[str, ...]) -> None:
    """Write what packs a tuple; what is no number raises the error of Python's own conversion."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_OBJECT, _OBJECT]), name)
    builder = ir.IRBuilder(function.append_basic_block())
    arguments, packed = function.args
    out = builder.inttoptr(_data(builder, packed), _PACKED)
    for position, hint in enumerate(hints):
        item = _python(builder, "PyTuple_GetItem", _OBJECT, arguments, _LONG(position))
        if hint == "int":
            value = _python(builder, "PyLong_AsLongLong", _LONG, item)
        elif hint == "float":
            value = builder.bitcast(_python(builder, "PyFloat_AsDouble", _DOUBLE, item), _LONG)
        else:
            value = _data(builder, item)
        builder.store(value, builder.gep(out, [_LONG(position)]))
    builder.ret_void()


def _data(builder: Any, array: Any) -> Any:
    """Read where the numbers of an array are: the first entry behind Python's part of the object.

    NumPy's interface for C promises that.
    """
    place = builder.gep(array, [_LONG(object.__basicsize__)])
    return builder.load(builder.bitcast(place, _PACKED))


def _python(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call a function of Python's interface for C."""
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(result, [value.type for value in arguments]), name
    )
    return builder.call(function, arguments)


@intrinsic
def _call(typing: Any, enter: Any, job: Any, packed: Any) -> tuple[Any, Any]:
    """Call what calls the body, for one job."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_LONG, _PACKED])
        enter = builder.inttoptr(values[0], kind.as_pointer())
        data = context.make_array(packed)(context, builder, values[2]).data
        builder.call(enter, [values[1], data])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, packed), generate


@compiling.keeps
@njit(nogil=True, parallel=True, **compiling.NEVER_RAISES)
def run_packed(enter: int, jobs: int, packed: Any) -> None:
    for job in prange(jobs):
        _call(enter, job, packed)
