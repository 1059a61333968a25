"""What a drawing or a table says of a layer: its family, its arguments, its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from xpcnn._registry import chosen_arguments
from xpcnn.layers.layer import Layer
from xpcnn.layers.parameter import Parameter

FAMILIES: Mapping[str, tuple[str, frozenset[str]]] = {
    "conv": ("convolution", frozenset({"conv", "conv_transpose", "separable", "unfold"})),
    "pool": ("pooling", frozenset({"pool", "adaptive_pool"})),
    "norm": ("normalisation", frozenset({"norm", "group_norm", "instance_norm", "normalize"})),
    "act": ("activation", frozenset({"activation", "piecewise", "elementwise"})),
    "linear": ("linear", frozenset({"linear", "bilinear", "embedding", "matmul"})),
    "join": ("joining", frozenset({"joining", "arithmetic"})),
    "block": ("several layers", frozenset({"containers"})),
    "other": ("other", frozenset()),
}
"""For each family its name in the legend, and the modules that have its classes."""
MOST_ARGUMENTS, LONGEST_CONTENTS = 5, 36


def family_of(layer: Layer) -> str:
    """Name the family of a layer: a key of `FAMILIES`. That of a class holds for subclasses."""
    for cls in type(layer).__mro__:
        package, _, module = cls.__module__.rpartition(".")
        if package.startswith("xpcnn."):
            for family, (_, modules) in FAMILIES.items():
                if module in modules:
                    return family
    return "block" if layer.children() else "other"


def number_text(value: Any) -> str:
    """Write one number, or several as ``3×3``."""
    if isinstance(value, (tuple, list)):
        return "×".join(map(number_text, value)) if value else "()"
    return f"{value:g}" if isinstance(value, float) else str(value)


def shape_text(shape: Sequence[Any] | None) -> str:
    """Write a shape as ``N × 64 × 7 × 7``."""
    if shape is None:
        return "?"
    return " × ".join(map(str, shape)) if len(shape) else "one number"


def main_arguments(layer: Layer) -> str:
    """Write what a layer was made with, as ``64 → 128, 3×3, stride 2, no bias``."""
    try:
        chosen = chosen_arguments(layer)
    except AttributeError:  # a class of somebody who keeps them otherwise
        return ""
    parts = []
    for noun in ("channels", "features"):
        given, made = chosen.pop(f"in_{noun}", None), chosen.pop(f"out_{noun}", None)
        if made is not None:
            parts.append(f"{'?' if given is None else given} → {made}")
    for name, value in chosen.items():
        text = _argument(name, value)
        if text:
            parts.append(text)
    more = len(parts) - MOST_ARGUMENTS
    return ", ".join(parts[:MOST_ARGUMENTS]) + (f", {more} more" if more > 0 else "")


def _argument(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if name in ("num_features", "num_channels", "num_groups"):
        return f"{value} {'groups' if name == 'num_groups' else 'channels'}"
    if value is None or isinstance(value, Layer):
        return ""
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if isinstance(value, (int, float, str)):
        return f"{words}{'=' if len(words) < 4 else ' '}{number_text(value)}"
    if isinstance(value, (tuple, list)):
        if not all(isinstance(item, (int, float, str)) for item in value):
            return f"{words} {value}" if len(str(value)) < 30 else ""
        if name == "kernel_size":
            return number_text(value)
        same = len(value) > 1 and len(set(value)) == 1 and name in ("stride", "padding", "dilation")
        return f"{words} {number_text(value[0] if same else value)}"
    if hasattr(value, "shape"):
        return f"{words} of shape {shape_text(value.shape)}"
    return ""


def parameters_of(layers: Iterable[Layer]) -> list[Parameter]:
    """Return the parameters of layers, each once."""
    found = {id(p): p for layer in layers for p in layer.parameters().values()}
    return list(found.values())


def parameters_text(parameters: Sequence[Parameter]) -> str:
    """Write how many numbers parameters hold, as ``9,408 parameters, frozen``; "" for none."""
    if not parameters:
        return ""
    shapes = [parameter.shape for parameter in parameters]
    if any(shape is None for shape in shapes):
        return "parameters not known yet"
    total = sum(prod(shape) for shape in shapes if shape is not None)
    trained = [parameter.requires_grad for parameter in parameters]
    state = "" if all(trained) else ", partly frozen" if any(trained) else ", frozen"
    return f"{total:,} parameter{'s' * (total != 1)}{state}"


def contents_text(layers: Sequence[Layer]) -> str:
    """Write what a block is made of, as ``2 Conv2d, 2 BatchNorm2d, ReLU``."""
    counts = Counter(class_name(layer) for layer in layers)
    left, text = len(layers), ""
    for name, n in counts.items():
        longer = (f"{text}, " if text else "") + (name if n == 1 else f"{n} {name}")
        if text and len(longer) > LONGEST_CONTENTS:
            return f"{text}, {left} more"
        left, text = left - n, longer
    return text


def class_name(layer: Layer) -> str:
    """Name the class of a layer; a sum at the end of a residual block is an addition."""
    name = type(layer).__name__
    return "Add" if name == "Join" else name
