"""Protocol buffers' wire format: bytes to and from dataclasses that say what their fields are.

A message is a sequence of fields, each a number and a wire type packed in one varint, and a
value. See https://protobuf.dev/programming-guides/encoding. A message class lists its fields with
:func:`single`, :func:`repeated` and :func:`numbers`; reading and writing follow from that list.

What is read comes from anywhere, so every length is held against what is left of the message
around it before anything is made of it, and nesting ends at :data:`DEEPEST`.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from xpcnn.errors import ModelFileError

DEEPEST = 100
"""Messages within messages; Google's own reader has the same limit."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
SMALL = 128 * 2**20
"""Bytes that the objects of a message may take, whatever its size."""

_MESSAGE, _ITEM = 700, 40  # what one takes in Python, about
_WIRE_TYPES = {
    "int32": VARINT,
    "int64": VARINT,
    "uint64": VARINT,
    "float": FIXED32,
    "double": FIXED64,
}
_DTYPES = {"int32": "<i4", "int64": "<i8", "uint64": "<u8", "float": "<f4", "double": "<f8"}


def single(number: int, kind: str) -> Any:
    """Declare a field that is there at most once; ``None`` where it is not.

    `kind` is "int32", "int64", "uint64", "float", "double", "string", "bytes", "view" (bytes
    that are not copied when read) or the name of a message class.
    """
    return dataclasses.field(default=None, metadata={"number": number, "kind": kind})


def repeated(number: int, kind: str) -> Any:
    """Declare a field that holds a list."""
    notes = {"number": number, "kind": kind, "repeated": True}
    return dataclasses.field(default_factory=list, metadata=notes)


def numbers(number: int, kind: str) -> Any:
    """Declare a field that holds many numbers: a NumPy array, or ``None`` where there are none."""
    return dataclasses.field(default=None, metadata={"number": number, "kind": kind, "array": True})


@dataclasses.dataclass(frozen=True)
class _Field:
    """What a message class says about one of its fields."""

    name: str
    number: int
    kind: str
    repeated: bool = False
    array: bool = False


_FIELDS: dict[type, dict[int, _Field]] = {}


def _fields(cls: Any) -> dict[int, _Field]:
    """Return the fields of a message class by number, in order."""
    if cls not in _FIELDS:
        found = [_Field(field.name, **field.metadata) for field in dataclasses.fields(cls)]
        _FIELDS[cls] = {field.number: field for field in sorted(found, key=lambda f: f.number)}
    return _FIELDS[cls]


_MESSAGES: dict[str, type[Message]] = {}


class _Room:
    """How much memory the objects of a file may still take."""

    def __init__(self, size: int) -> None:
        self._left = self._size = size

    def take(self, size: int) -> None:
        """Count an object.

        Raises
        ------
        ModelFileError
            If they become too large.
        """
        self._left -= size
        if self._left < 0:
            raise ModelFileError(
                f"its objects would take more than {self._size / 2**20:.0f} MiB, far more than the "
                "file; it is damaged, or made to exhaust memory"
            )


class Message:
    """The base of all message classes, which are dataclasses."""

    def __init_subclass__(cls) -> None:
        _MESSAGES[cls.__name__] = cls

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read a message.

        Raises
        ------
        ModelFileError
            If the bytes are not such a message: truncated, overlong, nested too deeply, or with
            fields of another type.
        """
        view = memoryview(data).cast("B")
        return cls._parse(view, DEEPEST, _Room(max(SMALL, 4 * len(view))))

    @classmethod
    def _parse(cls, data: memoryview, depth: int, room: _Room) -> Self:
        room.take(_MESSAGE)
        if depth <= 0:
            raise ModelFileError(
                f"{cls.__name__}: messages are nested more than {DEEPEST} deep; no model needs that"
            )
        message = cls()
        pieces: dict[str, list[np.ndarray]] = {}
        fields = _fields(cls)
        for number, wire_type, value in _split(data, cls.__name__):
            field = fields.get(number)
            if field is not None:
                _take(message, field, wire_type, value, pieces, depth, room)
        for name, parts in pieces.items():
            setattr(message, name, parts[0] if len(parts) == 1 else np.concatenate(parts))
        return message

    def serialize(self) -> bytes:
        """Write the message as bytes; the same message always gives the same bytes."""
        chunks: list[Any] = []
        for field in _fields(type(self)).values():
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.array:
                _write_packed(chunks, field, value)
                continue
            for item in value if field.repeated else [value]:
                _write(chunks, field, item)
        return b"".join(chunks)


# -- Reading ---------------------------------------------------------------------------------------


def read_varint(data: memoryview, position: int, who: str) -> tuple[int, int]:
    """Return the number that begins at `position`, of at most 64 bits, and where it ends."""
    value = shift = 0
    while True:
        if position >= len(data):
            raise ModelFileError(f"{who}: the data end within a number; the file is truncated")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise ModelFileError(f"{who}: a number takes more than ten bytes; the file is damaged")
    if value >= 1 << 64:
        raise ModelFileError(f"{who}: a number has more than 64 bits; the file is damaged")
    return value, position


def _split(data: memoryview, who: str) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield the number, the wire type and the raw value of every field."""
    position = 0
    while position < len(data):
        tag, position = read_varint(data, position, who)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ModelFileError(f"{who}: {number} is no field number; the file is damaged")
        if wire_type == VARINT:
            value, position = read_varint(data, position, f"{who} field {number}")
            yield number, wire_type, value
            continue
        if wire_type == BYTES:
            length, position = read_varint(data, position, f"{who} field {number}")
        elif wire_type in (FIXED32, FIXED64):
            length = 4 if wire_type == FIXED32 else 8
        else:
            raise ModelFileError(
                f"{who} field {number}: wire type {wire_type} is not in use; this is no ONNX "
                "model, or the file is damaged"
            )
        if length > len(data) - position:
            raise ModelFileError(
                f"{who} field {number}: {length} bytes are announced and {len(data) - position} "
                "are there; the file is truncated or damaged"
            )
        yield number, wire_type, data[position : position + length]
        position += length


