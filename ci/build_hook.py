"""What the build backend runs for wheels and installations: compiling the kernels.

Where that cannot be done, the package is built without them. ``XPCNN_BUILD_KERNELS=0`` leaves them
out.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "XPCNN_BUILD_KERNELS"
NEWEST = (3, 14)
"""The newest Python that Numba is known to be there for."""
MACHINES = {
    ("linux", "x86_64"): "manylinux_2_28_x86_64",
    ("linux", "aarch64"): "manylinux_2_28_aarch64",
    ("darwin", "arm64"): "macosx_11_0_arm64",
    ("win32", "amd64"): "win_amd64",
}
"""Tags of wheels, by system and processor, where kernels are built."""


class KernelsHook(BuildHookInterface):
    """Builds the libraries of compiled kernels, and puts them into wheels."""

    def dependencies(self) -> list[str]:
        """List what compiling takes, and what the package needs to be imported for it."""
        if why_not():
            return []
        return ["numba>=0.62", "ziglang>=0.13", *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before files are collected."""
        reason = why_not() or self._compile()
        if reason:
            self.app.display_warning(f"xpcnn is built without compiled kernels: {reason}")
            return
        if version == "editable":
            return  # the libraries lie in the checkout
        targets = load(Path(self.root), "targets")
        for target in targets.of_this_machine():
            path = targets.library(target)
            for each in (path, path.with_name(f"{path.name}.json")):
                build_data["force_include"][str(each)] = str(each.relative_to(self.root))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag()}"

    def _compile(self) -> str:
        """Run the build command; return what went wrong."""
        command = [sys.executable, "-m", "xpcnn.kernels.cpu.build", "--if-old"]
        # pip's isolated environments are found by PYTHONPATH.
        path = os.pathsep.join(filter(None, [self.root, os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path, "XPCNN_ISA": "none"}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )
        return "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip()


def tag() -> str | None:
    """Return the tag of wheels for this machine; ``None`` where none are built."""
    return MACHINES.get((sys.platform, platform.machine().lower()))


def why_not() -> str:
    """Say why nothing is to be compiled; empty if it is."""
    if os.environ.get(VARIABLE) == "0":
        return f"{VARIABLE}=0"
    if tag() is None:
        return f"none are known for {sys.platform} on {platform.machine()}"
    if sys.implementation.name != "cpython" or sys.version_info[:2] > NEWEST:
        return f"Numba may not be there for this Python ({platform.python_version()})"
    if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        return "Numba is not there for this C library"
    return ""


def load(root: Path, name: str) -> Any:
    """Load one module of the package by itself."""
    path = root / "xpcnn" / "kernels" / "native" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
