"""The one-dimensional sprint: convolutions over signals, and a classifier made of one.

Examples
--------
The course's example by hand, forward and backward:

>>> import numpy as np
>>> from xpcnn.scratch.conv1d import SimpleConv1d
>>> conv = SimpleConv1d(W=np.array([3, 5, 7]), b=np.array([1]))
>>> conv.forward(np.array([1, 2, 3, 4]))
array([35., 50.])
>>> conv.backward(np.array([10, 20]))
array([ 30., 110., 170., 140.])
>>> conv.dW, conv.db
(array([ 50.,  80., 110.]), array([30.]))
"""

from __future__ import annotations

from xpcnn._xp import Array
from xpcnn.scratch import _batches, _optimizers
from xpcnn.scratch._classifier1d import Scratch1dCNNClassifier
from xpcnn.scratch._conv1d import (
    Conv1d,
    MaxPooling1D,
    SimpleConv1d,
    col2im_1d,
    get_output_size,
    im2col_1d,
)
from xpcnn.scratch._layers import Affine, Flatten, ReLU, Softmax, softmax
from xpcnn.scratch._losses import SoftmaxWithLoss, cross_entropy_error
from xpcnn.scratch._optimizers import SGD, AdaGrad

__all__ = [
    "get_output_size", "im2col_1d", "col2im_1d",
    "SimpleConv1d", "Conv1d", "MaxPooling1D", "Flatten", "Affine", "ReLU", "Softmax",
    "SoftmaxWithLoss", "softmax", "cross_entropy_error",
    "SGD", "AdaGrad", "Adam", "GetMiniBatch", "Scratch1dCNNClassifier",
]  # fmt: skip


class GetMiniBatch(_batches.GetMiniBatch):
    """Shuffled mini-batches of samples and labels, for a ``for`` loop, 10 at a time.

    The arguments are those of :class:`xpcnn.scratch.deep_nn.GetMiniBatch`, which takes 20 at a time
    unless told otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import GetMiniBatch
    >>> [len(x) for x, y in GetMiniBatch(np.zeros((25, 3)), np.zeros(25))]
    [10, 10, 5]
    """

    def __init__(self, X: Array, y: Array, batch_size: int = 10, seed: int | None = 0) -> None:
        super().__init__(X, y, batch_size, seed)


class Adam(_optimizers.Adam):
    """Adam as :class:`xpcnn.scratch.simple_conv_net.Adam` has it, with a larger default of `lr`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import Adam
    >>> optimizer = Adam(lr=0.1)
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # the first step is lr, whatever the gradient
    array([0.9])
    """

    def __init__(self, lr: float = 0.01, beta1: float = 0.9, beta2: float = 0.999) -> None:
        super().__init__(lr, beta1, beta2)
