"""The plain two-dimensional network: convolution, pooling, two affine layers, softmax.

In the form of Saitoh, "Deep Learning from Scratch" (O'Reilly, 2016), chapter 7.

Examples
--------
>>> import numpy as np
>>> from xpcnn.scratch.simple_conv_net import Adam, SimpleConvNet
>>> np.random.seed(0)
>>> x, t = np.random.rand(20, 1, 12, 12), np.arange(20) % 2
>>> net = SimpleConvNet(input_dim=(1, 12, 12), output_size=2, hidden_size=10)
>>> before = net.loss(x, t)
>>> optimizer = Adam(lr=0.01)
>>> for _ in range(5):
...     optimizer.update(net.params, net.gradient(x, t))
>>> bool(net.loss(x, t) < before)
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.scratch._conv_nets import OneConvolution
from xpcnn.scratch._layers import Affine, Convolution, Pooling, ReLU, softmax
from xpcnn.scratch._losses import SoftmaxWithLoss, cross_entropy_error
from xpcnn.scratch._network import Layers
from xpcnn.scratch._optimizers import SGD, AdaGrad, Adam, Momentum
from xpcnn.scratch._shared import columns, images, numerical_gradient

__all__ = [
    "im2col", "col2im", "Convolution", "Pooling", "Affine", "Relu", "SoftmaxWithLoss", "softmax",
    "cross_entropy_error", "numerical_gradient",
    "SGD", "Momentum", "AdaGrad", "Adam", "SimpleConvNet",
]  # fmt: skip


class Relu(ReLU):
    """``max(x, 0)``, element by element; `forward(x)`, `backward(dout)`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.simple_conv_net import Relu
    >>> relu = Relu()
    >>> relu.forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    >>> relu.backward(np.array([5.0, 7.0]))
    array([0., 7.])
    """


def im2col(input_data: Array, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0) -> Array:
    """Lay out images (N, C, H, W) as rows, one for each window position.

    Parameters
    ----------
    input_data : array of shape (N, C, H, W)
    filter_h, filter_w : int
        Size of the window.
    stride, pad : int

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
    >>> from xpcnn.scratch.simple_conv_net import im2col
    >>> im2col(np.arange(9).reshape(1, 1, 3, 3), 2, 2)
    array([[0, 1, 3, 4],
           [1, 2, 4, 5],
           [3, 4, 6, 7],
           [4, 5, 7, 8]])
    """
    return columns(input_data, (filter_h, filter_w), stride, pad, 0, "im2col")


def col2im(
    col: Array,
    input_shape: Sequence[int],
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
) -> Array:
    """Add rows of :func:`im2col` back into images: its transpose.

    Parameters
    ----------
    col : array of shape (N * OH * OW, C * filter_h * filter_w)
    input_shape : (N, C, H, W)
    filter_h, filter_w, stride, pad : int
        As for :func:`im2col`.

    Returns
    -------
    array of shape `input_shape`
        Pixels that several windows cover hold the sum.

    Raises
    ------
    ValueError
        If the number of elements of `col` does not follow from the other arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.simple_conv_net import col2im
    >>> col2im(np.ones((4, 4)), (1, 1, 3, 3), 2, 2)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    return images(col, input_shape, (filter_h, filter_w), stride, pad, True, "col2im")


class SimpleConvNet(OneConvolution):
    """Convolution, ReLU, 2 x 2 max pooling, affine, ReLU, affine, softmax cross-entropy.

    Parameters
    ----------
    input_dim : (int, int, int)
        Channels, height and width of an image.
    conv_param : dict
        ``filter_num`` (or ``n_filters``), ``filter_size``, ``pad`` and ``stride`` of the
        convolution.
    hidden_size, output_size : int
        Outputs of the first affine layer, and the number of classes.
    weight_init_std : float
        Standard deviation of the initial weights; biases start from zero.
    device : str or Device
        Where the weights lie; images are moved there.
    dtype : str
        Of the weights.

    Attributes
    ----------
    params : dict of str to array
        ``W1``, ``b1`` (convolution), ``W2``, ``b2``, ``W3``, ``b3`` (affine).
    layers : OrderedDict
        ``Conv1``, ``Relu1``, ``Pool1``, ``Affine1``, ``Relu2``, ``Affine2``.
    last_layer : SoftmaxWithLoss

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.simple_conv_net import SimpleConvNet
    >>> net = SimpleConvNet(hidden_size=20)
    >>> net.predict(np.zeros((2, 1, 28, 28))).shape
    (2, 10)
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param: Mapping[str, int] | None = None,
        hidden_size: int = 100,
        output_size: int = 10,
        weight_init_std: float = 0.01,
        *,
        device: str | Device = "cpu",
        dtype: str = "float64",
    ) -> None:
        super().__init__(device, dtype, input_dim, "(N, C, H, W)")
        conv1, _, affine1, affine2 = self._make_weighted(
            conv_param, None, hidden_size, output_size, weight_init_std
        )
        # the course's order, which files keep
        self.params = {key: self.params[key] for key in ("W1", "W2", "W3", "b1", "b2", "b3")}
        self.layers = Layers(
            Conv1=conv1,
            Relu1=Relu(),
            Pool1=Pooling(pool_h=2, pool_w=2, stride=2),
            Affine1=affine1,
            Relu2=Relu(),
            Affine2=affine2,
        )
        self.last_layer = SoftmaxWithLoss()
