"""The ONNX graph under construction while a network is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.interop.onnx import proto
from xpcnn.interop.onnx.node import UnsupportedError, take_name
from xpcnn.interop.onnx.tensors import from_numpy
from xpcnn.layers.layer import Layer, Shape

Dims = tuple[int | None, ...]
TO_THE_END = 2**63 - 1
"""The end of a slice that takes all there is."""


@dataclass(frozen=True)
class Value:
    """An array in the graph.

    Attributes
    ----------
    name : str
    dtype : str
    shapes : pair of tuple of int
        The shape for each of two numbers of samples; where they differ, an axis depends on it.
    """

    name: str
    dtype: str
    shapes: tuple[Shape, Shape]

    @property
    def shape(self) -> Dims:
        """The lengths, with ``None`` for those that depend on the number of samples."""
        return tuple(n if n == m else None for n, m in zip(*self.shapes, strict=True))

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shapes[0])


@dataclass
class LayerCall:
    """A layer at its place in the network.

    Attributes
    ----------
    layer : Layer
    path : str
        Its name in the state dict.
    inputs : list of Value or None
        ``None`` stands for an input that is left out.
    shapes : list of pair of tuple of int
        Of the outputs, as :class:`Value` has them.
    wanted : list of str
        How the outputs are to be called.
    dtypes : list of str
        Of the outputs; at first the dtype of the first input for all.
    """

    layer: Any
    path: str
    inputs: list[Value | None]
    shapes: list[tuple[Shape, Shape]]
    wanted: list[str]
    dtypes: list[str]

    @property
    def x(self) -> Value:
        """The first input."""
        return self.needed(0)

    def needed(self, position: int) -> Value:
        """Return an input that is never left out."""
        value = self.inputs[position]
        assert value is not None, f"input {position} of {self.path} is left out"
        return value

    @property
    def spatial(self) -> Shape:
        """The lengths of the axes behind the first two of the first input."""
        return fixed(self.x.shape[2:], "the size of its input")

    def output(self, position: int = 0) -> Value:
        """Return what is known of an output, under no name."""
        return Value("", self.dtypes[position], self.shapes[position])

    def input_at(self, position: int) -> Value | None:
        """Return an input, or ``None`` if it was left out."""
        return self.inputs[position] if position < len(self.inputs) else None


def fixed(dims: Sequence[int | None], what: str) -> Shape:
    """Return lengths that do not depend on the number of samples.

    Raises
    ------
    UnsupportedError
        If one does.
    """
    if None in dims:
        raise UnsupportedError(f"{what} depends on the number of samples")
    return tuple(n for n in dims if n is not None)


Write = Callable[["Writer", LayerCall], Any]
"""Appends the nodes that a layer becomes; returns the name of the output, or a tuple of names."""
Name = str | Value | None

_SAYS_WHAT_IT_IS = {
    "name", "arguments", "from_arguments", "config", "output_shape", "output_shapes",
    "multiply_adds", "backward", "_backward", "_run_backward", "_abc_impl",
}  # fmt: skip
"""What a class of a user may change of its base, and compute the same outputs."""


class Writer:
    """Nodes and initializers, and the names that are taken.

    Parameters
    ----------
    writes : mapping of class to function
        What each kind of layer becomes.
    names_layers : set of str
        Operators of which a node is called as its layer, so that an import calls it so.
    opset : int
        Version of ONNX's operators.
    dtype : str
        What the network computes in.
    names : iterable of str
        Names that are taken: those of the inputs and outputs.
    """

    def __init__(
        self,
        writes: Mapping[type, Write],
        names_layers: Set[str],
        opset: int,
        dtype: str,
        names: Sequence[str],
    ) -> None:
        self.opset = opset
        self.dtype = dtype
        self.nodes: list[proto.NodeProto] = []
        self.initializers: list[proto.TensorProto] = []
        self._written: dict[tuple[int, Shape | None], str] = {}  # initializers of what is known
        self.problems: list[tuple[str, str, str]] = []
        self.domains: dict[str, int] = {"": opset}
        self._writes = writes
        self._names_layers = names_layers
        self._names = set(names)
        self._node_names: set[str] = set()
        self._paths: list[str] = []

    # -- Layers --------------------------------------------------------------------------------

    def emit(self, call: LayerCall) -> list[Value]:
        """Append what a layer becomes, or note why it cannot be; return its outputs."""
        start = len(self.nodes)
        self._paths.append(call.path)
        try:
            found = self.write(call)
        except (UnsupportedError, OverflowError) as problem:
            reason = str(problem)
            if isinstance(problem, OverflowError):
                reason = "one of its numbers does not fit into float32, which attributes have"
            self.problems.append((call.path, type(call.layer).__name__, reason))
            found = tuple(call.wanted)
        finally:
            self._paths.pop()
        names = [found] if isinstance(found, str) else list(found)
        made = {name for node in self.nodes[start:] for name in node.output}
        for position, name in enumerate(names):
            if name in made and names.count(name) == 1:
                names[position] = self._rename(name, call.wanted[position], start)
        return [
            Value(name, dtype, shapes)
            for name, dtype, shapes in zip(names, call.dtypes, call.shapes, strict=True)
        ]

    def write(self, call: LayerCall) -> str | tuple[str, ...]:
        """Append the nodes that a layer becomes, and return the names of its outputs."""
        return self._write(call.layer)(self, call)

    def _write(self, layer: Layer) -> Write:
        """Find what a layer becomes: as its class, or as one from which it inherits how to run."""
        changed: set[str] = set()
        for cls in type(layer).__mro__:
            if cls in self._writes:
                if any(hasattr(cls, name) for name in changed - _SAYS_WHAT_IT_IS):
                    raise UnsupportedError("it is a class of your own that runs in its own way")
                return self._writes[cls]
            ours = cls.__module__.startswith("xpcnn.")
            names = ("forward", "_forward", "_run") if ours else vars(cls)
            changed.update(name for name in names if name in vars(cls) and name[:2] != "__")
        raise UnsupportedError("no ONNX operator is known for it")

    # -- Names ---------------------------------------------------------------------------------

    def unique(self, wanted: str) -> str:
        """Return a name like the wanted one that no other value has."""
        # a blank in front is how the importer marks names of its own; a lone surrogate is no text
        wanted = wanted.encode("utf-8", "backslashreplace").decode().strip() or "value"
        return take_name(wanted, self._names)

    def _rename(self, old: str, wanted: str, start: int) -> str:
        self._names.discard(old)
        new = self.unique(wanted)
        self._replace(old, new, start)
        return new

    def _replace(self, old: str, new: str, start: int = 0) -> None:
        for node in self.nodes[start:]:
            node.input = [new if name == old else name for name in node.input]
            node.output = [new if name == old else name for name in node.output]

    def name_outputs(self, values: Sequence[str], names: Sequence[str]) -> None:
        """Give the outputs of the network their names, which are theirs from the beginning."""
        made = {name for node in self.nodes for name in node.output}
        for value, name in zip(values, names, strict=True):
            if value in made and values.count(value) == 1:
                self._replace(value, name)
            elif value != name:
                # an input or a parameter that is given as it is, or twice the same
                self.nodes.append(proto.NodeProto([value], [name], op_type="Identity"))

    @property
    def path(self) -> str:
        """The name of the layer that is being written."""
        return next((path for path in reversed(self._paths) if path), "network")

    # -- Nodes ---------------------------------------------------------------------------------

    def node(self, op: str, *inputs: Name, part: str = "", **attributes: Any) -> str:
        """Append a node with one output, and return its name; `part` says which of a layer."""
        return self.node_of(op, inputs, 1, part=part, **attributes)[0]

    def node_of(
        self,
        op: str,
        inputs: Sequence[Name],
        outputs: int,
        *,
        domain: str = "",
        part: str = "",
        **attributes: Any,
    ) -> tuple[str, ...]:
        """Append a node with several outputs; attributes that are ``None`` are left out."""
        taken = [x.name if isinstance(x, Value) else x or "" for x in inputs]
        while taken and not taken[-1]:
            taken.pop()
        path = f"{self.path}.{part}" if part else self.path
        made = tuple(self.unique(f"{path}.{op.lower()}") for _ in range(outputs))
        self.nodes.append(
            proto.NodeProto(
                input=taken,
                output=list(made),
                name=self._node_name(path, op),
                op_type=op,
                attribute=[_attribute(k, v) for k, v in attributes.items() if v is not None],
                domain=domain or None,
            )
        )
        return made

    def _node_name(self, path: str, op: str) -> str:
        """Name a node: as the layer, or with the operator behind it."""
        path = path.encode("utf-8", "backslashreplace").decode()
        wanted = path if op in self._names_layers else f"{path}/{op}"
        if wanted in self._node_names:
            wanted = f"{path}/{op}"
        return take_name(wanted, self._node_names)

    # -- Arrays --------------------------------------------------------------------------------

    def state(self, call: LayerCall, name: str, shape: Sequence[int] | None = None) -> str:
        """Append a parameter or buffer of a layer as an initializer, perhaps in another shape."""
        path = f"{call.path}.{name}" if call.path else name
        return self.initializer(path, getattr(call.layer, name), shape)

    def weight_and_bias(self, call: LayerCall) -> list[str]:
        """Append the weight of a layer, and its bias if it has one."""
        names = ["weight", "bias"] if call.layer.bias else ["weight"]
        return [self.state(call, name) for name in names]

    def scale_and_shift(self, x: str, call: LayerCall, shape: Sequence[int] | None = None) -> str:
        """Multiply by the weight of a layer and add its bias, as far as it has them."""
        if call.layer.weight:
            x = self.node("Mul", x, self.state(call, "weight", shape))
        return self.node("Add", x, self.state(call, "bias", shape)) if call.layer.bias else x

    def initializer(self, path: str, tensor: Any, shape: Sequence[int] | None = None) -> str:
        """Append an array under a name; one that several layers share is there once."""
        known = (id(tensor), None if shape is None else tuple(shape))
        if known in self._written:
            return self._written[known]
        array = _xp.to_numpy(tensor.value)
        array = array if shape is None else array.reshape(tuple(shape))
        given = self._written[known] = self.unique(path)
        self.initializers.append(from_numpy(array, given, self.dtype))
        return given

    def constant(self, array: Any, dtype: str | None = None) -> str:
        """Append an array that is not trained; of the network's dtype unless told otherwise."""
        return self.node("Constant", value=self.tensor(array, dtype or self.dtype))

    def tensor(self, array: Any, dtype: str) -> proto.TensorProto:
        """Describe an array of any library, for an attribute."""
        return from_numpy(_xp.to_numpy(array), "", dtype)

    def number(self, value: float, like: Value | None = None) -> str:
        """Append one number, of the dtype of a value."""
        return self.constant(np.asarray(value), None if like is None else like.dtype)

    def ints(self, values: Sequence[int]) -> str:
        """Append whole numbers that steer an operator."""
        return self.constant(np.asarray(values, np.int64), "int64")

    # -- Operators that many layers need ---------------------------------------------------------

    def slice(
        self,
        x: Name,
        starts: Sequence[int],
        ends: Sequence[int],
        axes: Sequence[int],
        steps: Sequence[int] | None = None,
    ) -> str:
        """Take every step-th element from start to before end, along some axes."""
        steering = [self.ints(numbers) for numbers in (starts, ends, axes)]
        if steps is not None and any(step != 1 for step in steps):
            steering.append(self.ints(steps))
        return self.node("Slice", x, *steering)

    def reshape(self, x: Name, shape: Sequence[int]) -> str:
        """Reshape; 0 keeps the length of an axis, and -1 follows from the others."""
        return self.node("Reshape", x, self.ints(shape))

    def reshape_to(self, x: Name, before: Value, after: Value) -> str:
        """Reshape what has the shape of one value to that of another.

        Raises
        ------
        UnsupportedError
            If more than one length depends on the number of samples in a new way.
        """
        kept = [
            axis < before.rank and all(b[axis] == a[axis] for b, a in pairs)
            for axis in range(after.rank)
            for pairs in [tuple(zip(before.shapes, after.shapes, strict=True))]
        ]
        shape = [
            n if n is not None else 0 if keep else -1
            for n, keep in zip(after.shape, kept, strict=True)
        ]
        if shape.count(-1) > 1:
            raise UnsupportedError("several lengths depend on the number of samples")
        if 0 in after.shape:
            if None in after.shape or self.opset < 14:
                raise UnsupportedError("a length of 0 cannot be told from one that is kept")
            return self.node("Reshape", x, self.ints(shape), allowzero=1)
        return self.reshape(x, shape)

    def transpose(self, x: Name, order: Sequence[int]) -> str:
        """Reorder the axes."""
        return self.node("Transpose", x, perm=list(order))


def _attribute(name: str, value: Any) -> proto.AttributeProto:
    """Describe an attribute by the type of its value."""
    made = proto.AttributeProto(name=name)
    if isinstance(value, proto.TensorProto):
        made.t, made.type = value, proto.TENSOR
    elif isinstance(value, str):
        made.s, made.type = value.encode(), proto.STRING
    elif isinstance(value, (bool, int, np.integer)):
        made.i, made.type = int(value), proto.INT
    elif isinstance(value, float):
        made.f, made.type = float(np.float32(value)), proto.FLOAT
        if np.isinf(made.f) and not np.isinf(value):
            raise OverflowError(f"{name}={value} does not fit into float32")
    elif value and isinstance(value[0], float):
        made.floats, made.type = [float(v) for v in value], proto.FLOATS
    else:
        made.ints, made.type = [int(v) for v in value], proto.INTS
    return made
