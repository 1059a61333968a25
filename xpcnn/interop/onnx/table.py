"""The table of ONNX's operators: what is known of each, how it is read and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode
from xpcnn.interop.onnx.writer import LayerCall, Write, Writer
from xpcnn.layers.layer import Layer

Read = Callable[[Builder, OnnxNode], None]
"""Appends to a builder what a node of an ONNX graph becomes."""


class Attribute(NamedTuple):
    """The argument of a layer that an attribute of a node is."""

    argument: str
    kind: type
    default: Any = None


def same_names(**defaults: Any) -> dict[str, Attribute]:
    """Return attributes that are called as the arguments of the layer, by their defaults."""
    return {name: Attribute(name, type(default), default) for name, default in defaults.items()}


class Earlier(NamedTuple):
    """What an operator took before a version: the numbers of inputs, and what had no default."""

    until: int
    inputs: tuple[int, float]
    required: tuple[str, ...] = ()


@dataclass
class Operator:
    """What is known of an ONNX operator.

    Attributes
    ----------
    name : str
    layer : class, optional
        A node becomes such a layer, and such a layer a node, unless functions say otherwise.
    attributes : dict of str to Attribute
        The attributes of the node that are arguments of the layer.
    dtype : str
        Of what a node of the layer gives, where it is not that of its first input.
    since : int
        The first version of ONNX's operators that has it.
    inputs : pair of int
        The fewest and the most inputs.
    required : tuple of str
        Attributes that have no default.
    earlier : Earlier, optional
        The same two before a version.
    outputs : int
        The most outputs.
    keeps : str
        What the output has of the first input: "rank", as many axes; "samples", also as many
        samples; "" if neither is certain. "broadcast": all inputs are broadcast against each other.
    folds : bool
        Whether it is computed when a file is read, where all inputs are short constants. The output
        must not be much larger than the inputs.
    weights : tuple of int
        Inputs that are weights where they are constants.
    neutral : tuple of float
        The numbers that such weights hold where there are none to train.
    names_layer : bool
        Whether a node that is written is called as the layer, so that an import calls it so.
    domain : str
        Empty for ONNX's own operators.
    reading : function, optional
        Appends what a node becomes; see :meth:`reads`.
    written : list of class
        The layers that are written as it.
    """

    name: str
    layer: type[Layer] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    dtype: str = ""
    since: int = 7
    inputs: tuple[int, float] = (1, 1)
    required: tuple[str, ...] = ()
    earlier: Earlier | None = None
    outputs: float = 1
    keeps: str = ""
    folds: bool = False
    weights: tuple[int, ...] = ()
    neutral: tuple[float, ...] = ()
    names_layer: bool = False
    domain: str = ""
    reading: Read | None = None
    written: list[type] = field(default_factory=list)

    def reads(self, function: Read) -> Read:
        """Decorate the function that reads a node."""
        self.reading = function
        return function

    def writes(self, *layers: type) -> Callable[[Write], Write]:
        """Decorate the function that writes layers of these classes."""
        self.written += [layer for layer in layers if layer not in self.written]
        return writes(*layers)

    def writes_before(self, function: Write) -> Write:
        """Decorate the function that writes the layer in versions without the operator."""

        def write(w: Writer, call: LayerCall) -> Any:
            return self.write(w, call) if w.opset >= self.since else function(w, call)

        assert self.layer is not None
        self.writes(self.layer)(write)
        return function

    def read(self, b: Builder, node: OnnxNode) -> None:
        """Append to a builder what a node becomes."""
        if self.reading is not None:
            self.reading(b, node)
            return
        assert self.layer is not None, f"{self.name} has neither a layer nor a function"
        b.emit(self.layer(**self.arguments(node)), node.inputs, node.outputs)

    def arguments(self, node: OnnxNode) -> dict[str, Any]:
        """Return the arguments of the layer that the attributes of a node are."""
        return {
            attribute.argument: node.get(name, attribute.kind, attribute.default)
            for name, attribute in self.attributes.items()
        }

    def write(self, w: Writer, call: LayerCall) -> str:
        """Append the node that the layer is."""
        if self.dtype:
            call.dtypes = [self.dtype]
        return w.node(self.name, *call.inputs, **self.values(call.layer))

    def values(self, layer: Any) -> dict[str, Any]:
        """Return the attributes that the arguments of a layer are."""
        return {
            name: getattr(layer, attribute.argument) for name, attribute in self.attributes.items()
        }

    def check(self, node: OnnxNode) -> None:
        """Refuse a node that lacks what the operator needs, or has more than it takes.

        Raises
        ------
        ModelFileError
        """
        (fewest, most), required = self.inputs, self.required
        if self.earlier is not None and node.version < self.earlier.until:
            (fewest, most), required = self.earlier.inputs, self.earlier.required
        count = len(node.inputs)
        if not fewest <= count <= most:
            right = f"{fewest}" if fewest == most else f"at least {fewest}"
            right = f"{fewest} to {most}" if fewest < most < inf else right
            raise ModelFileError(f"{node.who}: expected {right} inputs, got {count}")
        if not all(node.inputs if most == inf else node.inputs[:fewest]):
            missing = node.inputs.index("")
            raise ModelFileError(f"{node.who}: input {missing} is left out, and it is required")
        for name in required:
            if not node.has(name):
                raise ModelFileError(f"{node.who}: the attribute {name!r} is missing")
        outputs = sum(map(bool, node.outputs))
        if outputs > self.outputs:
            raise ModelFileError(
                f"{node.who}: has {outputs} outputs, and the operator gives {self.outputs}"
            )


OPERATORS: dict[str, Operator] = {}
"""By name."""

WRITES: dict[type, Write] = {}
"""What each kind of layer becomes, as one operator or as several."""


def operator(
    name: str,
    layer: type[Layer] | None = None,
    attributes: Mapping[str, Attribute] | None = None,
    **facts: Any,
) -> Operator:
    """Add an operator to the table; `facts` are further attributes of :class:`Operator`."""
    assert name not in OPERATORS, f"there are two operators {name}"
    made = Operator(name, layer, attributes or {}, **facts)
    OPERATORS[name] = made
    if layer is not None:
        made.writes(layer)(made.write)
    return made


def writes(*layers: type) -> Callable[[Write], Write]:
    """Decorate the function that writes layers for which ONNX has no operator of their own."""

    def register(function: Write) -> Write:
        WRITES.update(dict.fromkeys(layers, function))
        return function

    return register
