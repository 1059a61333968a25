"""JAX, on the platforms it finds."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from xpcnn.backends.base import Backend, Found, import_library
from xpcnn.errors import DeviceError, one_line


class JAX(Backend):
    """JAX, which has types of 64 bits only where they were switched on."""

    spellings = ("jax:cpu",)
    kernel_set = "jax"

    def find(self, rest: str) -> Found | None:
        kind = rest or "cpu"
        spelling = f"jax:{kind}"
        jax = import_library("jax", spelling, 'pip install "xpcnn[jax]"')
        try:
            physical = jax.devices(kind)[0]
        except RuntimeError as error:
            raise DeviceError(
                f"device {spelling!r}: JAX has no such platform ({one_line(error)})"
            ) from None
        return Found(spelling, importlib.import_module("jax.numpy"), physical)

    def device_name(self, physical: Any) -> str:
        return f"jax:{physical.platform}"

    def dtype(self, xp: ModuleType, name: str, device: str) -> Any:
        if name in ("float64", "int64") and not _has_64_bits():
            raise DeviceError(
                f"device {device!r}: JAX has 64-bit types switched off; call "
                "jax.config.update('jax_enable_x64', True) first, or use dtype='float32'"
            )
        return super().dtype(xp, name, device)

    def sum_dtype(self, xp: ModuleType, x: Any) -> Any:
        return xp.float64 if _has_64_bits() else xp.float32

    def integer_dtype(self, xp: ModuleType) -> Any:
        return xp.int64 if _has_64_bits() else xp.int32


def _has_64_bits() -> bool:
    import jax

    return bool(jax.config.jax_enable_x64)
