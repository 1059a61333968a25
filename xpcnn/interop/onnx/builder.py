"""The network under construction while the nodes of an ONNX graph are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpcnn.device import resolve
from xpcnn.interop.onnx.known import KnownValues
from xpcnn.interop.onnx.node import OnnxNode, take_name
from xpcnn.interop.onnx.shape_tracker import ShapeTracker
from xpcnn.layers.layer import Layer
from xpcnn.layers.operation import Operation
from xpcnn.operations import Constant, Weight, Weights


class Node(NamedTuple):
    """A node of a network: a layer, and the names of what it takes and gives."""

    name: str
    layer: Layer
    inputs: list[str]
    outputs: list[str]


class Builder(KnownValues):
    """Nodes of a :class:`xpcnn.Graph`, and what is known of the values between them.

    Attributes
    ----------
    nodes : list of (name, layer, inputs, outputs)
        Each behind those whose values it takes.
    sources : dict of str to node
        The nodes that do nothing but bring an array, by the name of the array.
    lengths : ShapeTracker
        Values that hold lengths of others.
    """

    def __init__(
        self, initializers: Mapping[str, np.ndarray], uses: Counter[str], dtype: str
    ) -> None:
        super().__init__(initializers, uses, dtype)
        self.nodes: list[Node] = []
        self.sources: dict[str, Node] = {}
        self.lengths = ShapeTracker(self)
        self._node_names: set[str] = set()
        self._made: set[str] = set()
        self._fresh = 0

    def emit(
        self,
        layer: Layer,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str | None = None,
    ) -> None:
        """Append a node."""
        taken = [self.resolve(value) for value in inputs]
        for value in taken:
            self._bring(value)
        given = [output or self.fresh("unused") for output in outputs]
        self._made.update(given)
        self.nodes.append(Node(take_name(name or given[0], self._node_names), layer, taken, given))

    def layer(
        self,
        node: OnnxNode,
        layer: Layer,
        state: Mapping[str, np.ndarray],
        names: Mapping[str, str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        """Append a layer of one input that takes over arrays of the file.

        `names` says what the file calls them: where these are ``"conv1.weight"`` and
        ``"conv1.bias"``, the node is called "conv1", so that parameters keep their names. If left
        out, weight and bias are the second and the third input.
        """
        names = names or {"weight": node.input(1), "bias": node.input(2)}
        layer.load_state_dict(state)
        for own, name in names.items():
            # what the file computes, or holds in a node, is fixed
            parameter = layer.parameters().get(own)
            if parameter is not None and name and self.resolve(name) not in self.initializers:
                parameter.requires_grad = False
        self.emit(layer, node.inputs[:1], outputs or node.outputs, self._layer_name(node, names))

    def _layer_name(self, node: OnnxNode, names: Mapping[str, str]) -> str:
        given = {own: self.resolve(name) for own, name in names.items() if name}
        first, name = next(iter(given.items()))
        for candidate in (names[first], name):
            prefix = candidate.removesuffix(f".{first}")
            if prefix != candidate and prefix and prefix not in self._node_names:
                return prefix
        return node.name.strip("/").replace("/", ".") or f"{node.op.lower()}_{node.number}"

    def rename(self, names: Mapping[str, str]) -> None:
        """Give values that nodes make other names."""

        def new(side: list[str]) -> list[str]:
            return [names.get(name, name) for name in side]

        self.nodes = [
            Node(name, layer, new(inputs), new(outputs))
            for name, layer, inputs, outputs in self.nodes
        ]

    def take_back(self, count: int) -> list[Node]:
        """Remove all nodes but the first ones, and return them."""
        removed = self.nodes[count:]
        del self.nodes[count:]
        for name, _, _, outputs in removed:
            self._node_names.discard(name)
            self._made.difference_update(outputs)
            self.sources.pop(outputs[0], None)
        return removed

    def apply(self, layer: Layer, *inputs: str, hint: str = "value") -> str:
        """Append a node with one new output, and return the name of that."""
        name = self.fresh(hint)
        self.emit(layer, inputs, [name])
        return name

    def constant(self, array: Any, hint: str = "constant") -> str:
        """Name a new value that is this array."""
        name = self.fresh(hint)
        self.constants[name] = np.asarray(array)
        return name

    def number(self, value: float, hint: str = "constant") -> str:
        """Name a new value that is one number of the network's dtype."""
        return self.constant(np.asarray(value, self.dtype), hint)

    def fresh(self, hint: str) -> str:
        """Return a name that no value has; ONNX's own names hold no blank in front."""
        self._fresh += 1
        return f" {hint}.{self._fresh}"

    def bring(self, name: str) -> str:
        """Make sure that a value is made by a node, and return the name it is made under."""
        name = self.resolve(name)
        self._bring(name)
        return name

    def _bring(self, name: str) -> None:
        """Make a node of an array that comes with the file, when it is first used as a value."""
        array = self.array(name) if name and name not in self._made else None
        if array is None:
            return
        trained = name in self.initializers and array.ndim > 0 and array.dtype.name == self.dtype
        layer: Operation
        if trained:
            layer = Weight(array.shape)
            layer.load_state_dict({"value": array})
        else:
            layer = Constant.of(array, follows=array.dtype.name == self.dtype)
        self._made.add(name)
        node_name = take_name(name.strip(), self._node_names)
        self.sources[name] = Node(node_name, layer, [], [name])
        self.nodes.append(self.sources[name])

    def fix(self, name: str) -> str:
        """Return a value that holds the same array and is not trained."""
        array = self.array(name)
        return name if array is None else self.constant(array, self.resolve(name).strip())


def named_weights(nodes: Sequence[Node]) -> list[Node]:
    """Put weights called "head.weight" and "head.bias" into one node "head", if that is free.

    So their names in the state of the network are those of the file.
    """
    taken = {node.name for node in nodes}
    groups: dict[str, dict[str, tuple[Weight, str]]] = {}
    others: list[Node] = []
    for node in nodes:
        layer, value = node.layer, node.outputs[0]
        prefix, _, last = value.rpartition(".")
        free = prefix and prefix not in taken and last.isidentifier() and last[0] != "_"
        if isinstance(layer, Weight) and free and not hasattr(Weights, last):
            groups.setdefault(prefix, {})[last] = layer, value
        else:
            others.append(node)
    made: list[Node] = []
    for prefix, members in groups.items():
        together = Weights([(last, weight.shape) for last, (weight, _) in members.items()])
        state = {last: weight.value.value for last, (weight, _) in members.items()}
        together.load_state_dict(state)
        made.append(Node(prefix, together, [], [value for _, value in members.values()]))
    return [*made, *others]


def run_nodes(nodes: Sequence[Node], wanted: Sequence[str], dtype: str) -> list[np.ndarray]:
    """Compute values that depend on nothing but constants."""
    host = resolve("cpu")
    values: dict[str, Any] = {"": None}
    for _, layer, inputs, outputs in nodes:
        layer._allocate((), host, dtype, np.random.default_rng(0))
        result = layer.forward(*(values[name] for name in inputs))
        values |= zip(outputs, result if isinstance(result, tuple) else (result,), strict=True)
    return [np.asarray(values[name]) for name in wanted]
