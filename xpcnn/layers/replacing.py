"""Putting another layer in the place of one in a network."""

from __future__ import annotations

import difflib

from xpcnn.layers.containers import check_layers
from xpcnn.layers.layer import Layer


def replace_layer(network: Layer, name: str, layer: Layer, who: str) -> Layer:
    """Put a layer in the place of one inside a network.

    Parameters
    ----------
    network : Layer
    name : str
        Dotted, as :meth:`Layer.layers_within` has it.
    layer : Layer
    who : str
        For messages.

    Returns
    -------
    Layer
        The one that was there.

    Raises
    ------
    TypeError, ValueError
        If there is no such name, or this cannot be a layer in that place. Nothing has been changed.
    """
    if not isinstance(name, str):
        raise TypeError(f"{who}: expected the name of a layer, such as '6', got {name!r:.200}")
    check_layers([layer], who)
    names = [inner for inner, _ in network.layers_within() if inner]
    found = _find(network, name)
    if found is None:
        raise ValueError(f"{who}: there is no layer {name!r}; {_names_near(name, names)}")
    parent, key = found
    inside = {id(part) for _, part in network.layers_within()}
    if any(id(part) in inside for _, part in layer.layers_within()):
        raise ValueError(
            f"{who}: this {type(layer).__name__}, or a layer in it, stands in the network already; "
            "make a new layer"
        )
    old = parent.children()[key]
    parent.replace_child(key, layer)
    return old


def _find(layer: Layer, name: str) -> tuple[Layer, str] | None:
    """Return the layer that holds one of that name, and what it calls it."""
    for key, child in layer.children().items():
        if name == key:
            return layer, key
        if name.startswith(f"{key}."):
            found = _find(child, name[len(key) + 1 :])
            if found is not None:
                return found
    return None


def _names_near(name: str, names: list[str]) -> str:
    inside = [other for other in names if other.startswith(f"{name}.")]
    if inside and name:
        return f"it is a part of the names {', '.join(map(repr, inside[:6]))}; give one of these"
    near = difflib.get_close_matches(name, names, 4, 0.5)
    if near:
        return f"names near it are {', '.join(map(repr, near))}"
    more = ", ..." if len(names) > 8 else ""
    return f"there are {', '.join(map(repr, names[-8:])) or '(none)'}{more}"
