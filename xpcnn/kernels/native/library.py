"""A library of compiled kernels: loading it, and calling what is in it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.kernels.native.targets import Target

_LETTERS = {"int": "i", "float": "f", "Worker": ""}
_FUNCTIONS = (
    "PyTuple_Size", "PyTuple_GetItem", "PyLong_AsLongLong", "PyFloat_AsDouble", "PyErr_Occurred",
    "PyEval_SaveThread", "PyEval_RestoreThread",
)  # fmt: skip
"""What the library calls of Python's stable interface, in the order in which it expects them."""


MOST_ARGUMENTS = 64
"""Of a kernel; the library has room for so many."""


class _Launch(ctypes.Structure):
    """A kernel with packed arguments; ``struct launch`` of the library."""

    _fields_ = [
        ("kernel", ctypes.c_void_p), ("jobs", ctypes.c_int64), ("threads", ctypes.c_int64),
        ("packed", ctypes.c_void_p),
    ]  # fmt: skip


class Library:
    """The compiled kernels for one instruction set.

    Parameters
    ----------
    path : Path
    target : Target

    Raises
    ------
    OSError
        If it cannot be loaded.
    """

    def __init__(self, path: Path, target: Target) -> None:
        self.path, self.target = path, target
        self._free = ctypes.CDLL(str(path))
        self._held = ctypes.PyDLL(str(path))  # Python's own lock stays held in these calls
        self.launch = self._held.xpcnn_launch
        self.launch.argtypes = [
            ctypes.py_object, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
        ]  # fmt: skip
        self._pack = self._held.xpcnn_pack
        self._pack.argtypes = [ctypes.py_object, ctypes.c_char_p, ctypes.c_void_p]
        self._repeat = self._free.xpcnn_repeat
        self._repeat.argtypes, self._repeat.restype = [ctypes.c_void_p, ctypes.c_int64], None
        addresses = [
            ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
            for name in _FUNCTIONS
        ]
        functions = (ctypes.c_void_p * len(addresses))(*addresses)
        self._free.xpcnn_connect.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        self._free.xpcnn_connect(functions, object.__basicsize__)

    def runs_here(self) -> bool:
        """Whether this processor has the instructions."""
        return self.target.level == 0 or self._free.xpcnn_supports(self.target.level) == 1

    def address(self, job: Any) -> int:
        """Return where a kernel is.

        Raises
        ------
        AttributeError
            If it is not in the library.
        """
        return int(ctypes.cast(getattr(self._free, job.symbol), ctypes.c_void_p).value or 0)

    def pack(self, arguments: tuple[Any, ...], letters: bytes) -> np.ndarray:
        """Pack arguments for later; arrays go in by their address and have to be held."""
        packed = np.empty(len(letters) + 1, np.int64)
        self._pack(arguments, letters, packed.ctypes.data)
        return packed

    def program(self, launches: Sequence[tuple[int, int, int, np.ndarray]]) -> Program:
        """Return launches that can be done again, by (kernel, jobs, threads, packed)."""
        return Program(self._repeat, launches)


class Program:
    """Launches one after the other, done by one call into the library."""

    def __init__(self, repeat: Any, launches: Sequence[tuple[int, int, int, np.ndarray]]) -> None:
        self._repeat, self._held = repeat, [packed for *_, packed in launches]
        self._list = (_Launch * len(launches))(
            *(_Launch(kernel, jobs, n, packed.ctypes.data) for kernel, jobs, n, packed in launches)
        )

    def run(self) -> None:
        """Do them."""
        self._repeat(self._list, len(self._list))


def symbol(name: str) -> str:
    """Return the name of a kernel in the library, of ``module.function``."""
    return "xpcnn_kernel_" + name.replace(".", "__")


def letters(hints: Sequence[str]) -> bytes:
    """Say how arguments are packed, by the hints of a body but for that of the job.

    Raises
    ------
    ValueError
        If there are too many.
    """
    found = "".join(_LETTERS.get(hint, "p") for hint in hints[1:]).encode()
    if len(found) > MOST_ARGUMENTS:
        raise ValueError(f"a kernel takes at most {MOST_ARGUMENTS} arguments, got {len(found)}")
    return found
