"""Steps that keep nothing for the backward, and run again when it comes to them.

What a training forward keeps grows with the number of layers. A segment of a program keeps only
the arrays that it takes; before its backward its forward runs once more, so that in all there is
memory for what lies between the segments, and for one of them (Chen et al., 2016).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from xpcnn.graph.flat import is_ours
from xpcnn.layers.layer import Layer, runs_again


def all_ours(layer: Layer) -> bool:
    """Whether a layer, and all inside it, are those of this package, as they came."""
    return all(is_ours(inner) for _, inner in layer.layers_within())


def learns(layer: Layer) -> bool:
    """Whether a layer has gradients to gather.

    Somebody's own layer without parameters may have gradients of which nothing is known here.
    """
    parameters = layer.parameters().values()
    return any(p.requires_grad for p in parameters) or not (parameters or all_ours(layer))


class Line(NamedTuple):
    """A step of a program, and the numbers of the values it takes and gives."""

    step: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    last_uses: tuple[Any, ...]
    learns: bool


def with_last_uses(steps: Sequence[Any], outputs: tuple[Any, ...]) -> list[Line]:
    """Note behind which step a value is not needed any more, and whether a step learns."""
    needed, lines = set(outputs), []
    for step, takes, gives in reversed(steps):
        last = sorted({*takes, *gives} - needed - {None})
        needed.update(takes, gives)
        lines.append(Line(step, takes, gives, tuple(last), any(map(learns, step.layers))))
    return lines[::-1]


class Segment:
    """Some steps of a program that follow one another.

    Parameters
    ----------
    numbers : (int, int)
        Of the first step, and of the one behind the last.
    lines : sequence of Line

    Attributes
    ----------
    range : (int, int)
    outputs : tuple of int
        What its last step gives.
    takes, gives : set of int
        Numbers of the values that come from outside, and of those that are made inside.
    """

    def __init__(self, numbers: tuple[int, int], lines: Sequence[Line]) -> None:
        self.range, self._lines = numbers, lines
        self.outputs = lines[-1].outputs
        self.gives = {value for line in lines for value in line.outputs}
        taken = {value for line in lines for value in line.inputs if value is not None}
        self.takes = taken - self.gives
        self._kept: dict[Any, Any] | None = None

    def keep(self, values: Mapping[Any, Any]) -> None:
        """Keep what the segment takes, before it runs."""
        self._kept = {name: values[name] for name in self.takes}

    def drop(self) -> None:
        """Forget what was kept to run the segment with."""
        self._kept = None

    def forget(self) -> None:
        """Drop what the steps have kept, after they have run."""
        for line in self._lines:
            line.step.forget()

    def run(self, wanted: Iterable[Any]) -> None:
        """Run the steps forward once more, so that they keep what their backward needs.

        Running statistics stay as they are, and dropout has the masks of the first time. Where no
        forward was, nothing runs, and the steps say so when their backward comes.

        Parameters
        ----------
        wanted : iterable of int
            Values of which there are gradients; without one of the segment's nothing runs.
        """
        values, self._kept = self._kept, None
        if values is None or self.gives.isdisjoint(wanted):
            return
        token = runs_again.set(True)
        try:
            for step, takes, gives, last_uses, _ in self._lines:
                y = step.forward(*map(values.get, takes), training=True)
                values |= zip(gives, y if len(gives) != 1 else (y,), strict=True)
                for name in last_uses:
                    del values[name]
        finally:
            runs_again.reset(token)
