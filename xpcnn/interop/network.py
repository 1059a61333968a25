"""What readers and writers of several formats have in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from xpcnn.layers import Layer
from xpcnn.training.model import Model


def network_of(model: Model | Layer) -> Layer:
    """Return the layer that a model runs; its state dict is the model's."""
    return model.network if isinstance(model, Model) else model


def leading_to(outputs: Collection[str], nodes: Sequence[Any]) -> list[Any]:
    """Return the nodes (name, layer, inputs, outputs) that some outputs depend on, in order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        _, _, takes, gives = node
        if needed.intersection(gives):
            kept.append(node)
            needed.update(takes)
    return kept[::-1]
