"""Compiled kernels for NumPy float32 arrays.

What they do not take, such as other dtypes, they decline, and the generic kernels run.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Load the kernels when they are asked for; the command that compiles them must not."""
    if name != "PAIRS":
        raise AttributeError(name)
    from xpcnn.kernels.cpu.pairs import PAIRS

    return PAIRS
