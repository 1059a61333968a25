"""A graph as a step of a plan: its chains of layers are plans of their own.

Where a value goes from one layer to just one other, both stand in one chain, and neighbours in it
may become one kernel. A sum of two arrays takes the batch normalisation in front of it and the
ReLU behind it along.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from xpcnn._xp import Array
from xpcnn.layers.activation import ReLU
from xpcnn.layers.graph import Gradients, Graph, Node
from xpcnn.layers.layer import Layer
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.operation import Operation
from xpcnn.operations import Add
from xpcnn.training.steps import Runner, SumStep, computes_as

MakePlan = Callable[[list[Layer]], Runner]


class Part(NamedTuple):
    """Something to run, and the names of the values it takes and gives."""

    run: Runner | SumStep | Node
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last_uses: list[str]
    has_parameters: bool

    @property
    def layers(self) -> list[Layer]:
        """The layers that are run."""
        if isinstance(self.run, Node):
            return [self.run.layer]
        if isinstance(self.run, SumStep):
            return self.run.layers
        return [layer for step in self.run.steps for layer in step.layers]

    def forward(self, values: dict[str, Any], training: bool) -> None:
        """Compute values from values, and drop those that nobody needs any more."""
        inputs = [values.get(name) for name in self.inputs]
        if isinstance(self.run, Node):
            outputs = self.run.forward(inputs, training)
        else:
            outputs = (self.run.forward(*inputs, training=training),)
        values |= zip(self.outputs, outputs, strict=True)
        for name in self.last_uses:
            del values[name]

    def backward(self, dys: list[Any], need: list[bool]) -> Sequence[Array | None]:
        """Return the gradients of the inputs."""
        if isinstance(self.run, Node):
            return self.run.backward(dys, need)
        dxs = self.run.backward(dys[0], need_dx=any(need))
        return dxs if isinstance(dxs, tuple) else (dxs,)


class GraphStep:
    """A graph, run chain by chain.

    Parameters
    ----------
    graph : Graph
    plan : callable
        Makes a plan of a list of layers that follow one another.
    """

    def __init__(self, graph: Graph, plan: MakePlan) -> None:
        self.layers: list[Layer] = [graph]
        self.graph = graph
        # In training a normalisation belongs to the sum behind it; else to the layer before it.
        self._parts = {
            training: _parts(graph, plan, norm_in_sum=training) for training in (False, True)
        }
        self._runs_forward = False

    def parts(self, *, training: bool) -> list[Part]:
        """Return what is run, in order."""
        return self._parts[training]

    def forward(self, *inputs: Any, training: bool) -> Any:
        """Run the parts forward; several outputs come as a tuple."""
        self.graph._check_inputs(inputs)
        values = dict(zip(self.graph.inputs, inputs, strict=True))
        for part in self._parts[training]:
            part.forward(values, training)
        self._runs_forward = training
        outputs = tuple(values[name] for name in self.graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def backward(self, *dys: Any, need_dx: bool) -> Any:
        """Run the backward that belongs to the last forward."""
        if not self._runs_forward:
            return self.graph.backward(*dys, need_dx=need_dx)  # says what is missing
        self._runs_forward = False
        gradients = Gradients(zip(self.graph.outputs, dys, strict=True))
        wanted = set(self.graph.inputs if need_dx else ())
        parts = self._parts[True]
        for part in parts:
            if part.has_parameters or wanted.intersection(part.inputs):
                wanted.update(part.outputs)
        for part in reversed(parts):
            given = [gradients.pop(name) for name in part.outputs]
            if any(dy is not None for dy in given):
                need = [name in wanted for name in part.inputs]
                gradients.add(zip(part.inputs, part.backward(given, need), strict=True))
        if not need_dx:
            return None
        dxs = tuple(gradients.pop(name) for name in self.graph.inputs)
        return dxs[0] if len(dxs) == 1 else dxs


class _Sum(NamedTuple):
    """An addition of two values, and the neighbours that are done together with it."""

    add: Node
    norm: Node | None
    relu: Node | None

    def step(self) -> tuple[SumStep, tuple[str, ...], tuple[str, ...]]:
        """Return the step, and the names of what it takes and gives."""
        inputs = self.add.inputs
        if self.norm is not None:
            place = inputs.index(self.norm.outputs[0])
            inputs = (self.norm.inputs[0], inputs[1 - place])
        norm: Any = None if self.norm is None else self.norm.layer
        step = SumStep(norm, None if self.relu is None else self.relu.layer)
        return step, inputs, (self.relu or self.add).outputs


class _Links:
    """Which node makes a value, and which uses it."""

    def __init__(self, graph: Graph) -> None:
        self._makers = {name: node for node in graph.nodes for name in node.outputs}
        self._users = {name: node for node in graph.nodes for name in node.inputs}
        self._uses = Counter([name for node in graph.nodes for name in node.inputs])
        self._uses.update(graph.outputs)

    def behind(self, node: Node) -> Node | None:
        """Return the one node that takes what this one gives, if it is just one."""
        return self._users.get(node.outputs[0]) if self._uses[node.outputs[0]] == 1 else None

    def chain(self, node: Node, taken: set[str]) -> list[Node]:
        """Return a layer and those that follow it, each the only one behind the one before."""
        chain: list[Node] = []
        following: Node | None = node
        while (
            following is not None
            and not isinstance(following.layer, Operation)
            and following.name not in taken
        ):
            chain.append(following)
            following = self.behind(following)
        return chain

    def sum(self, node: Node, with_norm: bool) -> _Sum:
        """Find what can be done together with an addition."""
        relu = self.behind(node)
        if relu is None or type(relu.layer) is not ReLU or not computes_as(relu.layer, ReLU):
            return _Sum(node, None, None)
        fronts = [self._makers.get(name) for name in node.inputs] if with_norm else []
        norms = (
            front
            for front in fronts
            if front is not None
            and computes_as(front.layer, BatchNorm)
            and self.behind(front) is node
        )
        return _Sum(node, next(norms, None), relu)


def _parts(graph: Graph, plan: MakePlan, *, norm_in_sum: bool) -> list[Part]:
    """Cut a graph into chains of layers, sums, and other operations."""
    links = _Links(graph)
    sums = {
        node.name: links.sum(node, norm_in_sum)
        for node in graph.in_order
        if computes_as(node.layer, Add) and len(node.inputs) == 2
    }
    taken = {part.name for found in sums.values() for part in found[1:] if part is not None}
    pieces: list[tuple[Runner | SumStep | Node, tuple[str, ...], tuple[str, ...]]] = []
    for node in graph.in_order:
        if node.name in taken:
            continue
        if node.name in sums:
            pieces.append(sums[node.name].step())
        elif isinstance(node.layer, Operation):
            pieces.append((node, node.inputs, node.outputs))
        else:
            chain = links.chain(node, taken)
            taken.update(link.name for link in chain)
            layers = [link.layer for link in chain]
            pieces.append((plan(layers), node.inputs, chain[-1].outputs))
    return _with_last_uses(pieces, graph.outputs)


def _with_last_uses(pieces: list[Any], outputs: tuple[str, ...]) -> list[Part]:
    """Note behind which piece a value is not needed any more."""
    needed, parts = set(outputs), []
    for run, takes, gives in reversed(pieces):
        last = sorted({*takes, *gives} - needed - {""})
        needed.update(takes, gives)
        part = Part(run, takes, gives, last, False)
        learns = any(layer.parameters() for layer in part.layers)
        parts.append(part._replace(has_parameters=learns))
    return parts[::-1]
