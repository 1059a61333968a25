"""array-api-strict, which refuses what is not in the Array API standard; for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.backends.base import Backend, Found, as_number, import_library
from xpcnn.errors import DeviceError


class Strict(Backend):
    """array-api-strict, and its two other devices, which are not the CPU by name only."""

    spellings = ("strict",)

    def find(self, rest: str) -> Found | None:
        spelling = f"strict:{rest}" if rest else "strict"
        number = as_number(rest, spelling)
        if number > 2:
            raise DeviceError(f"unknown device {spelling!r}; array-api-strict has strict, 1 and 2")
        strict = import_library("array_api_strict", spelling, "pip install array-api-strict")
        physical = strict.Device(f"device{number}" if number else "CPU_DEVICE")
        return Found(spelling, strict, physical)

    def device_name(self, physical: Any) -> str:
        number = str(physical).removeprefix("array_api_strict.Device('device").rstrip("')")
        return f"strict:{number}" if number.isdigit() else "strict"

    def to_numpy(self, x: Any) -> np.ndarray:
        try:
            return np.asarray(np.from_dlpack(x))
        except BufferError:  # NumPy 2.0 exports nothing that is read-only, such as what is repeated
            return np.asarray(np.from_dlpack(x.__array_namespace__().asarray(x, copy=True)))
