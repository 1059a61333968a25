"""The two networks of the from-scratch courses, as one layer each."""

from __future__ import annotations

from xpcnn import networks
from xpcnn.layers import Sequential


def simple_conv_net(classes: int = 10) -> Sequential:
    """One convolution and two linear layers: ``networks.make("simple")`` as one layer.

    Parameters
    ----------
    classes : int
        Number of scores.

    Notes
    -----
    Input (N, C, H, W), any number of channels and any size of 6 or more; output (N, classes).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import zoo
    >>> zoo.simple_conv_net()(np.zeros((2, 1, 28, 28), dtype="float32")).shape
    (2, 10)
    """
    return Sequential(*networks.simple(classes))


def deep_conv_net(classes: int = 10) -> Sequential:
    """Six convolutions in three groups, and dropout: ``networks.make("deep")`` as one layer.

    Parameters
    ----------
    classes : int
        Number of scores.

    Notes
    -----
    Input (N, C, H, W), any number of channels and any size of 6 or more; output (N, classes).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import zoo
    >>> zoo.deep_conv_net()(np.zeros((2, 1, 28, 28), dtype="float32")).shape
    (2, 10)
    """
    return Sequential(*networks.deep(classes))
