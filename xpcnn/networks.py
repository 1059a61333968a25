"""Small networks by name: those of the from-scratch courses, ready to train.

Each function returns a fresh list of layers for images of shape (N, 1, 28, 28), or any other size
large enough: input widths are inferred when the model is built.
"""

from __future__ import annotations

from collections.abc import Callable

from xpcnn.errors import choice_error
from xpcnn.layers import (
    Conv1d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool1d,
    MaxPool2d,
    ReLU,
)


def simple(classes: int = 10) -> list[Layer]:
    """One convolution and two linear layers: the first network of the course."""
    return [
        Conv2d(out_channels=30, kernel_size=5),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(out_features=100),
        ReLU(),
        Linear(out_features=classes),
    ]


def deep(classes: int = 10) -> list[Layer]:
    """Six convolutions in three groups, and dropout: above 0.993 on all of MNIST."""
    return [
        Conv2d(out_channels=16, kernel_size=3, padding=1),
        ReLU(),
        Conv2d(out_channels=16, kernel_size=3, padding=1),
        ReLU(),
        MaxPool2d(2),
        Conv2d(out_channels=32, kernel_size=3, padding=1),
        ReLU(),
        Conv2d(out_channels=32, kernel_size=3, padding=2),
        ReLU(),
        MaxPool2d(2),
        Conv2d(out_channels=64, kernel_size=3, padding=1),
        ReLU(),
        Conv2d(out_channels=64, kernel_size=3, padding=1),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(out_features=50),
        ReLU(),
        Dropout(0.5),
        Linear(out_features=classes),
    ]


def mlp(classes: int = 10) -> list[Layer]:
    """Three linear layers, no convolution: what a CNN is compared with."""
    return [
        Flatten(),
        Linear(out_features=400),
        ReLU(),
        Linear(out_features=200),
        ReLU(),
        Linear(out_features=classes),
    ]


def oned(classes: int = 10) -> list[Layer]:
    """A convolution along the pixels in reading order: the one-dimensional network."""
    return [
        Flatten(start_dim=2),
        Conv1d(out_channels=30, kernel_size=5),
        ReLU(),
        MaxPool1d(2),
        Flatten(),
        Linear(out_features=100),
        ReLU(),
        Linear(out_features=classes),
    ]


NETWORKS: dict[str, Callable[[int], list[Layer]]] = {
    "simple": simple,
    "deep": deep,
    "mlp": mlp,
    "oned": oned,
}


def make(name: str, classes: int = 10) -> list[Layer]:
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
