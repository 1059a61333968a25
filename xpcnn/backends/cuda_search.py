"""The search for a GPU that CuPy can use: what is there, what is missing, and what to run.

Each failure is a :class:`~xpcnn.DeviceError` that says what was found and which command helps.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from types import ModuleType
from typing import Any

from xpcnn.backends.base import import_quietly
from xpcnn.errors import DeviceError, is_out_of_memory, one_line

OLDEST_CUPY = 14
OLDEST_GPU_OF_CUDA_13 = 75
"""Compute capability 7.5, Turing."""


@cache
def probe(number: int) -> tuple[Any, str]:
    """Try a little of everything on a GPU, so that a later failure does not puzzle the user.

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
            f"run: {install_command('cuda12', replace=True)}"
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
            f"run: {install_command()}"
        ) from None
    if total != 2.0 * 16**3:
        raise DeviceError(
            f"the GPU computes wrong numbers ({total} in place of {2.0 * 16**3}); check its "
            "driver, its memory and its temperature"
        )


def _import_cupy() -> ModuleType:
    """Import CuPy, or say what is wrong with it and which command puts it right."""
    if importlib.util.find_spec("cupy") is None:
        driver, install = cuda_of_driver(), install_command(replace=True)
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
        cupy = import_quietly("cupy")
        # Where one of two CuPy packages was uninstalled, an empty shell may be left of the other.
        version, _ = str(cupy.__version__), cupy.cuda.runtime
    except Exception as error:
        raise DeviceError(
            f"CuPy is installed but fails to import ({one_line(error)}); "
            f"reinstall it: {install_command(replace=True)}"
        ) from None
    major = version.split(".")[0]
    if major.isdigit() and int(major) < OLDEST_CUPY:
        raise DeviceError(
            f"CuPy {version} is too old, it must be {OLDEST_CUPY} or newer; "
            f"run: {install_command(replace=True)}"
        )
    return cupy


def _why_no_gpu(cupy: ModuleType, problem: str) -> str:
    """Say why CuPy sees no GPU, and what helps."""
    driver = cuda_of_driver()
    packages = cupy_packages()
    mixed = ""
    if len(packages) > 1:
        mixed = (
            f"; several CuPy packages overwrite each other, run: {install_command(replace=True)}"
        )
    if driver is None:
        return (
            f"CuPy {cupy.__version__} is installed, but no NVIDIA driver is found; if there is an "
            f"NVIDIA GPU, install its driver{mixed}"
        )
    built_for = cupy.cuda.runtime.runtimeGetVersion() // 1000
    if driver[0] < built_for:
        other = f", or run: {install_command(replace=True)}" if driver[0] >= 12 else ""
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


def install_command(extra: str | None = None, *, replace: bool = False) -> str:
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
