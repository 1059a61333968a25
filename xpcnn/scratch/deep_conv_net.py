"""The two-dimensional course: layers, losses, optimizers, and two networks made of them.

Examples
--------
>>> import numpy as np
>>> from xpcnn.scratch.deep_conv_net import Dropout, MaxPooling
>>> MaxPooling(2, 2, stride=2).forward(np.arange(16.0).reshape(1, 1, 4, 4))
array([[[[ 5.,  7.],
         [13., 15.]]]])
>>> Dropout(0.25).forward(np.array([[4.0, 8.0]]), train_flg=False)
array([[3., 6.]])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType

from xpcnn._xp import Array
from xpcnn.scratch import _optimizers
from xpcnn.scratch._conv_nets import DeepConvNet, SimpleConvNet
from xpcnn.scratch._layers import (
    Affine,
    Convolution,
    LeakyReLU,
    MaxPooling,
    Pooling,
    ReLU,
    Sigmoid,
    Tanh,
    softmax,
)
from xpcnn.scratch._losses import (
    MeanSquaredLoss,
    SoftmaxWithLoss,
    cross_entropy_error,
    mean_squared_error,
    sum_squared_error,
)
from xpcnn.scratch._norm_dropout import BatchNormalization, Dropout
from xpcnn.scratch._optimizers import SGD, Adadelta, AdaGrad, Momentum, RMSProp
from xpcnn.scratch._shared import as_number, columns, images, numerical_gradient

__all__ = [
    "im2col", "col2im",
    "Convolution", "MaxPooling", "Pooling", "Affine", "ReLU", "Relu", "LeakyReLU", "Sigmoid",
    "Tanh", "Dropout", "BatchNormalization", "SoftmaxWithLoss", "MeanSquaredLoss",
    "softmax", "cross_entropy_error", "mean_squared_error", "sum_squared_error",
    "numerical_gradient",
    "SGD", "Momentum", "AdaGrad", "RMSProp", "Adadelta", "Adam",
    "SimpleConvNet", "DeepConvNet",
]  # fmt: skip

Relu = ReLU


def im2col(
    input_data: Array,
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
    constant_values: float = 0,
) -> Array:
    """Lay out images (N, C, H, W) as rows, one for each window position.

    Parameters
    ----------
    input_data : array of shape (N, C, H, W)
    filter_h, filter_w : int
        Size of the window.
    stride, pad : int
    constant_values : number
        What the padding holds.

    Returns
    -------
    array of shape (N * OH * OW, C * filter_h * filter_w)

    Raises
    ------
    ValueError
        If the input is not (N, C, H, W), or the window does not fit into it.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import im2col
    >>> im2col(np.array([[[[1, 2]]]]), 1, 2, pad=0)
    array([[1, 2]])
    >>> im2col(np.array([[[[7]]]]), 3, 3, pad=1, constant_values=5)
    array([[5, 5, 5, 5, 7, 5, 5, 5, 5]])
    """
    return columns(input_data, (filter_h, filter_w), stride, pad, constant_values, "im2col")


def col2im(
    col: Array,
    input_shape: Sequence[int],
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
    is_backward: bool = False,
) -> Array:
    """Put rows of :func:`im2col` back into images.

    Parameters
    ----------
    col : array of shape (N * OH * OW, C * filter_h * filter_w)
    input_shape : (N, C, H, W)
    filter_h, filter_w, stride, pad : int
        As for :func:`im2col`.
    is_backward : bool
        Where windows overlap: ``True`` adds their contributions, which is how a gradient flows
        back through :func:`im2col`. ``False`` assigns them, so the image itself comes back.

    Returns
    -------
    array of shape `input_shape`
        Pixels that no window covers are zero.

    Raises
    ------
    ValueError
        If the number of elements of `col` does not follow from the other arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import col2im, im2col
    >>> x = np.arange(6).reshape(1, 1, 2, 3)
    >>> col2im(im2col(x, 2, 2), x.shape, 2, 2)
    array([[[[0, 1, 2],
             [3, 4, 5]]]])
    >>> col2im(im2col(x, 2, 2), x.shape, 2, 2, is_backward=True)
    array([[[[0, 2, 2],
             [3, 8, 5]]]])
    """
    return images(col, input_shape, (filter_h, filter_w), stride, pad, is_backward, "col2im")


class Adam(_optimizers.Adam):
    """Adam (Kingma & Ba, 2015), with the decay rates named rho.

    ``m = rho1 * m + (1 - rho1) * g; v = rho2 * v + (1 - rho2) * g * g``, then in step t
    ``p -= lr * (m / (1 - rho1**t)) / (sqrt(v / (1 - rho2**t)) + 1e-8)``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import Adam
    >>> optimizer = Adam(lr=0.1)
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # the first step is lr, whatever the gradient
    array([0.9])
    """

    def __init__(self, lr: float = 0.001, rho1: float = 0.9, rho2: float = 0.999) -> None:
        self.rho1 = as_number(rho1, "Adam", "rho1", 0.0, 1.0)
        self.rho2 = as_number(rho2, "Adam", "rho2", 0.0, 1.0)
        super().__init__(lr, rho1, rho2)
        self.epsilon = 1e-8

    def _new_values(self, xp: ModuleType, p: Array, g: Array, *kept: Array) -> tuple[Array, ...]:
        m, v = kept
        m = self.rho1 * m + (1.0 - self.rho1) * g
        v = self.rho2 * v + (1.0 - self.rho2) * g * g
        root = xp.sqrt(v) / math.sqrt(1.0 - self.rho2**self.iter)
        return p - (self.lr / (1.0 - self.rho1**self.iter)) * m / (root + self.epsilon), m, v
