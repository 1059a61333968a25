"""DenseNet (Huang et al., "Densely connected convolutional networks", 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.initializers import he_normal, zeros
from xpcnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Graph,
    Linear,
    MaxPool2d,
    ReLU,
)
from xpcnn.operations import Concat
from xpcnn.zoo._build import Nodes, draw_weights


def _dense_layer(nodes: Nodes, name: str, value: str, channels: int, growth: int) -> str:
    """Add `growth` channels to those of a value."""
    inner = 4 * growth
    new = nodes.chain(
        value,
        (f"{name}.norm1", BatchNorm2d(channels)),
        (f"{name}.relu1", ReLU()),
        (f"{name}.conv1", Conv2d(channels, inner, 1, bias=False)),
        (f"{name}.norm2", BatchNorm2d(inner)),
        (f"{name}.relu2", ReLU()),
        (f"{name}.conv2", Conv2d(inner, growth, 3, padding=1, bias=False)),
    )
    return nodes.join(f"{name}.concat", Concat(1), value, new)


def _transition(nodes: Nodes, name: str, value: str, channels: int) -> str:
    """Halve channels and size."""
    return nodes.chain(
        value,
        (f"{name}.norm", BatchNorm2d(channels)),
        (f"{name}.relu", ReLU()),
        (f"{name}.conv", Conv2d(channels, channels // 2, 1, bias=False)),
        (f"{name}.pool", AvgPool2d(2, 2)),
    )


def densenet121(
    classes: int = 1000,
    in_channels: int = 3,
    growth: int = 32,
    width: int = 64,
    counts: Sequence[int] = (6, 12, 24, 16),
) -> Graph:
    """DenseNet with 121 layers that have weights: each layer sees all before it in its block.

    Parameters
    ----------
    classes : int
        Number of scores.
    in_channels : int
        3 for colour images.
    growth : int
        Channels that a layer adds.
    width : int
        Channels of the first convolution.
    counts : sequence of int
        Layers in each block.

    Notes
    -----
    Input (N, in_channels, H, W) with H and W of 29 or more (published for 224), output
    (N, classes). The weights have the names of torchvision's ``densenet121``.
    """
    nodes = Nodes()
    value = nodes.chain(
        "image",
        ("features.conv0", Conv2d(in_channels, width, 7, 2, 3, bias=False)),
        ("features.norm0", BatchNorm2d(width)),
        ("features.relu0", ReLU()),
        ("features.pool0", MaxPool2d(3, 2, 1)),
    )
    channels = width
    for block, count in enumerate(counts, start=1):
        for number in range(1, count + 1):
            name = f"features.denseblock{block}.denselayer{number}"
            value = _dense_layer(nodes, name, value, channels, growth)
            channels += growth
        if block < len(counts):
            value = _transition(nodes, f"features.transition{block}", value, channels)
            channels //= 2
    value = nodes.chain(
        value,
        ("features.norm5", BatchNorm2d(channels)),
        ("relu", ReLU()),
        ("avgpool", AdaptiveAvgPool2d(1)),
        ("flatten", Flatten()),
        ("classifier", Linear(channels, classes)),
    )
    network = Graph("image", nodes, value)
    draw_weights(network, Conv2d, he_normal())
    draw_weights(network, Linear, None, zeros())
    return network
