"""Where machine code is kept between processes, and what is said while it is made.

Numba keeps what it compiled beside each source file, and knows by that file alone whether it is
still good. But our kernels contain code from several files, so that of each module is kept in a
folder named by all of them. These folders lie in the package's ``__pycache__``; where that cannot
be written, in the user's cache folder, or last in a temporary folder. ``NUMBA_CACHE_DIR`` has
precedence.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numpy as np
from numba import cfunc
from numba.core import event
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher

QUIET = "XPCNN_QUIET"
"""The environment variable that silences the lines about compiling."""

KEPT = 3
"""Folders that are kept for a module, as it was at different times; older ones are removed."""

NOT_COMPILED = {"__init__", "buffers", "compiling", "threads"}
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
def root() -> Path:
    """Return the folder for the machine code of all modules, the first that can be written."""
    places = [Path(numba.config.CACHE_DIR)] if numba.config.CACHE_DIR else []
    places += [Path(__file__).parent / "__pycache__", _user_folder()]
    for place in places:
        wanted = place / "xpcnn-kernels"
        with suppress(OSError, RuntimeError):  # a home folder need not exist
            wanted.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=wanted).close()
            return wanted
    last = tempfile.mkdtemp(prefix="xpcnn-kernels-")
    atexit.register(shutil.rmtree, last, ignore_errors=True)
    numba.config.CACHE_DIR = last  # its own choice would fail when a kernel is defined
    return Path(last)


@cache
def folder(module: str) -> Path:
    """Return the folder for the machine code of a module as it is now."""
    wanted = root() / f"{module}-{version(module)}"
    with suppress(OSError):
        if not wanted.is_dir():
            _remove_old(module)
            wanted.mkdir(exist_ok=True)
        os.utime(wanted)
    return wanted


def keep(module: str, name: str, make: Callable[[], bytes]) -> bytes:
    """Return machine code that was kept under some name for a module; make it the first time."""
    key = f"{llvmlite.binding.get_process_triple()} {name}"
    path = folder(module) / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.o"
    with suppress(OSError):
        return path.read_bytes()
    made = make()
    with suppress(OSError):
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(made)
        os.replace(file.name, path)
    return made


def _user_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "xpcnn"


def _remove_old(module: str) -> None:
    """Remove the folders of a module but for those used last."""
    old = sorted(root().glob(f"{module}-*"), key=lambda path: path.stat().st_mtime)
    for path in old[: 1 - KEPT]:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _numba_cache(path: Path) -> Iterator[None]:
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(path)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def kernels() -> Iterator[Dispatcher]:
    """Yield the functions of the imported kernel modules whose machine code is kept."""
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGE + "."):
            for value in vars(module).values():
                if (
                    isinstance(value, Dispatcher)
                    and isinstance(getattr(value, "_cache", None), FunctionCache)
                    and value.py_func.__module__ == name
                ):
                    yield value


def adopt() -> None:
    """Let the kernels imported so far keep their machine code each in its :func:`folder`."""
    for kernel in kernels():
        with _numba_cache(folder(kernel.py_func.__module__.rpartition(".")[2])):
            kernel.enable_caching()
            if _can_load_lightly():
                setattr(kernel, "_cache", _LightCache(kernel.py_func))  # noqa: B010


def _can_load_lightly() -> bool:
    """Whether the inside of this version of Numba is known to :class:`_LightCache`."""
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


class _LightCache(FunctionCache):
    """Loads machine code without loading the compiler: that saves 60 MiB and half a second.

    The base class has Numba define all functions it knows and compile its own run-time library
    first. Whoever compiles anything does that anyway.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        _make_runtime_known()
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


class _BodyCache(_LightCache):
    """The same for C functions, of whose compilation Numba sends no event."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None:
            _reporter.start(self)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        _reporter.stop(self)
        super().save_overload(sig, data)


def c_function(function: Callable[..., None], signature: Any) -> Any:
    """Compile a function for calls through its address, or load its machine code."""
    with _numba_cache(folder(function.__module__.rpartition(".")[2])):
        if not _can_load_lightly():
            return cfunc(signature, cache=True, **NEVER_RAISES)(function)
        result = CFunc(function, (signature.args, signature.return_type), {}, NEVER_RAISES)
        setattr(result, "_cache", _BodyCache(function))  # noqa: B010
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
                say("compiling kernels for this machine, once; this takes some seconds ...")

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
            say(f"compiled {self.count} {noun} in {self.seconds:.1f} s")


_reporter = _Reporter()
event.register("numba:compile", _reporter)
atexit.register(_reporter.finish)
count_launch = _reporter.launched


def report() -> tuple[int, float]:
    """Return how many kernels this process has compiled, and how many seconds that took."""
    _reporter.finish()
    return _reporter.count, _reporter.seconds


def say(text: str) -> None:
    """Print a line to stderr, above a progress bar if there is one; unless silenced."""
    if os.environ.get(QUIET, "0") in ("", "0"):
        from tqdm import tqdm

        tqdm.write(f"xpcnn: {text}", file=sys.stderr)


def _set_fresh(value: bool) -> None:
    global fresh
    fresh = value


root()  # before any kernel is defined
