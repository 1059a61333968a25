"""Fetching the files of a data set once, into a cache folder."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = "XPCNN_DATA"
_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without an answer, after which the next mirror is tried


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its name, and what it must hold once unpacked.

    The check is made on the unpacked bytes because mirrors compress the same file differently.
    """

    name: str
    sha256: str
    size: int


def cache_folder() -> Path:
    """Return the folder for downloaded data: ``$XPCNN_DATA``, or the user's cache folder."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "xpcnn"


def fetch(file: RemoteFile, folder: Path, mirrors: Sequence[str]) -> Path:
    """Download one file, compressed by gzip, from the first mirror that has it whole.

    Parameters
    ----------
    file : RemoteFile
        What to fetch.
    folder : Path
        Where it goes; made if need be. The file appears there only once it is complete and right.
    mirrors : sequence of str
        Addresses that, followed by ``<name>.gz``, name the file.

    Raises
    ------
    FileNotFoundError
        If the file cannot be had; the message says what failed, and which file to put where.
    """
    import tempfile  # here, since few who import the package download anything

    target = folder / f"{file.name}.gz"
    by_hand = (
        f"; or get the file elsewhere and put it at {target} (unpacked, without .gz, does too), "
        f"or set {ENVIRONMENT} to a folder that has it"
    )
    if importlib.util.find_spec("pooch") is None:
        raise FileNotFoundError(
            f'{target} is missing, and downloading it needs pooch; run: pip install "xpcnn[data]"'
            + by_hand
        )
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as work:
            for mirror in mirrors:
                problem = _try_mirror(mirror + target.name, file, Path(work), target)
                if problem is None:
                    return target
                failures.append(f"{mirror}: {problem}")
    except OSError as error:
        failures.append(f"{folder}: {error}")
    raise FileNotFoundError(
        f"could not download {target.name} ({'; '.join(failures)}); check the network" + by_hand
    )


def _try_mirror(url: str, file: RemoteFile, work: Path, target: Path) -> str | None:
    """Fetch from one mirror; return what went wrong, or None."""
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT)
    try:
        got = Path(pooch.retrieve(url, None, fname=target.name, path=work, downloader=downloader))
    # Whatever the downloader fails with, the next mirror may be well.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    problem = _check(got, file)
    if problem is None:
        os.replace(got, target)
    else:
        got.unlink()
    return problem


def _check(path: Path, file: RemoteFile) -> str | None:
    """Say what is wrong with a downloaded file, or None; never unpacks more than it must hold."""
    digest, left = hashlib.sha256(), file.size + 1
    try:
        with gzip.open(path, "rb") as stream:
            while left > 0 and (piece := stream.read(min(_CHUNK, left))):
                digest.update(piece)
                left -= len(piece)
    except (OSError, EOFError, zlib.error) as error:
        return f"not a whole gzip file ({error})"
    if left != 1 or digest.hexdigest() != file.sha256:
        return f"the content differs from the original (SHA-256 expected {file.sha256})"
    return None
