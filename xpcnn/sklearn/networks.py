"""The network of an estimator: the one that was given, or one that suits the samples."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from xpcnn import layers as nn
from xpcnn import networks
from xpcnn.layers.containers import check_layers
from xpcnn.training import Model

SMALLEST = 8
"""Axes at least as long are pooled once more."""
WIDEST = 128
"""The most channels of a convolution, and the features of the layer behind the convolutions."""
HIDDEN = 100
"""Features of the hidden layer for rows, as in scikit-learn's ``MLPClassifier``."""

_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


def suited_to(shape: tuple[int, ...], outputs: int) -> list[nn.Layer]:
    """Return the layers of a small network for samples of a shape.

    Rows get one hidden layer, and so do one to three spatial axes behind convolutions of 3 taps
    and poolings, which halve each axis until it is shorter than 8.

    Parameters
    ----------
    shape : tuple of int
        (features,), or (C, *spatial).
    outputs : int
        Features of the last layer.

    Raises
    ------
    ValueError
        If there are more than three spatial axes.

    Examples
    --------
    >>> from xpcnn.sklearn.networks import suited_to
    >>> suited_to((4,), 3)
    [Linear(out_features=100), ReLU(), Linear(out_features=3)]
    >>> [type(layer).__name__ for layer in suited_to((1, 8, 8), 10)]
    ['Conv2d', 'ReLU', 'MaxPool2d', 'Flatten', 'Linear', 'ReLU', 'Linear']
    """
    if len(shape) == 1:
        return [nn.Linear(out_features=HIDDEN), nn.ReLU(), nn.Linear(out_features=outputs)]
    spatial = shape[1:]
    if len(spatial) not in _CONVS:
        raise ValueError(
            f"samples of shape {shape} have {len(spatial)} axes behind the channels, and the "
            "network that is chosen where layers=None takes 1 to 3; give layers for them"
        )
    conv, pool = _CONVS[len(spatial)], _POOLS[len(spatial)]
    found: list[nn.Layer] = []
    width = 32
    while not found or max(spatial) >= SMALLEST:
        found += [conv(out_channels=width, kernel_size=3, padding=1), nn.ReLU()]
        halved = tuple(2 if n >= SMALLEST else 1 for n in spatial)
        if max(halved) > 1:
            found.append(pool(halved))
        spatial = tuple(n // by for n, by in zip(spatial, halved, strict=True))
        width = min(2 * width, WIDEST)
    hidden = [nn.Flatten(), nn.Linear(out_features=WIDEST), nn.ReLU()]
    return [*found, *hidden, nn.Linear(out_features=outputs)]


def make(layers: Any, shape: tuple[int, ...], outputs: int, who: str) -> list[nn.Layer]:
    """Return fresh layers for the argument `layers` of an estimator.

    Parameters
    ----------
    layers : None, str, list of Layer, Layer, Model, or function
        ``None`` chooses by :func:`suited_to`, text is a name in :mod:`xpcnn.networks`, and a
        function is called with `shape` and `outputs` and returns any of the others. Layers are
        copied, with the weights that they have.
    shape : tuple of int
        Of one sample.
    outputs : int
        How many numbers the network is to give for a sample.
    who : str
        Name for messages.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """
    if layers is None:
        return suited_to(shape, outputs)
    if isinstance(layers, str):
        return networks.make(layers, outputs)
    if isinstance(layers, Model):
        layers = layers.network
    if isinstance(layers, nn.Layer):
        return [copy.deepcopy(layers)]
    if callable(layers) and not isinstance(layers, type):
        made = layers(shape, outputs)
        if made is None or (callable(made) and not isinstance(made, (nn.Layer, Model))):
            raise TypeError(
                f"{who}: the function given as layers returned {made!r}; it takes the shape of a "
                "sample and the number of outputs, and must return a list of layers"
            )
        return make(made, shape, outputs, who)
    if not isinstance(layers, Iterable) or isinstance(layers, (type, dict, bytes)):
        raise TypeError(
            f"{who}: layers must be a list of layers, the name of a network "
            f"({', '.join(networks.NETWORKS)}), a function of the shape of a sample and the number "
            f"of outputs, or None; got {layers!r}"
        )
    return copy.deepcopy(list(check_layers(layers, f"{who}: layers")))


def front_of(network: nn.Layer) -> list[nn.Layer]:
    """Return the layers in front of the last one that has parameters, inside of others too.

    Parameters
    ----------
    network : Layer
        A chain of layers, a graph of one input and one output, or a single layer.

    Returns
    -------
    list of Layer
        Those of the network itself, no copies. It may be empty.
    """
    if type(network) is nn.Sequential:
        last = max(k for k, layer in enumerate(network) if layer.parameters())
        return [*network.layers[:last], *front_of(network.layers[last])]
    if not isinstance(network, nn.Graph):
        return []
    *_, last_node = (node for node in network.in_order if node.layer.parameters())
    value, needed, nodes = last_node.inputs[0], set(last_node.inputs[:1]), []
    for node in reversed(network.in_order):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            nodes.append(node)
    front = [nn.Graph(network.inputs, nodes, value, network.dtypes, network.batch)] if nodes else []
    return [*front, *front_of(last_node.layer)]
