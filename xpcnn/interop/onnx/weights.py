"""Which constants of a graph are weights, where a file keeps them in nodes.

Weights are initializers as a rule, and Constant nodes hold what steers the operators. Some programs
write nodes only. There an array of floats is a weight if it plays the part of one: the filter or
the bias of a convolution, scale and shift of a normalisation, a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xpcnn.interop.onnx import proto
from xpcnn.interop.onnx.ops import OPERATORS
from xpcnn.interop.onnx.tensors import to_numpy

# What may lie between a constant and the operator whose weight it is, and how much of it.
_REARRANGED = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_FAR = 8
_FLOATS = (1, 10, 11, 16)


def weights_in_nodes(graph: proto.GraphProto, folder: Path | None = None) -> set[str]:
    """Return the outputs of Constant nodes that are weights.

    A normalisation with a scale of ones and a shift of zeros has weights only where the file keeps
    all weights in nodes; next to initializers these two say that it has none.
    """
    makers = {name: node for node in graph.node for name in node.output if name}

    def constants(node: proto.NodeProto, positions: Sequence[int]) -> dict[int, str]:
        """Return the constants that some inputs come from, by position."""
        names = {i: _source(node.input[i], makers) for i in positions if i < len(node.input)}
        return {i: name for i, name in names.items() if name}

    rows = [(node, OPERATORS.get(node.op_type or "")) for node in graph.node]
    layers = [(node, row) for node, row in rows if row is not None and row.weights]
    found: set[str] = set()
    for node, row in layers:
        if not row.neutral:
            names = constants(node, row.weights).values()
            # the table of an embedding has two axes
            found.update(n for n in names if row.name != "Gather" or _rank(makers[n]) == 2)
    # a matrix product has no bias of its own
    products = {
        name
        for node in graph.node
        if node.op_type == "MatMul" and found.intersection(constants(node, (0, 1)).values())
        for name in node.output
    }
    for node in graph.node:
        if node.op_type == "Add" and products.intersection(node.input):
            found.update(constants(node, (0, 1)).values())
    in_initializers = any(t.data_type in _FLOATS and t.dims for t in graph.initializer)
    only_nodes = bool(found) and not in_initializers
    for node, row in layers:
        if row.neutral:
            given = constants(node, row.weights)
            numbers = dict(zip(row.weights, row.neutral, strict=True))
            neutral = all(_is_all(makers[n], numbers[i], folder) for i, n in given.items())
            if only_nodes or not neutral:
                found.update(given.values())
    return found


def _source(name: str, makers: Mapping[str, proto.NodeProto]) -> str:
    """Return the constant array that a value is, or is rearranged from; "" if there is none."""
    for _ in range(_FAR):
        node = makers.get(name)
        if node is None or not node.input or node.op_type not in _REARRANGED:
            break
        name = node.input[0]
    return name if name in makers and _floats(makers[name]) is not None else ""


def _floats(node: proto.NodeProto) -> proto.AttributeProto | None:
    """Return what a Constant node holds, if it is an array of floats with at least one axis."""
    if node.op_type != "Constant" or len(node.attribute) != 1:
        return None
    content = node.attribute[0]
    if content.name == "value_floats":
        return content
    tensor = content.t if content.name == "value" else None
    return content if tensor and tensor.dims and tensor.data_type in _FLOATS else None


def _rank(node: proto.NodeProto) -> int:
    content = _floats(node)
    return 1 if content is None or content.t is None else len(content.t.dims)


def _is_all(node: proto.NodeProto, number: float, folder: Path | None) -> bool:
    """Whether a Constant node holds this number, over and over."""
    content = _floats(node)
    assert content is not None
    array = content.floats if content.t is None else to_numpy(content.t, folder)
    return bool(np.all(np.asarray(array) == number))
