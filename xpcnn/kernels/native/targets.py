"""Instruction sets that kernels are compiled for, and what a library of each is called."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import NamedTuple


class Target(NamedTuple):
    """An instruction set.

    Attributes
    ----------
    name : str
        As users see it, and as ``XPCNN_ISA`` takes it.
    machine : str
        The family of processors, as LLVM calls it.
    cpu, features : str
        What LLVM may use of it. Both are empty for the processor that this runs on.
    wide : int
        Numbers of float32 in a register of the products.
    rows : int
        Rows of a register tile of the products, each of two such registers.
    level : int
        What the processor is asked for (``xpcnn_supports``); 0 if there is nothing to ask.
    needs : tuple of str
        Features of a processor, as LLVM calls them, by which one that has it is known.
    """

    name: str
    machine: str
    cpu: str
    features: str
    wide: int
    rows: int
    level: int
    needs: tuple[str, ...]


TARGETS = {
    target.name: target
    for target in (
        Target(
            "x86-64-v4", "x86_64", "x86-64-v4", "", 16, 12, 4, ("avx512vl", "avx512bw", "avx512dq")
        ),
        Target("x86-64-v3", "x86_64", "x86-64-v3", "", 8, 6, 3, ("avx2", "fma", "bmi2")),
        Target("aarch64", "aarch64", "generic", "+neon", 8, 6, 0, ("neon",)),
    )
}
"""The best of a machine first."""

HOST = Target("host", "", "", "", 8, 6, 0, ())
"""Whatever processor this is; for Numba at run time."""

FOLDER = Path(__file__).parent / "lib"
"""Where the libraries lie."""

_SUFFIXES = {"win32": ".dll", "darwin": ".dylib"}
_TRIPLES = {"win32": "pc-windows-gnu", "darwin": "apple-macosx11.0.0"}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def machine() -> str:
    """Name the family of this machine's processor."""
    name = platform.machine().lower()
    return _MACHINES.get(name, name)


def of_this_machine() -> list[Target]:
    """List the instruction sets that a processor of this family may have, the best first."""
    return [target for target in TARGETS.values() if target.machine == machine()]


def library(target: Target, system: str = sys.platform) -> Path:
    """Return the path of the library for an instruction set."""
    return FOLDER / f"xpcnn-{target.name}{_SUFFIXES.get(system, '.so')}"


def triple(target: Target, system: str = sys.platform) -> str:
    """Name a target and a system as LLVM does: the format of object files depends on both."""
    return f"{target.machine}-{_TRIPLES.get(system, 'unknown-linux-gnu')}"
