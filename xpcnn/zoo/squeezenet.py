"""SqueezeNet (Iandola et al., "AlexNet-level accuracy with 50x fewer parameters", 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn import layers as nn
from xpcnn.initializers import he_uniform, normal, zeros
from xpcnn.operations import Concat
from xpcnn.zoo._build import Nodes, draw_weights

# For each fire module the channels of the squeezing convolution; it expands to four times as many
# with kernels of 1x1, and as many again with 3x3. "pool" is a pooling layer.
LAYOUT_1_0 = (16, 16, 32, "pool", 32, 48, 48, 64, "pool", 64)
LAYOUT_1_1 = (16, 16, "pool", 32, 32, "pool", 48, 48, 64, 64)


def _fire(nodes: Nodes, name: str, value: str, channels: int, squeezed: int) -> str:
    value = nodes.chain(
        value,
        (f"{name}.squeeze", nn.Conv2d(channels, squeezed, 1)),
        (f"{name}.squeeze_activation", nn.ReLU()),
    )
    small = nodes.chain(
        value,
        (f"{name}.expand1x1", nn.Conv2d(squeezed, 4 * squeezed, 1)),
        (f"{name}.expand1x1_activation", nn.ReLU()),
    )
    large = nodes.chain(
        value,
        (f"{name}.expand3x3", nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)),
        (f"{name}.expand3x3_activation", nn.ReLU()),
    )
    return nodes.join(f"{name}.concat", Concat(1), small, large)


def _squeezenet(
    first: nn.Conv2d, layout: Sequence[int | str], classes: int, dropout: float
) -> nn.Graph:
    nodes = Nodes()
    value = nodes.chain(
        "image",
        ("features.0", first),
        ("features.1", nn.ReLU()),
        ("features.2", nn.MaxPool2d(3, 2, ceil_mode=True)),
    )
    channels = first.out_channels
    for number, entry in enumerate(layout, start=3):
        name = f"features.{number}"
        if isinstance(entry, str):
            value = nodes.chain(value, (name, nn.MaxPool2d(3, 2, ceil_mode=True)))
        else:
            value = _fire(nodes, name, value, channels, entry)
            channels = 8 * entry
    last = nn.Conv2d(channels, classes, 1)
    value = nodes.chain(
        value,
        ("classifier.0", nn.Dropout(dropout)),
        ("classifier.1", last),
        ("classifier.2", nn.ReLU()),
        ("classifier.3", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
    )
    network = nn.Graph("image", nodes, value)
    draw_weights(network, nn.Conv2d, he_uniform(), zeros())
    draw_weights(last, nn.Conv2d, normal(0.0, 0.01))
    return network


def squeezenet1_0(classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> nn.Graph:
    """SqueezeNet 1.0, the network of the paper.

    Parameters
    ----------
    classes : int
        Number of scores.
    in_channels : int
        3 for colour images.
    dropout : float
        Probability of an element to be dropped before the last convolution.

    Notes
    -----
    Input (N, in_channels, H, W) with H and W of 21 or more (published for 224), output
    (N, classes). The weights have the names of torchvision's network of the same name.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.squeezenet1_0().output_shape((1, 3, 224, 224))
    (1, 1000)
    """
    return _squeezenet(nn.Conv2d(in_channels, 96, 7, 2), LAYOUT_1_0, classes, dropout)


def squeezenet1_1(classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> nn.Graph:
    """SqueezeNet 1.1: less than half the work of :func:`squeezenet1_0`, as accurate.

    It takes inputs from a size of 17; everything else is as there.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.squeezenet1_1(classes=10).output_shape((1, 3, 64, 64))
    (1, 10)
    """
    return _squeezenet(nn.Conv2d(in_channels, 64, 3, 2), LAYOUT_1_1, classes, dropout)
