"""What several processes of pytest-xdist need is made by one of them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled: in this process, or in another while this one waits.

    Nobody may write into it. On Windows, which has other locks, each process makes its own.
    """
    base = factory.getbasetemp()
    if sys.platform == "win32":
        return _filled(base / name, make)
    import fcntl

    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each process has a folder of its own in it
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _filled(base / name, make)


def _filled(folder: Path, make: Callable[[Path], None]) -> Path:
    if not folder.exists():
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        make(part)
        part.rename(folder)  # it is there as a whole or not at all
    return folder
