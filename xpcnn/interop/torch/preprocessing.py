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


def _resize(layer: Any) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        from torch.nn.functional import interpolate

        size = layer.new_size(*x.shape[2:])
        if size == tuple(x.shape[2:]):
            return x
        antialias = layer.antialias and not layer.interpolation.startswith("nearest")
        return interpolate(x, size, mode=layer.interpolation, antialias=antialias)

    return run


def _center_crop(layer: Any) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        from torch.nn.functional import pad

        return pad(x, [n for sides in reversed(layer.pairs(x.shape)) for n in sides])

    return run


def _grayscale(layer: Any) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        from torch.nn.functional import conv2d

        return conv2d(x, x.new_tensor(layer.matrix(x.shape[1]))[:, :, None, None])

    return run


FUNCTIONS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "Rescale": lambda layer: lambda x: x * layer.scale + layer.offset,
    "Normalize": _normalize,
    "Resize": _resize,
    "CenterCrop": _center_crop,
    "Grayscale": _grayscale,
}
"""What makes the function that a layer is, by the layer's class."""
