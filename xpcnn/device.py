"""Which array libraries exist, and how to pick one.

A :class:`Device` is an array namespace plus a physical device of that library.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.backends import BACKENDS, OR_CPU, OTHER_DTYPES, Backend, backend_of
from xpcnn.errors import DeviceError

__all__ = ["OTHER_DTYPES", "SPELLINGS", "Device", "devices", "resolve"]

SPELLINGS = ("auto", *(text for each in BACKENDS.values() for text in each.spellings))


@dataclass(frozen=True)
class Device:
    """An array library and a physical device of it.

    Attributes
    ----------
    name : str
        Spelling that resolves to this device again, such as ``"cpu"`` or ``"cuda:0"``.
    xp : module
        The library's Array API namespace.
    physical : object
        What the library's functions take as ``device=``.
    note : str
        Why this device was chosen, where that is not obvious.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> device = xpcnn.Device.of(np.zeros(3))
    >>> device.name
    'cpu'
    >>> device.asarray([1, 2], "float32").dtype.name
    'float32'
    """

    name: str
    xp: ModuleType = field(repr=False)
    physical: Any = field(repr=False)
    note: str = field(default="", repr=False, compare=False)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Bring numbers to this device.

        Parameters
        ----------
        x : array of any library, list or number
            Arrays of another library or device are copied here.
        dtype : str, optional
            Name of the dtype wanted; the dtype of `x` is kept without it.
        """
        with self.active():
            return self._asarray(x, dtype)

    def _asarray(self, x: Any, dtype: str | None) -> Array:
        if _xp.is_array(x) and _xp.namespace(x) is self.xp:
            xp_dtype = None if dtype is None else self.dtype(dtype)
            if dtype is not None and _xp.dtype_name(x) != dtype:
                x = self.xp.astype(x, xp_dtype)
            return x if _xp.device_of(x) == self.physical else _xp.to_device(x, self.physical)
        host = _xp.to_numpy(x)
        if dtype == "bfloat16":  # NumPy has none
            host = host.astype("float32")
            return self._backend.from_numpy(self.xp, host, self.dtype(dtype), self.physical)
        if dtype is not None and host.dtype.name != dtype:
            host = host.astype(dtype)
        return self._backend.from_numpy(self.xp, host, None, self.physical)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return an array of zeros on this device."""
        with self.active():
            return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.physical)

    def active(self) -> AbstractContextManager[Any]:
        """Return a context in which this device computes, for libraries that have a current one.

        CuPy allocates and launches on its current device, whatever ``device=`` says; without this
        context, a model on "cuda:1" would work on the first GPU. Models enter it by themselves.
        """
        return self._backend.active(self.physical)

    def dtype(self, name: str) -> Any:
        """Return the library's dtype object of that name.

        Raises
        ------
        DeviceError
            If the library has no such dtype, or has it switched off (float64 in JAX).
        """
        return self._backend.dtype(self.xp, name, self.name)

    def memory_use(self) -> tuple[str, str]:
        """Say what the library's pool of GPU memory holds, and which call gives back what is free.

        Both are empty where there is no such pool.
        """
        try:
            with self.active():
                return self._backend.memory_use(self.physical)
        except Exception:  # this goes into the message of another error, and must not hide it
            return "", ""

    @classmethod
    def of(cls, x: Array) -> Device:
        """Return the device an array lies on."""
        xp = _xp.namespace(x)
        physical = _xp.device_of(x)
        return cls(backend_of(xp).device_name(physical), xp, physical)

    @cached_property
    def _backend(self) -> Backend:
        return backend_of(self.xp)

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> Any:
        return resolve, (self.name,)  # modules cannot be copied, nor sent to other processes


def resolve(device: str | Device = "auto") -> Device:
    """Turn the spelling of a device into a working :class:`Device`.

    Parameters
    ----------
    device : str or Device
        ``"auto"``, ``"cpu"`` (NumPy), ``"cuda"`` or ``"cuda:1"`` (CuPy), ``"torch:cpu"``,
        ``"torch:cuda"``, ``"torch:mps"``, ``"jax:cpu"``, or ``"strict"`` (array-api-strict, for
        tests; ``"strict:1"`` is its second device). "auto" is CuPy if a GPU really works, else
        NumPy; no other spelling ever falls back.

    Raises
    ------
    DeviceError
        If there is no such device or it does not work; the message says what was found and what
        to run.

    Examples
    --------
    >>> from xpcnn.device import resolve
    >>> resolve("cpu").name
    'cpu'
    """
    if isinstance(device, Device):
        return device
    if not isinstance(device, str):
        raise TypeError(f"device must be a string such as 'cpu' or a Device, got {device!r}")
    if device == "auto":
        return _auto()
    library, _, rest = device.partition(":")
    found = BACKENDS[library].find(rest) if library in BACKENDS else None
    if found is None:
        raise DeviceError(f"unknown device {device!r}; choose one of {', '.join(SPELLINGS)}")
    return Device(*found)


def devices() -> dict[str, str]:
    """Report every kind of device: ``"works"``, or why it does not.

    Returns
    -------
    dict of str to str
        Spelling of the device to its state.

    Examples
    --------
    >>> import xpcnn
    >>> xpcnn.devices()["cpu"]
    'works'
    """
    report = {}
    for name in SPELLINGS:
        if name == "auto" or name.endswith(":N"):
            continue
        try:
            resolve(name)
            report[name] = "works"
        except DeviceError as error:
            report[name] = str(error)
    return report


def _auto() -> Device:
    try:
        return resolve("cuda")
    except DeviceError as error:
        reason = str(error).removeprefix("device 'cuda': ").removesuffix(OR_CPU)
        return replace(resolve("cpu"), note=f"no working GPU: {reason}")
