"""Which array libraries exist, and how to pick one: the only module that names them all.

A :class:`Device` is an array namespace plus a physical device of that library.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp, cuda_search
from xpcnn._xp import Array
from xpcnn.errors import DeviceError, one_line

SPELLINGS = (
    "auto",
    "cpu",
    "cuda",
    "cuda:N",
    "torch:cpu",
    "torch:cuda",
    "torch:mps",
    "jax:cpu",
    "strict",
)
OTHER_DTYPES = "; use 'float32' or 'float64'"


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
        if dtype is not None and host.dtype.name != dtype and dtype != "bfloat16":
            host = host.astype(dtype)
        if _xp.is_numpy(self.xp):
            return host
        if not host.flags.writeable or any(step < 0 for step in host.strides):
            # some libraries share the memory and cannot have it so
            host = host.copy()
        if dtype == "bfloat16":
            host = host.astype("float32")
            return self.xp.asarray(host, dtype=self.dtype(dtype), device=self.physical)
        return self.xp.asarray(host, device=self.physical)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return an array of zeros on this device."""
        with self.active():
            return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.physical)

    def active(self) -> AbstractContextManager[Any]:
        """Return a context in which this device computes, for libraries that have a current one.

        CuPy allocates and launches on its current device, whatever ``device=`` says; without this
        context, a model on "cuda:1" would work on the first GPU. Models enter it by themselves.
        """
        if not self.name.startswith("cuda"):
            return nullcontext()
        # A new object: one that several threads enter might mix up where each came from.
        context: AbstractContextManager[Any] = type(self.physical)(self.physical.id)
        return context

    def dtype(self, name: str) -> Any:
        """Return the library's dtype object of that name.

        Raises
        ------
        DeviceError
            If the library has no such dtype, or has it switched off (float64 in JAX).
        """
        if name in ("float64", "int64") and _xp.library(self.xp) == "jax":
            import jax

            if not jax.config.jax_enable_x64:
                raise DeviceError(
                    f"device {self.name!r}: JAX has 64-bit types switched off; call "
                    "jax.config.update('jax_enable_x64', True) first, or use dtype='float32'"
                )
        if name == "bfloat16" and _xp.library(self.xp) == "cupy":
            try:
                return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
            except ImportError:
                raise DeviceError(
                    f"device {self.name!r}: CuPy takes its bfloat16 from ml_dtypes, which is not "
                    "installed; run: pip install ml_dtypes"
                ) from None
        try:
            return getattr(self.xp, name)
        except AttributeError:
            raise DeviceError(
                f"device {self.name!r}: {_xp.library(self.xp)} has no dtype {name!r}{OTHER_DTYPES}"
            ) from None

    def memory_use(self) -> tuple[str, str]:
        """Say what the library's pool of GPU memory holds, and which call gives back what is free.

        Both are empty where there is no such pool.
        """
        kind = getattr(self.physical, "type", "cuda")
        try:
            if self.name.startswith("cuda"):
                with self.active():
                    return _cupy_memory()
            if self.name.startswith("torch") and kind == "cuda":
                return _torch_memory(self.physical)
        except Exception:  # this goes into the message of another error, and must not hide it
            return "", ""
        return "", ""

    @classmethod
    def of(cls, x: Array) -> Device:
        """Return the device an array lies on."""
        xp = _xp.namespace(x)
        physical = _xp.device_of(x)
        library = _xp.library(xp)
        if library == "numpy":
            return resolve("cpu")
        if library == "cupy":
            return cls(f"cuda:{physical.id}", xp, physical)
        if library == "array_api_strict":
            number = str(physical).removeprefix("array_api_strict.Device('device").rstrip("')")
            return cls(f"strict:{number}" if number.isdigit() else "strict", xp, physical)
        if library == "jax":
            return cls(f"jax:{physical.platform}", xp, physical)
        return cls(f"{library}:{physical}", xp, physical)

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
    library, _, rest = device.partition(":")
    if device == "auto":
        return _auto()
    if device == "cpu":
        return Device("cpu", _xp.numpy_namespace(), "cpu")
    makers: dict[str, Callable[[str], Device]] = {
        "cuda": _cuda,
        "torch": _torch,
        "jax": _jax,
        "strict": _strict,
    }
    if library not in makers:
        raise DeviceError(f"unknown device {device!r}; choose one of {', '.join(SPELLINGS)}")
    return makers[library](rest)


def devices() -> dict[str, str]:
    """Report every kind of device: ``"works"``, or why it does not.

    Returns
    -------
    dict of str to str
        Spelling of the device to its state.
    """
    report = {}
    for name in ("cpu", "cuda", "torch:cpu", "torch:cuda", "torch:mps", "jax:cpu", "strict"):
        try:
            resolve(name)
            report[name] = "works"
        except DeviceError as error:
            report[name] = str(error)
    return report


