"""Compressed data, unpacked within limits: a small file must not fill the memory.

Every reader of compressed data asks here how much it may unpack.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Protocol

from xpcnn._files import read_whole
from xpcnn.errors import ModelFileError

SMALL = 64 * 2**20
"""Bytes that anything may unpack to."""

RATIO = 100
"""How many times as large as itself a file may become; weights and images stay far below."""

_CHUNK = 1 << 20


class Stream(Protocol):
    """Something to read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes; none at the end."""
        ...


def check_size(unpacked: int, packed: int, what: str) -> None:
    """Refuse what would become far larger than it is.

    Raises
    ------
    ValueError
        If it would.
    """
    if unpacked > max(SMALL, RATIO * packed):
        raise ValueError(
            f"{what} would unpack from {packed:,} to {unpacked:,} bytes, more than {RATIO} times "
            "as many; it is damaged, or made to exhaust memory"
        )


def read_at_most(stream: Stream, limit: int) -> bytearray:
    """Read up to `limit` bytes, piece by piece: a false header must not reserve memory."""
    content = bytearray()
    while len(content) < limit:
        piece = stream.read(min(_CHUNK, limit - len(content)))
        if not piece:
            break
        content += piece
    return content


@contextmanager
def open_zip(source: str | Path | bytes) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive; whatever is wrong with it is a :class:`ModelFileError`.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no file, or it may not be read.
    ModelFileError
        If the archive is damaged, also while something is read from it.
    """
    content = source if isinstance(source, bytes) else read_whole(source)
    where = "it" if isinstance(source, bytes) else repr(str(source))
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            yield archive
    except ModelFileError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
        OSError, OverflowError, ValueError, LookupError,
    ) as error:  # fmt: skip
        raise ModelFileError(f"{where} is a damaged zip archive ({error})") from error


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member of an archive, unless it is far larger than what it is packed in.

    Raises
    ------
    ModelFileError
        If there is none of that name, or it is too large, or not as large as it says.
    """
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise ModelFileError(f"the archive has no {name!r:.100}") from None
    try:
        check_size(member.file_size, member.compress_size, repr(name))
    except ValueError as error:
        raise ModelFileError(str(error)) from None
    with archive.open(member) as stream:
        content = read_at_most(stream, member.file_size + 1)
    if len(content) != member.file_size:
        raise ModelFileError(f"{name!r:.100} is not as large as the archive says")
    return bytes(content)
