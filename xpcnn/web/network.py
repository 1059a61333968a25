"""The network of a page: ONNX with probabilities and feature maps among its outputs."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xpcnn.interop import onnx
from xpcnn.interop.onnx.proto import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TensorType,
    TypeProto,
    ValueInfoProto,
)
from xpcnn.training import Model
from xpcnn.training.probabilities import how_to_read

_FLOAT, _INT = 1, 2
"""ONNX's numbers of float32 arrays, and of whole numbers as attributes."""


@dataclass
class PageNetwork:
    """An ONNX file for a page, and the names of what the page gives and reads.

    Attributes
    ----------
    data : bytes
        The file.
    input : str
        Images, (N, 1, height, width).
    probabilities : str
        Those of the classes, (N, classes).
    features : str or None
        Feature maps of the first convolution, (N, channels, height, width), before what follows it;
        ``None`` without such a layer.
    layer : str or None
        The path of that layer.
    """

    data: bytes
    input: str
    probabilities: str
    features: str | None
    layer: str | None


def page_network(model: Model, columns: int) -> PageNetwork:
    """Write a model as ONNX with two more outputs, for a page to show.

    Parameters
    ----------
    model : Model
        A classifier of float32 with one input and one output.
    columns : int
        How many numbers it gives for each sample.

    Returns
    -------
    PageNetwork

    Raises
    ------
    UnsupportedModelError
        If layers cannot be expressed in ONNX.
    ValueError
        If the outputs are no probabilities of classes.
    """
    how = how_to_read(model, columns)
    message = ModelProto.parse(onnx.to_bytes(model))
    graph = message.graph
    assert graph is not None
    features, layer = _first_convolution(graph)
    probabilities = _add_probabilities(graph, model.outputs[0], how, columns)
    if features is not None:
        _add_output(graph, features)
    return PageNetwork(message.serialize(), model.inputs[0], probabilities, features, layer)


def _first_convolution(graph: GraphProto) -> tuple[str | None, str | None]:
    """Return what the first Conv2d gives, and its path; fixed filters are no initializers."""
    filters = {weight.name for weight in graph.initializer if len(weight.dims) == 4}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in filters:
            return node.output[0], node.input[1].removesuffix("weight").rstrip(".")
    return None, None


def _add_probabilities(graph: GraphProto, output: str, how: str, columns: int) -> str:
    """Append what makes probabilities of the output; a single column becomes two, no and yes."""
    value = _append(graph, "Flatten", [output], "columns", axis=1)
    if how == "softmax":
        value = _append(graph, "Softmax", [value], "softmax", axis=1)
    elif how == "sigmoid":
        value = _append(graph, "Sigmoid", [value], "sigmoid")
    elif how == "exp":
        value = _append(graph, "Exp", [value], "exp")
    if columns == 1:
        one = _unused(graph, "one")
        number = TensorProto(dims=[1], data_type=_FLOAT, raw_data=struct.pack("<f", 1.0))
        attribute = AttributeProto(name="value", t=number, type=4)
        graph.node.append(NodeProto(output=[one], op_type="Constant", attribute=[attribute]))
        no = _append(graph, "Sub", [one, value], "no")
        value = _append(graph, "Concat", [no, value], "no_and_yes", axis=1)
    last = _unused(graph, "probabilities")
    graph.node.append(NodeProto(input=[value], output=[last], op_type="Identity"))
    _add_output(graph, last)
    return last


def _append(graph: GraphProto, operator: str, inputs: list[str], name: str, **numbers: int) -> str:
    """Append a node, and return the name of its output."""
    output = _unused(graph, name)
    attributes = [AttributeProto(name=key, i=n, type=_INT) for key, n in numbers.items()]
    graph.node.append(
        NodeProto(input=inputs, output=[output], op_type=operator, attribute=attributes)
    )
    return output


def _unused(graph: GraphProto, name: str) -> str:
    """Return a name that no value has yet."""
    taken = {value for node in graph.node for value in (*node.input, *node.output)}
    while name in taken:
        name += "_"
    return name


def _add_output(graph: GraphProto, name: str) -> None:
    if all(output.name != name for output in graph.output):
        kind = TypeProto(tensor_type=TensorType(_FLOAT))
        graph.output.append(ValueInfoProto(name, kind))
