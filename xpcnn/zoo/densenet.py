"""DenseNet (Huang et al., "Densely connected convolutional networks", 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn import layers as nn
from xpcnn.initializers import he_normal, zeros
from xpcnn.operations import Concat
from xpcnn.zoo._build import Nodes, draw_weights


def _dense_layer(nodes: Nodes, name: str, value: str, channels: int, growth: int) -> str:
    """Add `growth` channels to those of a value."""
    inner = 4 * growth
    new = nodes.chain(
        value,
        (f"{name}.norm1", nn.BatchNorm2d(channels)),
        (f"{name}.relu1", nn.ReLU()),
        (f"{name}.conv1", nn.Conv2d(channels, inner, 1, bias=False)),
        (f"{name}.norm2", nn.BatchNorm2d(inner)),
        (f"{name}.relu2", nn.ReLU()),
        (f"{name}.conv2", nn.Conv2d(inner, growth, 3, padding=1, bias=False)),
    )
    return nodes.join(f"{name}.concat", Concat(1), value, new)


def _transition(nodes: Nodes, name: str, value: str, channels: int) -> str:
    """Halve channels and size."""
    return nodes.chain(
        value,
        (f"{name}.norm", nn.BatchNorm2d(channels)),
        (f"{name}.relu", nn.ReLU()),
        (f"{name}.conv", nn.Conv2d(channels, channels // 2, 1, bias=False)),
        (f"{name}.pool", nn.AvgPool2d(2, 2)),
    )


def densenet121(
    classes: int = 1000,
    in_channels: int = 3,
    growth: int = 32,
    width: int = 64,
    counts: Sequence[int] = (6, 12, 24, 16),
) -> nn.Graph:
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

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.densenet121().output_shape((1, 3, 224, 224))
    (1, 1000)
    """
    nodes = Nodes()
    value = nodes.chain(
        "image",
        ("features.conv0", nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)),
        ("features.norm0", nn.BatchNorm2d(width)),
        ("features.relu0", nn.ReLU()),
        ("features.pool0", nn.MaxPool2d(3, 2, 1)),
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
        ("features.norm5", nn.BatchNorm2d(channels)),
        ("relu", nn.ReLU()),
        ("avgpool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("classifier", nn.Linear(channels, classes)),
    )
    network = nn.Graph("image", nodes, value)
    draw_weights(network, nn.Conv2d, he_normal())
    draw_weights(network, nn.Linear, None, zeros())
    return network
