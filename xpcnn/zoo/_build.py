"""What the files of the zoo share: nodes in a row, and the choice of initial weights."""

from __future__ import annotations

from typing import Any

from xpcnn.layers import Layer
from xpcnn.layers.parameter import Initializer


class Nodes(list[Any]):
    """The nodes of a :class:`xpcnn.Graph`, in the order in which they run."""

    def chain(self, value: str, *named: tuple[str, Layer]) -> str:
        """Put layers one behind the other after a value; return the name of the last output."""
        for name, layer in named:
            self.append((name, layer, value))
            value = name
        return value

    def join(self, name: str, operation: Layer, *values: str) -> str:
        """Put an operation behind several values; return the name of its output."""
        self.append((name, operation, values))
        return name


def draw_weights(
    network: Layer,
    kind: type[Layer],
    weight: Initializer | None = None,
    bias: Initializer | None = None,
) -> None:
    """Set how the weights of all layers of a kind are drawn; ``None`` leaves PyTorch's default."""
    for _, layer in network.layers_within():
        if isinstance(layer, kind):
            own: Any = layer
            if weight is not None:
                own.weight.init = weight
            if bias is not None and own.bias is not None:
                own.bias.init = bias
