"""Which array libraries exist, and how to pick one: the only module that names them all.

A :class:`Device` is an array namespace plus a physical device of that library.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
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
OLDEST_CUPY = 14
OLDEST_GPU_OF_CUDA_13 = 75
"""Compute capability 7.5, Turing."""


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
        return _import_quietly(module)
    except Exception as error:
        raise DeviceError(
            f"device {spelling!r}: {module} is installed but fails to import "
            f"({one_line(error)}); reinstall it: {install}"
        ) from None


def _import_quietly(module: str) -> ModuleType:
    """Import a library; what it warns of then is not about the user's program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


def _number(text: str, spelling: str) -> int:
    if text and not text.isdigit():
        raise DeviceError(f"unknown device {spelling!r}; write the number as in 'cuda:0'")
    return int(text or 0)


_OR_CPU = "; or use device='cpu'"


def _cuda(rest: str) -> Device:
    spelling = f"cuda:{rest}" if rest else "cuda"
    number = _number(rest, spelling)
    try:
        physical, note = _probe_cuda(number)
    except DeviceError as error:
        raise DeviceError(f"device {spelling!r}: {error}{_OR_CPU}") from None
    import array_api_compat.cupy as xp

    return Device(f"cuda:{number}", xp, physical, note)


@cache
def _probe_cuda(number: int) -> tuple[Any, str]:
    """Do a little of everything on a GPU, so that a later failure is not the user's riddle.

    Returns CuPy's device and what should be known of it; failures are not cached.
    """
    cupy = _import_cupy()
    try:
        count, problem = cupy.cuda.runtime.getDeviceCount(), ""
    except Exception as error:
        count, problem = 0, f" ({one_line(error)})"
    if count == 0:
        raise DeviceError(_why_no_gpu(cupy, problem))
    if number >= count:
        there = ", ".join(f"cuda:{i}" for i in range(count))
        raise DeviceError(f"this machine has {count} CUDA device(s): {there}")
    physical = cupy.cuda.Device(number)
    _check_capability(cupy, physical)
    _compute_a_little(cupy, physical)
    packages = cupy_packages()
    note = f"several CuPy packages are installed, keep one: {', '.join(packages)}"
    return physical, note if len(packages) > 1 else ""


def _check_capability(cupy: ModuleType, physical: Any) -> None:
    """Raise if the GPU is older than what CUDA 13 compiles for."""
    try:
        capability = int(physical.compute_capability)
        is_cuda_13 = cupy.cuda.runtime.runtimeGetVersion() >= 13000
    except Exception:
        return  # the computation will tell
    if is_cuda_13 and capability < OLDEST_GPU_OF_CUDA_13:
        raise DeviceError(
            f"the GPU has compute capability {capability / 10}, and CUDA 13, for which CuPy "
            f"{cupy.__version__} is built here, needs 7.5 or newer; "
            f"run: {_install_cupy('cuda12', replace=True)}"
        )


def _compute_a_little(cupy: ModuleType, physical: Any) -> None:
    """Allocate, run a kernel that is compiled now, multiply matrices and copy back."""
    try:
        with physical:
            ones = cupy.ones((16, 16), dtype="float32")
            double = cupy.ElementwiseKernel("T x", "T y", "y = x + x", "xpcnn_probe")
            total = float((double(ones) @ ones).sum().get())
    except Exception as error:
        if is_out_of_memory(error):
            raise DeviceError(
                f"the GPU has no memory left for a test computation ({one_line(error)}); "
                "nvidia-smi lists the processes that use it"
            ) from None
        raise DeviceError(
            f"CuPy {cupy.__version__} finds the GPU, but a test computation fails "
            f"({one_line(error)}); parts of CUDA are probably missing or of another version; "
            f"run: {_install_cupy()}"
        ) from None
    if total != 2.0 * 16**3:
        raise DeviceError(
            f"the GPU computes wrong numbers ({total} in place of {2.0 * 16**3}); look after its "
            "driver, its memory and its temperature"
        )


