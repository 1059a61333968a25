"""LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998)."""

from __future__ import annotations

from xpcnn import layers as nn


def lenet5(classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """Two convolutions with average pooling, and three linear layers.

    As is usual today, the pooling has no weights, every map of the second convolution sees all of
    the first, and the last layer gives scores in place of distances.

    Parameters
    ----------
    classes : int
        Number of scores.
    in_channels : int
        1 for grey images.

    Notes
    -----
    Input (N, in_channels, 28, 28), output (N, classes).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import zoo
    >>> network = zoo.lenet5()
    >>> network(np.zeros((2, 1, 28, 28), dtype="float32")).shape
    (2, 10)
    >>> sum(p.data.size for p in network.parameters().values())
    61706
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )
