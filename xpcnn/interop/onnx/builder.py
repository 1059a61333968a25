"""The network under construction while the nodes of an ONNX graph are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.device import resolve
from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx import proto
from xpcnn.interop.onnx.sizes import Sizes
from xpcnn.interop.onnx.tensors import DTYPES, to_numpy
from xpcnn.layers.layer import Layer
from xpcnn.layers.operation import Operation
from xpcnn.operations import Constant, Weight, Weights

Node = tuple[str, Layer, list[str], list[str]]


class UnsupportedError(Exception):
    """A node cannot be expressed; the message is the reason, half a sentence."""


class Call:
    """A node of an ONNX graph: an operator, its attributes and the names of its values."""

    def __init__(self, node: proto.NodeProto, number: int, version: int, folder: Path | None):
        self.op = node.op_type or ""
        self.domain = node.domain or ""
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

    def tensor(self, name: str) -> np.ndarray | None:
        """Return an attribute that is an array."""
        value = self._get(name, proto.TENSOR, "t", None)
        return None if value is None else to_numpy(value, self._folder)


class Builder:
    """Nodes of a :class:`xpcnn.Graph`, and what is known of the values between them.

    Attributes
    ----------
    nodes : list of (name, layer, inputs, outputs)
        Each behind those whose values it takes.
    constants : dict of str to array
        Values that do not depend on the inputs, and are not trained.
    initializers : dict of str to array
        Values that the file brings along; those of floats may be trained.
    weights_in_nodes : set of str
        Values of Constant nodes that are as good as initializers.
    ranks : dict of str to int
        Numbers of axes, where they are known.
    shapes : dict of str to tuple
        Shapes of values that the file tells, with ``None`` for open lengths.
    dtypes : dict of str to str
        Types of values that hold something else than floats, where they are known.
    sizes : Sizes
        Values that hold lengths of others.
    sources : dict of str to node
        The nodes that do nothing but bring an array, by the name of the array.
    """

    def __init__(
        self, initializers: Mapping[str, np.ndarray], uses: Counter[str], dtype: str
    ) -> None:
        self.nodes: list[Node] = []
        self.sources: dict[str, Node] = {}
        self.dtype = dtype
        # a network of float32 with weights of half precision computes in float32
        self._widens = dtype == "float32" and any(
            array.dtype == np.float16 for array in initializers.values()
        )
        self.initializers = {name: self.widen(array) for name, array in initializers.items()}
        self.weights_in_nodes: set[str] = set()
        self.constants: dict[str, np.ndarray] = {}
        self.ranks: dict[str, int] = {}
        self.shapes: dict[str, tuple[int | None, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self.sizes = Sizes()
        self._uses = uses
        self._aliases: dict[str, str] = {}
        self._node_names: set[str] = set()
        self._made: set[str] = set()
        self._fresh = 0

    # -- Names ---------------------------------------------------------------------------------

    def alias(self, name: str, of: str) -> None:
        """Note that a value is another one under a second name."""
        self._aliases[name] = self.resolve(of)

    def resolve(self, name: str) -> str:
        """Return the name under which a value is made."""
        return self._aliases.get(name, name)

    def _unique(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._node_names:
            number += 1
            name = f"{wanted}_{number}"
        self._node_names.add(name)
        return name

    # -- Types ---------------------------------------------------------------------------------

    def widen(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the file in the dtype that it has here."""
        is_half = self._widens and array.dtype == np.float16
        return array.astype(np.float32) if is_half else array

    def numpy_dtype(self, number: int | None) -> str:
        """Return the dtype that a value of this type has here."""
        name = numpy_dtype(number)
        return "float32" if self._widens and name == "float16" else name

    # -- What is known of values ---------------------------------------------------------------

    def rank(self, name: str) -> int | None:
        """Return the number of axes of a value, if it is known."""
        name = self.resolve(name)
        array = self.array(name)
        return array.ndim if array is not None else self.ranks.get(name)

    def dtype_of(self, name: str) -> str | None:
        """Return the dtype of a value where it is known, and is not that of the network."""
        name = self.resolve(name)
        array = self.array(name)
        return array.dtype.name if array is not None else self.dtypes.get(name)

    def array(self, name: str) -> np.ndarray | None:
        """Return what a value holds if that does not depend on the inputs of the network."""
        name = self.resolve(name)
        found = self.constants.get(name)
        return self.initializers.get(name) if found is None else found

    def ints(self, name: str) -> tuple[int, ...] | None:
        """Return the whole numbers in a value that does not depend on the inputs."""
        array = self.array(name) if name else None
        return None if array is None else tuple(int(n) for n in array.reshape(-1))

    def weight(self, name: str, *, shared: bool = False) -> np.ndarray | None:
        """Return an array that a layer may take over as its weight.

        One that several nodes use is no such array unless `shared`: each layer would go on to
        train its own.
        """
        original = self.resolve(name)
        if original in self.initializers and self._uses[name] > 1 and not shared:
            return None
        return self.array(original)

    def changes_nothing(self, scale: str, shift: str) -> bool:
        """Whether a file scales by ones and shifts by zeros that are constants, not weights."""
        names = [self.resolve(name) for name in (scale, shift) if name]
        arrays = [self.constants.get(name) for name in names]
        if any(name in self.initializers for name in names) or any(a is None for a in arrays):
            return False
        return all(bool(np.all(a == number)) for a, number in zip(arrays, (1, 0), strict=False))

    # -- Building ------------------------------------------------------------------------------

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
        self.nodes.append((self._unique(name or given[0]), layer, taken, given))

    def layer(
        self,
        call: Call,
        layer: Layer,
        state: Mapping[str, np.ndarray],
        names: Mapping[str, str],
        outputs: Sequence[str] | None = None,
    ) -> None:
        """Append a layer of one input that takes over arrays of the file.

        `names` says what the file calls them: where these are ``"conv1.weight"`` and
        ``"conv1.bias"``, the node is called "conv1", so that parameters keep their names.
        """
        layer.load_state_dict(state)
        for own, name in names.items():
            # what the file computes, or holds in a node, is fixed
            parameter = layer.parameters().get(own)
            if parameter is not None and name and self.resolve(name) not in self.initializers:
                parameter.requires_grad = False
        self.emit(layer, call.inputs[:1], outputs or call.outputs, self._layer_name(call, names))

    def _layer_name(self, call: Call, names: Mapping[str, str]) -> str:
        given = {own: self.resolve(name) for own, name in names.items() if name}
        first, name = next(iter(given.items()))
        for candidate in (names[first], name):
            prefix = candidate.removesuffix(f".{first}")
            if prefix != candidate and prefix and prefix not in self._node_names:
                return prefix
        return call.name.strip("/").replace("/", ".") or f"{call.op.lower()}_{call.number}"

    def rename(self, names: Mapping[str, str]) -> None:
        """Give values that nodes make other names."""

        def new(side: list[str]) -> list[str]:
            return [names.get(name, name) for name in side]

        self.nodes = [(node, layer, new(a), new(b)) for node, layer, a, b in self.nodes]

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
        self.sources[name] = (self._unique(name.strip()), layer, [], [name])
        self.nodes.append(self.sources[name])

    def fix(self, name: str) -> str:
        """Return a value that holds the same array and is not trained."""
        array = self.array(name)
        return name if array is None else self.constant(array, self.resolve(name).strip())


