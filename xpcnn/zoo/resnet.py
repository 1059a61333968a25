"""ResNet (He et al., "Deep residual learning for image recognition", 2015).

The 50-layer network has its stride in the 3x3 convolution, as torchvision has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpcnn import layers as nn
from xpcnn.initializers import he_normal
from xpcnn.operations import Add
from xpcnn.zoo._build import Nodes, draw_weights

Named = list[tuple[str, nn.Layer]]


def _basic(name: str, channels: int, inner: int, stride: int) -> Named:
    """Two 3x3 convolutions."""
    return [
        (f"{name}.conv1", nn.Conv2d(channels, inner, 3, stride, 1, bias=False)),
        (f"{name}.bn1", nn.BatchNorm2d(inner)),
        (f"{name}.relu1", nn.ReLU()),
        (f"{name}.conv2", nn.Conv2d(inner, inner, 3, 1, 1, bias=False)),
        (f"{name}.bn2", nn.BatchNorm2d(inner)),
    ]


def _bottleneck(name: str, channels: int, inner: int, stride: int) -> Named:
    """A 3x3 convolution on fewer channels, between two 1x1 convolutions."""
    return [
        (f"{name}.conv1", nn.Conv2d(channels, inner, 1, bias=False)),
        (f"{name}.bn1", nn.BatchNorm2d(inner)),
        (f"{name}.relu1", nn.ReLU()),
        (f"{name}.conv2", nn.Conv2d(inner, inner, 3, stride, 1, bias=False)),
        (f"{name}.bn2", nn.BatchNorm2d(inner)),
        (f"{name}.relu2", nn.ReLU()),
        (f"{name}.conv3", nn.Conv2d(inner, 4 * inner, 1, bias=False)),
        (f"{name}.bn3", nn.BatchNorm2d(4 * inner)),
    ]


def _shortcut(name: str, channels: int, widened: int, stride: int) -> Named:
    """A convolution where the way past a block has to change the shape; nothing otherwise."""
    if channels == widened and stride == 1:
        return []
    return [
        (f"{name}.downsample.0", nn.Conv2d(channels, widened, 1, stride, bias=False)),
        (f"{name}.downsample.1", nn.BatchNorm2d(widened)),
    ]


def _resnet(
    block: Callable[..., Named],
    expansion: int,
    counts: Sequence[int],
    classes: int,
    in_channels: int,
    width: int,
) -> nn.Graph:
    nodes = Nodes()
    value = nodes.chain(
        "image",
        ("conv1", nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)),
        ("bn1", nn.BatchNorm2d(width)),
        ("relu", nn.ReLU()),
        ("maxpool", nn.MaxPool2d(3, 2, 1)),
    )
    channels = width
    for stage, count in enumerate(counts):
        inner = width * 2**stage
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            name, widened = f"layer{stage + 1}.{number}", expansion * inner
            through = nodes.chain(value, *block(name, channels, inner, stride))
            past = nodes.chain(value, *_shortcut(name, channels, widened, stride))
            total = nodes.join(f"{name}.add", Add(), through, past)
            value, channels = nodes.chain(total, (f"{name}.relu", nn.ReLU())), widened
    value = nodes.chain(
        value,
        ("avgpool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(channels, classes)),
    )
    network = nn.Graph("image", nodes, value)
    draw_weights(network, nn.Conv2d, he_normal(mode="fan_out", nonlinearity="relu"))
    return network


def resnet18(classes: int = 1000, in_channels: int = 3, width: int = 64) -> nn.Graph:
    """ResNet with 18 layers that have weights.

    Parameters
    ----------
    classes : int
        Number of scores.
    in_channels : int
        3 for colour images.
    width : int
        Channels of the first stage.

    Notes
    -----
    Input (N, in_channels, H, W), published for H = W = 224; output (N, classes). The weights have
    the names of torchvision's network of the same name.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.resnet18().output_shape((1, 3, 224, 224))
    (1, 1000)
    """
    return _resnet(_basic, 1, (2, 2, 2, 2), classes, in_channels, width)


def resnet34(classes: int = 1000, in_channels: int = 3, width: int = 64) -> nn.Graph:
    """ResNet with 34 layers that have weights; arguments and names as :func:`resnet18`.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.resnet34().output_shape((1, 3, 224, 224))
    (1, 1000)
    """
    return _resnet(_basic, 1, (3, 4, 6, 3), classes, in_channels, width)


def resnet50(classes: int = 1000, in_channels: int = 3, width: int = 64) -> nn.Graph:
    """ResNet with 50 layers that have weights; arguments and names as :func:`resnet18`.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.resnet50(classes=7, in_channels=1).output_shape((1, 1, 64, 64))
    (1, 7)
    """
    return _resnet(_bottleneck, 4, (3, 4, 6, 3), classes, in_channels, width)
