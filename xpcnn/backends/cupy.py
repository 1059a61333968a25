"""CuPy, on NVIDIA's GPUs."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.backends import cuda_search
from xpcnn.backends.base import OR_CPU, Backend, Found, as_number, describe_pool
from xpcnn.errors import DeviceError


class CuPy(Backend):
    """CuPy: it computes on its current device, whatever ``device=`` says."""

    spellings = ("cuda", "cuda:N")
    kernel_set = "cuda"
    knows_bfloat16 = False

    def find(self, rest: str) -> Found | None:
        spelling = f"cuda:{rest}" if rest else "cuda"
        number = as_number(rest, spelling)
        try:
            physical, note = cuda_search.probe(number)
        except DeviceError as error:
            raise DeviceError(f"device {spelling!r}: {error}{OR_CPU}") from None
        import array_api_compat.cupy as xp

        return Found(f"cuda:{number}", xp, physical, note)

    def device_name(self, physical: Any) -> str:
        return f"cuda:{physical.id}"

    def active(self, physical: Any) -> AbstractContextManager[Any]:
        # A new object: one that several threads enter might mix up where each came from.
        context: AbstractContextManager[Any] = type(physical)(physical.id)
        return context

    def dtype(self, xp: ModuleType, name: str, device: str) -> Any:
        if name != "bfloat16":
            return super().dtype(xp, name, device)
        try:
            return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        except ImportError:
            raise DeviceError(
                f"device {device!r}: CuPy takes its bfloat16 from ml_dtypes, which is not "
                "installed; run: pip install ml_dtypes"
            ) from None

    def to_numpy(self, x: Any) -> np.ndarray:
        return np.asarray(x.get())

    def storage(self, x: Any) -> tuple[int, int]:
        memory = x.data.mem
        return memory.ptr, memory.size

    def memory_use(self, physical: Any) -> tuple[str, str]:
        import cupy

        pool = cupy.get_default_memory_pool()
        free, total = cupy.cuda.runtime.memGetInfo()
        text = describe_pool("CuPy", pool.total_bytes(), pool.used_bytes(), free, total)
        return text, "cupy.get_default_memory_pool().free_all_blocks()"
