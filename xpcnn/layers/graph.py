"""Networks whose layers do not just follow one another."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device, resolve
from xpcnn.layers.containers import check_layers
from xpcnn.layers.layer import Layer, Shape
from xpcnn.layers.operation import Arrays, Needs, Operation
from xpcnn.layers.parameter import Tensor
from xpcnn.layers.sharing import are_twins, twin_of
from xpcnn.window import as_int

Values = dict[str, Any]


class Node(NamedTuple):
    """A layer in a graph, and the names of the values it takes and gives."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def build(self, shapes: Sequence[Shape | None], **options: Any) -> tuple[Shape, ...]:
        """Build the layer for inputs of these shapes, and return those of the outputs."""
        if isinstance(self.layer, Operation):
            return self.layer.build_for(shapes, **options)
        return (self.layer.build(shapes[0] or (), **options),)

    def output_shapes(self, shapes: Sequence[Shape | None]) -> tuple[Shape, ...]:
        """Return the shapes of the outputs."""
        if isinstance(self.layer, Operation):
            return self.layer.output_shapes(*shapes)
        return (self.layer.output_shape(shapes[0] or ()),)

    def forward(self, inputs: Sequence[Any], training: bool) -> tuple[Array, ...]:
        """Run the layer."""
        y = self.layer.forward(*inputs, training=training)
        return y if isinstance(y, tuple) else (y,)

    def backward(self, dys: Sequence[Any], need: Sequence[bool]) -> Sequence[Array | None]:
        """Run the layer backward; one gradient, or None, for each input."""
        if not isinstance(self.layer, Operation):
            return (self.layer.backward(dys[0], need_dx=need[0]),)
        dxs = self.layer.backward(*dys, need_dx=need)
        return dxs if isinstance(dxs, tuple) else (dxs,)


class Graph(Operation):
    """Any network without cycles: layers that pass named values to one another.

    Parameters
    ----------
    inputs : str or sequence of str
        Names of the inputs.
    nodes : sequence of (name, layer, inputs) or (name, layer, inputs, outputs)
        `inputs` names the values the layer takes, one name or several; an empty name stands for
        one that is left out. `outputs` names what the layer gives; a layer with one output may
        leave it out, and its output then has the node's name. The order does not matter. A value
        may be used as often as you like.
    outputs : str or sequence of str
        Names of the values that the network gives.
    dtypes : mapping of str to str, optional
        dtype of the inputs that hold something else than the network's floating-point numbers,
        such as ``{"tokens": "int64"}``.
    batch : int, optional
        The one number of samples that the network works for, where its layers are made for that.
        A model then predicts so many at a time, and trains on batches of that size alone.

    Raises
    ------
    ValueError
        If a name stands for two things or for nothing, if a layer needs its own output, directly
        or through others, or leads nowhere.

    Notes
    -----
    Parameters have the node's name in front: ``"conv1.weight"``. A node's name may hold dots.

    A layer that several nodes are given is one layer with one set of parameters, buffers and
    settings, as in Siamese networks: gradients add up, and running statistics move at every use.
    :meth:`parameters` has them under the name of the first node, :meth:`state_dict` under all, as
    PyTorch's. In the place of the layer a node may have the name of another one that has it. What
    else a layer of your own keeps under names with an underscore, each use has for itself.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> from xpcnn.operations import Concat
    >>> graph = xpcnn.Graph(
    ...     inputs="image",
    ...     nodes=[
    ...         ("small", xpcnn.Conv2d(1, 4, 3, padding=1), "image"),
    ...         ("large", xpcnn.Conv2d(1, 4, 5, padding=2), "image"),
    ...         ("both", Concat(dim=1), ["small", "large"]),
    ...     ],
    ...     outputs="both",
    ... )
    >>> graph(np.zeros((2, 1, 8, 8), dtype="float32")).shape
    (2, 8, 8, 8)

    One tower for two images, with one set of weights:

    >>> tower = xpcnn.Sequential(xpcnn.Conv2d(1, 4, 3), xpcnn.ReLU(), xpcnn.Flatten())
    >>> pair = xpcnn.Graph(
    ...     inputs=["left", "right"],
    ...     nodes=[("a", tower, "left"), ("b", tower, "right")],
    ...     outputs=["a", "b"],
    ... )
    >>> list(pair.parameters())
    ['a.0.weight', 'a.0.bias']
    """

    def __init__(
        self,
        inputs: str | Sequence[str],
        nodes: Iterable[Sequence[Any]],
        outputs: str | Sequence[str],
        dtypes: Mapping[str, str] | Sequence[Sequence[str]] | None = None,
        batch: int | None = None,
    ) -> None:
        self.inputs = _names(inputs, "inputs")
        self.nodes = _nodes(nodes)
        self.outputs = _names(outputs, "outputs")
        given: Any = dtypes or ()
        self.dtypes = tuple((name, dtype) for name, dtype in dict(given).items())
        self.batch = None if batch is None else as_int(batch, "Graph", "batch", 1)
        check_layers([node.layer for node in self.nodes], "Graph")
        self._order = _sorted(self.inputs, self.nodes, self.outputs)
        self._last_uses = _last_uses(self._order, self.outputs)
        unknown = [name for name, _ in self.dtypes if name not in self.inputs]
        if unknown:
            raise ValueError(f"Graph: dtypes names {unknown[0]!r}, which is not an input")

    def children(self) -> dict[str, Layer]:
        """Return the layers by the names of their nodes."""
        return {node.name: node.layer for node in self.nodes}

    def replace_child(self, name: str, layer: Layer) -> None:
        """Put another layer in the place of that of a node."""
        self.nodes = tuple(
            node._replace(layer=layer) if node.name == name else node for node in self.nodes
        )

    def _own_tensors(self) -> Iterator[tuple[str, Tensor]]:
        return iter(())

    def first_with(self, node: Node) -> str | None:
        """Name the first node that has the same layer; ``None`` if that is this node itself."""
        first = next(each for each in self.nodes if each is node or are_twins(each[1], node[1]))
        return None if first is node else first.name

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments; a layer that stands in several nodes once."""
        nodes = [
            (node.name, self.first_with(node) or node.layer, node.inputs, node.outputs)
            for node in self.nodes
        ]
        return {**super().arguments(), "nodes": nodes}

    @property
    def in_order(self) -> list[Node]:
        """The nodes, each behind those whose values it takes."""
        return list(self._order)

    def input_dtypes(self, dtype: str) -> tuple[str, ...]:
        """Return the dtype of every input, where the network computes in `dtype`."""
        chosen = dict(self.dtypes)
        for node in reversed(self._order):
            if not isinstance(node.layer, Operation) or isinstance(node.layer, Graph):
                for name, wanted in zip(node.inputs, node.layer.input_dtypes(dtype), strict=True):
                    chosen.setdefault(name, wanted)
        return tuple(chosen.get(name, dtype) for name in self.inputs)

    # -- Shapes --------------------------------------------------------------------------------

    def shapes(self, *input_shapes: Shape | None) -> dict[str, Shape | None]:
        """Return the shapes of all values by name, for inputs of these shapes."""
        known = self._named(input_shapes)
        try:
            for node in self._order:
                shapes = node.output_shapes([known.get(name) for name in node.inputs])
                known |= zip(node.outputs, shapes, strict=True)
        except NotImplementedError:
            return self._shapes_by_running(input_shapes)
        return known

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shapes of the outputs."""
        shapes = self.shapes(*input_shapes)
        return tuple(shapes[name] or () for name in self.outputs)

    def build_for(
        self, input_shapes: Sequence[Any], *, inputs: Sequence[Any] | None = None, **options: Any
    ) -> tuple[Shape, ...]:
        """Build all layers, and return the shapes of the outputs.

        Where shapes depend on numbers, `inputs` are run through; zeros without them.
        """
        known = self._named([None if shape is None else tuple(shape) for shape in input_shapes])
        try:
            for node in self._order:
                shapes = node.build([known.get(name) for name in node.inputs], **options)
                known |= zip(node.outputs, shapes, strict=True)
        except NotImplementedError:
            known = self._shapes_by_running(input_shapes, inputs, **options)
        return tuple(known[name] or () for name in self.outputs)

    def _shapes_by_running(
        self, input_shapes: Sequence[Any], inputs: Sequence[Any] | None = None, **options: Any
    ) -> dict[str, Shape | None]:
        """Run inputs or zeros through: some layer's shape depends on the numbers that it gets."""
        options = options or self._place()
        device, dtype = resolve(options["device"]), options["dtype"]
        if inputs is None:
            inputs = [
                None if shape is None else device.zeros(tuple(shape), wanted)
                for shape, wanted in zip(input_shapes, self.input_dtypes(dtype), strict=True)
            ]
        values: Values = dict(zip(self.inputs, inputs, strict=True))
        for node in self._order:
            taken = [values.get(name) for name in node.inputs]
            with suppress(NotImplementedError):  # the parameters are there, which is enough
                node.build([None if x is None else tuple(x.shape) for x in taken], **options)
            with np.errstate(all="ignore"):  # zeros may be divided by zeros
                values |= zip(node.outputs, node.forward(taken, False), strict=True)
        return {name: None if x is None else tuple(x.shape) for name, x in values.items()}

    def _place(self) -> dict[str, Any]:
        """Return device and dtype of the parameters; NumPy and float32 if there are none."""
        for tensor in self._tensors().values():
            if tensor.is_built and _xp.is_floating(tensor.value):
                return {"device": Device.of(tensor.value), "dtype": _xp.dtype_name(tensor.value)}
        return {"device": "cpu", "dtype": "float32"}

    def multiply_adds(self, *input_shapes: Any) -> int:
        """Return the sum over the layers."""
        known = self.shapes(*map(tuple, input_shapes))
        return sum(
            node.layer.multiply_adds(*(known.get(name) or () for name in node.inputs))
            for node in self._order
        )

    def _named(self, values: Sequence[Any]) -> Values:
        if len(values) != len(self.inputs):
            raise ValueError(
                f"{self.who}: expected {len(self.inputs)} inputs, {', '.join(self.inputs)}; got "
                f"{len(values)}"
            )
        return dict(zip(self.inputs, values, strict=True))

    # -- Running -------------------------------------------------------------------------------

    def forward(self, *inputs: Any, training: bool = False, **named: Any) -> Any:
        """Compute the outputs; inputs come in order, or by name."""
        return super().forward(*self.arrange(inputs, named), training=training)

    def arrange(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the inputs in order, where some or all are given by name.

        Raises
        ------
        ValueError
            If one is missing, unknown, or given twice.
        """
        found = by_position(self.inputs, inputs, named)
        if found is None:
            given = [f"{len(inputs)} in order"] if inputs or not named else []
            given += [repr(name) for name in named]
            raise ValueError(
                f"{self.who}: expected {len(self.inputs)} inputs, {', '.join(self.inputs)}; got "
                f"{' and '.join(given)}"
            )
        return found

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        values = self._named(inputs)
        for node, done in zip(self._order, self._last_uses, strict=True):
            outputs = node.forward([values.get(name) for name in node.inputs], training)
            values |= zip(node.outputs, outputs, strict=True)
            for name in done:
                del values[name]
        return tuple(values[name] for name in self.outputs), None

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        gradients = Gradients(zip(self.outputs, dys, strict=True))
        wanted = self._with_gradient(need)
        for node in reversed(self._order):
            given = [gradients.pop(name) for name in node.outputs]
            if any(dy is not None for dy in given):
                needs = [name in wanted for name in node.inputs]
                gradients.add(zip(node.inputs, node.backward(given, needs), strict=True))
        return tuple(gradients.pop(name) for name in self.inputs)

    def _with_gradient(self, need: Sequence[bool]) -> set[str]:
        """Name the values whose gradients are needed: those behind a parameter or such an input."""
        wanted = {name for name, needed in zip(self.inputs, need, strict=True) if needed}
        for node in self._order:
            if wanted.intersection(node.inputs) or node.layer.parameters():
                wanted.update(node.outputs)
        return wanted

    def __repr__(self) -> str:
        shown = "".join(
            f"\n    ({n.name!r}, {self.first_with(n) or n.layer!r}, {list(n.inputs)}, "
            f"{list(n.outputs)}),"
            for n in self.nodes
        )
        dtypes = f", dtypes={dict(self.dtypes)}" if self.dtypes else ""
        batch = f", batch={self.batch}" if self.batch is not None else ""
        return f"Graph({list(self.inputs)}, [{shown}\n], {list(self.outputs)}{dtypes}{batch})"


def by_position(
    names: Sequence[str], inputs: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """Return one thing for each name, the first in order, the rest by name; ``None`` if not so."""
    rest = names[len(inputs) :]
    if len(inputs) > len(names) or set(named) != set(rest):
        return None
    return (*inputs, *(named[name] for name in rest))


class Gradients:
    """Gradients by the name of the value; those of one value add up."""

    def __init__(self, named: Iterable[tuple[str, Any]]) -> None:
        self._found: Values = {}
        self.add(named)

    def add(self, named: Iterable[tuple[str, Any]]) -> None:
        """Add gradients; ``None`` adds nothing."""
        for name, gradient in named:
            if gradient is not None:
                before = self._found.get(name)
                self._found[name] = gradient if before is None else before + gradient

    def pop(self, name: str) -> Any:
        """Return the gradient of a value, which is not needed again; ``None`` if there is none."""
        return self._found.pop(name, None)


def _names(given: Any, what: str) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"Graph: {what} must be a name or names, got {given!r}")
    return names


def _nodes(entries: Iterable[Any]) -> tuple[Node, ...]:
    """Make nodes; a layer that stands in several has a twin in each but the first."""
    listed = [_entry(entry, number) for number, entry in enumerate(entries)]
    named = {entry[0]: entry[1] for entry in listed if not isinstance(entry[1], str)}
    seen: set[int] = set()
    nodes = []
    for name, layer, *values in listed:
        if isinstance(layer, str):
            if layer not in named:
                raise ValueError(
                    f"Graph: node {name!r} shares the layer of {layer!r}, which is no node with a "
                    "layer of its own"
                )
            layer = named[layer]
        if id(layer) in seen and isinstance(layer, Layer):
            layer = twin_of(layer, f"Graph: node {name!r}")
        seen.add(id(layer))
        nodes.append(_node(name, layer, *values))
    return tuple(nodes)


def _entry(entry: Any, number: int) -> Sequence[Any]:
    if isinstance(entry, str) or len(entry) not in (3, 4) or not isinstance(entry[0], str):
        raise ValueError(
            f"Graph: node {number} must be (name, layer, inputs) or (name, layer, inputs, "
            f"outputs), got {entry!r:.200}"
        )
    return (*entry, entry[0]) if len(entry) == 3 else entry


def _node(name: str, layer: Any, inputs: Any, outputs: Any) -> Node:
    node = Node(
        name,
        layer,
        (inputs,) if isinstance(inputs, str) else tuple(inputs),
        (outputs,) if isinstance(outputs, str) else tuple(outputs),
    )
    if not isinstance(layer, Operation) and (len(node.inputs), len(node.outputs)) != (1, 1):
        raise ValueError(
            f"Graph: node {name!r}, a {type(layer).__name__}, takes one value and gives one; got "
            f"the inputs {node.inputs} and the outputs {node.outputs}"
        )
    return node


def _sorted(
    inputs: Sequence[str], nodes: Sequence[Node], outputs: Sequence[str]
) -> tuple[Node, ...]:
    """Return the nodes so that each comes behind those it needs, else in the order given."""
    makers = _makers(inputs, nodes)
    needs: list[set[int]] = [set() for _ in nodes]
    for node, needed in zip(nodes, needs, strict=True):
        for name in node.inputs:
            if name or not isinstance(node.layer, Operation):
                maker = _maker(name, makers, f"node {node.name!r}")
                if maker is not None:
                    needed.add(maker)
    for name in outputs:
        _maker(name, makers, "the graph")
    order, on_cycle = sort_by_needs(needs)
    if on_cycle is not None:
        name = nodes[on_cycle].name
        raise ValueError(f"Graph: cycle through node {name!r}: its input depends on its output")
    return tuple(nodes[number] for number in order)


def sort_by_needs(needs: Sequence[Set[int]]) -> tuple[list[int], int | None]:
    """Order things so that each comes behind those it needs, else in the order given.

    Parameters
    ----------
    needs : sequence of set of int
        For each thing, the positions of those it needs.

    Returns
    -------
    order : list of int
    on_cycle : int or None
        The first that has no place in the order, as it needs what needs it.
    """
    users: list[list[int]] = [[] for _ in needs]
    for number, needed in enumerate(needs):
        for maker in needed:
            users[maker].append(number)
    missing = [len(needed) for needed in needs]
    # the first of those that can come next does, so that an order that is right stays
    ready = [number for number, count in enumerate(missing) if count == 0]
    order = []
    while ready:
        number = heapq.heappop(ready)
        order.append(number)
        for user in users[number]:
            missing[user] -= 1
            if missing[user] == 0:
                heapq.heappush(ready, user)
    return order, next((number for number, count in enumerate(missing) if count), None)


def _makers(inputs: Sequence[str], nodes: Sequence[Node]) -> dict[str, int | None]:
    """Return which node gives each value; None for the inputs of the graph."""
    made: list[tuple[str, int | None]] = [(name, None) for name in inputs]
    made += [(name, number) for number, node in enumerate(nodes) for name in node.outputs]
    makers = dict(reversed(made))
    for what, names in (
        ("value", [name for name, _ in made]),
        ("node", [node.name for node in nodes]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"Graph: {twice[0]!r} is the name of more than one {what}")
    return makers


def _maker(name: str, makers: Mapping[str, int | None], who: str) -> int | None:
    if name not in makers:
        raise ValueError(
            f"Graph: {who} asks for {name!r}, which is neither an input nor the output of a node"
        )
    return makers[name]


def _last_uses(order: Sequence[Node], outputs: Sequence[str]) -> tuple[list[str], ...]:
    """List, for each node, the values that nobody needs any more behind it.

    Raises
    ------
    ValueError
        If a node gives nothing that anybody needs.
    """
    needed = set(outputs)
    done: list[list[str]] = []
    for node in reversed(order):
        if not needed.intersection(node.outputs):
            raise ValueError(f"Graph: node {node.name!r} leads to no output; leave it out")
        here = set(node.inputs) | set(node.outputs)
        done.append(sorted(here - needed - {""}))
        needed |= here
    return tuple(reversed(done))
