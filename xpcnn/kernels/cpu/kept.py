"""Files of machine code: where they lie, that they are whole, and that nobody else wrote them.

They lie in the package's ``__pycache__`` or, where that cannot be written, in the user's cache
folder; ``NUMBA_CACHE_DIR`` has precedence. Each begins with a digest of what follows and of what it
is for, so that a damaged file, or one of another kernel, counts as none. Reading one runs what it
holds, so folders and files that others could have written to are left alone. Nothing here stops a
computation: what cannot be read is compiled anew, and what cannot be written is not kept.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import numba

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

QUIET = "XPCNN_QUIET"
"""The environment variable that silences what is said about machine code."""

KEPT = 3
"""Folders that are kept for a module, as it was at different times; older ones are removed."""

NAME = "xpcnn-kernels"
PATIENCE = 60.0
"""Seconds that a process waits, in all, for others that compile what it needs."""

_DIGEST = hashlib.sha256().digest_size
_locks: dict[str, int] = {}
"""By folder, the open lock files that this process holds."""
_left = PATIENCE
_said: set[str] = set()


@cache
def places() -> tuple[Path, ...]:
    """List the folders for the machine code of all modules, the one to write to in front.

    They need not be there; but if they are, nobody else can write to them.
    """
    chosen = numba.config.CACHE_DIR
    with suppress(OSError):
        if chosen and _make(Path(chosen) / NAME):
            return (Path(chosen) / NAME,)
    found = [Path(__file__).parent / "__pycache__" / NAME]
    with suppress(RuntimeError):  # a home folder need not exist
        found.append(_user_folder() / NAME)
    return tuple(path for path in found if not os.path.lexists(path) or _is_ours(path))


def where() -> str:
    """Name the folder that is written to."""
    return str(next(iter(places()), "no folder, since none can be used"))


def read(folder: str, key: str) -> bytes | None:
    """Return the machine code that was kept under a key; ``None`` if there is none, or no whole."""
    for place in places():
        path = place / folder / _file_name(key)
        try:
            # A pipe or a device must not keep us waiting.
            file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        except OSError:
            continue
        with suppress(OSError), os.fdopen(file, "rb") as opened:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                continue
            if not (_is_trusted(path.parent.stat()) and _is_trusted(found)):
                _refuse(path.parent)
                continue
            content = opened.read()
            if content[:_DIGEST] == _digest(key, content[_DIGEST:]):
                os.utime(path.parent)
                return content[_DIGEST:]
    return None


def write(folder: str, key: str, code: bytes) -> None:
    """Keep machine code under a key, in the first place that takes it."""
    problem: object = "there is no folder for them"
    for place in places():
        path = place / folder / _file_name(key)
        part = path.with_name(f"{path.name}-{secrets.token_hex(8)}")
        try:
            if not _make_folder(place, folder):
                continue
            # Everybody may read it, as other compiled files; nobody else may write.
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o644)
            with os.fdopen(file, "wb") as opened:
                opened.write(_digest(key, code) + code)
            os.replace(part, path)
            return
        except OSError as error:
            problem = error
            with suppress(OSError):
                part.unlink()
    say_once(f"compiled kernels are not kept, but compiled again by each process: {problem}")


def lock(folder: str) -> None:
    """Wait until no other process compiles for a folder; until :func:`unlock`, others wait."""
    global _left
    if fcntl is None or folder in _locks:
        return
    for place in places():
        with suppress(OSError):
            if not _make_folder(place, folder):
                continue
            file = os.open(place / folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            while not _try(file):
                if _left <= 0:  # it may be stopped, or stuck; then both compile
                    os.close(file)
                    return
                say_once("another process compiles kernels for this machine; waiting for it ...")
                time.sleep(0.05)
                _left -= 0.05
            _locks[folder] = file
            return


def unlock(folder: str) -> None:
    """Let others compile for a folder; the end of a process, however it ends, does so too."""
    file = _locks.pop(folder, None)
    if file is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)  # a forked process may have the file open too
        os.close(file)


def say(text: str) -> None:
    """Print a line to stderr, above a progress bar if there is one; unless silenced."""
    if os.environ.get(QUIET, "0") in ("", "0"):
        from tqdm import tqdm

        with suppress(OSError):
            tqdm.write(f"xpcnn: {text}", file=sys.stderr)


def say_once(text: str) -> None:
    """Print a line to stderr, if this process has not printed it."""
    if text not in _said:
        _said.add(text)
        say(text)


_BINARY = getattr(os, "O_BINARY", 0)


def _try(file: int) -> bool:
    """Lock a file if nobody else has; an `OSError` where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        os.close(file)
        raise
    return True


def _file_name(key: str) -> str:
    return f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.code"


def _digest(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + code).digest()


def _user_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "xpcnn"


def _make(path: Path) -> bool:
    """Make a folder for all modules; returns whether to use it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o755, exist_ok=True)
    return _is_ours(path)


def _is_ours(path: Path) -> bool:
    """Whether nobody else can write to a folder for all modules, or replace it."""
    try:
        good = _is_trusted(path.parent.stat(), shared=True) and _is_trusted(path.stat())
    except OSError:
        return False
    if not good:
        _refuse(path)
    return good


def _is_trusted(found: os.stat_result, *, shared: bool = False) -> bool:
    """Whether nobody else can have written something, or put it in the place of what we wrote.

    Whoever owns the source files may, since we run those. In a `shared` folder others may write, if
    they cannot rename what is ours, as in folders for temporary files.
    """
    if not hasattr(os, "geteuid"):
        return True
    if found.st_uid not in (0, os.geteuid(), Path(__file__).stat().st_uid):
        return False
    mode = found.st_mode
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not found.st_gid == found.st_uid != 0):
        return shared and bool(mode & stat.S_ISVTX)
    return True


def _refuse(folder: Path) -> None:
    say_once(
        f"others can write to {folder}, so the machine code there is not used; let the folder "
        "belong to you, writable by you alone, or set NUMBA_CACHE_DIR to another"
    )


def _make_folder(place: Path, folder: str) -> bool:
    """Make the folder of a module, and remove older ones; returns whether to use it."""
    wanted = place / folder
    if not wanted.is_dir():
        if not _make(place):
            return False
        _remove_old(place, folder.rpartition("-")[0])
        wanted.mkdir(mode=0o755, exist_ok=True)
    if _is_trusted(wanted.stat()):
        return True
    _refuse(wanted)
    return False


def _remove_old(place: Path, module: str) -> None:
    """Remove the folders of a module but for those used last."""
    with suppress(OSError):  # another process may remove them too
        old = sorted(place.glob(f"{module}-*"), key=lambda path: path.stat().st_mtime)
        for path in old[: 1 - KEPT]:
            shutil.rmtree(path, ignore_errors=True)
