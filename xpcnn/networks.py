"""Small networks by name: those of the from-scratch courses, ready to train, and one for photos.

Each function returns a fresh list of layers for images of shape (N, 1, 28, 28), or any other size
large enough: input widths are inferred when the model is built.
"""

from __future__ import annotations

from collections.abc import Callable

from xpcnn import layers as nn
from xpcnn.errors import choice_error

__all__ = ["NETWORKS", "deep", "make", "mlp", "oned", "photo", "simple"]


def simple(classes: int = 10) -> list[nn.Layer]:
    """One convolution and two linear layers: the first network of the course.

    Examples
    --------
    >>> import xpcnn
    >>> model = xpcnn.Model(xpcnn.networks.simple(classes=5), device="cpu", seed=0)
    >>> model.build((None, 1, 28, 28))
    (1, 5)
    """
    return [
        nn.Conv2d(out_channels=30, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(out_features=100),
        nn.ReLU(),
        nn.Linear(out_features=classes),
    ]


def deep(classes: int = 10) -> list[nn.Layer]:
    """Six convolutions in three groups, and dropout: above 0.993 on all of MNIST.

    Examples
    --------
    >>> import xpcnn
    >>> model = xpcnn.Model(xpcnn.networks.deep(classes=5), device="cpu", seed=0)
    >>> model.build((None, 1, 28, 28))
    (1, 5)
    """
    return [
        nn.Conv2d(out_channels=16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out_channels=16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(out_channels=32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out_channels=32, kernel_size=3, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(out_channels=64, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out_channels=64, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(out_features=50),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(out_features=classes),
    ]


def mlp(classes: int = 10) -> list[nn.Layer]:
    """Three linear layers, no convolution: what a CNN is compared with.

    Examples
    --------
    >>> import xpcnn
    >>> model = xpcnn.Model(xpcnn.networks.mlp(classes=5), device="cpu", seed=0)
    >>> model.build((None, 1, 28, 28))
    (1, 5)
    """
    return [
        nn.Flatten(),
        nn.Linear(out_features=400),
        nn.ReLU(),
        nn.Linear(out_features=200),
        nn.ReLU(),
        nn.Linear(out_features=classes),
    ]


def oned(classes: int = 10) -> list[nn.Layer]:
    """A convolution along the pixels in reading order: the one-dimensional network.

    Examples
    --------
    >>> import xpcnn
    >>> model = xpcnn.Model(xpcnn.networks.oned(classes=5), device="cpu", seed=0)
    >>> model.build((None, 1, 28, 28))
    (1, 5)
    """
    return [
        nn.Flatten(start_dim=2),
        nn.Conv1d(out_channels=30, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(out_features=100),
        nn.ReLU(),
        nn.Linear(out_features=classes),
    ]


def photo(classes: int = 10) -> list[nn.Layer]:
    """Five convolutions with batch normalisation, then the mean of each channel: for photographs.

    It takes images of any size, and has 250,000 parameters.

    Examples
    --------
    >>> import xpcnn
    >>> model = xpcnn.Model(xpcnn.networks.photo(classes=5), device="cpu", seed=0)
    >>> model.build((None, 3, 96, 128))
    (1, 5)
    """
    blocks: list[nn.Layer] = []
    for channels in (16, 32, 64, 128, 128):
        blocks += [
            nn.Conv2d(out_channels=channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
        ]
    blocks[-1] = nn.AdaptiveAvgPool2d(1)
    return [*blocks, nn.Flatten(), nn.Dropout(0.2), nn.Linear(out_features=classes)]


NETWORKS: dict[str, Callable[[int], list[nn.Layer]]] = {
    network.__name__: network for network in (simple, deep, mlp, oned, photo)
}
"""The functions by the names that :func:`make` and ``xpcnn train --network`` take."""


def make(name: str, classes: int = 10) -> list[nn.Layer]:
    """Return the layers of the network called `name`, for so many classes.

    Raises
    ------
    ValueError
        If there is no network of that name.

    Examples
    --------
    >>> from xpcnn import networks
    >>> len(networks.make("simple"))
    7
    """
    if name not in NETWORKS:
        raise choice_error("networks.make", "name", name, list(NETWORKS))
    return NETWORKS[name](classes)
