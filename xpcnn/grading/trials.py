"""One size of a layer with its right numbers, which a layer of the library computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.grading.dialects import Layout
from xpcnn.layers.layer import Layer

OURS = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}


class Settings(dict[str, Any]):
    """Settings that some courses hand over in a dict; remembers which were read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or the default."""
        self.read.add(key)
        return super().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return a value, after setting it to the default if there is none."""
        self.read.add(key)
        return super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Take a value out."""
        self.read.add(key)
        return super().pop(key, *default)

    def keys(self) -> Any:
        """Return all keys; whoever asks may read them all, as ``**`` does."""
        self.read |= set(self)
        return super().keys()

    def items(self) -> Any:
        """Return all keys and values."""
        self.read |= set(self)
        return super().items()


@dataclass
class Trial:
    """Operands, settings, and what should come of them.

    `asked` names settings that the constructor has to take for this trial to be possible. `right`
    has y, dx and the gradient of each parameter.
    """

    name: str
    x: Array
    dout: Array
    params: dict[str, Array] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    right: dict[str, Array] = field(default_factory=dict)
    tolerance: float = 1e-6

    def values(self, layout: Layout) -> dict[str, Any]:
        """Return what a constructor may want, by role."""
        values = {name: layout.theirs(name, a) for name, a in self.params.items()}
        if layout.images == "line" and "b" in values:
            values["b"] = values["b"].reshape(())[()]
        for name, value in self.settings.items():
            alike = isinstance(value, tuple) and len(set(value)) == 1
            values[name] = value[0] if alike else value
        size = self.settings.get("size")
        if size is not None and len(size) == 2:
            values["height"], values["width"] = size
        # courses that hand their settings over in a dict
        known = ("stride", "pad", "eps", "momentum")
        param = Settings({n: values[n] for n in known if n in values})
        if "ratio" in values:
            param.update(p=values["ratio"], keep_prob=values["keep"])
        if size is not None:
            param["f"] = values["size"]
            param.update(zip(("pool_height", "pool_width"), size, strict=False))
        return values | {"param": param}


def run_ours(layer: Layer, x: Array, dout: Any, params: dict[str, Array]) -> dict[str, Array]:
    """Run a layer of the library in float64: y, and gradients for dout (made of the shape of y)."""
    if not layer.is_built:
        layer.build(x.shape, device=Device.of(x), dtype="float64")
    for name, value in params.items():
        layer.parameters()[OURS[name]].data = value.astype(np.float64)
    y = layer.forward(x, training=True)
    dout = dout(y.shape) if callable(dout) else dout
    layer.zero_grad()
    right = {"y": y, "dout": dout, "dx": layer.backward(dout)}
    for name in params:
        right[f"d{name}"] = layer.parameters()[OURS[name]].grad
    return right


def drawn(generator: np.random.Generator, shape: Sequence[int]) -> Array:
    """Draw numbers that are easy to read: of one decimal place, no two alike by chance alone."""
    return generator.normal(size=tuple(shape)).round(2)
