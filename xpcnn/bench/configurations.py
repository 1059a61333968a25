"""The ways in which a workload is run: a library and how it is set."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from xpcnn.bench.workloads import Workload


@dataclass(frozen=True)
class Configuration:
    """A library with its settings.

    Attributes
    ----------
    name, title : str
        For files and commands; for readers.
    library : {"xpcnn", "torch", "jax"}
    kernels : str, optional
        The one kernel set that xpcnn may use.
    device : str
        Where xpcnn runs.
    channels_last, fused_adam : bool
        Settings of PyTorch.
    """

    name: str
    title: str
    library: str
    kernels: str | None = None
    device: str = "cpu"
    channels_last: bool = False
    fused_adam: bool = False

    def takes(self, workload: Workload) -> bool:
        """Whether there is such a run of a workload at all."""
        if self.library == "jax":
            return workload.basic
        if self.fused_adam and workload.kind != "train":
            return False
        return len(workload.shape) == 4 or not self.channels_last

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
        Configuration("torch-fused", "PyTorch fused Adam", "torch", fused_adam=True),
        Configuration("jax", "JAX jit", "jax"),
    )
}


def choose(
    kernels: str, *, with_jax: bool, fused_adam: bool
) -> tuple[list[Configuration], list[str]]:
    """Return the configurations that were asked for and can run, and notes on those that cannot.

    Parameters
    ----------
    kernels : {"best", "generic", "both", "torch"}
        Which kernels xpcnn uses, for "torch" on PyTorch's tensors; the first configuration returned
        is what ratios are about.
    with_jax, fused_adam : bool
        Whether to measure these as well.
    """
    names = {
        "best": ["xpcnn"],
        "generic": ["xpcnn-generic"],
        "both": ["xpcnn", "xpcnn-generic"],
        "torch": ["xpcnn-torch"],
    }[kernels]
    names += ["torch", "torch-channels-last", *(["torch-fused"] if fused_adam else [])]
    names += ["jax"] if with_jax else []
    wanted = [CONFIGURATIONS[name] for name in names]
    notes = []
    installed = {each.library: each.is_installed for each in wanted}
    if not installed["torch"]:
        notes.append(
            "PyTorch is not installed, so there is nothing to compare with: "
            'pip install "xpcnn[torch]"'
        )
    if not installed.get("jax", True):
        notes.append('JAX is not installed and left out: pip install "xpcnn[jax]"')
    return [each for each in wanted if installed[each.library]], notes
