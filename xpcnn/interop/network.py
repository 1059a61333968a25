"""The network in what a reader or a writer of files is given."""

from __future__ import annotations

from xpcnn.layers import Layer
from xpcnn.training.model import Model


def network_of(model: Model | Layer) -> Layer:
    """Return the layer that a model runs; its state dict is the model's."""
    return model.network if isinstance(model, Model) else model
