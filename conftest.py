"""What pytest reads: tests, and modules whose examples it runs, but for those that cannot be read.

A file that cannot be imported is an error. So modules of the package that stand on an optional
package are left out where that is missing, and files in `tests/` that are no tests are never
collected.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xpcnn  # noqa: F401  # first, or pytest makes a second module of the file it looks at

ROOT = Path(__file__).parent

# Nothing that a test draws opens a window.
os.environ.setdefault("MPLBACKEND", "Agg")

NEEDS = {
    "data/folders.py": "PIL",
    "data/images.py": "PIL",
    "interop/torch/composites.py": "torch",
    "interop/torch/convert.py": "torch",
    "interop/torch/export.py": "torch",
    "kernels/jax.py": "jax",
    "kernels/native/compiler.py": "numba",
    "kernels/native/instructions.py": "numba",
    "kernels/native/jit.py": "numba",
    "kernels/torch.py": "torch",
    "serving/__init__.py": "starlette",
    "serving/bodies.py": "starlette",
    "serving/http.py": "starlette",
    "serving/measures.py": "prometheus_client",
    "plot": "matplotlib",
    "sklearn": "sklearn",
}
"""Modules and packages of xpcnn that, or whose examples, cannot run without an optional package."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what is no test, and what cannot be imported here; ask others about the rest."""
    place, *inside = collection_path.relative_to(ROOT).parts or ("",)
    if place == "tests":
        name = collection_path.name
        return (name.endswith(".py") and not name.startswith(("test_", "conftest"))) or None
    if place != "xpcnn":
        return None
    within = ("/".join(inside[:n]) for n in range(1, len(inside) + 1))
    needed = [NEEDS[path] for path in within if path in NEEDS]
    return any(importlib.util.find_spec(package) is None for package in needed) or None


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    """Close the figures that a test or an example has made: matplotlib keeps them all."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
