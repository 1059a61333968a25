"""A node of an ONNX graph while it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx import proto
from xpcnn.interop.onnx.tensors import DTYPES, to_numpy


class UnsupportedError(Exception):
    """A node cannot be expressed; the message is the reason, half a sentence."""


def take_name(wanted: str, taken: set[str]) -> str:
    """Take a name that is not taken yet: the wanted one, or another one with a number behind it."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


class OnnxNode:
    """A node of an ONNX graph: an operator, its attributes and the names of its values."""

    def __init__(self, node: proto.NodeProto, number: int, version: int, folder: Path | None):
        self.op = node.op_type or ""
        self.version = version
        self.number = number
        self.name = node.name or ""
        self.inputs = list(node.input)
        self.outputs = list(node.output)
        # what is left out at the end need not be written
        while self.inputs and not self.inputs[-1]:
            self.inputs.pop()
        self._attributes = {a.name or "": a for a in node.attribute}
        self._folder = folder

    @property
    def who(self) -> str:
        """Name for messages."""
        return f"node {self.name or self.number!r} ({self.op})"

    def input(self, position: int) -> str:
        """Return the name of an input; empty if it was left out."""
        return self.inputs[position] if position < len(self.inputs) else ""

    def has_output(self, position: int) -> bool:
        """Whether somebody may use this output."""
        return position < len(self.outputs) and bool(self.outputs[position])

    def has(self, name: str) -> bool:
        """Whether the node has this attribute."""
        return name in self._attributes

    def _get(self, name: str, kind: int, field: str, default: Any) -> Any:
        attribute = self._attributes.get(name)
        if attribute is None:
            return default
        if attribute.ref_attr_name:
            raise UnsupportedError(f"attribute {name} refers to that of a function")
        value = getattr(attribute, field)
        if attribute.type not in (kind, None) or value is None:
            raise ModelFileError(f"{self.who}: attribute {name!r} is of the wrong type")
        return value

    def int(self, name: str, default: Any = None) -> Any:
        """Return an attribute that is a whole number."""
        return self._get(name, proto.INT, "i", default)

    def float(self, name: str, default: Any = None) -> Any:
        """Return an attribute that is a number."""
        value = self._get(name, proto.FLOAT, "f", default)
        # the shortest number with the same float32: 0.1, not 0.10000000149011612
        return None if value is None else float(str(np.float32(value)))

    def ints(self, name: str, default: Any = None) -> Any:
        """Return an attribute that is a list of whole numbers."""
        value = self._get(name, proto.INTS, "ints", default)
        return None if value is None else tuple(value)

    def floats(self, name: str, default: Any = None) -> Any:
        """Return an attribute that is a list of numbers."""
        return self._get(name, proto.FLOATS, "floats", default)

    def text(self, name: str, default: Any = None) -> Any:
        """Return an attribute that is a word."""
        value = self._get(name, proto.STRING, "s", default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def get(self, name: str, kind: type, default: Any) -> Any:
        """Return an attribute as a value of a Python type; a tuple is one of whole numbers."""
        if kind is bool:
            return bool(self.int(name, default))
        read = {int: self.int, float: self.float, str: self.text, tuple: self.ints}[kind]
        return read(name, default)

    def tensor(self, name: str) -> np.ndarray | None:
        """Return an attribute that is an array."""
        value = self._get(name, proto.TENSOR, "t", None)
        return None if value is None else to_numpy(value, self._folder)


def numpy_dtype(number: int | None) -> str:
    """Return the dtype that a value of this type has here: numbers in bfloat16 are float32."""
    if number not in DTYPES:
        raise UnsupportedError(f"type number {number} is not known here")
    return "float32" if DTYPES[number] == "bfloat16" else DTYPES[number]
