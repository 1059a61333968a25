"""Kernels compiled in this process, where there is no library of them: slower to start and to run.

What takes the place of the library's threads are Python's, which are free of Python's lock while
they run machine code.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from xpcnn.interrupts import deferred
from xpcnn.kernels.native import compiler
from xpcnn.kernels.native.targets import Target

_KERNEL = ctypes.CFUNCTYPE(
    None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)  # fmt: skip


class Jit:
    """Compiles kernels when they are needed, and runs them; in the place of a ``Library``."""

    def __init__(self, target: Target) -> None:
        compiler.prepare()
        self._target, self._lock = target, threading.Lock()
        self._functions: dict[int, Any] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_threads)

    def _forget_threads(self) -> None:
        """Start anew in a forked process: threads of the pool, or one with the lock, are gone."""
        self.__dict__.pop("_pool", None)
        self._lock = threading.Lock()

    @cached_property
    def _engine(self) -> Any:
        return llvm.create_mcjit_compiler(
            llvm.parse_assembly(""),
            llvm.Target.from_default_triple().create_target_machine(jit=True),
        )

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(thread_name_prefix="xpcnn")

    def address(self, job: Any) -> int:
        """Compile a kernel, and return where it is."""
        with deferred(), self._lock:
            code = compiler.object_code(job.function, job.hints, job.symbol, self._target)
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            self._engine.finalize_object()
            found = int(self._engine.get_function_address(job.symbol))
            self._functions[found] = _KERNEL(found)
        return found

    def pack(self, arguments: tuple[Any, ...], letters: bytes) -> np.ndarray:
        """Pack arguments for later; arrays go in by their address and have to be held."""
        packed = np.empty(len(letters) + 1, np.int64)
        if len(arguments) != len(letters):
            raise TypeError(f"{len(letters)} arguments are wanted, got {len(arguments)}")
        for place, (letter, value) in enumerate(zip(letters.decode(), arguments, strict=True)):
            if letter == "p":
                packed[place] = value.__array_interface__["data"][0]
            elif letter == "f":
                packed[place : place + 1].view(np.float64)[0] = value
            else:
                packed[place] = value
        return packed

    def launch(
        self, arguments: tuple[Any, ...], letters: bytes, kernel: int, jobs: int, threads: int
    ) -> None:
        """Run a kernel."""
        self._run(kernel, jobs, threads, self.pack(arguments, letters))

    def program(self, launches: Sequence[tuple[int, int, int, np.ndarray]]) -> Program:
        """Return launches that can be done again, by (kernel, jobs, threads, packed)."""
        return Program(self, launches)

    def _run(self, kernel: int, jobs: int, threads: int, packed: np.ndarray) -> None:
        function, address = self._functions[kernel], packed.ctypes.data
        threads = min(threads, jobs)
        if threads <= 1:
            function(0, jobs, 0, address)
            return
        bounds = [jobs * i // threads for i in range(threads + 1)]
        with deferred():  # the arrays have to be there until all threads are done with them
            others = [
                self._pool.submit(function, bounds[i], bounds[i + 1], i, address)
                for i in range(1, threads)
            ]
            function(0, bounds[1], 0, address)
            for other in others:
                other.result()


class Program:
    """Launches one after the other."""

    def __init__(self, jit: Jit, launches: Sequence[tuple[int, int, int, np.ndarray]]) -> None:
        self._jit, self._launches = jit, list(launches)

    def run(self) -> None:
        """Do them."""
        for launch in self._launches:
            self._jit._run(*launch)
