"""One layer at several places of a network: twins that have their parameters in common.

What a layer keeps between forward and backward, its random numbers and its name are its own at each
place; parameters, buffers and settings are the same objects everywhere. So a place is a copy of the
layer around the same arrays, whose gradients add up, and nobody else needs to know of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any
from weakref import ref

_OWN = frozenset({"_sharing", "_is_made", "_saved", "_seen"})
"""Attributes that each twin has for itself, besides those that a model sets while it runs."""


class Sharing:
    """What twins know of one another; it keeps none of them alive."""

    def __init__(self, first: Any) -> None:
        self._references = [ref(first)]

    @property
    def layers(self) -> list[Any]:
        """The twins that there are still."""
        found = [reference() for reference in self._references]
        return [layer for layer in found if layer is not None]

    def add(self, layer: Any) -> None:
        """Take in one more."""
        self._references = [ref(each) for each in (*self.layers, layer)]

    def __getstate__(self) -> list[Any]:
        return self.layers

    def __setstate__(self, layers: list[Any]) -> None:
        self._references = [ref(layer) for layer in layers]

    def check(self, who: str, name: str, value: Any) -> None:
        """Refuse to set what each twin would need for itself."""
        if holds_layers(value):
            raise AttributeError(
                f"{who}: {name} holds layers, and this {type(self.layers[0]).__name__} stands at "
                "several places of a graph; replace it as a whole"
            )

    def follow(self, changed: Any, before: Mapping[str, Any]) -> None:
        """Give the other twins the attributes in which one differs from before."""
        new = {
            name: value
            for name, value in vars(changed).items()
            if value is not before.get(name, _OWN) and name not in _OWN | changed.steered
        }
        for layer in self.layers:
            if layer is not changed:
                vars(layer).update(new)


def holds_layers(value: Any) -> bool:
    """Whether a value is a layer, or a list, tuple or dict of them."""
    items = value.values() if isinstance(value, dict) else value
    inside = isinstance(value, (list, tuple, dict)) and any(map(holds_layers, items))
    return inside or hasattr(value, "layers_within")


def twin_of(layer: Any, who: str) -> Any:
    """Return another layer with the same parameters, buffers and settings.

    Parameters
    ----------
    layer : Layer
    who : str
        For messages.

    Raises
    ------
    TypeError
        If it cannot be copied.
    """
    inside = [inner for _, inner in layer.layers_within()]
    groups = [vars(inner).get("_sharing") or Sharing(inner) for inner in inside]
    kept: dict[int, Any] = {id(group): group for group in groups}
    kept |= {id(t): t for inner in inside for _, t in inner._own_tensors()}
    try:
        twin = deepcopy(layer, kept)
    except Exception as error:  # whatever somebody's attributes raise
        raise TypeError(
            f"{who}: a {type(layer).__name__} cannot stand at several places, since it cannot be "
            f"copied: {error}; keep nothing in it but settings, parameters and buffers"
        ) from error
    twin.forget()
    for inner, (_, other), group in zip(inside, twin.layers_within(), groups, strict=True):
        vars(inner)["_sharing"] = vars(other)["_sharing"] = group
        group.add(other)
    return twin


def are_twins(layer: Any, other: Any) -> bool:
    """Whether two layers are one that stands at several places."""
    group = vars(layer).get("_sharing")
    return group is not None and group is vars(other).get("_sharing")
