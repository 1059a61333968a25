"""The two networks of the two-dimensional course; public through ``deep_conv_net``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.scratch._layers import Affine, Convolution, MaxPooling, ReLU
from xpcnn.scratch._losses import MeanSquaredLoss, SoftmaxWithLoss
from xpcnn.scratch._network import Layers, Network, check_param, check_pool_param, size_after
from xpcnn.scratch._norm_dropout import BatchNormalization, Dropout
from xpcnn.scratch._shared import as_number
from xpcnn.window import as_int

CONV_3X3 = {"filter_size": 3, "pad": 1, "stride": 1}
DEEP_DEFAULTS = (
    {"filter_num": 16, **CONV_3X3},
    {"filter_num": 16, **CONV_3X3},
    {"filter_num": 32, **CONV_3X3},
    {"filter_num": 32, **CONV_3X3, "pad": 2},
    {"filter_num": 64, **CONV_3X3},
    {"filter_num": 64, **CONV_3X3},
)


class OneConvolution(Network):
    """A network of one convolution with pooling, and two affine layers."""

    def _make_weighted(
        self,
        conv_param: Mapping[str, int] | None,
        pool_param: Mapping[str, int] | None,
        hidden_size: int,
        output_size: int,
        weight_init_std: float,
    ) -> tuple[Convolution, dict[str, Any], Affine, Affine]:
        """Check settings; return the layers with weights, and the settings of the pooling."""
        who = type(self).__name__
        hidden_size = as_int(hidden_size, who, "hidden_size", 1)
        output_size = as_int(output_size, who, "output_size", 1)
        std = as_number(weight_init_std, who, "weight_init_std")
        defaults = {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}
        conv = check_param(conv_param, defaults, f"{who} conv_param")
        pool = check_pool_param(pool_param, f"{who} pool_param")
        channels, *size = self._input_shape
        filters, filter_size = conv["filter_num"], conv["filter_size"]
        out = size_after(tuple(size), filter_size, conv["stride"], conv["pad"], who)
        out = size_after(out, pool["pool_size"], pool["stride"], pool["pad"], who)
        shape = (filters, channels, filter_size, filter_size)
        conv1 = self._weighted(Convolution, 1, std, shape, conv["stride"], conv["pad"])
        affine1 = self._weighted(Affine, 2, std, (filters * prod(out), hidden_size))
        affine2 = self._weighted(Affine, 3, std, (hidden_size, output_size))
        return conv1, pool, affine1, affine2


class SimpleConvNet(OneConvolution):
    """Convolution, pooling, dropout, batch normalisation, mean squared loss, weight decay.

    Convolution, ReLU, max pooling, dropout 0.15, affine, batch normalisation, ReLU, affine; the
    loss is the mean squared one plus ``weight_decay_lambda / 2`` times the sum of squares of
    ``W1``, ``W2`` and ``W3``.

    Parameters
    ----------
    input_dim : (int, int, int)
        Channels, height and width of an image.
    conv_param : dict
        ``filter_num`` (or ``n_filters``), ``filter_size``, ``pad`` and ``stride`` of the
        convolution.
    pool_param : dict
        ``pool_size``, ``pad`` and ``stride`` of the pooling.
    hidden_size, output_size : int
        Outputs of the first affine layer, and the number of classes.
    weight_init_std : float
        Standard deviation of the initial weights; biases start from zero.
    weight_decay_lambda : float
    device : str or Device
        Where the weights lie; images are moved there.
    dtype : str
        Of the weights.

    Attributes
    ----------
    params : dict of str to array
        ``W1``, ``b1`` (convolution), ``W2``, ``b2``, ``W3``, ``b3`` (affine), and ``gamma1``,
        ``beta1`` (batch normalisation).
    layers : OrderedDict
        ``Conv1``, ``ReLU1``, ``Pool1``, ``Drop1``, ``Affine1``, ``BatchNorm1``, ``ReLU2``,
        ``Affine2``.
    last_layer : MeanSquaredLoss

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import SimpleConvNet
    >>> net = SimpleConvNet(hidden_size=20)
    >>> net.predict(np.zeros((2, 1, 28, 28))).shape
    (2, 15)
    """

    takes_flag = (Dropout, BatchNormalization)
    hidden_layer_num = 1

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param: Mapping[str, int] | None = None,
        pool_param: Mapping[str, int] | None = None,
        hidden_size: int = 100,
        output_size: int = 15,
        weight_init_std: float = 0.025,
        weight_decay_lambda: float = 0.015,
        *,
        device: str | Device = "cpu",
        dtype: str = "float64",
    ) -> None:
        super().__init__(device, dtype, input_dim, "(N, C, H, W)")
        self.weight_decay_lambda = as_number(
            weight_decay_lambda, "SimpleConvNet", "weight_decay_lambda"
        )
        conv1, pool, affine1, affine2 = self._make_weighted(
            conv_param, pool_param, hidden_size, output_size, weight_init_std
        )
        hidden_size = affine1.b.shape[0]
        gamma = self._new_param("gamma1", np.ones(hidden_size))
        beta = self._new_param("beta1", np.zeros(hidden_size))
        self.layers = Layers(
            Conv1=conv1,
            ReLU1=ReLU(),
            Pool1=MaxPooling(pool["pool_size"], pool["pool_size"], pool["stride"], pool["pad"]),
            Drop1=Dropout(0.15),
            Affine1=affine1,
            BatchNorm1=self._own(BatchNormalization(gamma, beta), 1, ("gamma", "beta")),
            ReLU2=ReLU(),
            Affine2=affine2,
        )
        self.last_layer = MeanSquaredLoss()

    def loss(self, x: Array, t: Any) -> Any:
        """Return the loss of a training forward, weight decay included."""
        decay = 0.0
        for key in ("W1", "W2", "W3"):
            w = self.params[key]
            decay = decay + _xp.namespace(w).sum(w * w, dtype=w.dtype)
        return super().loss(x, t) + 0.5 * self.weight_decay_lambda * decay

    def gradient(self, x: Array, t: Any) -> dict[str, Array]:
        """Return the gradient of the loss for every entry of ``params``."""
        grads = super().gradient(x, t)
        for key in ("W1", "W2", "W3"):
            grads[key] = grads[key] + self.weight_decay_lambda * self.params[key]
        return grads


class DeepConvNet(Network):
    """Six convolutions and two affine layers, after Saitoh (2016), chapter 8.

    Three times (convolution, ReLU, convolution, ReLU, 2 x 2 max pooling), then affine, ReLU,
    dropout 0.5, affine, dropout 0.5, softmax cross-entropy. Initial weights after He et al.
    (2015): N(0, 2 / fan-in).

    Parameters
    ----------
    input_dim : (int, int, int)
        Channels, height and width of an image.
    conv_param_1, conv_param_2, conv_param_3, conv_param_4, conv_param_5, conv_param_6 : dict
        ``filter_num`` (16, 16, 32, 32, 64, 64), ``filter_size`` (3), ``pad`` (1, and 2 in the
        fourth) and ``stride`` (1) of the convolutions.
    hidden_size, output_size : int
        Outputs of the first affine layer, and the number of classes.
    device : str or Device
        Where the weights lie; images are moved there.
    dtype : str
        Of the weights.

    Attributes
    ----------
    params : dict of str to array
        ``W1``, ``b1`` to ``W8``, ``b8``.
    layers : list
    last_layer : SoftmaxWithLoss

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import DeepConvNet
    >>> net = DeepConvNet()
    >>> net.predict(np.zeros((2, 1, 28, 28))).shape
    (2, 10)
    """

    takes_flag = (Dropout,)

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param_1: Mapping[str, int] | None = None,
        conv_param_2: Mapping[str, int] | None = None,
        conv_param_3: Mapping[str, int] | None = None,
        conv_param_4: Mapping[str, int] | None = None,
        conv_param_5: Mapping[str, int] | None = None,
        conv_param_6: Mapping[str, int] | None = None,
        hidden_size: int = 50,
        output_size: int = 10,
        *,
        device: str | Device = "cpu",
        dtype: str = "float64",
    ) -> None:
        super().__init__(device, dtype, input_dim, "(N, C, H, W)")
        given = (
            conv_param_1, conv_param_2, conv_param_3, conv_param_4, conv_param_5, conv_param_6
        )  # fmt: skip
        hidden_size = as_int(hidden_size, "DeepConvNet", "hidden_size", 1)
        output_size = as_int(output_size, "DeepConvNet", "output_size", 1)
        self.layers: list[Any] = []
        channels, *size = self._input_shape
        out = tuple(size)
        for number, (param, defaults) in enumerate(zip(given, DEEP_DEFAULTS, strict=True), 1):
            conv = check_param(param, defaults, f"DeepConvNet conv_param_{number}")
            f, stride, pad = conv["filter_size"], conv["stride"], conv["pad"]
            shape = (conv["filter_num"], channels, f, f)
            self.layers += [self._he(Convolution, number, shape, stride, pad), ReLU()]
            channels = conv["filter_num"]
            out = size_after(out, f, stride, pad, "DeepConvNet")
            if number % 2 == 0:
                self.layers.append(MaxPooling(pool_h=2, pool_w=2, stride=2))
                out = size_after(out, 2, 2, 0, "DeepConvNet")
        self.layers += [self._he(Affine, 7, (channels * prod(out), hidden_size)), ReLU()]
        self.layers += [Dropout(0.5), self._he(Affine, 8, (hidden_size, output_size)), Dropout(0.5)]
        self.last_layer = SoftmaxWithLoss()

    def _he(self, kind: Any, number: int, shape: tuple[int, ...], *settings: Any) -> Any:
        """Make a layer with the initial weights of He et al."""
        fan_in = shape[0] if kind is Affine else prod(shape[1:])
        return self._weighted(kind, number, sqrt(2.0 / fan_in), shape, *settings)