def _import_cupy() -> ModuleType:
    """Import CuPy, or say what is wrong with it and which command puts it right."""
    if importlib.util.find_spec("cupy") is None:
        driver, install = cuda_of_driver(), _install_cupy(replace=True)
        missing = "CuPy is not installed"
        if cupy_packages():  # where one of two was uninstalled, it took the other's files along
            missing = f"the files of {', '.join(cupy_packages())} are missing"
        if driver is None:
            raise DeviceError(
                f"{missing}, and no NVIDIA driver is found; if there is an NVIDIA GPU, install its "
                f"driver, then run: {install}"
            )
        older = ' (or "xpcnn[cuda12]" for a GPU older than Turing)' if driver >= (13, 0) else ""
        raise DeviceError(
            f"{missing}; for the NVIDIA driver here, which is for CUDA {driver[0]}.{driver[1]}, "
            f"run: {install}{older}"
        )
    try:
        cupy = _import_quietly("cupy")
        # Where one of two CuPy packages was uninstalled, an empty shell may be left of the other.
        version, _ = str(cupy.__version__), cupy.cuda.runtime
    except Exception as error:
        raise DeviceError(
            f"CuPy is installed but fails to import ({one_line(error)}); "
            f"reinstall it: {_install_cupy(replace=True)}"
        ) from None
    major = version.split(".")[0]
    if major.isdigit() and int(major) < OLDEST_CUPY:
        raise DeviceError(
            f"CuPy {version} is too old, it must be {OLDEST_CUPY} or newer; "
            f"run: {_install_cupy(replace=True)}"
        )
    return cupy


def _why_no_gpu(cupy: ModuleType, problem: str) -> str:
    """Say why CuPy sees no GPU, and what helps."""
    driver = cuda_of_driver()
    packages = cupy_packages()
    mixed = ""
    if len(packages) > 1:
        mixed = f"; several CuPy packages overwrite each other, run: {_install_cupy(replace=True)}"
    if driver is None:
        return (
            f"CuPy {cupy.__version__} is installed, but no NVIDIA driver is found; if there is an "
            f"NVIDIA GPU, install its driver{mixed}"
        )
    built_for = cupy.cuda.runtime.runtimeGetVersion() // 1000
    if driver[0] < built_for:
        other = f", or run: {_install_cupy(replace=True)}" if driver[0] >= 12 else ""
        return (
            f"CuPy {cupy.__version__} is built for CUDA {built_for}, but the NVIDIA driver is for "
            f"CUDA {driver[0]}.{driver[1]}; update the driver{other}"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    setting = "" if visible is None else f", and CUDA_VISIBLE_DEVICES is {visible!r}"
    return (
        f"the NVIDIA driver, for CUDA {driver[0]}.{driver[1]}, is there but shows no usable GPU"
        f"{problem}{setting}; see whether nvidia-smi lists one{mixed}"
    )


def cuda_of_driver() -> tuple[int, int] | None:
    """Return the newest CUDA version that the NVIDIA driver runs; ``None`` without a driver."""
    import ctypes

    version = ctypes.c_int()
    for library in ("libcuda.so.1", "nvcuda.dll"):  # Linux, Windows
        try:
            if ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(version)) == 0:
                return version.value // 1000, version.value % 1000 // 10
        except (OSError, AttributeError):
            continue
    return None


def cupy_packages() -> dict[str, str]:
    """Return name and version of the CuPy packages installed; there should be at most one."""
    from importlib import metadata

    found = {}
    for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _install_cupy(extra: str | None = None, *, replace: bool = False) -> str:
    """Return what to run for a CuPy that fits the driver, perhaps in the place of another."""
    driver = cuda_of_driver()
    if extra is None:
        extra = "cuda12" if driver is not None and driver[0] == 12 else "cuda13"
    install = f'pip install "xpcnn[{extra}]"'
    packages = cupy_packages()
    if packages and (replace or len(packages) > 1):
        install = f"pip uninstall -y {' '.join(packages)}, then: {install}"
    if driver is not None and driver[0] < 12:
        install += " (after an update of the NVIDIA driver, which is older than CUDA 12)"
    return install


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, of whichever library, means that memory ran out."""
    # CuPy's class is a MemoryError, PyTorch's a RuntimeError of this name.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = (
    "out of memory",  # CUDA, Apple's GPUs, JAX
    "can't allocate memory",  # PyTorch on the CPU
    "not enough memory",  # PyTorch on the CPU of Windows
    "alloc_failed",  # cuBLAS and cuDNN
)


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