def named_weights(nodes: Sequence[Node]) -> list[Node]:
    """Put weights called "head.weight" and "head.bias" into one node "head", if that is free.

    So their names in the state of the network are those of the file.
    """
    taken = {name for name, _, _, _ in nodes}
    groups: dict[str, dict[str, tuple[Weight, str]]] = {}
    others: list[Node] = []
    for node in nodes:
        layer, value = node[1], node[3][0]
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
        made.append((prefix, together, [], [value for _, value in members.values()]))
    return [*made, *others]


Handler = Callable[[Builder, Call], None]
"""Appends to a builder what a node of an ONNX graph becomes."""


def run_nodes(nodes: Sequence[Node], wanted: Sequence[str], dtype: str) -> list[np.ndarray]:
    """Compute values that depend on nothing but constants."""
    host = resolve("cpu")
    values: dict[str, Any] = {"": None}
    for _, layer, inputs, outputs in nodes:
        layer._allocate((), host, dtype, np.random.default_rng(0))
        result = layer.forward(*(values[name] for name in inputs))
        values |= zip(outputs, result if isinstance(result, tuple) else (result,), strict=True)
    return [np.asarray(values[name]) for name in wanted]


def numpy_dtype(number: int | None) -> str:
    """Return the dtype that a value of this type has here: numbers in bfloat16 are float32."""
    if number == 16:
        return "float32"
    if number not in DTYPES:
        raise UnsupportedError(f"type number {number} is not known here")
    return DTYPES[number]
