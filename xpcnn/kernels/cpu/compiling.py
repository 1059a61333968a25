"""How machine code is kept between processes, and what is said while it is made.

Numba keeps what it compiled beside each source file, and knows by that file alone whether it is
still good. But our kernels contain code from several files, so that of each module is kept in a
folder named by all of them; :mod:`xpcnn.kernels.cpu.kept` reads and writes what is in it.
"""

from __future__ import annotations

import atexit
import hashlib
import pickle
import re
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numpy as np
from numba.core import event
from numba.core.caching import _Cache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from xpcnn.kernels.cpu import kept

NOT_COMPILED = {"__init__", "buffers", "compiling", "kept", "threads"}
"""Modules from which nothing goes into machine code, so that they may change."""

NEVER_RAISES = {"error_model": "numpy"}
"""How all kernels are compiled: a division by zero gives infinity or NaN. An exception in a job
would have nowhere to go, and what the job had still to write would be whatever was in memory."""

SETTLED = 60
"""Launches without compiling after which all is compiled that will be needed soon."""

PACKAGE = __name__.rpartition(".")[0]

_IMPORT = re.compile(
    rf"^\s*from {re.escape(PACKAGE)}(?:\.(\w+) import| import (\([^)]*\)|.*))", re.MULTILINE
)

fresh = False
"""Whether something was compiled that :func:`count_launch` has not reported yet."""


