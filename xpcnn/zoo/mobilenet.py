"""MobileNetV2 (Sandler et al., "Inverted residuals and linear bottlenecks", 2018)."""

from __future__ import annotations

from xpcnn import layers as nn
from xpcnn.initializers import he_normal, normal, zeros
from xpcnn.operations import Add
from xpcnn.zoo._build import Nodes, draw_weights

# Table 2 of the paper: factor by which a block widens, channels, number of blocks, first stride.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _scaled(channels: int, width: float) -> int:
    """Scale a number of channels to a multiple of 8 that is not more than a tenth too small."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _conv_block(
    name: str, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[tuple[str, nn.Layer]]:
    padding = (kernel - 1) // 2
    return [
        (f"{name}.0", nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False)),
        (f"{name}.1", nn.BatchNorm2d(out)),
        (f"{name}.2", nn.ReLU6()),
    ]


def _inverted_residual(
    nodes: Nodes, name: str, value: str, channels: int, out: int, factor: int, stride: int
) -> str:
    """Widen, convolve each channel by itself, and narrow again without a nonlinearity."""
    inner = channels * factor
    layers = []
    if factor != 1:
        layers += _conv_block(f"{name}.conv.0", channels, inner)
    layers += _conv_block(f"{name}.conv.{len(layers) // 3}", inner, inner, 3, stride, inner)
    last = len(layers) // 3
    layers += [
        (f"{name}.conv.{last}", nn.Conv2d(inner, out, 1, bias=False)),
        (f"{name}.conv.{last + 1}", nn.BatchNorm2d(out)),
    ]
    through = nodes.chain(value, *layers)
    if stride == 1 and channels == out:
        return nodes.join(f"{name}.add", Add(), value, through)
    return through


def mobilenet_v2(
    classes: int = 1000, in_channels: int = 3, width: float = 1.0, dropout: float = 0.2
) -> nn.Graph:
    """MobileNetV2: inverted residual blocks of depthwise convolutions.

    Parameters
    ----------
    classes : int
        Number of scores.
    in_channels : int
        3 for colour images.
    width : float
        Factor for the channels of all layers (``width_mult`` in torchvision).
    dropout : float
        Probability of a feature to be dropped before the last layer.

    Notes
    -----
    Input (N, in_channels, H, W), published for H = W = 224; output (N, classes). The weights have
    the names of torchvision's ``mobilenet_v2``.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.mobilenet_v2(classes=5).output_shape((1, 3, 224, 224))
    (1, 5)

    Half the width, about a quarter of the multiply-adds:

    >>> full, half = (zoo.mobilenet_v2(width=width) for width in (1.0, 0.5))
    >>> half.multiply_adds((1, 3, 224, 224)) < 0.35 * full.multiply_adds((1, 3, 224, 224))
    True
    """
    nodes = Nodes()
    channels = _scaled(32, width)
    value = nodes.chain("image", *_conv_block("features.0", in_channels, channels, 3, 2))
    number = 1
    for factor, out, count, first_stride in STAGES:
        for repeat in range(count):
            name, widened = f"features.{number}", _scaled(out, width)
            stride = first_stride if repeat == 0 else 1
            value = _inverted_residual(nodes, name, value, channels, widened, factor, stride)
            channels, number = widened, number + 1
    last = _scaled(1280, max(1.0, width))
    value = nodes.chain(
        value,
        *_conv_block(f"features.{number}", channels, last),
        ("avgpool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("classifier.0", nn.Dropout(dropout)),
        ("classifier.1", nn.Linear(last, classes)),
    )
    network = nn.Graph("image", nodes, value)
    draw_weights(network, nn.Conv2d, he_normal(mode="fan_out"))
    draw_weights(network, nn.Linear, normal(0.0, 0.01), zeros())
    return network
