"""What ``--augment`` stands for: layers and mixtures that change images at random in training."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from xpcnn import layers as nn

Size = tuple[int, int]

LAYERS: dict[str, Callable[[Size], nn.Layer]] = {
    "flip": lambda size: nn.RandomHorizontalFlip(),
    "vflip": lambda size: nn.RandomVerticalFlip(),
    "crop": lambda size: nn.RandomCrop(
        size, padding=max(1, min(size) // 8), padding_mode="reflect"
    ),
}
MIXTURES: dict[str, Callable[[], Any]] = {}
NAMES = (*LAYERS, *MIXTURES)


def names(text: str) -> list[str]:
    """Read the value of ``--augment``: names with commas between them."""
    found = [name.strip() for name in text.split(",")]
    for name in found:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(
                f"unknown augmentation {name!r}; choose of {', '.join(NAMES)}"
            )
    twice = [name for at, name in enumerate(found) if name in found[:at]]
    if twice:
        raise argparse.ArgumentTypeError(f"{twice[0]!r} stands there twice")
    if len([name for name in found if name in MIXTURES]) > 1:
        raise argparse.ArgumentTypeError(f"choose one of {' and '.join(MIXTURES)}")
    return found


def layers(chosen: Sequence[str], size: Size) -> list[nn.Layer]:
    """Return the layers of the names given, in a sensible order: shapes, colours, then damage."""
    return [make(size) for name, make in LAYERS.items() if name in chosen]


def fit_options(chosen: Sequence[str]) -> dict[str, Any]:
    """Return what ``fit`` is given for those names that mix images with one another."""
    found = [make() for name, make in MIXTURES.items() if name in chosen]
    return {"mix": found[0]} if found else {}
