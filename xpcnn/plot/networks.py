"""Layers of networks, found by name or place."""

from __future__ import annotations

import difflib
from typing import Any

from xpcnn.layers import Graph, Layer
from xpcnn.plot.canvas import listed
from xpcnn.training import Model
from xpcnn.window import as_int


def network_of(source: Any) -> Layer | None:
    """Return the network of a model, or a layer itself; ``None`` if it is neither."""
    if isinstance(source, Model):
        return source.network
    return source if isinstance(source, Layer) else None


def find_layer(network: Layer, wanted: Any, who: str) -> tuple[str, Layer]:
    """Return the full name and the layer that a dotted name, or a place, stands for.

    A place counts the layers in the order in which they are run, as ``model.layers`` has them;
    below 0 it counts from the end.

    Raises
    ------
    ValueError, TypeError
        If there is no such layer.
    """
    if isinstance(network, Graph):
        top = {node.name: node.layer for node in network.in_order}
    else:
        top = network.children()
    if not isinstance(wanted, (str, bool)) and hasattr(wanted, "__index__"):
        place = as_int(wanted, who, "layer", -len(top))
        if place >= len(top):
            raise ValueError(
                f"{who}: layer={place}, and there are {len(top)} layers, from 0 to {len(top) - 1}"
            )
        return list(top.items())[place]
    if not isinstance(wanted, str):
        raise TypeError(f"{who}: layer must be a name or a place, got {wanted!r:.100}")
    known = {name: layer for name, layer in network.layers_within() if name}
    if wanted in known:
        return wanted, known[wanted]
    near = difflib.get_close_matches(wanted, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{who}: there is no layer {wanted!r}, only {listed(known)}{hint}")
