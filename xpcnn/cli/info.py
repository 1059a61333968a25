"""``xpcnn info``."""

from __future__ import annotations

import argparse
import platform
import sys

import xpcnn
from xpcnn.backends.cuda_search import cuda_of_driver, cupy_packages
from xpcnn.bench.environment import cores, version
from xpcnn.cli import kernels
from xpcnn.cli.common import describe_device
from xpcnn.cli.train import DEFAULTS
from xpcnn.data.download import cache_folder
from xpcnn.device import devices, resolve
from xpcnn.kernels.threads import get_num_threads

_LIBRARIES = (
    "numpy", "array-api-compat", "array-api-extra", "safetensors", "tqdm", "cudnn",
    "cudnn-frontend", "torch", "jax", "numba", "threadpoolctl", "pillow", "pooch",
)  # fmt: skip
_PACKAGES = {
    "cudnn": ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"),
    "cudnn-frontend": ("nvidia-cudnn-frontend",),
}
"""Those of another name than the library, the first that is installed counts."""


def run(args: argparse.Namespace) -> None:
    """Print the environment, and which devices work or why not; or the kernels of a model."""
    if args.kernels:
        args.network = args.network or DEFAULTS.model
        args.batch = args.batch or DEFAULTS.batch_size
        args.device = args.device or "auto"
        kernels.run(args)
        return
    for option in ("network", "model", "batch", "device", "json"):
        if getattr(args, option):
            args.usage_error(f"--{option} goes with --kernels")
    print(f"xpcnn {xpcnn.__version__}")
    print(f"Python {platform.python_version()} ({sys.executable})")
    print(f"{platform.platform()}, {cores()} cores, {get_num_threads()} threads")
    print(f"data folder: {cache_folder()}")
    print("\nlibraries")
    for name in _LIBRARIES:
        found = next(filter(None, map(version, _PACKAGES.get(name, (name,)))), "not installed")
        print(f"  {name:<18}{found}")
    print(f"  {'cupy':<18}{_cupy()}")
    print(f"  {'NVIDIA driver':<18}{_driver()}")
    print("\ndevices")
    for name, state in devices().items():
        print(f"  {name:<18}{state}")
    print(f"\nauto chooses: {describe_device(resolve('auto'))}")


def _cupy() -> str:
    """Name the CuPy packages: the name tells the version of CUDA, and there may be too many."""
    packages = [f"{version} ({name})" for name, version in cupy_packages().items()]
    return ", ".join(packages) or "not installed"


def _driver() -> str:
    version = cuda_of_driver()
    return "none found" if version is None else f"for CUDA {version[0]}.{version[1]}"
