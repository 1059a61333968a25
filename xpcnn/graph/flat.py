"""A network laid out flat: layers that pass values with numbers to one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Any, NamedTuple

from xpcnn.layers.containers import Residual, Sequential
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.layers.operation import Operation
from xpcnn.operations import Add


def computes_as(layer: Any, kind: type[Layer]) -> bool:
    """Whether a layer is of a kind and computes as that does: a subclass may do otherwise."""
    methods = ("forward", "backward", "_forward", "_backward")
    return (
        isinstance(layer, kind)
        and all(getattr(type(layer), name) is getattr(kind, name) for name in methods)
        and not replaced_methods(layer)
    )


def replaced_methods(layer: Layer) -> list[str]:
    """Name the methods that somebody has put another function in place of, in this layer alone."""
    return [name for name in vars(layer) if callable(getattr(type(layer), name, None))]


_OURS = tuple(cls.__module__.rpartition(".")[0] + "." for cls in (Layer, Add)) + (__name__,)


def is_ours(layer: Layer) -> bool:
    """Whether a layer is one of this package, with no method replaced."""
    return type(layer).__module__.startswith(_OURS) and not replaced_methods(layer)


class Link(NamedTuple):
    """A layer, and the numbers of the values it takes and gives; ``None`` is one left out."""

    layer: Layer
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]


class Flat:
    """The layers of a network, each behind those whose values it takes.

    Parameters
    ----------
    layers : sequence of Layer
        They follow one another.
    open_up : bool
        Whether to look into residual blocks and graphs.

    Attributes
    ----------
    inputs, outputs : tuple of int
        Numbers of values.
    links : list of Link
    """

    def __init__(self, layers: Sequence[Layer], *, open_up: bool = True) -> None:
        self.links: list[Link] = []
        self._open_up, self._count = open_up, 0
        first = next(iter(unroll(layers)), None)
        self.inputs = self._fresh(len(first.inputs) if isinstance(first, Graph) else 1)
        self.outputs = self._chain(layers, self.inputs)
        self._maker: dict[Any, Link] = {
            value: link for link in self.links for value in link.outputs
        }
        self._user: dict[Any, Link] = {value: link for link in self.links for value in link.inputs}
        self._uses = Counter([value for link in self.links for value in link.inputs])
        self._uses.update(self.outputs)

    # -- Laying out ----------------------------------------------------------------------------

    def _fresh(self, count: int) -> tuple[int, ...]:
        first, self._count = self._count, self._count + count
        return tuple(range(first, self._count))

    def _chain(self, layers: Iterable[Layer], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        for layer in layers:
            inputs = self._lay_out(layer, inputs)
        return inputs

    def _lay_out(self, layer: Layer, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Add what a layer stands for, and return the numbers of its outputs."""
        if type(layer) is Sequential:
            return self._chain(layer.layers, inputs)
        if self._open_up and computes_as(layer, Residual):
            return self._residual(layer, inputs)
        if self._open_up and computes_as(layer, Graph):
            return self._graph(layer, inputs)
        return self._add(layer, inputs, len(layer.outputs) if isinstance(layer, Graph) else 1)

    def _add(self, layer: Layer, inputs: tuple[Any, ...], count: int) -> tuple[int, ...]:
        outputs = self._fresh(count)
        self.links.append(Link(layer, inputs, outputs))
        return outputs

    def _residual(self, block: Any, inputs: tuple[Any, ...]) -> tuple[int, ...]:
        past = inputs if block.shortcut is None else self._lay_out(block.shortcut, inputs)
        through = self._lay_out(block.body, inputs)
        return self._add(Join(block), (*through, *past), 1)

    def _graph(self, graph: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        values: dict[str, Any] = dict(zip(graph.inputs, inputs, strict=True))
        uses = Counter([name for node in graph.nodes for name in node.inputs])
        uses.update(graph.outputs)
        for node in graph.in_order:
            taken = tuple(values.get(name) for name in node.inputs)
            if isinstance(node.layer, Operation):
                given: tuple[Any, ...] = self._add(node.layer, taken, len(node.outputs))
            else:
                if _holds_residual(node.layer) and uses[node.inputs[0]] > 1:
                    # its gradients are added up before they go to those of the others
                    taken = self._add(Same(), taken, 1)
                given = self._lay_out(node.layer, taken)
            values |= zip(node.outputs, given, strict=True)
        return tuple(values[name] for name in graph.outputs)

    def part(self, links: Iterable[Link]) -> Flat:
        """Return some of the layers: only these are neighbours, but all others' uses count."""
        found = copy(self)
        found.links = list(links)
        found._maker = {value: link for link in found.links for value in link.outputs}
        found._user = {value: link for link in found.links for value in link.inputs}
        return found

    # -- Neighbours ----------------------------------------------------------------------------

    def behind(self, link: Link) -> Link | None:
        """Return the one layer that takes what this one gives, if it is just one."""
        (value, *more) = link.outputs
        return None if more or self._uses[value] != 1 else self._user.get(value)

    def before(self, value: int | None) -> Link | None:
        """Return the layer that makes a value; ``None`` of an input."""
        return self._maker.get(value)


class Join(Add):
    """The sum at the end of a residual block, which speaks in its name."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block
        self.name = block.name

    def children(self) -> dict[str, Layer]:
        """Return nothing: the block is known, but is not inside the sum."""
        return {}

    @property
    def who(self) -> str:
        """The name of the block."""
        name: str = self.block.who
        return name

    def output_shapes(self, *input_shapes: Any) -> Any:
        """Return the shape of the sum; the two are not broadcast."""
        self.block.check_join(*input_shapes)
        return input_shapes[:1]


class Same(Layer):
    """A value under another number."""


def _holds_residual(layer: Layer) -> bool:
    return any(isinstance(inner, Residual) for _, inner in layer.layers_within())


def unroll(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Yield the layers in order, with the contents of nested Sequential containers in place."""
    for layer in layers:
        if type(layer) is Sequential:
            yield from unroll(layer)
        else:
            yield layer
