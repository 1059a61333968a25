"""Which machine code runs on NumPy arrays here: that of a library, Numba's, or none.

``XPCNN_ISA`` decides if it is set: the name of an instruction set, ``numba`` or ``none``.
Otherwise the best library that this processor can run is taken; where there is none, Numba if it
is installed, which compiles in every process anew.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from xpcnn.interrupts import deferred
from xpcnn.kernels.native import sources, targets
from xpcnn.kernels.native.library import Library
from xpcnn.kernels.native.targets import Target

VARIABLE = "XPCNN_ISA"
BUILD = "python -m xpcnn.kernels.cpu.build"


class Choice(NamedTuple):
    """What was chosen.

    Attributes
    ----------
    target : Target or None
        The instruction set that kernels are compiled for; ``None`` if there are no kernels.
    library : Library or None
        Where they are; ``None`` if Numba compiles them.
    why : str
        What was found, for users to read.
    """

    target: Target | None
    library: Library | None
    why: str

    @property
    def compiles(self) -> bool:
        """Whether this process makes machine code itself."""
        return self.target is not None and self.library is None


_ROOT = Path(__file__).parents[3]
_told: Choice | None = None


def compile_for(target: Target) -> None:
    """Make machine code for an instruction set in this process; before kernels are imported."""
    global _told
    _told = Choice(target, None, f"compiling for {target.name}")


def chosen() -> Choice:
    """Return which machine code runs; this is decided once in a process."""
    return _told or _choose()


@cache
def _choose() -> Choice:
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "none":
        return Choice(None, None, f"{VARIABLE}=none")
    if wanted == "numba":
        return _numba(f"{VARIABLE}=numba")
    if wanted and wanted not in targets.TARGETS:
        known = ", ".join([*targets.TARGETS, "numba", "none"])
        return _nothing([f"{VARIABLE}={wanted} is none of {known}"])
    candidates = [t for t in targets.of_this_machine() if wanted in ("", t.name)]
    if not candidates and wanted:
        return _nothing([f"{VARIABLE}={wanted}, but this processor is {targets.machine()}"])
    with deferred():
        library, problems = _load_best(candidates)
        if library is None and _can_build():
            failed = _build(wanted)
            library, problems = _load_best(candidates)
            problems += failed
    if library is not None:
        return Choice(library.target, library, f"compiled for {library.target.name}")
    why = "; ".join(problems) or f"there is no library for {targets.machine()}"
    if wanted:
        return _nothing([f"{VARIABLE}={wanted}", why])
    return _numba(why)


def _load_best(candidates: list[Target]) -> tuple[Library | None, list[str]]:
    """Load the first library that fits; else say why none does."""
    problems = []
    for target in candidates:
        library, problem = _load(target)
        if library is not None:
            return library, []
        problems.append(problem)
    return None, problems


def _load(target: Target) -> tuple[Library | None, str]:
    """Load a library if it fits; else say why it does not."""
    path = targets.library(target)
    if not path.is_file():
        return None, f"{path.name} was not built ({BUILD} builds it)"
    if not sources.fits(path):
        return (
            None,
            f"{path.name} is damaged or older than the sources of its kernels; run {BUILD}",
        )
    try:
        library = Library(path, target)
    except (OSError, AttributeError) as error:
        return None, f"{path.name} cannot be loaded: {error}"
    if not library.runs_here():
        return None, f"this processor has not all instructions of {target.name}"
    return library, ""


def _can_build() -> bool:
    """Whether this is a checkout, and Numba is there."""
    is_checkout = (_ROOT / "pyproject.toml").is_file()
    return is_checkout and importlib.util.find_spec("numba") is not None


def _build(wanted: str) -> list[str]:
    """Build the library that was wanted, or the best for this processor; return what went wrong."""
    command = [sys.executable, "-m", "xpcnn.kernels.cpu.build", "--if-old"]
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [*command, "--isa", wanted or "best"], env=os.environ | {"PYTHONPATH": path},
            cwd=_ROOT, check=False, text=True, stdout=_progress(), stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        return [f"a build cannot be started: {error}"]
    return [done.stderr.strip()[-500:]] if done.returncode != 0 else []


def _progress() -> Any:
    """Return where a build says what it does: this process's messages, if a file takes them."""
    if os.environ.get("XPCNN_QUIET", "0") in ("", "0"):
        try:
            return sys.stderr.fileno()
        except (AttributeError, OSError):
            pass  # a notebook's, or none at all
    return subprocess.DEVNULL


def _numba(why: str) -> Choice:
    """Choose Numba, if it works."""
    if importlib.util.find_spec("numba") is None:
        return Choice(None, None, f'{why}; nor is Numba installed (pip install "xpcnn[fast]")')
    try:
        with deferred():  # a module of which half was imported stays like that
            importlib.import_module("numba")
    except Exception as error:
        return _nothing([f"Numba cannot be imported ({error})", why])
    return Choice(targets.HOST, None, f"compiled by Numba in each process: {why}")


def _nothing(problems: list[str]) -> Choice:
    """Do without, and say so once."""
    why = "; ".join(problems)
    _warn(f"there are no compiled kernels: {why}")
    return Choice(None, None, why)


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=2)
