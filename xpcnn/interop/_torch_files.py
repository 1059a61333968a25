"""Tensors in files of ``torch.save``, read without torch and without executing anything.

The new format is a zip archive: ``data.pkl``, a pickle in which each tensor names a storage, and
one member with the bytes of each storage. The old format is a row of pickles, with the bytes of
the storages behind them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpcnn._archives import open_zip, read_member
from xpcnn.errors import ModelFileError

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What files of the old format begin with: a pickle of a certain number."""

_DTYPES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
    "torch.ComplexFloatStorage": "<c8",
    "torch.ComplexDoubleStorage": "<c16",
}
TORCH_NAMES = {
    **{name: name for name in _DTYPES},
    "torch._utils._rebuild_tensor_v2": "tensor",
    "torch._utils._rebuild_tensor": "tensor",
    "torch._utils._rebuild_parameter": "parameter",
}
"""What such pickles may name, and what it means here."""


class Storage(NamedTuple):
    """Where the numbers of some tensors lie."""

    dtype: str
    key: str
    length: int

    @classmethod
    def named(cls, words: Any) -> Storage:
        """Make a storage of what a pickle says about it."""
        if not isinstance(words, tuple) or len(words) < 5 or words[0] != "storage":
            raise ModelFileError("it refers to something outside of it that is not a storage")
        kind = getattr(words[1], "meaning", None)
        if kind not in _DTYPES or not isinstance(words[2], str) or type(words[4]) is not int:
            raise ModelFileError(f"it has a storage of an unknown kind, {kind!r:.100}")
        return cls(_DTYPES[kind], words[2], words[4])

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    def numbers(self, content: bytes) -> np.ndarray:
        """Return the numbers in some bytes."""
        if len(content) != self.length * self.itemsize:
            raise ModelFileError(
                f"the storage {self.key!r:.40} has {len(content)} bytes, and {self.length} numbers "
                f"of {self.itemsize} bytes each are announced"
            )
        if self.dtype == "bfloat16":
            halves = np.frombuffer(content, "<u2").astype(np.uint32)
            return (halves << np.uint32(16)).view(np.float32)
        if self.dtype == "|b1":
            return np.frombuffer(content, np.uint8) != 0
        found = np.frombuffer(content, self.dtype)
        return found.astype(found.dtype.newbyteorder("="), copy=False)


class Tensor:
    """A part of a storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, stride: Any) -> None:
        numbers = (offset, *shape, *stride)
        whole = all(type(n) is int and 0 <= n < 2**62 for n in numbers)
        if not isinstance(storage, Storage) or not whole or len(shape) != len(stride):
            raise ModelFileError("it has a tensor without a proper storage, shape and stride")
        self.storage, self.offset = storage, offset
        self.shape, self.stride = tuple(shape), tuple(stride)

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """Return the tensor, whose storage has these numbers."""
        if 0 in self.shape:
            return np.zeros(self.shape, numbers.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        # no number is counted twice, which could make it large
        distinct = all(s > 0 for n, s in zip(self.shape, self.stride, strict=True) if n > 1)
        if last >= len(numbers) or not distinct or prod(self.shape) > len(numbers):
            raise ModelFileError("it has a tensor that reaches beyond its storage")
        strides = [s * numbers.itemsize for s in self.stride]
        view = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, strides, writeable=False
        )
        return np.ascontiguousarray(view).reshape(self.shape)


def is_from_torch(path: Path) -> bool:
    """Whether a zip archive is one of ``torch.save``."""
    with open_zip(path) as archive:
        return _pickle_in(archive) is not None


def _pickle_in(archive: zipfile.ZipFile) -> str | None:
    return next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)


def read_torch(data: bytes, machine: Callable[..., Any]) -> Any:
    """Read a file of ``torch.save``, whose pickles a machine runs that calls nothing.

    Raises
    ------
    ModelFileError
        If it is damaged, or holds anything but tensors and plain values.
    """
    return _read_old(data, machine) if data.startswith(LEGACY) else _read_new(data, machine)


def _read_new(data: bytes, machine: Callable[..., Any]) -> Any:
    with open_zip(data) as archive:
        name = _pickle_in(archive)
        if name is None:
            raise ModelFileError("it is a zip archive, and none of torch.save: it has no data.pkl")
        folder = name.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            order = read_member(archive, f"{folder}byteorder")
            if order != b"little":
                raise ModelFileError(f"its numbers have the byte order {order!r:.20}")
        value = machine(read_member(archive, name)).run()
        needed = _collect(value)
        numbers = {
            key: storage.numbers(read_member(archive, f"{folder}data/{key}"))
            for key, storage in needed.items()
        }
    return _Filler(numbers)(value)


def _read_old(data: bytes, machine: Callable[..., Any]) -> Any:
    place, found = 0, []
    for _ in range(5):  # the number, the version, the system, what was saved, and keys
        reader = machine(data, place)
        found.append(reader.run())
        place = reader.place
    value, keys = found[3:]
    needed = _collect(value)
    numbers = {}
    for key in keys:
        if key not in needed:
            raise ModelFileError(f"it has a storage {key!r:.40} that no tensor uses")
        storage = needed[key]
        count = int.from_bytes(data[place : place + 8], "little")
        if count != storage.length:
            raise ModelFileError(f"the storage {key!r:.40} is truncated, or not where it should be")
        end = place + 8 + count * storage.itemsize
        numbers[key] = storage.numbers(data[place + 8 : end])
        place = end
    return _Filler(numbers)(value)


def _collect(value: Any) -> dict[str, Storage]:
    """Return the storages of all tensors in a value."""
    needed: dict[str, Storage] = {}
    for item in chain.from_iterable(levels(value)):
        if not isinstance(item, Tensor):
            continue
        if needed.setdefault(item.storage.key, item.storage) != item.storage:
            raise ModelFileError("two tensors do not agree on the storage that they share")
    return needed


def levels(value: Any) -> Iterator[list[Any]]:
    """Yield a value, what it holds, what that holds, and so on; the inside of each once."""
    seen: set[int] = set()
    level = [value]
    while level:
        yield level
        inside: list[Any] = []
        for item in level:
            if isinstance(item, (dict, list, tuple)) and id(item) not in seen:
                seen.add(id(item))
                inside.extend(item.values() if isinstance(item, dict) else item)
        level = inside


class _Filler:
    """Puts arrays in the place of tensors."""

    def __init__(self, numbers: Mapping[str, np.ndarray]) -> None:
        self._numbers = numbers
        self._done: dict[int, Any] = {}  # by identity: values may be there more than once
        # parts of a storage that overlap must not add up to much more than it
        self._room = 2 * sum(array.nbytes for array in numbers.values())

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, (Tensor, dict, list, tuple)):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = value
            self._done[id(value)] = self._made(value)
        return self._done[id(value)]

    def _made(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self(item) for item in value)
        if value.storage.key not in self._numbers:
            raise ModelFileError(f"the storage {value.storage.key!r:.40} is missing")
        found = value.array(self._numbers[value.storage.key])
        self._room -= found.nbytes
        if self._room < 0:
            raise ModelFileError("its tensors would be larger than the storages they share")
        return found
