"""Files that are replaced whole, and read whole, whatever other threads and processes do meanwhile.

A file is written beside its target and moved into place. What is written there has a name of its
own for each save, and is locked while it is written, so that the next save can tell what a killed
one has left behind from what another is working on, and removes the former.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LEFT_BEHIND = 24 * 60 * 60
"""Seconds after which an unfinished file counts as left behind, where no lock can tell."""
_TRIES = 10
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # for the other end, should it be a pipe


def replace_file(path: str | Path, content: bytes) -> None:
    """Write a file so that at any moment the old or the new one is there, whole.

    A link is followed, and the file that it names is replaced. Mode and group of the old file are
    kept, and its owner where the system lets us. Other names of the same file (hard links) keep
    the old content. Nothing is left beside the file, not even what killed saves had left there.

    Raises
    ------
    OSError
        If there can be no file, something else than a file is there, it is protected against
        writing, or the disk is full. What was there is unchanged.
    """
    target, old = check_target(path)
    _remove_left_behind(target)
    for _ in range(_TRIES):
        try:
            if _write_beside(target, old, content):
                break
        except OSError as error:
            if error.errno is None:
                raise
            reason = {
                errno.ENOSPC: "the disk is full",
                errno.EDQUOT: "your disk quota is used up",
                errno.EACCES: f"no permission to write to the folder {str(target.parent)!r}",
                errno.EROFS: f"the folder {str(target.parent)!r} is on a read-only disk",
            }.get(error.errno, error.strerror or str(error))
            unchanged = "; the file that was there is unchanged" if old is not None else ""
            raise OSError(
                error.errno, f"cannot save to {str(path)!r}: {reason}{unchanged}"
            ) from error
    else:
        raise OSError(
            f"cannot save to {str(path)!r}: something removes new files in "
            f"{str(target.parent)!r} before they are complete"
        )
    _sync_folder(target.parent)


def check_target(path: str | Path) -> tuple[Path, os.stat_result | None]:
    """Return the file that a save to `path` replaces, all links followed, and what is there now.

    Raises
    ------
    TypeError
        If it is no path.
    OSError
        If no file can be there.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"cannot save to {path!r}: give the path of a file, such as 'model.st'")
    path = Path(path)
    if path.is_dir() or not path.name:
        raise IsADirectoryError(f"cannot save to {str(path)!r}: it is a folder; add a file name")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"cannot save to {str(path)!r}: there is no folder {str(target.parent)!r}; make it"
        )
    try:
        old = target.stat()
    except FileNotFoundError:
        return target, None
    except OSError as error:  # links in a circle, or a name that is too long
        raise OSError(error.errno, f"cannot save to {str(path)!r}: {error.strerror}") from error
    if not stat.S_ISREG(old.st_mode):
        raise OSError(
            f"cannot save to {str(path)!r}: it is {_kind(old.st_mode)}, which a save would "
            "replace; give the path of a file"
        )
    if not os.access(target, os.W_OK):
        raise PermissionError(
            f"cannot save to {str(path)!r}: the file is write-protected (its mode is "
            f"{stat.filemode(old.st_mode)}); allow it with chmod u+w, or give another path"
        )
    return target, old


def read_whole(path: str | Path) -> bytes:
    """Read a file at once: what other processes put in its place meanwhile changes nothing.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError, OSError
        If there is no file, or it may not be read.
    """
    path = Path(path)
    try:
        handle = os.open(path, os.O_RDONLY | _NO_WAITING | _BINARY)
    except PermissionError as error:
        if path.is_dir():  # as Windows says it
            raise IsADirectoryError(errno.EISDIR, f"{str(path)!r} is a folder") from error
        raise PermissionError(
            error.errno,
            f"no permission to read {str(path)!r}; the owner of the file, or of a folder above "
            "it, has to allow it (chmod +r)",
        ) from error
    except OSError as error:
        if error.errno == errno.ENXIO:  # how a socket refuses
            raise OSError(f"{str(path)!r} is {_kind(path.stat().st_mode)}, not a file") from error
        raise
    try:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, f"{str(path)!r} is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{str(path)!r} is {_kind(found.st_mode)}, not a file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(found.st_size)
    finally:
        os.close(handle)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _stem(target: Path) -> str:
    """Return the start of the names of unfinished files, which are no longer than allowed."""
    return "." + target.name.encode()[:200].decode(errors="ignore") + "."


def _write_beside(target: Path, old: os.stat_result | None, content: bytes) -> bool:
    """Write a new file and move it into place; False if somebody removed it meanwhile."""
    part = target.with_name(f"{_stem(target)}{secrets.token_hex(8)}.part")
    # O_EXCL fails where anything is, a link included. Nobody else may read meanwhile what the
    # mode of the old file keeps from them.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS | _BINARY
    handle = os.open(part, flags, 0o666 if old is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(handle, wait=True)
            if not part.exists():
                return False  # another save took it for one left behind, before it was locked
            file.write(content)
            file.flush()
            if old is not None:
                _keep_owner_and_mode(handle, part, old)
            os.fsync(handle)
            if sys.platform != "win32":
                os.replace(part, target)  # still locked
        if sys.platform == "win32":
            os.replace(part, target)
    except FileNotFoundError:
        return False
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return True


def _keep_owner_and_mode(handle: int, part: Path, old: os.stat_result) -> None:
    mode = stat.S_IMODE(old.st_mode)
    if sys.platform == "win32":
        os.chmod(part, mode)
        return
    new = os.fstat(handle)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(handle, old.st_uid, old.st_gid)
        except OSError:
            try:
                os.fchown(handle, -1, old.st_gid)
            except OSError:  # then the group that it has now gets no more than others
                mode = mode & ~0o070 | mode & (mode & 0o007) << 3
    os.fchmod(handle, mode)


def _lock(handle: int, wait: bool) -> bool:
    """Lock an open file for its holder, which the end of a process undoes; False if it is taken.

    Raises
    ------
    OSError
        If nobody can be kept out here and `wait` is false.
    """
    if sys.platform == "win32":
        if wait:
            return True
        raise OSError("no locks of this kind")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        if not wait:
            raise
    return True


def _remove_left_behind(target: Path) -> None:
    """Remove the unfinished files of saves to this target that were killed."""
    # The first versions named them by the process and locked nothing.
    ours = re.compile(re.escape(_stem(target)) + r"(?:[0-9a-f]{16}|(\d{1,10}))\.part")
    with suppress(OSError):
        with os.scandir(target.parent) as entries:
            found = [match for entry in entries if (match := ours.fullmatch(entry.name))]
        for match in found:
            with suppress(OSError):
                _remove_if_left_behind(target.with_name(match[0]), locks=match[1] is None)


def _remove_if_left_behind(part: Path, locks: bool) -> None:
    found = part.lstat()
    if not stat.S_ISREG(found.st_mode):
        return
    old = time.time() - found.st_mtime > LEFT_BEHIND
    handle = os.open(part, os.O_RDONLY | _NO_LINKS | _NO_WAITING | _BINARY)
    try:
        try:
            free = _lock(handle, wait=False) and (locks or old)
        except OSError:
            free = old
        # The lock may have come just when the file was moved into place.
        if free and part.stat().st_ino == os.fstat(handle).st_ino:
            part.unlink()
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself durable, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
