"""ONNX models for tests, made with our own messages: no test needs the onnx package for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn.interop.onnx import proto, tensors

NUMBERS = {name: number for number, name in tensors.DTYPES.items()}


def value(name: str, shape: Sequence[Any] | None, dtype: str = "float32") -> proto.ValueInfoProto:
    """Describe an input or output; lengths are numbers, names or None."""
    dims = None
    if shape is not None:
        dims = proto.TensorShapeProto(
            [
                proto.Dimension(dim_param=n) if isinstance(n, str) else proto.Dimension(n)
                for n in shape
            ]
        )
    kind = proto.TensorType(NUMBERS[dtype], dims)
    return proto.ValueInfoProto(name, proto.TypeProto(tensor_type=kind))


def attribute(name: str, content: Any) -> proto.AttributeProto:
    """Describe an attribute by the Python type of what it holds."""
    if isinstance(content, float):
        return proto.AttributeProto(name=name, type=proto.FLOAT, f=content)
    if isinstance(content, int):
        return proto.AttributeProto(name=name, type=proto.INT, i=content)
    if isinstance(content, str):
        return proto.AttributeProto(name=name, type=proto.STRING, s=content.encode())
    if isinstance(content, np.ndarray):
        tensor = tensors.from_numpy(content, "")
        return proto.AttributeProto(name=name, type=proto.TENSOR, t=tensor)
    if isinstance(content, proto.GraphProto):
        return proto.AttributeProto(name=name, type=proto.GRAPH, g=content)
    if isinstance(content[0], float):
        return proto.AttributeProto(name=name, type=proto.FLOATS, floats=list(content))
    return proto.AttributeProto(name=name, type=proto.INTS, ints=list(content))


def node(op: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> proto.NodeProto:
    """Describe a node; names are separated by blanks, and "-" is one that is left out."""
    return proto.NodeProto(
        input=[n.replace("-", "") for n in inputs.split()],
        output=[n.replace("-", "") for n in outputs.split()],
        name=name,
        op_type=op,
        attribute=[attribute(key, content) for key, content in attributes.items()],
    )


def model(
    nodes: Sequence[proto.NodeProto],
    inputs: Sequence[proto.ValueInfoProto],
    outputs: str | Sequence[proto.ValueInfoProto],
    arrays: Mapping[str, Any] | None = None,
    opset: int = 17,
) -> proto.ModelProto:
    """Put a model together; outputs may be names only."""
    if isinstance(outputs, str):
        outputs = [proto.ValueInfoProto(name) for name in outputs.split()]
    graph = proto.GraphProto(
        node=list(nodes),
        name="test",
        input=list(inputs),
        output=list(outputs),
        initializer=[tensors.from_numpy(array, name) for name, array in (arrays or {}).items()],
    )
    opsets = [proto.OperatorSetIdProto("", opset)]
    return proto.ModelProto(ir_version=8, graph=graph, opset_import=opsets)
