"""Where a benchmark ran."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import xpcnn

LIBRARIES = ("numpy", "numba", "torch", "onnxruntime", "openvino", "jax")


def describe() -> dict[str, Any]:
    """Return processor, cores, system and versions; ``None`` for a library that is not there."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "avx512": has_avx512(),
        "cores": cores(),
        "load": load(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"xpcnn": xpcnn.__version__} | {name: version(name) for name in LIBRARIES},
    }


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float | None:
    """Return how many processes wanted to run over the last minute, where the system tells."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def cpu_name() -> str:
    """Return the name of the processor, as far as the system tells."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def has_avx512() -> bool | None:
    """Tell whether the processor has vectors of 512 bits; ``None`` where the system does not."""
    flags = cpu_info().get("flags")
    return None if flags is None else "avx512f" in flags.split()


def cpu_info() -> dict[str, str]:
    """Return what Linux tells of the first core, by name; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    first, _, _ = text.partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def version(name: str) -> str | None:
    """Return the version of a package, or ``None`` if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
