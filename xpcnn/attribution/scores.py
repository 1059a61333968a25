"""The network that gives scores of classes: without what makes probabilities of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xpcnn.layers import Graph, Layer, LogSoftmax, Sequential, Sigmoid, Softmax, Softmax2d

MAKE_PROBABILITIES = (Softmax, Softmax2d, LogSoftmax, Sigmoid)


def before_probabilities(network: Any, output: int = 0) -> Any:
    """Return a network without the layer at the end that makes probabilities of scores.

    Parameters
    ----------
    network : Layer
        It is not changed; the layers of the new one are the same objects.
    output : int
        Which of several outputs is meant.

    Returns
    -------
    Layer or None
        ``None`` if the network does not end in such a layer.
    """
    if type(network) is Sequential and network.layers:
        *others, last = network.layers
        if isinstance(last, MAKE_PROBABILITIES):
            return Sequential(*others)
        inside = before_probabilities(last)
        return None if inside is None else Sequential(*others, inside)
    if type(network) is Graph:
        return _graph_before(network, output)
    return None


def _graph_before(graph: Graph, output: int) -> Graph | None:
    name = graph.outputs[output]
    maker = next((node for node in graph.nodes if name in node.outputs), None)
    if maker is None:
        return None
    nodes: list[tuple[Any, ...]] = [tuple(node) for node in graph.nodes]
    place, outputs = graph.nodes.index(maker), list(graph.outputs)
    if isinstance(maker.layer, MAKE_PROBABILITIES):
        outputs[output] = maker.inputs[0]
        uses = Counter([taken for node in graph.nodes for taken in node.inputs] + outputs)
        if not uses[name]:
            del nodes[place]
    else:
        inside: Layer | None = before_probabilities(maker.layer, maker.outputs.index(name))
        uses = Counter([taken for node in graph.nodes for taken in node.inputs])
        if inside is None or uses[name]:
            return None
        nodes[place] = (maker.name, inside, maker.inputs, maker.outputs)
    return Graph(graph.inputs, nodes, outputs, dtypes=graph.dtypes, batch=graph.batch)
