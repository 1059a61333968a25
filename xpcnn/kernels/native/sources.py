"""Of which files libraries are made, and whether one is whole and made of them as they are now.

Beside each library lies a note with two digests: of its sources, and of itself. Loading a file that
is damaged would end the process.
"""

from __future__ import annotations

import hashlib
import json
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


def note(library: Path, made_of: str) -> None:
    """Write down of what a library was made: the digest of its sources when that began."""
    content = {"sources": made_of, "sha256": _sha256(library)}
    _note_of(library).write_text(json.dumps(content) + "\n")


def fits(library: Path) -> bool:
    """Whether a library is whole, and made of the sources as they are now."""
    try:
        found = json.loads(_note_of(library).read_text())
        return bool(found == {"sources": digest(), "sha256": _sha256(library)})
    except (OSError, ValueError):
        return False


def _note_of(library: Path) -> Path:
    return library.with_name(f"{library.name}.json")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files() -> list[Path]:
    """List the files whose content shows in machine code, in a fixed order."""
    here = Path(__file__)
    return [
        *sorted(KERNELS.glob("*.py")), RUNTIME, here.with_name("compiler.py"),
        here.with_name("instructions.py"), here.with_name("targets.py"),
    ]  # fmt: skip
