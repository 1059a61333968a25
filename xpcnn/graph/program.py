"""A network as one list of steps over numbered values, and the loop that runs it.

``Sequential``, ``Residual`` and ``Graph`` are laid out flat; :mod:`xpcnn.graph.fuse` makes steps of
the layers. Everything that is known before the first number is known here: the order, which
neighbours are one step, and behind which step a value is not needed any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from itertools import repeat
from typing import Any, NamedTuple

from xpcnn import _xp
from xpcnn._xp import Array, namespace
from xpcnn.graph.flat import Flat, is_ours, replaced_methods, unroll
from xpcnn.graph.front import Front, front_of, roles
from xpcnn.graph.fuse import steps as steps_of
from xpcnn.graph.segments import Line, Segment, all_ours, with_last_uses
from xpcnn.kernels.repeatable import Repeatable
from xpcnn.kernels.trace import Decision, trace
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.layers.parameter import Buffer, changes
from xpcnn.ops.fused import ADD


class Ran(NamedTuple):
    """One step of a program that was run, and who computed what of it.

    Attributes
    ----------
    layers : list of Layer
    inputs, outputs : tuple of array
    decisions : list of Decision
    """

    layers: list[Layer]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    decisions: list[Decision]


class _Forward(NamedTuple):
    """What a training forward has run, for its backward."""

    lines: list[Line]
    front: Front | None
    ends: dict[tuple[Any, ...], Segment]


class Program:
    """What a network does, forward and backward.

    Parameters
    ----------
    network : Layer, or iterable of layers that follow one another
    fuse : bool
        ``False`` makes every layer a step of its own.
    """

    def __init__(self, network: Layer | Iterable[Layer], *, fuse: bool = True) -> None:
        layers = [network] if isinstance(network, Layer) else list(network)
        self._layers = layers
        alone = layers[0] if len(layers) == 1 else None
        self._graph = alone if isinstance(alone, Graph) else None
        # One that was built has layers that check what they are given.
        self._builds = None if self._graph is None or self._graph.is_built else self._graph
        self._flat, self._together = Flat(layers, open_up=fuse), fuse
        self.inputs, self.outputs = self._flat.inputs, self._flat.outputs
        self._placed = {
            training: steps_of(self._flat, training=training, together=fuse)
            for training in (False, True)
        }
        self._lines = {False: with_last_uses(self._placed[False], self.outputs)}
        self._noted = -1
        self._roles: list[tuple[bool, bool]] | None = None
        self._front: Front | None = None
        self._ran: _Forward | None = None
        self._follow()

    def _follow(self) -> None:
        """Make the steps of training anew where other parameters are trained than before."""
        if self._noted == changes():
            return
        self._noted, now = changes(), roles(self._flat)
        if now == self._roles:
            return
        self._roles = now
        links = front_of(self._flat)
        inference = self._placed[False]
        self._front = Front(self._flat, links, inference, self._together) if links else None
        placed = self._placed[True] if self._front is None else self._front.placed
        self._lines[True] = with_last_uses(placed, self.outputs)
        self._choose(())

    def lines(self, *, training: bool) -> list[Line]:
        """Return the steps in order: those of training, or those of inference."""
        if training:
            self._follow()
        return self._lines[training]

    @property
    def steps(self) -> list[Any]:
        """The steps of training."""
        return [line.step for line in self.lines(training=True)]

    @property
    def segments(self) -> tuple[tuple[int, int], ...]:
        """The steps of training that run again for the backward, as ranges of their numbers."""
        self._follow()
        return tuple(segment.range for segment in self._segments)

    def run_again(self, segments: Iterable[tuple[int, int]]) -> None:
        """Choose which steps keep nothing for the backward, and run again when it comes to them.

        That takes less memory and more time; the gradients are the same bits. It holds until other
        parameters are frozen.

        Parameters
        ----------
        segments : iterable of (start, stop)
            Ranges of the numbers of steps of training, in order, without overlap. Only the arrays
            that a segment takes are kept.

        Raises
        ------
        ValueError
            If a range is empty, not in order, or holds a step that :meth:`can_run_again` refuses.
        """
        lines, found, last = self.lines(training=True), [], 0
        for start, stop in segments:
            if not last <= start < stop <= len(lines):
                raise ValueError(
                    f"segments are ranges of the {len(lines)} steps, in order, which do not "
                    f"overlap; got ({start}, {stop}) behind step {last}"
                )
            for number in range(start, stop):
                if not self.can_run_again(number):
                    names = " + ".join(layer.who for layer in lines[number].step.layers)
                    raise ValueError(
                        f"step {number}, {names}, is frozen and keeps nothing"
                        if self.is_front(number)
                        else f"step {number}, {names}, holds a layer that is not of this package, "
                        "and may do something else the second time"
                    )
            found.append(Segment((start, stop), lines[start:stop]))
            last = stop
        self._choose(found)

    def _choose(self, segments: Sequence[Segment]) -> None:
        self._segments = tuple(segments)
        self._begins = {segment.range[0]: segment for segment in segments}
        self._ends = {segment.outputs: segment for segment in segments}

    def can_run_again(self, number: int) -> bool:
        """Whether a step of training keeps something, and all its layers are this package's own."""
        layers = self.lines(training=True)[number].step.layers
        return not self.is_front(number) and all(map(all_ours, layers))

    def is_front(self, number: int) -> bool:
        """Whether a step of training lies before all that is trained, and keeps nothing."""
        front, outputs = self._front, self._lines[True][number].outputs
        return front is not None and not front.values.isdisjoint(outputs)

    def forward(self, *inputs: Array, training: bool) -> Any:
        """Run all steps forward; several outputs come as a tuple."""
        if self._builds is not None:
            self._builds._check_inputs(inputs)
        lines = self.lines(training=training)
        values: dict[Any, Any] = dict(zip(self.inputs, inputs, strict=True))
        segmented = training and bool(self._segments)
        if training and self._front is not None:
            self._front.segment.keep(values)
        for number, (step, takes, gives, last_uses, _) in enumerate(lines):
            if segmented and number in self._begins:
                self._begins[number].keep(values)
            if len(takes) == 1:
                y = step.forward(values[takes[0]], training=training)
            else:
                y = step.forward(*map(values.get, takes), training=training)
            if len(gives) == 1:
                values[gives[0]] = y
            else:
                values |= zip(gives, y, strict=True)
            for name in last_uses:
                del values[name]
            if segmented and gives in self._ends:
                self._ends[gives].forget()
        self._ran = _Forward(lines, self._front, self._ends) if training else None
        if len(self.outputs) == 1:
            return values[self.outputs[0]]
        return tuple(values[name] for name in self.outputs)

    @property
    def awaits_backward(self) -> bool:
        """Whether there was a training forward whose backward has not come."""
        return self._ran is not None

    def backward(self, *dys: Array, need_dx: bool) -> Any:
        """Run all steps backward; the gradients of the network's inputs only if needed."""
        if self._ran is None and self._graph is not None:
            return self._graph.backward(*dys, need_dx=need_dx)  # says what is missing
        lines, front, ends = self._ran or _Forward(self.lines(training=True), None, self._ends)
        self._ran = None
        if front is not None:
            lines, ends = front.lines_of_backward(lines, need_dx), ends | front.ends
        gradients: dict[Any, Any] = {}
        _add(gradients, self.outputs, dys)
        wanted = set(self.inputs if need_dx else ())
        for line in lines:
            if line.learns or not wanted.isdisjoint(line.inputs):
                wanted.update(line.outputs)
        for step, takes, gives, _, _ in reversed(lines):
            if gives in ends:
                ends[gives].run(gradients)
            given = list(map(gradients.pop, gives, repeat(None)))
            if given[0] is None if len(given) == 1 else all(dy is None for dy in given):
                step.forget()
                continue
            need: Any = list(map(wanted.__contains__, takes))
            dxs = step.backward(*given, need_dx=need[0] if len(need) == 1 else need)
            _add(gradients, takes, dxs if isinstance(dxs, tuple) else (dxs,))
            del given, dxs  # or they would stay through the next step
        if front is not None:
            front.forget()
        if not need_dx:
            return None
        found = tuple(gradients.pop(name, None) for name in self.inputs)
        return found[0] if len(found) == 1 else found

    def trace(self, *inputs: Array, training: bool) -> list[Ran]:
        """Run the steps forward, and record what each took, gave and had computed by whom."""
        values: dict[Any, Any] = dict(zip(self.inputs, inputs, strict=True))
        found = []
        for line in self.lines(training=training):
            taken = tuple(map(values.get, line.inputs))
            with trace() as decisions:
                y = line.step.forward(*taken, training=training)
            given = y if isinstance(y, tuple) else (y,)
            values |= zip(line.outputs, given, strict=True)
            found.append(Ran(list(line.step.layers), taken, given, decisions))
        return found

    @cached_property
    def infer(self) -> Repeatable:
        """The forward without training; a small one does not go through the layers every time."""
        return Repeatable(_Inference(self))

    def first_not_finite(self, *inputs: Array) -> str | None:
        """Name the first layer whose output is not finite, running layer by layer."""
        for layer in unroll(self._layers):
            found, inputs = _first_not_finite(layer, inputs)
            if found is not None:
                return found
        return None

    def layers_within(self) -> list[Layer]:
        """Return all layers, those inside others too."""
        return [inner for layer in self._layers for _, inner in layer.layers_within()]


