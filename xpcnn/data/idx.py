"""The IDX format: one array per file, used by the MNIST database and its relatives.

A file is: two zero bytes, a code for the type of number, the number of dimensions, each dimension
as a big-endian 32-bit integer, and the numbers themselves, big-endian, last dimension fastest.
The format is described at <http://yann.lecun.com/exdb/mnist/>.
"""

from __future__ import annotations

import gzip
import os
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from xpcnn._archives import check_size, read_at_most

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = 1 << 30) -> np.ndarray:
    """Read the array in an IDX file, compressed by gzip or not.

    Parameters
    ----------
    path : path
        The file. Whether it is compressed is seen from its first bytes, not from its name.
    max_bytes : int
        Largest array to accept, in bytes. No more memory than the file really fills is used,
        whatever its header says.

    Returns
    -------
    numpy.ndarray
        Array in the machine's byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an IDX file, is damaged or truncated, or holds more than `max_bytes`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from xpcnn import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels-idx1-ubyte.gz"
    ...     data.write_idx(path, np.array([5, 0, 4], dtype="uint8"))
    ...     data.read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not compressed:
            return _read(raw, path, max_bytes, None)
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                packed = path.stat().st_size
                return _read(unpacked, path, max_bytes, packed)  # type: ignore[arg-type]
        except (EOFError, zlib.error, OSError) as error:
            raise ValueError(
                f"{path}: the gzip file is damaged or cut off ({error}); get it again"
            ) from error


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as an IDX file, compressed if the name ends in ``.gz``.

    The same array gives the same bytes each time: no name and no date are stored.

    Raises
    ------
    TypeError
        If the format has no code for the dtype of `array`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from xpcnn import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "images-idx3-ubyte"
    ...     data.write_idx(path, np.zeros((2, 28, 28), dtype="uint8"))
    ...     path.stat().st_size  # 2 * 28 * 28 numbers, 4 bytes, and 4 for each length
    1584
    """
    path = Path(path)
    array = np.asarray(array)
    codes = {np.dtype(name).newbyteorder("="): code for code, name in _DTYPES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None:
        known = ", ".join(str(dtype) for dtype in codes)
        raise TypeError(f"write_idx: dtype must be one of {known}; got {array.dtype}")
    header = bytes([0, 0, code, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    content = header + array.astype(_DTYPES[code]).tobytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=9, mtime=0)
    path.write_bytes(content)


def _read(stream: BinaryIO, path: Path, max_bytes: int, packed: int | None) -> np.ndarray:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _DTYPES:
        raise ValueError(
            f"{path}: not an IDX file (it starts with bytes {start.hex(' ') or 'none'}, expected "
            "00 00, a type code and a number of dimensions)"
        )
    dtype, ndim = np.dtype(_DTYPES[start[2]]), start[3]
    if not 1 <= ndim <= _MAX_DIMENSIONS:
        raise ValueError(
            f"{path}: the header says {ndim} dimensions, expected 1 to {_MAX_DIMENSIONS}"
        )
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(f"{path}: the file ends within its header; get it again")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    wanted = prod(shape) * dtype.itemsize
    if wanted > max_bytes:
        raise ValueError(
            f"{path}: the header says shape {shape}, {wanted:,} bytes, more than the "
            f"{max_bytes:,} allowed; the file is damaged, or pass a larger max_bytes"
        )
    if packed is not None:
        check_size(wanted, packed, f"{path}: the array")
    content = read_at_most(stream, wanted + 1)
    if len(content) != wanted:
        found = f"only {len(content):,}" if len(content) < wanted else "more"
        raise ValueError(
            f"{path}: the header says shape {shape}, {wanted:,} bytes, but {found} follow; "
            "the file is damaged or cut off, get it again"
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
