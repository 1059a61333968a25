"""Compile all kernels for an instruction set: ``python -m ... NAME SYSTEM FOLDER``; a file each."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

from xpcnn.kernels.native import choice, targets


def main(name: str, system: str, folder: Path) -> None:
    """Write an object file for each kernel; kernels must not have been imported before."""
    target = targets.TARGETS[name]
    choice.compile_for(target)
    compiler = importlib.import_module("xpcnn.kernels.native.compiler")
    compiler.prepare()
    for job in _kernels():
        code = compiler.object_code(job.function, job.hints, job.symbol, target, system)
        (folder / f"{job.symbol}.o").write_bytes(code)


def _kernels() -> list[Any]:
    """List all kernels of the package."""
    cpu = importlib.import_module("xpcnn.kernels.cpu")
    for found in pkgutil.iter_modules(cpu.__path__):
        importlib.import_module(f"{cpu.__name__}.{found.name}")
    return list(importlib.import_module("xpcnn.kernels.cpu.jobs").ALL.values())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
