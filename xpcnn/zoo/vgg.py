"""VGG (Simonyan & Zisserman, "Very deep convolutional networks", 2014)."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn import layers as nn
from xpcnn.initializers import he_normal, normal, zeros
from xpcnn.zoo._build import draw_weights

# Convolutions of 64, 128, 256, 512 and 512 channels; pooling stands behind each group.
GROUPS_11 = (1, 1, 2, 2, 2)
GROUPS_16 = (2, 2, 3, 3, 3)


def _vgg(
    groups: Sequence[int],
    norm: bool,
    classes: int,
    in_channels: int,
    width: int,
    hidden: int,
    dropout: float,
) -> nn.Graph:
    features: list[nn.Layer] = []
    channels = in_channels
    for number, count in enumerate(groups):
        for _ in range(count):
            widened = width * min(2**number, 8)
            features.append(nn.Conv2d(channels, widened, 3, padding=1))
            if norm:
                features.append(nn.BatchNorm2d(widened))
            features.append(nn.ReLU())
            channels = widened
        features.append(nn.MaxPool2d(2, 2))
    classifier = nn.Sequential(
        nn.Linear(channels * 7 * 7, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )
    network = nn.Graph(
        "image",
        [
            ("features", nn.Sequential(*features), "image"),
            ("avgpool", nn.AdaptiveAvgPool2d((7, 7)), "features"),
            ("flatten", nn.Flatten(), "avgpool"),
            ("classifier", classifier, "flatten"),
        ],
        "classifier",
    )
    draw_weights(network, nn.Conv2d, he_normal(mode="fan_out", nonlinearity="relu"), zeros())
    draw_weights(network, nn.Linear, normal(0.0, 0.01), zeros())
    return network


def vgg11(
    classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> nn.Graph:
    """VGG with 11 layers that have weights.

    Parameters
    ----------
    classes : int
        Number of scores.
    in_channels : int
        3 for colour images.
    width : int
        Channels of the first group; the last ones have eight times as many.
    hidden : int
        Length of the two linear layers before the last.
    dropout : float
        Probability of an element of these to be dropped in training.

    Notes
    -----
    Input (N, in_channels, H, W) with H and W of 32 or more (published for 224), output
    (N, classes). The weights have the names of torchvision's network of the same name.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.vgg11().output_shape((1, 3, 224, 224))
    (1, 1000)
    """
    return _vgg(GROUPS_11, False, classes, in_channels, width, hidden, dropout)


def vgg11_bn(
    classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> nn.Graph:
    """VGG-11 with batch normalisation; arguments and names as :func:`vgg11`.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.vgg11_bn(classes=10, width=8, hidden=64).output_shape((1, 3, 32, 32))
    (1, 10)
    """
    return _vgg(GROUPS_11, True, classes, in_channels, width, hidden, dropout)


def vgg16(
    classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> nn.Graph:
    """VGG with 16 layers that have weights; arguments and names as :func:`vgg11`.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.vgg16().output_shape((1, 3, 224, 224))
    (1, 1000)
    """
    return _vgg(GROUPS_16, False, classes, in_channels, width, hidden, dropout)


def vgg16_bn(
    classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> nn.Graph:
    """VGG-16 with batch normalisation; arguments and names as :func:`vgg11`.

    Examples
    --------
    >>> from xpcnn import zoo
    >>> zoo.vgg16_bn(classes=10, width=8, hidden=64).output_shape((1, 3, 32, 32))
    (1, 10)
    """
    return _vgg(GROUPS_16, True, classes, in_channels, width, hidden, dropout)