def _take(
    message: Message,
    field: _Field,
    wire_type: int,
    value: Any,
    pieces: dict[str, list[np.ndarray]],
    depth: int,
    room: _Room,
) -> None:
    """Put a raw value into the field of a message."""
    who = f"{type(message).__name__}.{field.name}"
    expected = _WIRE_TYPES.get(field.kind, BYTES)
    is_packed = wire_type == BYTES and expected != BYTES and (field.repeated or field.array)
    if wire_type != expected and not is_packed:
        raise ModelFileError(
            f"{who}: expected wire type {expected}, got {wire_type}; this is no ONNX model, or the "
            "file is damaged"
        )
    if field.array or is_packed:
        values = _unpack(value, field.kind, who) if is_packed else _one(value, field.kind, who)
        if field.array:
            pieces.setdefault(field.name, []).append(values)
        else:
            room.take(_ITEM * len(values))
            getattr(message, field.name).extend(values.tolist())
        return
    item = _convert(value, field.kind, who, depth, room)
    if field.repeated:
        room.take(_ITEM)
        getattr(message, field.name).append(item)
    else:
        setattr(message, field.name, item)


def _convert(value: Any, kind: str, who: str, depth: int, room: _Room) -> Any:
    if kind in _WIRE_TYPES:
        return _one(value, kind, who)[0].item()
    if kind == "view":
        return value
    if kind == "bytes":
        return bytes(value)
    if kind == "string":
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise ModelFileError(f"{who}: the text is not UTF-8; the file is damaged") from None
    return _MESSAGES[kind]._parse(value, depth - 1, room)


def _one(value: Any, kind: str, who: str) -> np.ndarray:
    """Return one number as an array, from a varint or the bytes of a float."""
    if kind in ("float", "double"):
        return np.frombuffer(value, _DTYPES[kind])
    return _as_kind(np.array([value], np.uint64), kind, who)


def _unpack(data: memoryview, kind: str, who: str) -> np.ndarray:
    """Return numbers that lie side by side, without a tag each."""
    if kind in ("float", "double"):
        if len(data) % np.dtype(_DTYPES[kind]).itemsize:
            raise ModelFileError(f"{who}: {len(data)} bytes are no whole number of {kind}s")
        return np.frombuffer(data, _DTYPES[kind])
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if len(raw) and (not len(ends) or ends[-1] != len(raw) - 1):
        raise ModelFileError(f"{who}: the data end within a number; the file is truncated")
    if not len(raw):
        return np.zeros(0, _DTYPES[kind])
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 10 or bool((raw[ends[lengths == 10]] > 1).any()):
        raise ModelFileError(f"{who}: a number has more than 64 bits; the file is damaged")
    # Byte k of a number holds its bits 7 k to 7 k + 6.
    values = np.zeros(len(starts), np.uint64)
    for k in range(int(lengths.max())):
        has = lengths > k
        part = (raw[starts[has] + k] & 0x7F).astype(np.uint64)
        values[has] |= part << np.uint64(7 * k)
    return _as_kind(values, kind, who)


def _as_kind(values: np.ndarray, kind: str, who: str) -> np.ndarray:
    """Read 64 bits each as the kind of integer that they stand for."""
    if kind == "uint64":
        return values
    signed = values.view(np.int64)
    if kind == "int32":
        if bool((signed != signed.astype(np.int32)).any()):
            raise ModelFileError(f"{who}: a number does not fit into 32 bits; the file is damaged")
        return signed.astype(np.int32)
    return signed


# -- Writing ---------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """Write an integer; a negative one takes ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _write(chunks: list[Any], field: _Field, value: Any) -> None:
    """Append the tag and the value of one field."""
    wire_type = _WIRE_TYPES.get(field.kind, BYTES)
    chunks.append(varint(field.number << 3 | wire_type))
    if wire_type == VARINT:
        chunks.append(varint(int(value)))
    elif wire_type in (FIXED32, FIXED64):
        chunks.append(struct.pack("<f" if wire_type == FIXED32 else "<d", value))
    else:
        if isinstance(value, Message):
            value = value.serialize()
        elif isinstance(value, str):
            value = value.encode("utf-8")
        # a view counts its elements, not its bytes
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        chunks += [varint(size), value]


def _write_packed(chunks: list[Any], field: _Field, values: Any) -> None:
    """Append numbers side by side under one tag."""
    if field.kind in ("float", "double"):
        data = np.ascontiguousarray(values, _DTYPES[field.kind]).tobytes()
    else:
        data = b"".join(varint(int(value)) for value in values)
    if data:
        chunks += [varint(field.number << 3 | BYTES), varint(len(data)), data]
