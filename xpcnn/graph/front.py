"""The front of a network: what no parameter that is trained comes before.

No gradient is needed there, so in training it runs as in inference: with the steps of inference,
and nothing is kept for a backward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpcnn.errors import no_forward_error
from xpcnn.graph.flat import Flat, Link, is_ours
from xpcnn.graph.fuse import Placed
from xpcnn.graph.fuse import steps as steps_of
from xpcnn.graph.segments import Line, Segment, all_ours, learns, with_last_uses
from xpcnn.graph.steps import LayerStep
from xpcnn.layers.layer import Layer, runs_again
from xpcnn.layers.norm import ChannelNorm


def _differs(layer: Layer) -> bool:
    """Whether a layer computes something else in training than in inference."""
    return any(
        not is_ours(inner)
        or hasattr(inner, "step")  # it draws random numbers
        or (isinstance(inner, ChannelNorm) and inner.gathers(True))
        for _, inner in layer.layers_within()
    )


def roles(flat: Flat) -> list[tuple[bool, bool]]:
    """Say of each layer whether it learns, and whether training differs from inference for it."""
    return [(learns(link.layer), _differs(link.layer)) for link in flat.links]


class FrontStep:
    """A step that keeps nothing.

    Parameters
    ----------
    step : step
    training : bool
        Whether it runs as in training all the same, since it draws random numbers, say.
    """

    def __init__(self, step: Any, training: bool) -> None:
        self.step, self.layers, self._training = step, step.layers, training

    def forward(self, *inputs: Any, training: bool) -> Any:
        """Return the output."""
        y = self.step.forward(*inputs, training=self._training)
        if self._training:
            self.step.forget()
        return y

    def backward(self, *dys: Any, need_dx: Any) -> Any:
        """Say that there was no forward: after one, the front runs backward by other steps."""
        raise no_forward_error(self.layers[-1].who)

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


class ForeignStep(LayerStep):
    """Somebody's own layer, which runs once, and keeps what it will."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self._y: Any = None

    def forward(self, *inputs: Any, training: bool) -> Any:
        """Run the layer forward, or return once more what it gave."""
        if not runs_again.get():
            self._y = super().forward(*inputs, training=True)
        return self._y

    def forget(self) -> None:
        """Drop what is kept for a backward."""
        self._y = None
        super().forget()


class Front:
    """The front of a network, and the steps of all of it.

    Should somebody ask for the gradient of the network's input, the front runs forward once more,
    now as in training, before its backward.

    Parameters
    ----------
    flat : Flat
    links : sequence of Link
        Those of the front.
    inference : sequence of Placed
        The steps of inference of the whole network, of which those of the front are taken.
    together : bool
        Whether neighbours become one step.

    Attributes
    ----------
    values : set of int
        What the front gives.
    placed : list of Placed
        The steps of training of the whole network.
    segment : Segment
        The front as in training.
    """

    def __init__(
        self, flat: Flat, links: Sequence[Link], inference: Sequence[Placed], together: bool
    ) -> None:
        self.values = {value for link in links for value in link.outputs}
        foreign = [link for link in links if not all_ours(link.layer)]
        ours = [link for link in links if all_ours(link.layer)]
        differing = [link for link in ours if _differs(link.layer)]
        alike = [link for link in ours if not _differs(link.layer)]
        behind = [link for link in flat.links if self.values.isdisjoint(link.outputs)]

        def steps(links: Sequence[Link], training: bool) -> list[Placed]:
            return steps_of(flat.part(links), training=training, together=together)

        as_they_are = [
            Placed(ForeignStep(link.layer), link.inputs, link.outputs) for link in foreign
        ]
        places = {link.outputs: number for number, link in enumerate(flat.links)}
        self.placed = _in_order(
            [
                *_front_steps(_kept(steps(alike, False), inference), training=False),
                *_front_steps(steps(differing, True), training=True),
                *as_they_are,
                *steps(behind, True),
            ],
            places,
        )
        again = _in_order([*steps(ours, True), *as_they_are], places)
        self._again = with_last_uses(again, ())
        self.segment = Segment((0, len(again)), self._again)
        self.ends = {self.segment.outputs: self.segment}
        self._foreign = [placed.step for placed in as_they_are]

    def lines_of_backward(self, lines: Sequence[Line], need_dx: bool) -> list[Line]:
        """Return the steps that are to run backward: those behind the front, perhaps all.

        Parameters
        ----------
        lines : sequence of Line
            The steps that have run forward.
        need_dx : bool
            Whether gradients of the network's inputs are needed.
        """
        behind = [line for line in lines if self.values.isdisjoint(line.outputs)]
        return [*self._again, *behind] if need_dx else behind

    def forget(self) -> None:
        """Drop what is kept for a backward."""
        self.segment.drop()
        for step in self._foreign:
            step.forget()


def front_of(flat: Flat) -> list[Link]:
    """Return the layers that no layer that learns comes before, unless there is nothing to gain."""
    behind: set[Any] = set()
    front = []
    for link in flat.links:
        if learns(link.layer) or not behind.isdisjoint(link.inputs):
            behind.update(link.outputs)
        else:
            front.append(link)
    return front if any(link.layer.parameters() for link in front) else []


def _in_order(steps: Sequence[Placed], places: Mapping[Any, int]) -> list[Placed]:
    """Sort steps by the places of the layers that give their outputs."""
    return sorted(steps, key=lambda placed: places[placed.outputs])


def _front_steps(steps: Sequence[Placed], *, training: bool) -> list[Placed]:
    return [placed._replace(step=FrontStep(placed.step, training)) for placed in steps]


def _kept(steps: Sequence[Placed], inference: Sequence[Placed]) -> list[Placed]:
    """Take the steps of inference themselves where there are the same: they keep folded weights."""
    known = {placed[1:]: placed for placed in inference}
    found = []
    for placed in steps:
        same = known.get(placed[1:], placed)
        is_same = len(same.step.layers) == len(placed.step.layers) and all(
            a is b for a, b in zip(same.step.layers, placed.step.layers, strict=True)
        )
        found.append(same if is_same and type(same.step) is type(placed.step) else placed)
    return found
