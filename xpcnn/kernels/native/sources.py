"""Of which files machine code is made, so that it is known when it is out of date."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

KERNELS = Path(__file__).parents[1] / "cpu"
RUNTIME = Path(__file__).with_name("runtime.c")


@cache
def digest() -> str:
    """Return a number of 16 hexadecimal digits for all sources of the libraries."""
    found = hashlib.sha256()
    for path in files():
        content = path.read_bytes().replace(b"\r\n", b"\n")
        found.update(path.name.encode() + hashlib.sha256(content).digest())
    return found.hexdigest()[:16]


def files() -> list[Path]:
    """List the files whose content shows in machine code, in a fixed order."""
    here = Path(__file__)
    return [
        *sorted(KERNELS.glob("*.py")), RUNTIME, here.with_name("compiler.py"),
        here.with_name("targets.py"),
    ]  # fmt: skip
