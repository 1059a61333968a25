"""onnxruntime-web, which runs the network in the browser: three files of a package of npm."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path, PurePosixPath

from xpcnn._archives import SMALL, read_at_most
from xpcnn._files import read_whole

NPM_PACKAGE = "onnxruntime-web@1.22.0"
"""The package and its version, as npm names it."""

RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page needs of it: 11 MB, nearly all of them the last file, which is WebAssembly."""

_WAIT = 600
_INSTEAD = (
    f'On a machine that has both, run "npm pack {NPM_PACKAGE}", bring the .tgz file here, and give '
    "it as runtime (--runtime FILE.tgz); the folder of an earlier page will do as well"
)


def runtime_files(source: str | Path | None = None) -> dict[str, bytes]:
    """Return the files of onnxruntime-web that a page needs, by name.

    Parameters
    ----------
    source : str or Path, optional
        The package as it is there already: a folder that it was unpacked to, the folder of an
        earlier page, or a ``.tgz`` file. Left out, npm fetches it and checks that it is unchanged.

    Returns
    -------
    dict of str to bytes

    Raises
    ------
    FileNotFoundError
        If there is nothing at `source`, or not all of the files.
    ValueError
        If `source` is a file and no such archive, or the WebAssembly is damaged.
    RuntimeError
        If there is no npm, or it could not fetch the package.
    """
    if source is None:
        return _checked(_from_npm(), f"the package {NPM_PACKAGE}")
    if not isinstance(source, (str, Path)):
        raise TypeError(
            f"web.export: runtime must be the path of a folder or .tgz file, got {source!r}"
        )
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no folder or file {str(path)!r} with onnxruntime-web (runtime); leave it "
            "out to have npm fetch the package"
        )
    return _checked(_from_folder(path) if path.is_dir() else _from_archive(path), str(path))


def _checked(files: dict[str, bytes], where: str) -> dict[str, bytes]:
    missing = [name for name in RUNTIME if name not in files]
    if missing:
        raise FileNotFoundError(
            f"{where} does not hold {', '.join(missing)} of onnxruntime-web (runtime); what is "
            f"needed is what npm gives as {NPM_PACKAGE}"
        )
    if not files[RUNTIME[-1]].startswith(b"\0asm"):
        raise ValueError(f"{RUNTIME[-1]} in {where} is damaged: it is no WebAssembly")
    return files


def _from_folder(folder: Path) -> dict[str, bytes]:
    """Read the files from where npm and earlier pages put them."""
    for inside in (".", "dist", "package/dist", "node_modules/onnxruntime-web/dist", "ort"):
        place = folder / inside
        if (place / RUNTIME[0]).is_file():
            return {name: read_whole(place / name) for name in RUNTIME if (place / name).is_file()}
    return {}


def _from_archive(path: Path) -> dict[str, bytes]:
    """Read the files from what ``npm pack`` has written."""
    files = {}
    try:
        with tarfile.open(fileobj=BytesIO(read_whole(path))) as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.name in RUNTIME and place.parent.name == "dist" and member.isfile():
                    stream = archive.extractfile(member)
                    assert stream is not None
                    files[place.name] = bytes(read_at_most(stream, SMALL))
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(
            f"{path} is no archive as npm packs it, or it is damaged ({error}); give a .tgz file "
            "or a folder as runtime"
        ) from error
    return files


def _from_npm() -> dict[str, bytes]:
    # On Windows a file called npm, which is none of its programs, lies beside npm.cmd.
    npm = shutil.which("npm.cmd" if sys.platform == "win32" else "npm")
    if npm is None:
        raise RuntimeError(
            f"npm, which fetches {NPM_PACKAGE} for the page, is not installed; it comes with "
            f"Node.js. {_INSTEAD}"
        )
    with tempfile.TemporaryDirectory() as folder:
        _run_npm(npm, folder)
        archives = list(Path(folder).glob("*.tgz"))
        if len(archives) != 1:
            raise RuntimeError(f"npm pack {NPM_PACKAGE} has written no archive. {_INSTEAD}")
        return _from_archive(archives[0])


def _run_npm(npm: str, folder: str) -> None:
    """Have npm write the archive to a folder; it compares it with the digest that it knows."""
    options = ["--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--loglevel=error"]
    try:
        done = subprocess.run(
            [npm, "pack", NPM_PACKAGE, *options],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_WAIT,
            check=False,
        )
        problem = (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"nothing came in {_WAIT} seconds"
    except OSError as error:
        problem = str(error)
    if problem:
        raise RuntimeError(f"npm could not fetch {NPM_PACKAGE}: {problem}\n{_INSTEAD}")
