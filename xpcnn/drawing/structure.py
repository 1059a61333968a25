"""What is drawn of a network: boxes that pass numbered values to one another, and their shapes.

The list of layers is the one that runs, of :class:`xpcnn.graph.flat.Flat`. Names with dots in
them, as ``layer1.0.conv1``, say what belongs together, so that ``layer1.0`` can be one box.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from xpcnn.graph.flat import Flat, Join, Link, Same, computes_as, unroll
from xpcnn.layers.containers import Parallel, Sequential
from xpcnn.layers.graph import Graph, sort_by_needs
from xpcnn.layers.layer import Layer, Shape
from xpcnn.layers.operation import Operation
from xpcnn.operations import Add, Concat

MOST_BOXES, LONGEST_STRETCH = 60, 24
"""How many boxes there are at most where nobody says how deep to look, and how many of them in a
stretch that cannot be cut into columns, as there are lines that pass all of it."""
Shapes = Mapping[int, Shape | None]


@dataclass(frozen=True)
class Box:
    """A layer, or several under one name.

    Attributes
    ----------
    name : str
        With dots, from the network down.
    layers : tuple of Layer
    inputs, outputs : tuple of int
        Numbers of values; ``None`` is an input left out.
    block : Layer or None
        What has the name, where the box stands for several layers.
    """

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    block: Layer | None = None

    @property
    def taken(self) -> list[int]:
        """The numbers of the inputs that there are, each once."""
        return list(dict.fromkeys(value for value in self.inputs if value is not None))


@dataclass(frozen=True)
class Structure:
    """The boxes of a network, each behind those whose values it takes.

    Attributes
    ----------
    boxes : list of Box
    inputs, outputs : list of (str, int)
        Name and number of each value.
    blocks : mapping of str to Layer
        Layers by their dotted names, containers included.
    batch : int or None
        The one number of samples for which the network is made.
    """

    boxes: list[Box]
    inputs: list[tuple[str, int]]
    outputs: list[tuple[str, int]]
    blocks: Mapping[str, Layer] = field(repr=False)
    batch: int | None = None

    def at_depth(self, depth: int | None) -> Structure:
        """Return it with names of so many parts at most; ``None`` is as deep as is readable."""
        deepest = max((box.name.count(".") + 1 for box in self.boxes), default=1)
        if depth is not None:
            return self._folded(min(depth, deepest))
        for levels in range(deepest, 1, -1):
            folded = self._folded(levels)
            if len(folded.boxes) <= MOST_BOXES and folded._longest() <= LONGEST_STRETCH:
                return folded
        return self._folded(1)

    def _longest(self) -> int:
        """Return the most boxes between two places that just one value passes."""
        uses = Counter(value for box in self.boxes for value in box.taken)
        uses.update(value for _, value in self.outputs)
        live = {value for _, value in self.inputs}
        longest = since = 0
        for box in self.boxes:
            since += 1
            longest = max(longest, since)
            uses.subtract(box.taken)
            live = {value for value in (*live, *box.outputs) if uses[value] > 0}
            if len(live) == 1:
                since = 0
        return longest

    def _folded(self, depth: int) -> Structure:
        groups: dict[str, list[Box]] = {}
        for box in self.boxes:
            groups.setdefault(".".join(box.name.split(".")[:depth]), []).append(box)
        while True:
            boxes = [self._join(name, group) for name, group in groups.items()]
            makers = {value: number for number, box in enumerate(boxes) for value in box.outputs}
            needs = [{makers[v] for v in box.taken if v in makers} for box in boxes]
            order, on_cycle = sort_by_needs(needs)
            if on_cycle is None:
                return replace(self, boxes=[boxes[number] for number in order])
            groups = _split_one(groups, on_cycle)

    def _join(self, name: str, group: Sequence[Box]) -> Box:
        if len(group) == 1:
            return group[0]
        made = [value for box in group for value in box.outputs]
        inside = {id(box) for box in group}
        used = {v for box in self.boxes if id(box) not in inside for v in box.taken}
        used |= {value for _, value in self.outputs}
        taken = dict.fromkeys(v for box in group for v in box.taken if v not in set(made))
        layers = tuple(layer for box in group for layer in box.layers)
        given = tuple(value for value in made if value in used)
        return Box(name, layers, tuple(taken), given, self.blocks.get(name))


def _split_one(groups: dict[str, list[Box]], number: int) -> dict[str, list[Box]]:
    """Take a group apart that would need itself: of such names no single box can be made."""
    names = list(groups)
    split = next(name for name in (*names[number:], *names) if len(groups[name]) > 1)
    found: dict[str, list[Box]] = {}
    for name, group in groups.items():
        found |= {box.name: [box] for box in group} if name == split else {name: group}
    return found


def structure_of(network: Layer) -> Structure:
    """Lay a network out, down to single layers."""
    blocks = dict(network.layers_within())
    named = {id(layer): name for name, layer in blocks.items()}
    flat = Flat([network])
    fresh = count(max((v for link in flat.links for v in link.outputs), default=len(flat.inputs)))
    next(fresh)
    boxes, same = [], dict[int, Any]()
    for name, link in _opened(flat.links, named, fresh):
        taken = tuple(None if v is None else same.get(v, v) for v in link.inputs)
        if isinstance(link.layer, Same):
            same |= zip(link.outputs, taken, strict=True)
        else:
            boxes.append(Box(name, (link.layer,), taken, link.outputs))
    first = next(iter(unroll([network])), None)
    ins = first.inputs if isinstance(first, Graph) else ["input"]
    outs = ["output"]
    if len(flat.outputs) != 1:
        outs = list(getattr(network, "outputs", ())) or [f"output {n}" for n in flat.outputs]
    outputs = [(name, same.get(v, v)) for name, v in zip(outs, flat.outputs, strict=True)]
    inputs = list(zip(ins, flat.inputs, strict=True))
    return Structure(boxes, inputs, outputs, blocks, getattr(first, "batch", None))


def _opened(
    links: Sequence[Link], named: Mapping[int, str], fresh: Iterator[int]
) -> Iterator[tuple[str, Link]]:
    """Yield the links with their names, and in the place of what runs as a whole what is inside."""
    for link in links:
        layer: Any = link.layer
        name = named.get(id(layer), "")
        if isinstance(layer, Join):
            block = named.get(id(layer.block), "")
            yield f"{block}.add" if block else "add", link
        elif computes_as(layer, Sequential):  # of a subclass: others are opened already
            inside, (end,) = _flat_within([*layer.layers], link, fresh)
            yield from _opened(inside, named, fresh)
            yield "", Link(Same(), (end,), link.outputs)
        elif computes_as(layer, Parallel):
            ends: list[Any] = []
            for branch in layer.branches:
                inside, last = _flat_within([branch], link, fresh)
                yield from _opened(inside, named, fresh)
                ends += last
            join = Concat(1) if layer.join == "concat" else Add()
            end = Link(join, tuple(ends), link.outputs)
            yield f"{name}.{layer.join}" if name else layer.join, end
        else:
            yield name or type(layer).__name__, link


def _flat_within(
    layers: Sequence[Layer], link: Link, fresh: Iterator[int]
) -> tuple[list[Link], list[Any]]:
    """Lay out layers in the place of a link; return their links, and the values at the end."""
    flat = Flat(layers)
    known: dict[Any, Any] = dict(zip(flat.inputs, link.inputs, strict=True))
    known |= {value: next(fresh) for each in flat.links for value in each.outputs}
    links = [
        Link(each.layer, tuple(map(known.get, each.inputs)), tuple(known[v] for v in each.outputs))
        for each in flat.links
    ]
    return links, [known[value] for value in flat.outputs]


def shapes_in(structure: Structure, input_shapes: Sequence[Shape]) -> dict[int, Shape | None]:
    """Return the shape of every value; ``None`` where it depends on what the inputs hold.

    Nothing is computed but shapes.

    Raises
    ------
    ValueError
        If a layer does not take such an input.
    """
    values = [value for _, value in structure.inputs]
    known: dict[int, Shape | None] = dict(zip(values, input_shapes, strict=True))
    for box in structure.boxes:
        taken = [None if value is None else known[value] for value in box.inputs]
        known |= zip(box.outputs, _shapes_behind(box, taken), strict=True)
    return known


def _shapes_behind(box: Box, taken: Sequence[Shape | None]) -> Sequence[Shape | None]:
    (layer,) = box.layers
    if any(
        value is not None and shape is None for value, shape in zip(box.inputs, taken, strict=True)
    ):
        return [None] * len(box.outputs)
    try:
        if isinstance(layer, Operation):
            return layer.output_shapes(*taken)
        return [layer.output_shape(taken[0] or ())]
    except NotImplementedError:
        return [None] * len(box.outputs)
    except ValueError as error:
        if layer.name:  # the message has it
            raise
        raise ValueError(f"layer {box.name!r}: {error}") from error


def open_batch(one: Shapes, two: Shapes) -> dict[int, tuple[Any, ...] | None]:
    """Return shapes with "N" for what grows with the batch, from those for one and two samples."""
    found: dict[int, tuple[Any, ...] | None] = {}
    for value, shape in one.items():
        other = two.get(value)
        found[value] = shape if shape is None or other is None else open_shape(shape, other)
    return found


def open_shape(one: Shape, two: Shape) -> tuple[Any, ...]:
    """Return a shape with "N" for what grows with the batch, from that for one and two samples."""
    if len(one) != len(two):
        return one
    return tuple(
        n if n == m else "N" if (n, m) == (1, 2) else f"{n}N" if m == 2 * n else "?"
        for n, m in zip(one, two, strict=True)
    )
