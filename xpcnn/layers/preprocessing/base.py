"""What preprocessing layers have in common, and which inputs may be bytes because of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from xpcnn.layers.containers import Sequential
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer


class Preprocessing(Layer):
    """A layer without parameters that prepares an input for the network behind it.

    Layers derived from it stand in front of a network, and are part of it: they run on its device,
    are saved with it, and what a user gives is what came from a file or a camera.
    """

    scales: ClassVar[bool] = False
    """Whether the layer brings numbers from 0 to 255 to a range around 1."""

    ndim: ClassVar[int]
    """Number of spatial axes, where the layer is for one."""


def takes_bytes(network: Layer) -> tuple[bool, ...]:
    """Tell of each input of a network whether its images may be bytes (uint8).

    That is so if preprocessing layers come first wherever the input is used, and one of them,
    such as :class:`Rescale`, scales the numbers.

    Parameters
    ----------
    network : Layer
        A :class:`~xpcnn.layers.Graph`, a :class:`~xpcnn.layers.Sequential`, or a single layer.

    Returns
    -------
    tuple of bool, one for each input

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.layers.preprocessing import takes_bytes
    >>> takes_bytes(xpcnn.Sequential(xpcnn.Rescale(1 / 255), xpcnn.Conv2d(3, 8, 3)))
    (True,)
    >>> takes_bytes(xpcnn.Sequential(xpcnn.Conv2d(3, 8, 3)))
    (False,)
    """
    first = network
    while type(first) is Sequential and len(first):
        first = first[0]
    count = len(first.inputs) if isinstance(first, Graph) else 1
    return tuple(_end_of(network, number) == SCALED for number in range(count))


SCALED, UNSCALED, USED = "scaled", "not scaled yet", "used as it is"


def _end_of(layer: Layer, number: int) -> str:
    """Say what becomes of bytes that are an input of a layer."""
    if isinstance(layer, Graph):
        return _end_in_graph(layer, number)
    if type(layer) is Sequential:
        return _end_in_chain(layer, number)
    if not isinstance(layer, Preprocessing):
        return USED
    return SCALED if layer.scales else UNSCALED


def _end_in_chain(chain: Iterable[Layer], number: int) -> str:
    for layer in chain:
        end = _end_of(layer, number)
        if end != UNSCALED:
            return end
        number = 0
    return UNSCALED


def _end_in_graph(graph: Graph, number: int) -> str:
    """Follow an input to all layers that take it, or what was made of it before it was scaled."""
    bytes_, scaled = {graph.inputs[number]}, False
    for node in graph.in_order:
        for position, name in enumerate(node.inputs):
            if name not in bytes_:
                continue
            end = _end_of(node.layer, position)
            if end == USED or len(node.outputs) > 1:
                return USED
            scaled = scaled or end == SCALED
            if end == UNSCALED:
                bytes_.add(node.outputs[0])
    given = bytes_.intersection(graph.outputs)
    if not given:
        return SCALED if scaled else USED
    return UNSCALED if len(graph.outputs) == 1 and not scaled else USED
