"""Arrays in ONNX files: ``TensorProto`` to and from NumPy."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx.proto import TensorProto

DTYPES: dict[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
}
"""The dtype for each number in ``TensorProto.data_type``.

NumPy lacks bfloat16; its numbers come as float32, which holds each of them.
"""

# The field that holds the numbers of a dtype, where it is not that of int32.
_DATA = {
    "float32": "float_data", "complex64": "float_data",
    "float64": "double_data", "complex128": "double_data",
    "int64": "int64_data", "uint32": "uint64_data", "uint64": "uint64_data",
}  # fmt: skip

_NAMES = {
    8: "string",
    17: "float8e4m3fn",
    18: "float8e4m3fnuz",
    19: "float8e5m2",
    20: "float8e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4e2m1",
    24: "float8e8m0",
    25: "uint2",
    26: "int2",
    27: "float6e2m3",
    28: "float6e3m2",
}


def dtype_of(data_type: int | None, who: str) -> str:
    """Return the name of a dtype: that of a file, or "bfloat16".

    Raises
    ------
    ModelFileError
        If xpcnn has no such numbers.
    """
    if data_type not in DTYPES:
        kind = _NAMES.get(data_type or 0, f"number {data_type}")
        raise ModelFileError(
            f"{who}: holds values of type {kind}, which no array library here has; convert the "
            "model to float32 with the tool that made it"
        )
    return DTYPES[data_type]


def to_numpy(tensor: TensorProto, folder: Path | None = None) -> np.ndarray:
    """Return the array that a tensor describes.

    Parameters
    ----------
    tensor : TensorProto
    folder : Path, optional
        Folder of the model's file, where other files with data may lie; none are read without it.

    Raises
    ------
    ModelFileError
        If its parts contradict each other, or its dtype is not known here. No memory is taken
        before the sizes agree.
    """
    who = f"tensor {tensor.name!r}" if tensor.name else "a tensor"
    name = dtype_of(tensor.data_type, who)
    shape = tuple(tensor.dims)
    if any(n < 0 for n in shape):
        raise ModelFileError(f"{who}: has a negative length in its shape {shape}")
    count = prod(shape)
    stored = np.dtype("<u2") if name == "bfloat16" else np.dtype(name).newbyteorder("<")
    if tensor.data_location == 1:
        values = _external(tensor, folder, stored, count, who)
    elif tensor.raw_data is not None:
        if len(tensor.raw_data) != count * stored.itemsize:
            raise ModelFileError(
                f"{who}: {len(tensor.raw_data)} bytes do not make an array of shape {shape} and "
                f"dtype {name}, which has {count * stored.itemsize}"
            )
        values = np.frombuffer(tensor.raw_data, stored)
    else:
        values = _typed(tensor, stored, count, who)
    if name == "bool":
        values = values.view(np.uint8) != 0
    elif name == "bfloat16":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.reshape(shape)


def _typed(tensor: TensorProto, stored: np.dtype, count: int, who: str) -> np.ndarray:
    """Read the data field that the standard names for a dtype."""
    name = stored.name
    values = getattr(tensor, _DATA.get(name, "int32_data"))
    if values is None:
        values = np.zeros(0, np.int32)
    parts = 2 if stored.kind == "c" else 1
    if len(values) != count * parts:
        raise ModelFileError(
            f"{who}: holds {len(values)} values, and its shape {tuple(tensor.dims)} needs "
            f"{count * parts}"
        )
    if stored.kind == "c":
        return values.view(stored) if len(values) else np.zeros(0, stored)
    if name in ("float16", "uint16") or stored == np.dtype("<u2"):
        # the bits of a half are kept in an integer
        _check_range(values, 0, 0xFFFF, who)
        return values.astype(np.uint16).view(stored)
    if stored.kind in "iu":
        limits = np.iinfo(stored)
        _check_range(values, int(limits.min), int(limits.max), who)
    return values.astype(stored)


def _check_range(values: np.ndarray, low: int, high: int, who: str) -> None:
    if len(values) and not low <= int(values.min()) <= int(values.max()) <= high:
        raise ModelFileError(f"{who}: a value lies outside of {low} to {high}, those of its dtype")


def _external(
    tensor: TensorProto, folder: Path | None, stored: np.dtype, count: int, who: str
) -> np.ndarray:
    """Read an array from another file, which lies in the folder of the model or below it."""
    notes = {entry.key: entry.value or "" for entry in tensor.external_data}
    location = notes.get("location", "")
    if folder is None:
        raise ModelFileError(
            f"{who}: its values lie in the file {location!r} beside the model; load the model by "
            "its path"
        )
    path = _inside(folder, location, who)
    offset = _size(notes.get("offset", "0"), "offset", who)
    needed = count * stored.itemsize
    length = _size(notes.get("length", str(needed)), "length", who)
    if length != needed:
        raise ModelFileError(f"{who}: has {length} bytes in {location!r}, and needs {needed}")
    available = path.stat().st_size
    if offset + length > available:
        raise ModelFileError(
            f"{who}: bytes {offset} to {offset + length} of {location!r} are asked for, which has "
            f"{available}; the file is truncated or belongs to another model"
        )
    with path.open("rb") as file:
        file.seek(offset)
        return np.frombuffer(file.read(length), stored)


def _inside(folder: Path, location: str, who: str) -> Path:
    """Return the path of a file below a folder, after all links; others are refused."""
    parts = location.replace("\\", "/").split("/")
    plain = location and "\0" not in location and ":" not in parts[0]
    if not plain or location.startswith(("/", "\\")) or ".." in parts:
        raise ModelFileError(
            f"{who}: its values are said to lie in {location!r:.200}, and only files in the folder "
            "of the model may be named"
        )
    root = Path(os.path.realpath(folder))
    path = Path(os.path.realpath(root.joinpath(*parts)))
    if not path.is_relative_to(root):
        raise ModelFileError(
            f"{who}: {location!r:.200} is a link that leaves the folder of the model; put the file "
            "itself there"
        )
    if not path.is_file():
        raise ModelFileError(
            f"{who}: its values lie in the file {location!r:.200}, and there is none in the "
            "folder of the model"
        )
    return path


def _size(text: str, what: str, who: str) -> int:
    # isdecimal alone would take digits of other scripts, and of any number
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ModelFileError(f"{who}: its {what} {text!r:.80} is not a whole number of bytes")
    return int(text)


def from_numpy(array: Any, name: str, dtype: str | None = None) -> TensorProto:
    """Describe an array, with its numbers as raw bytes.

    Parameters
    ----------
    array : array_like
    name : str
    dtype : str, optional
        What to convert it to; may be "bfloat16".

    Raises
    ------
    TypeError
        If ONNX has no such dtype.
    """
    array = np.asarray(array)
    dtype = dtype or array.dtype.name
    if dtype not in DTYPES.values():
        raise TypeError(f"ONNX has no tensors of dtype {dtype}; convert {name!r} first")
    if dtype == "bfloat16":
        data = _bfloat16(array)
    else:
        data = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()
    return TensorProto(list(array.shape), number_of(dtype), name=name, raw_data=data)


def _bfloat16(array: np.ndarray) -> bytes:
    """Return the upper halves of the bits of float32, rounded to the nearest, of two to even."""
    values = np.ascontiguousarray(array, "<f4")
    bits = values.view("<u4").astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
    quiet = (bits >> np.uint64(16)) | np.uint64(0x40)  # a NaN must not be rounded to infinity
    return np.where(np.isnan(values), quiet, rounded).astype("<u2").tobytes()


def number_of(dtype: str) -> int:
    """Return the number of a dtype in ``TensorProto.data_type``."""
    return next(number for number, known in DTYPES.items() if known == dtype)