def made_of(network: Layer) -> list[Any]:
    """List the objects that decide about the steps: others than these ask for another program."""
    found: list[Any] = []
    for _, layer in network.layers_within():
        found += (layer, getattr(layer, "padding_mode", None))
        found += (tensor for _, tensor in layer._own_tensors())
        found += (vars(layer)[name] for name in replaced_methods(layer))
    return found


def _add(gradients: dict[Any, Any], names: Iterable[Any], found: Iterable[Any]) -> None:
    """Add gradients to those of the same values; ``None`` adds nothing."""
    for name, gradient in zip(names, found, strict=True):
        if gradient is not None:
            before = gradients.get(name)
            if before is not None and before.shape == gradient.shape:
                gradient, _ = ADD.run(namespace(before), before, gradient)
            elif before is not None:
                gradient = before + gradient
            gradients[name] = gradient


def _first_not_finite(layer: Layer, inputs: tuple[Any, ...]) -> tuple[str | None, tuple[Any, ...]]:
    """Return the name of the first layer inside with a bad output, and the outputs."""
    if isinstance(layer, Graph):
        values = dict(zip(layer.inputs, inputs, strict=True))
        for node in layer.in_order:
            taken = tuple(values.get(name) for name in node.inputs)
            found, outputs = _first_not_finite(node.layer, taken)
            if found is not None:
                return found, ()
            values |= zip(node.outputs, outputs, strict=True)
        return None, tuple(values[name] for name in layer.outputs)
    y = layer.forward(*inputs, training=True)
    outputs = y if isinstance(y, tuple) else (y,)
    bad = any(_xp.is_floating(y) and not _is_finite(y) for y in outputs)
    return (layer.who if bad else None), outputs


def _is_finite(x: Array) -> bool:
    xp = namespace(x)
    return bool(xp.all(xp.isfinite(x)))


class _Inference:
    """The forward of a program as a function of the image and of what the layers hold."""

    def __init__(self, program: Program) -> None:
        self.run = partial(program.forward, training=False)
        self._layers = program.layers_within()

    def is_pure(self) -> bool:
        """Whether all layers are those of this package, with no method replaced."""
        return all(is_ours(layer) for layer in self._layers)

    def changes(self) -> int:
        return changes()

    def attributes(self) -> list[Any]:
        return [value for layer in self._layers for value in vars(layer).values()]

    def arrays(self) -> list[Array]:
        return [
            tensor.value
            for layer in self._layers
            for _, tensor in layer._own_tensors()
            if not (isinstance(tensor, Buffer) and tensor.on_host)
        ]
