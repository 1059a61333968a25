"""Preprocessing layers as functions of PyTorch's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _normalize(layer: Any) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        mean, std = (
            x.new_tensor(numbers).reshape(-1, *(1,) * (x.ndim - 2))
            for numbers in (layer.mean, layer.std)
        )
        return (x - mean) / std

    return run


FUNCTIONS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "Rescale": lambda layer: lambda x: x * layer.scale + layer.offset,
    "Normalize": _normalize,
}
"""What makes the function that a layer is, by the layer's class."""
