"""Build the libraries of compiled kernels.

Numba and llvmlite make object files of the kernels, for any instruction set on any machine. A C
compiler makes one of ``runtime.c`` and links them: Zig's (``pip install ziglang``), which links for
all systems, or ``cc``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xpcnn.kernels.native import choice, sources, targets
from xpcnn.kernels.native.targets import Target

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

GLIBC = "2.28"
"""The oldest C library of Linux that a library linked by Zig runs with."""

_SYSTEMS = {"linux": f"linux-gnu.{GLIBC}", "darwin": "macos", "win32": "windows-gnu"}
"""What Zig calls them."""


def main(arguments: list[str] | None = None) -> int:
    """Build what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog=choice.BUILD, description="Compile the kernels.")
    parser.add_argument(
        "--isa", choices=[*targets.TARGETS, "best"], action="append", metavar="NAME", default=[],
        help=f"an instruction set: {', '.join(targets.TARGETS)}, or the best of this processor; "
        "all of this machine if left out",
    )  # fmt: skip
    parser.add_argument(
        "--system", choices=[*_SYSTEMS], default=sys.platform,
        help="the system it is for, as Python calls it; another one needs Zig",
    )  # fmt: skip
    parser.add_argument("--if-old", action="store_true", help="only what its sources have left")
    given = parser.parse_args(arguments)
    wanted = [targets.TARGETS[name] if name != "best" else _best() for name in given.isa]
    wanted = wanted or targets.of_this_machine()
    if not wanted:
        print(f"no instruction set of {targets.machine()} is known", file=sys.stderr)
        return 1
    try:
        targets.FOLDER.mkdir(exist_ok=True)
        with _alone():
            if given.if_old:
                wanted = [t for t in wanted if not sources.fits(targets.library(t, given.system))]
            build(wanted, given.system)
    except (OSError, RuntimeError) as error:
        print(f"cannot build the kernels: {error}", file=sys.stderr)
        return 1
    return 0


def _best() -> Target:
    """Return the best instruction set that this processor has."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    for target in targets.of_this_machine():
        if all(features.get(name, False) for name in target.needs):
            return target
    raise RuntimeError(f"no instruction set is known for {llvm.get_host_cpu_name()}")


def build(wanted: list[Target], system: str = sys.platform) -> None:
    """Build the libraries for some instruction sets.

    Raises
    ------
    RuntimeError
        If a part of it fails, with what was said.
    """
    if not wanted:
        return
    print(f"xpcnn: compiling kernels for {', '.join(t.name for t in wanted)} ...", flush=True)
    before = time.perf_counter()
    made_of = sources.digest()  # now: what changes from here on may be in the library or not
    with tempfile.TemporaryDirectory() as work:
        running: list[tuple[Target, Path, subprocess.Popen[str]]] = []
        try:
            for target in wanted:
                folder = Path(work) / target.name
                folder.mkdir()
                command = [sys.executable, "-m", "xpcnn.kernels.native.objects", target.name]
                running.append((target, folder, _start([*command, system, str(folder)])))
            for target, folder, process in running:
                _finish(process)
                _link(target, folder, system)
                sources.note(targets.library(target, system), made_of)
        finally:
            for *_, process in running:
                _end(process)
    print(f"xpcnn: compiled in {time.perf_counter() - before:.0f} s", flush=True)


def _link(target: Target, folder: Path, system: str) -> None:
    """Make a library of object files and the rest, and put it in its place as a whole."""
    path = targets.library(target, system)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    made = folder / path.name  # some linkers leave other files beside it
    flags: list[str | Path] = [
        "-shared", "-O2", "-g0", "-fvisibility=hidden", "-o", made, sources.RUNTIME,
        *sorted(folder.glob("*.o")),
    ]  # fmt: skip
    if system != "win32":
        flags += ["-fPIC", "-lm", "-lpthread"]
    if system == "linux":
        flags += ["-s"]
    try:
        _finish(_start([*_compiler(target, system), *flags]))
        shutil.copy(made, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _compiler(target: Target, system: str) -> list[str]:
    """Return the command of a C compiler for a target."""
    if importlib.util.find_spec("ziglang") is not None:
        zig = [sys.executable, "-m", "ziglang", "cc", "-target"]
        return [*zig, f"{target.machine}-{_SYSTEMS[system]}"]
    if (system, target.machine) == (sys.platform, targets.machine()):
        for name in (os.environ.get("CC", "cc"), "gcc", "clang"):
            if shutil.which(name):
                return [name]
    raise RuntimeError("no C compiler is there; pip install ziglang brings one")


def _start(command: Sequence[str | Path]) -> subprocess.Popen[str]:
    environment = os.environ | {choice.VARIABLE: "none"}
    return subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment
    )


def _finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(said.strip()[-2000:] or f"exit status {process.returncode}")


def _end(process: subprocess.Popen[str]) -> None:
    """End what still runs after an error."""
    if process.poll() is None:
        process.kill()
        process.communicate()


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process build at a time, and remove what one that was killed has left."""
    with (targets.FOLDER / ".lock").open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
            for left in targets.FOLDER.glob("*.part"):
                left.unlink()
        yield
