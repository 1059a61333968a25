"""What is asked of an array library, and how it is answered where the standard suffices."""

from __future__ import annotations

import importlib
import importlib.util
import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn.errors import DeviceError, one_line

_NOTHING = nullcontext()

OTHER_DTYPES = "; use 'float32' or 'float64'"
"""How the error of a dtype that is not there ends."""

OR_CPU = "; or use device='cpu'"
"""How the error of a GPU that does not work ends."""


class Found(NamedTuple):
    """A physical device that works.

    Attributes
    ----------
    name : str
        Spelling that finds it again.
    xp : module
        The library's Array API namespace.
    physical : object
        What the library's functions take as ``device=``.
    note : str
        What should be known of it.
    """

    name: str
    xp: ModuleType
    physical: Any
    note: str = ""


class Backend:
    """One array library.

    As it stands, this class serves any library that keeps to the Array API standard; one that has
    devices of its own to find, or differs somewhere, replaces methods.

    Parameters
    ----------
    library : str
        Name of its package.

    Attributes
    ----------
    spellings : tuple of str
        How its devices are spelled; "N" stands for a number.
    kernel_set : str or None
        The set of faster kernels in :mod:`xpcnn.kernels` for its arrays.
    knows_bfloat16 : bool
        Whether arrays of bfloat16 behave as others do. Where they come from ml_dtypes, they become
        float32 times a Python float, and some functions refuse them.
    """

    spellings: tuple[str, ...] = ()
    kernel_set: str | None = None
    knows_bfloat16: bool = True

    def __init__(self, library: str) -> None:
        self.library = library

    def find(self, rest: str) -> Found | None:
        """Look for the device with this text behind the colon of its spelling.

        Returns
        -------
        Found or None
            ``None`` if nothing is spelled so.

        Raises
        ------
        DeviceError
            If the device does not work; says what was found and what to run.
        """
        raise NotImplementedError

    def device_name(self, physical: Any) -> str:
        """Return the spelling of a physical device."""
        return f"{self.library}:{physical}"

    def active(self, physical: Any) -> AbstractContextManager[Any]:
        """Return a context in which a device computes, for libraries that have a current one."""
        return _NOTHING

    def dtype(self, xp: ModuleType, name: str, device: str) -> Any:
        """Return the dtype object of that name; `device` is named if there is none."""
        try:
            return getattr(xp, name)
        except AttributeError:
            raise DeviceError(
                f"device {device!r}: {self.library} has no dtype {name!r}{OTHER_DTYPES}"
            ) from None

    def sum_dtype(self, xp: ModuleType, x: Any) -> Any:
        """Return the dtype in which to add up many elements of `x`."""
        return xp.float64

    def integer_dtype(self, xp: ModuleType) -> Any:
        """Return the widest of the usual types of whole numbers."""
        return xp.int64

    def from_numpy(self, xp: ModuleType, host: np.ndarray, dtype: Any, physical: Any) -> Any:
        """Copy an array to a device; its dtype is kept if `dtype` is ``None``."""
        if not host.flags.writeable or any(step < 0 for step in host.strides):
            # some libraries share the memory and cannot have it so
            host = host.copy()
        return xp.asarray(host, dtype=dtype, device=physical)

    def to_numpy(self, x: Any) -> np.ndarray:
        """Copy (or view, where memory is shared) an array as one of NumPy."""
        if hasattr(x, "__array__") or not hasattr(x, "__dlpack__"):
            return np.asarray(x)
        return np.asarray(np.from_dlpack(x))

    def storage(self, x: Any) -> tuple[int, int]:
        """Say in which piece of memory an array lies, and how many bytes that piece has.

        Views of one piece of memory have the same, as long as one of them is there. Where a
        library does not tell, each array is a piece of its own.
        """
        return id(x), math.prod(x.shape) * self.itemsize(x)

    def itemsize(self, x: Any) -> int:
        """Return the bytes of one element; 8, the most, where a library does not tell."""
        return int(getattr(x.dtype, "itemsize", 8))

    def memory_use(self, physical: Any) -> tuple[str, str]:
        """Say what the pool of GPU memory holds, and which call gives back what is free.

        Both are empty where there is no such pool.
        """
        return "", ""


def import_quietly(module: str) -> ModuleType:
    """Import a library; what it warns of then is not about the user's program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


def import_library(module: str, spelling: str, install: str) -> ModuleType:
    """Import a library for a device, or say which command installs it."""
    if importlib.util.find_spec(module) is None:
        raise DeviceError(
            f"device {spelling!r} needs {module}, which is not installed; run: {install}"
        )
    try:
        return import_quietly(module)
    except Exception as error:
        raise DeviceError(
            f"device {spelling!r}: {module} is installed but fails to import "
            f"({one_line(error)}); reinstall it: {install}"
        ) from None


def as_number(text: str, spelling: str) -> int:
    """Return the number of a device, 0 where there is none."""
    if text and not text.isdigit():
        raise DeviceError(f"unknown device {spelling!r}; write the number as in 'cuda:0'")
    return int(text or 0)


def describe_pool(library: str, held: int, used: int, free: int, total: int) -> str:
    """Say what a pool of GPU memory holds, from numbers of bytes."""
    return (
        f"{library}'s memory pool holds {_size(held)}, of which {_size(used)} are in use, and "
        f"{_size(free)} of the GPU's {_size(total)} are free"
    )


def _size(count: int) -> str:
    """Write a number of bytes for people."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
