"""U-Net (Ronneberger et al., "Convolutional networks for biomedical image segmentation", 2015)."""

from __future__ import annotations

from xpcnn import layers as nn
from xpcnn.initializers import he_normal
from xpcnn.operations import Concat
from xpcnn.zoo._build import Nodes, draw_weights


def _two_convolutions(name: str, channels: int, out: int) -> list[tuple[str, nn.Layer]]:
    return [
        (f"{name}.conv1", nn.Conv2d(channels, out, 3, padding=1, bias=False)),
        (f"{name}.bn1", nn.BatchNorm2d(out)),
        (f"{name}.relu1", nn.ReLU()),
        (f"{name}.conv2", nn.Conv2d(out, out, 3, padding=1, bias=False)),
        (f"{name}.bn2", nn.BatchNorm2d(out)),
        (f"{name}.relu2", nn.ReLU()),
    ]


def unet(classes: int = 2, in_channels: int = 1, width: int = 64, depth: int = 4) -> nn.Graph:
    """Scores for every pixel: a network that goes down to small sizes and up again.

    On its way up it takes in what it had at each size on its way down. Other than in the paper,
    the convolutions pad, so that the output has the size of the input, and are normalised.

    Parameters
    ----------
    classes : int
        Scores per pixel.
    in_channels : int
        1 for grey images.
    width : int
        Channels at full size; each size below has twice as many.
    depth : int
        How often the size is halved.

    Notes
    -----
    Input (N, in_channels, H, W) with H and W divisible by ``2 ** depth``, output (N, classes, H,
    W).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import zoo
    >>> network = zoo.unet(classes=3, width=4, depth=2)
    >>> network(np.zeros((1, 1, 16, 24), dtype="float32")).shape
    (1, 3, 16, 24)
    """
    nodes = Nodes()
    widths = [width * 2**level for level in range(depth + 1)]
    value = nodes.chain("image", *_two_convolutions("down0", in_channels, width))
    kept = [value]
    for level in range(1, depth + 1):
        value = nodes.chain(
            value,
            (f"pool{level}", nn.MaxPool2d(2)),
            *_two_convolutions(f"down{level}", widths[level - 1], widths[level]),
        )
        kept.append(value)
    for level in reversed(range(depth)):
        wide, narrow = widths[level + 1], widths[level]
        value = nodes.chain(value, (f"up{level}.transpose", nn.ConvTranspose2d(wide, narrow, 2, 2)))
        value = nodes.join(f"up{level}.concat", Concat(1), kept[level], value)
        value = nodes.chain(value, *_two_convolutions(f"up{level}", wide, narrow))
    value = nodes.chain(value, ("scores", nn.Conv2d(width, classes, 1)))
    network = nn.Graph("image", nodes, value)
    draw_weights(network, nn.Conv2d, he_normal(nonlinearity="relu"))
    return network
