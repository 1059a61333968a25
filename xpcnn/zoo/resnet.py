"""ResNet (He et al., "Deep residual learning for image recognition", 2015).

The 50-layer network has its stride in the 3x3 convolution, as torchvision has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpcnn.initializers import he_normal
from xpcnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Graph,
    Linear,
    MaxPool2d,
    ReLU,
)
from xpcnn.operations import Add
from xpcnn.zoo._build import Nodes, draw_weights


def _basic(nodes: Nodes, name: str, value: str, inner: int, stride: int, channels: int) -> str:
    """Two 3x3 convolutions beside a shortcut."""
    through = nodes.chain(
        value,
        (f"{name}.conv1", Conv2d(channels, inner, 3, stride, 1, bias=False)),
        (f"{name}.bn1", BatchNorm2d(inner)),
        (f"{name}.relu1", ReLU()),
        (f"{name}.conv2", Conv2d(inner, inner, 3, 1, 1, bias=False)),
        (f"{name}.bn2", BatchNorm2d(inner)),
    )
    past = _shortcut(nodes, name, value, channels, inner, stride)
    return nodes.chain(nodes.join(f"{name}.add", Add(), through, past), (f"{name}.relu", ReLU()))


def _bottleneck(nodes: Nodes, name: str, value: str, inner: int, stride: int, channels: int) -> str:
    """A 3x3 convolution between two of 1x1, of which the last has four times the channels."""
    through = nodes.chain(
        value,
        (f"{name}.conv1", Conv2d(channels, inner, 1, bias=False)),
        (f"{name}.bn1", BatchNorm2d(inner)),
        (f"{name}.relu1", ReLU()),
        (f"{name}.conv2", Conv2d(inner, inner, 3, stride, 1, bias=False)),
        (f"{name}.bn2", BatchNorm2d(inner)),
        (f"{name}.relu2", ReLU()),
        (f"{name}.conv3", Conv2d(inner, 4 * inner, 1, bias=False)),
        (f"{name}.bn3", BatchNorm2d(4 * inner)),
    )
    past = _shortcut(nodes, name, value, channels, 4 * inner, stride)
    return nodes.chain(nodes.join(f"{name}.add", Add(), through, past), (f"{name}.relu", ReLU()))


def _shortcut(nodes: Nodes, name: str, value: str, channels: int, widened: int, stride: int) -> str:
    """Bring the value past a block to the shape of the block's output, if it has another one."""
    if channels == widened and stride == 1:
        return value
    return nodes.chain(
        value,
        (f"{name}.downsample.0", Conv2d(channels, widened, 1, stride, bias=False)),
        (f"{name}.downsample.1", BatchNorm2d(widened)),
    )


def _resnet(
    block: Callable[..., str],
    expansion: int,
    counts: Sequence[int],
    classes: int,
    in_channels: int,
    width: int,
) -> Graph:
    nodes = Nodes()
    value = nodes.chain(
        "image",
        ("conv1", Conv2d(in_channels, width, 7, 2, 3, bias=False)),
        ("bn1", BatchNorm2d(width)),
        ("relu", ReLU()),
        ("maxpool", MaxPool2d(3, 2, 1)),
    )
    channels = width
    for stage, count in enumerate(counts):
        inner = width * 2**stage
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            value = block(nodes, f"layer{stage + 1}.{number}", value, inner, stride, channels)
            channels = expansion * inner
    value = nodes.chain(
        value,
        ("avgpool", AdaptiveAvgPool2d(1)),
        ("flatten", Flatten()),
        ("fc", Linear(channels, classes)),
    )
    network = Graph("image", nodes, value)
    draw_weights(network, Conv2d, he_normal(mode="fan_out", nonlinearity="relu"))
    return network


def resnet18(classes: int = 1000, in_channels: int = 3, width: int = 64) -> Graph:
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


def resnet34(classes: int = 1000, in_channels: int = 3, width: int = 64) -> Graph:
    """ResNet with 34 layers that have weights; arguments and names as :func:`resnet18`."""
    return _resnet(_basic, 1, (3, 4, 6, 3), classes, in_channels, width)


def resnet50(classes: int = 1000, in_channels: int = 3, width: int = 64) -> Graph:
    """ResNet with 50 layers that have weights; arguments and names as :func:`resnet18`."""
    return _resnet(_bottleneck, 4, (3, 4, 6, 3), classes, in_channels, width)