def _auto() -> Device:
    try:
        return _cuda("")
    except DeviceError as error:
        reason = str(error).removeprefix("device 'cuda': ").removesuffix(_OR_CPU)
        return Device("cpu", _xp.numpy_namespace(), "cpu", note=f"no working GPU: {reason}")


def _import(module: str, spelling: str, install: str) -> ModuleType:
    """Import a library or say which command installs it."""
    if importlib.util.find_spec(module) is None:
        raise DeviceError(
            f"device {spelling!r} needs {module}, which is not installed; run: {install}"
        )
    try:
        return _xp.import_quietly(module)
    except Exception as error:
        raise DeviceError(
            f"device {spelling!r}: {module} is installed but fails to import "
            f"({one_line(error)}); reinstall it: {install}"
        ) from None


def _number(text: str, spelling: str) -> int:
    if text and not text.isdigit():
        raise DeviceError(f"unknown device {spelling!r}; write the number as in 'cuda:0'")
    return int(text or 0)


_OR_CPU = "; or use device='cpu'"


def _cuda(rest: str) -> Device:
    spelling = f"cuda:{rest}" if rest else "cuda"
    number = _number(rest, spelling)
    try:
        physical, note = cuda_search.probe(number)
    except DeviceError as error:
        raise DeviceError(f"device {spelling!r}: {error}{_OR_CPU}") from None
    import array_api_compat.cupy as xp

    return Device(f"cuda:{number}", xp, physical, note)


def _cupy_memory() -> tuple[str, str]:
    import cupy

    pool = cupy.get_default_memory_pool()
    free, total = cupy.cuda.runtime.memGetInfo()
    text = _describe_pool("CuPy", pool.total_bytes(), pool.used_bytes(), free, total)
    return text, "cupy.get_default_memory_pool().free_all_blocks()"


def _torch_memory(physical: Any) -> tuple[str, str]:
    import torch

    held, used = torch.cuda.memory_reserved(physical), torch.cuda.memory_allocated(physical)
    text = _describe_pool("PyTorch", held, used, *torch.cuda.mem_get_info(physical))
    return text, "torch.cuda.empty_cache()"


def _describe_pool(library: str, held: int, used: int, free: int, total: int) -> str:
    return (
        f"{library}'s memory pool holds {_size(held)}, of which {_size(used)} are in use, and "
        f"{_size(free)} of the GPU's {_size(total)} are free"
    )


def _size(count: int) -> str:
    """Write a number of bytes for people."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _torch(rest: str) -> Device:
    kind, _, number = (rest or "cpu").partition(":")
    spelling = f"torch:{rest or 'cpu'}"
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"unknown device {spelling!r}; PyTorch's are torch:cpu, cuda and mps")
    torch = _import("torch", spelling, 'pip install "xpcnn[torch]"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver is warned of, and said below
        works = torch.cuda.is_available() if kind == "cuda" else True
    if not works:
        raise DeviceError(
            f"device {spelling!r}: PyTorch {torch.__version__} finds no working CUDA device; "
            "install a CUDA build of PyTorch and the NVIDIA driver, or use 'torch:cpu'"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device {spelling!r}: PyTorch finds no Apple GPU; use 'torch:cpu'")
    if kind == "cuda":
        number = str(_number(number, spelling))
        if int(number) >= torch.cuda.device_count():
            raise DeviceError(
                f"device {spelling!r}: this machine has {torch.cuda.device_count()} device(s)"
            )
    import array_api_compat.torch as xp

    name = f"torch:{kind}:{number}" if kind == "cuda" else f"torch:{kind}"
    physical = torch.device(name.removeprefix("torch:"))
    return Device(name, xp, physical)


def _jax(rest: str) -> Device:
    kind = rest or "cpu"
    spelling = f"jax:{kind}"
    jax = _import("jax", spelling, 'pip install "xpcnn[jax]"')
    try:
        physical = jax.devices(kind)[0]
    except RuntimeError as error:
        raise DeviceError(
            f"device {spelling!r}: JAX has no such platform ({one_line(error)})"
        ) from None
    return Device(spelling, importlib.import_module("jax.numpy"), physical)


def _strict(rest: str) -> Device:
    spelling = f"strict:{rest}" if rest else "strict"
    number = _number(rest, spelling)
    if number > 2:
        raise DeviceError(f"unknown device {spelling!r}; array-api-strict has strict, 1 and 2")
    strict = _import("array_api_strict", spelling, "pip install array-api-strict")
    physical = strict.Device(f"device{number}" if number else "CPU_DEVICE")
    return Device(spelling, strict, physical)
