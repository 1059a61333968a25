"""Which array libraries exist, and how to pick one: the only module that names them all.

A :class:`Device` is an array namespace plus a physical device of that library.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import DeviceError

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
        return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.physical)

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
        try:
            return getattr(self.xp, name)
        except AttributeError:
            raise DeviceError(
                f"device {self.name!r}: {_xp.library(self.xp)} has no dtype {name!r}; "
                "use 'float32' or 'float64'"
            ) from None

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
        return Device("cpu", _xp.numpy_namespace(), "cpu", note=f"no working GPU: {error}")


def _import(module: str, spelling: str, install: str) -> ModuleType:
    """Import a library or say which command installs it."""
    if importlib.util.find_spec(module) is None:
        raise DeviceError(
            f"device {spelling!r} needs {module}, which is not installed; run: {install}"
        )
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise DeviceError(
            f"device {spelling!r}: {module} is installed but fails to import "
            f"({type(error).__name__}: {error}); reinstall it: {install}"
        ) from error


def _number(text: str, spelling: str) -> int:
    if text and not text.isdigit():
        raise DeviceError(f"unknown device {spelling!r}; write the number as in 'cuda:0'")
    return int(text or 0)


def _cuda(rest: str) -> Device:
    spelling = f"cuda:{rest}" if rest else "cuda"
    number = _number(rest, spelling)
    name, physical = _probe_cuda(number, spelling)
    import array_api_compat.cupy as xp

    return Device(name, xp, physical)


@cache
def _probe_cuda(number: int, spelling: str) -> tuple[str, Any]:
    """Do a little of everything on the GPU, so that a later failure is not the user's riddle."""
    install = 'pip install "xpcnn[cuda13]" (or "xpcnn[cuda12]" for a CUDA 12 driver)'
    cupy = _import("cupy", spelling, install)
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise DeviceError(
            f"device {spelling!r}: CuPy {cupy.__version__} is installed but finds no usable "
            f"NVIDIA driver ({type(error).__name__}: {error}); install or update the driver, "
            f"then {install}; or use device='cpu'"
        ) from error
    if number >= count:
        raise DeviceError(
            f"device {spelling!r}: this machine has {count} CUDA device(s), numbered from 0"
        )
    try:
        with cupy.cuda.Device(number) as physical:
            ones = cupy.ones((16, 16), dtype="float32")
            double = cupy.ElementwiseKernel("T x", "T y", "y = x + x", "xpcnn_probe")
            total = float((double(ones) @ ones).sum().get())
    except Exception as error:
        raise DeviceError(
            f"device {spelling!r}: the GPU is there but a test computation fails "
            f"({type(error).__name__}: {error}); CuPy and the driver probably differ in CUDA "
            f"version: {install}"
        ) from error
    if total != 2.0 * 16**3:
        raise DeviceError(f"device {spelling!r}: the GPU computes wrong numbers ({total})")
    return f"cuda:{number}", physical


def _torch(rest: str) -> Device:
    kind, _, number = (rest or "cpu").partition(":")
    spelling = f"torch:{rest or 'cpu'}"
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"unknown device {spelling!r}; PyTorch's are torch:cpu, cuda and mps")
    torch = _import("torch", spelling, 'pip install "xpcnn[torch]"')
    if kind == "cuda" and not torch.cuda.is_available():
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
        raise DeviceError(f"device {spelling!r}: JAX has no such platform ({error})") from error
    return Device(spelling, importlib.import_module("jax.numpy"), physical)


def _strict(rest: str) -> Device:
    spelling = f"strict:{rest}" if rest else "strict"
    strict = _import("array_api_strict", spelling, "pip install array-api-strict")
    number = _number(rest, spelling)
    if number > 2:
        raise DeviceError(f"unknown device {spelling!r}; array-api-strict has strict, 1 and 2")
    physical = strict.Device(f"device{number}" if number else "CPU_DEVICE")
    return Device(spelling, strict, physical)
