"""PyTorch, on the CPU and on the GPUs of NVIDIA and Apple."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.backends.base import Backend, Found, as_number, describe_pool, import_library
from xpcnn.errors import DeviceError


class PyTorch(Backend):
    """PyTorch, through array-api-compat."""

    spellings = ("torch:cpu", "torch:cuda", "torch:mps")
    kernel_set = "torch"

    def find(self, rest: str) -> Found | None:
        kind, _, number = (rest or "cpu").partition(":")
        spelling = f"torch:{rest or 'cpu'}"
        if kind not in ("cpu", "cuda", "mps"):
            raise DeviceError(f"unknown device {spelling!r}; PyTorch's are torch:cpu, cuda and mps")
        torch = import_library("torch", spelling, 'pip install "xpcnn[torch]"')
        name = f"torch:{kind}"
        if kind == "cuda":
            name = f"torch:cuda:{_number_of_gpu(torch, number, spelling)}"
        if kind == "mps" and not torch.backends.mps.is_available():
            raise DeviceError(f"device {spelling!r}: PyTorch finds no Apple GPU; use 'torch:cpu'")
        import array_api_compat.torch as xp

        return Found(name, xp, torch.device(name.removeprefix("torch:")))

    def sum_dtype(self, xp: ModuleType, x: Any) -> Any:
        # Apple's GPUs have no float64.
        return xp.float32 if x.device.type == "mps" else xp.float64

    def to_numpy(self, x: Any) -> np.ndarray:
        import torch

        host = x.detach().cpu()
        # NumPy has no bfloat16; float32 holds each of its numbers.
        return np.asarray(host.float() if host.dtype == torch.bfloat16 else host)

    def storage(self, x: Any) -> tuple[int, int]:
        storage = x.untyped_storage()
        return storage.data_ptr(), storage.nbytes()

    def memory_use(self, physical: Any) -> tuple[str, str]:
        if physical.type != "cuda":
            return "", ""
        import torch

        held, used = torch.cuda.memory_reserved(physical), torch.cuda.memory_allocated(physical)
        text = describe_pool("PyTorch", held, used, *torch.cuda.mem_get_info(physical))
        return text, "torch.cuda.empty_cache()"


def _number_of_gpu(torch: ModuleType, number: str, spelling: str) -> int:
    """Return the number of an NVIDIA GPU that works."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver is warned of, and said below
        works = torch.cuda.is_available()
    if not works:
        raise DeviceError(
            f"device {spelling!r}: PyTorch {torch.__version__} finds no working CUDA device; "
            "install a CUDA build of PyTorch and the NVIDIA driver, or use 'torch:cpu'"
        )
    found = as_number(number, spelling)
    if found >= torch.cuda.device_count():
        raise DeviceError(
            f"device {spelling!r}: this machine has {torch.cuda.device_count()} device(s)"
        )
    return found
