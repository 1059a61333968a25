"""The messages of an ONNX file, with the fields that matter here.

Names and numbers of the fields are those of the ONNX standard (onnx.proto, IR version 14). A
field that is not listed is passed over when a file is read: descriptions, training information,
annotations of quantised tensors, sharding, sparse initializers inside attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn.interop.onnx.wire import Message, numbers, repeated, single

# AttributeProto.type
FLOAT, INT, STRING, TENSOR, GRAPH = 1, 2, 3, 4, 5
FLOATS, INTS, STRINGS, TENSORS, GRAPHS = 6, 7, 8, 9, 10


@dataclass
class StringStringEntryProto(Message):
    """A key and a value."""

    key: str | None = single(1, "string")
    value: str | None = single(2, "string")


@dataclass
class TensorProto(Message):
    """A constant array; the numbers are in one of the data fields, or in another file."""

    dims: list[int] = repeated(1, "int64")
    data_type: int | None = single(2, "int32")
    float_data: np.ndarray | None = numbers(4, "float")
    int32_data: np.ndarray | None = numbers(5, "int32")
    string_data: list[bytes] = repeated(6, "bytes")
    int64_data: np.ndarray | None = numbers(7, "int64")
    name: str | None = single(8, "string")
    raw_data: Any = single(9, "view")
    double_data: np.ndarray | None = numbers(10, "double")
    uint64_data: np.ndarray | None = numbers(11, "uint64")
    doc_string: str | None = single(12, "string")
    external_data: list[StringStringEntryProto] = repeated(13, "StringStringEntryProto")
    data_location: int | None = single(14, "int32")


@dataclass
class SparseTensorProto(Message):
    """An array that is mostly zeros; it is recognised, not read."""

    values: TensorProto | None = single(1, "TensorProto")
    dims: list[int] = repeated(3, "int64")


@dataclass
class Dimension(Message):
    """A length, known (`dim_value`) or named (`dim_param`), or neither."""

    dim_value: int | None = single(1, "int64")
    dim_param: str | None = single(2, "string")


@dataclass
class TensorShapeProto(Message):
    """The lengths of all axes."""

    dim: list[Dimension] = repeated(1, "Dimension")


@dataclass
class TensorType(Message):
    """The dtype and perhaps the shape of an array."""

    elem_type: int | None = single(1, "int32")
    shape: TensorShapeProto | None = single(2, "TensorShapeProto")


@dataclass
class TypeProto(Message):
    """The type of a value, if it is an array; others (a sequence, a map) have no field here."""

    tensor_type: TensorType | None = single(1, "TensorType")


@dataclass
class ValueInfoProto(Message):
    """The name and the type of an input, an output or another value."""

    name: str | None = single(1, "string")
    type: TypeProto | None = single(2, "TypeProto")


@dataclass
class AttributeProto(Message):
    """A named constant of a node; `type` says which field holds it."""

    name: str | None = single(1, "string")
    f: float | None = single(2, "float")
    i: int | None = single(3, "int64")
    s: bytes | None = single(4, "bytes")
    t: TensorProto | None = single(5, "TensorProto")
    g: GraphProto | None = single(6, "GraphProto")
    floats: list[float] = repeated(7, "float")
    ints: list[int] = repeated(8, "int64")
    strings: list[bytes] = repeated(9, "bytes")
    tensors: list[TensorProto] = repeated(10, "TensorProto")
    graphs: list[GraphProto] = repeated(11, "GraphProto")
    type: int | None = single(20, "int32")
    ref_attr_name: str | None = single(21, "string")


@dataclass
class NodeProto(Message):
    """An operator applied to values by name."""

    input: list[str] = repeated(1, "string")
    output: list[str] = repeated(2, "string")
    name: str | None = single(3, "string")
    op_type: str | None = single(4, "string")
    attribute: list[AttributeProto] = repeated(5, "AttributeProto")
    domain: str | None = single(7, "string")


@dataclass
class GraphProto(Message):
    """Nodes in an order in which they can run, and the constants they use."""

    node: list[NodeProto] = repeated(1, "NodeProto")
    name: str | None = single(2, "string")
    initializer: list[TensorProto] = repeated(5, "TensorProto")
    input: list[ValueInfoProto] = repeated(11, "ValueInfoProto")
    output: list[ValueInfoProto] = repeated(12, "ValueInfoProto")
    value_info: list[ValueInfoProto] = repeated(13, "ValueInfoProto")
    sparse_initializer: list[SparseTensorProto] = repeated(15, "SparseTensorProto")


@dataclass
class OperatorSetIdProto(Message):
    """The version of a set of operators; the empty domain is ONNX's own."""

    domain: str | None = single(1, "string")
    version: int | None = single(2, "int64")


@dataclass
class FunctionProto(Message):
    """An operator that the file itself defines; known by its name only."""

    name: str | None = single(1, "string")
    domain: str | None = single(10, "string")


@dataclass
class ModelProto(Message):
    """A file."""

    ir_version: int | None = single(1, "int64")
    producer_name: str | None = single(2, "string")
    domain: str | None = single(4, "string")
    graph: GraphProto | None = single(7, "GraphProto")
    opset_import: list[OperatorSetIdProto] = repeated(8, "OperatorSetIdProto")
    functions: list[FunctionProto] = repeated(25, "FunctionProto")