@cache
def version(module: str) -> str:
    """Name what the machine code of a kernel module depends on: sources, and what builds it."""
    digest = hashlib.sha256(repr(NEVER_RAISES).encode())
    for library in (sys, numba, llvmlite, np):
        digest.update(str(getattr(library, "__version__", sys.version_info)).encode())
    for path in sorted(_sources(module)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _sources(module: str) -> set[Path]:
    """List the file of a kernel module and those of the kernel modules it imports."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = Path(__file__).with_name(f"{waiting.pop()}.py")
        if path not in found and path.stem not in NOT_COMPILED and path.is_file():
            found.add(path)
            for one, several in _IMPORT.findall(path.read_text("utf-8")):
                waiting += [one] if one else re.findall(r"\w+", several)
    return found


@cache
def folder(module: str) -> str:
    """Name the folder for the machine code of a module as it is now."""
    return f"{module}-{version(module)}"


def keep(module: str, name: str, make: Callable[[], bytes]) -> bytes:
    """Return machine code that was kept under some name for a module; make it the first time."""
    key = f"{llvmlite.binding.get_process_triple()} {name}"
    found = kept.read(folder(module), key)
    if found is None:
        found = make()
        kept.write(folder(module), key, found)
    return found


def keeps(kernel: Dispatcher) -> Dispatcher:
    """Let a function keep its machine code; a decorator around Numba's."""
    setattr(kernel, "_cache", KeptCode(kernel.py_func))  # noqa: B010
    return kernel


def _can_load_lightly() -> bool:
    """Whether the inside of this version of Numba is known to :class:`KeptCode`."""
    return (0, 61) <= numba.version_info.short <= (0, 68) and _runtime() is not None


@cache
def _runtime() -> Any:
    """Return Numba's module of run-time functions."""
    try:
        from numba.core.runtime import _nrt_python

        return _nrt_python if _nrt_python.c_helpers else None
    except (ImportError, AttributeError):
        return None


@cache
def _make_runtime_known() -> None:
    """Tell LLVM where the functions are that machine code calls for memory."""
    runtime = _runtime()
    for name, address in runtime.c_helpers.items():
        symbol = name if name.startswith("_") else f"NRT_{name}"
        llvmlite.binding.add_symbol(symbol, address)


class KeptCode(_Cache):
    """Takes the place of Numba's cache for one function, with files of :mod:`.kept`.

    It loads machine code without loading the compiler: that saves 60 MiB and half a second. Numba
    would define all functions it knows and compile its own run-time library first. Whoever compiles
    anything does that anyway.

    Parameters
    ----------
    function : callable
    reports : bool
        Whether to say that it is compiled: of C functions, Numba sends no event.
    """

    def __init__(self, function: Callable[..., Any], *, reports: bool = False) -> None:
        self._function, self._reports = function, reports
        self._module = function.__module__.rpartition(".")[2]

    @property
    def cache_path(self) -> str:
        """Name the folder."""
        return folder(self._module)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return compiled code; ``None`` if there is none, and then others wait for it."""
        if _can_load_lightly():
            _make_runtime_known()
        else:
            target_context.refresh()
        key = self._key(sig, target_context.codegen())
        found = self._load(key, target_context)
        if found is None:
            kept.lock(self.cache_path)
            found = self._load(key, target_context)
            if found is not None:
                kept.unlock(self.cache_path)
        if found is None and self._reports:
            _reporter.start(self)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code."""
        if self._reports:
            _reporter.stop(self)
        try:
            if not data.library.has_dynamic_globals:
                kept.write(self.cache_path, self._key(sig, data.codegen), dumps(data._reduce()))
        finally:
            kept.unlock(self.cache_path)

    def _load(self, key: str, target_context: Any) -> Any:
        code = kept.read(self.cache_path, key)
        if code is None:
            return None
        try:
            return CompileResult._rebuild(target_context, *pickle.loads(code))
        except Exception:  # whatever it is about this code, the compiler makes another
            return None

    def _key(self, sig: Any, codegen: Any) -> str:
        code = hashlib.sha256(self._function.__code__.co_code).hexdigest()
        return f"{self._function.__qualname__} {sig} {codegen.magic_tuple()} {code}"

    def enable(self) -> None:
        """Do nothing: it is always on."""

    def disable(self) -> None:
        """Do nothing: it is always on."""

    def flush(self) -> None:
        """Do nothing: every file is written at once."""


def c_function(function: Callable[..., None], signature: Any) -> Any:
    """Compile a function for calls through its address, or load its machine code."""
    result = CFunc(function, (signature.args, signature.return_type), {}, NEVER_RAISES)
    setattr(result, "_cache", KeptCode(function, reports=True))  # noqa: B010
    result.compile()
    return result


class _Reporter(event.Listener):
    """Says that kernels are being compiled, and when all were, how long it took."""

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0
        self._inside: Any = None
        self._started = 0.0
        self._launches = 0

    def on_start(self, event: Any) -> None:
        kernel = event.data["dispatcher"]
        if kernel.py_func.__module__.startswith(PACKAGE + "."):
            self.start(kernel)

    def on_end(self, event: Any) -> None:
        self.stop(event.data["dispatcher"])

    def start(self, kernel: Any) -> None:
        """Begin to compile; whatever is compiled until the end counts as part of it."""
        if self._inside is None:
            self._inside, self._started = kernel, time.perf_counter()
            if not fresh:
                _set_fresh(True)
                kept.say("compiling kernels for this machine, once; this takes some seconds ...")

    def stop(self, kernel: Any) -> None:
        if kernel is self._inside:
            self._inside, self._launches = None, 0
            self.count += 1
            self.seconds += time.perf_counter() - self._started

    def launched(self) -> None:
        self._launches += 1
        if self._launches > SETTLED:
            self.finish()

    def finish(self) -> None:
        if fresh:
            _set_fresh(False)
            noun = "kernel" if self.count == 1 else "kernels"
            kept.say(f"compiled {self.count} {noun} in {self.seconds:.1f} s")


_reporter = _Reporter()
event.register("numba:compile", _reporter)
atexit.register(_reporter.finish)
count_launch = _reporter.launched


def report() -> tuple[int, float]:
    """Return how many kernels this process has compiled, and how many seconds that took."""
    _reporter.finish()
    return _reporter.count, _reporter.seconds


def _set_fresh(value: bool) -> None:
    global fresh
    fresh = value
