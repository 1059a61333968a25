"""The ways in which a workload is run: a library and how it is set."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass

from xpcnn.bench.workloads import Workload


@dataclass(frozen=True)
class Configuration:
    """A library with its settings.

    Attributes
    ----------
    name, title : str
        For files and commands; for readers.
    library : {"xpcnn", "torch", "jax", "onnxruntime", "openvino"}
    kernels : str, optional
        The one kernel set that xpcnn may use.
    device : str
        Where xpcnn runs.
    channels_last, compiled : bool
        Settings of PyTorch: the layout in memory, and ``torch.compile``.
    may_fail : bool
        Whether a failure is a line in the report rather than one of the run.
    """

    name: str
    title: str
    library: str
    kernels: str | None = None
    device: str = "cpu"
    channels_last: bool = False
    compiled: bool = False
    may_fail: bool = False

    def takes(self, workload: Workload) -> bool:
        """Whether there is such a run of a workload at all."""
        if self.library == "jax":
            return workload.basic
        if self.reads_onnx:
            return workload.kind == "predict"
        if self.compiled and workload.fresh:  # half a minute for a step that takes milliseconds
            return False
        return len(workload.shape) == 4 or not self.channels_last

    @property
    def reads_onnx(self) -> bool:
        """Whether the library gets the workload as an ONNX file."""
        return self.library in ("onnxruntime", "openvino")

    @property
    def is_installed(self) -> bool:
        """Whether the library is there; it is not imported for the answer."""
        return importlib.util.find_spec(self.library) is not None


CONFIGURATIONS = {
    configuration.name: configuration
    for configuration in (
        Configuration("xpcnn", "xpcnn", "xpcnn"),
        Configuration("xpcnn-generic", "xpcnn generic", "xpcnn", kernels="generic"),
        Configuration("xpcnn-torch", "xpcnn on PyTorch", "xpcnn", device="torch:cpu"),
        Configuration("torch", "PyTorch", "torch"),
        Configuration("torch-channels-last", "PyTorch ch.last", "torch", channels_last=True),
        Configuration("torch-compile", "PyTorch compiled", "torch", compiled=True, may_fail=True),
        Configuration("onnxruntime", "onnxruntime", "onnxruntime"),
        Configuration("openvino", "OpenVINO", "openvino", may_fail=True),
        Configuration("jax", "JAX jit", "jax"),
    )
}


MISSING = {
    "torch": "PyTorch is not installed, so there is nothing to compare with: "
    'pip install "xpcnn[torch]"',
    "onnxruntime": "onnxruntime is not installed and left out: pip install onnxruntime",
    "jax": 'JAX is not installed and left out: pip install "xpcnn[jax]"',
}
"""What to say of a library that is not there; OpenVINO is not missed."""


def compiler() -> str:
    """Return the command with which ``torch.compile`` compiles, whether it is there or not."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def choose(
    kernels: str, *, with_jax: bool, torch_compile: bool
) -> tuple[list[Configuration], list[str]]:
    """Return the configurations that were asked for and can run, and notes on those that cannot.

    Parameters
    ----------
    kernels : {"best", "generic", "both", "torch"}
        Which kernels xpcnn uses, for "torch" on PyTorch's tensors; the first configuration returned
        is what ratios are about.
    with_jax : bool
        Whether to measure JAX as well.
    torch_compile : bool
        Whether to measure what ``torch.compile`` makes as well, where there is a C++ compiler.
    """
    names = {
        "best": ["xpcnn"],
        "generic": ["xpcnn-generic"],
        "both": ["xpcnn", "xpcnn-generic"],
        "torch": ["xpcnn-torch"],
    }[kernels]
    names += ["torch", "torch-channels-last"]
    notes = []
    if torch_compile and shutil.which(compiler()):
        names.append("torch-compile")
    elif torch_compile:
        notes.append(f"torch.compile is left out: there is no C++ compiler called {compiler()}")
    names += ["onnxruntime", "openvino", *(["jax"] if with_jax else [])]
    wanted = [CONFIGURATIONS[name] for name in names]
    installed = {each.library: each.is_installed for each in wanted}
    notes += [note for library, note in MISSING.items() if not installed.get(library, True)]
    return [each for each in wanted if installed[each.library]], notes
