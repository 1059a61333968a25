"""Dropout and batch normalisation, which do different things in training and evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.scratch._layers import ScratchLayer
from xpcnn.scratch._shared import as_floats, as_number, channels_last


class Dropout(ScratchLayer):
    """Set elements to zero at random in training; at evaluation multiply by the share kept.

    This is dropout as first published (Srivastava et al., 2014), not the inverted form of
    :class:`xpcnn.Dropout`, which scales in training instead.

    Parameters
    ----------
    dropout_ratio : float
        Probability of an element to be dropped, from 0 to 1.

    Attributes
    ----------
    mask : array of the shape of the input, or None
        1 for what the last training forward kept, 0 for what it dropped.

    Raises
    ------
    ValueError
        If the ratio is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import Dropout
    >>> Dropout(0.25).forward(np.array([[4.0, 8.0]]), train_flg=False)
    array([[3., 6.]])
    """

    def __init__(self, dropout_ratio: float = 0.15) -> None:
        self.dropout_ratio = as_number(dropout_ratio, "Dropout", "dropout_ratio", 0.0, 1.0)
        self.mask: Array = None

    @property
    def vaild_ratio(self) -> float:
        """The share that is kept, under the course's name."""
        return 1.0 - self.dropout_ratio

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        (x,) = as_floats(self.who, x)
        if not train_flg:
            return self._keep(x * self.vaild_ratio, self.vaild_ratio)
        kept = np.random.rand(*x.shape) >= self.dropout_ratio
        self.mask = Device.of(x).asarray(kept, _xp.dtype_name(x))
        return self._keep(x * self.mask, self.mask)

    def backward(self, dout: Array) -> Array:
        dout, factor = self._recall(dout)
        return dout * factor


class BatchNormalization(ScratchLayer):
    """Batch normalisation (Ioffe & Szegedy, 2015) of (N, D), or of each channel of (N, C, H, W).

    Parameters
    ----------
    gamma, beta : array of shape (D,), or None
        Scale and shift. ``None`` starts from ones and zeros at the first forward.
    rho : float
        Share of the old value in the moving averages.
    moving_mean, moving_var : array of shape (D,), optional
        What ``forward(x, train_flg=False)`` normalises with. They start from zeros at the first
        training forward; before that, evaluation takes mean 0 and variance 1.

    Attributes
    ----------
    dgamma, dbeta : array of shape (D,), or None
        Gradients, after `backward`.
    batch_size, x_mu, x_std, std
        Of the last training forward: how many rows were normalised, (N, D) or (N * H * W, C); the
        rows less their mean; these divided by the standard deviation; and that, of shape (D,).

    Raises
    ------
    ValueError
        If an input is neither (N, D) nor (N, C, H, W), or its D is not that of `gamma`.

    Notes
    -----
    Gamma and beta are parameters: put them into the dict that the optimizer updates.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import BatchNormalization
    >>> layer = BatchNormalization(None, None)
    >>> layer.forward(np.array([[1.0], [3.0]]), train_flg=True).round(3)  # mean 2, variance 1
    array([[-1.], [ 1.]])
    """

    epsilon = 1e-8

    def __init__(
        self,
        gamma: Array | None,
        beta: Array | None,
        rho: float = 0.9,
        moving_mean: Array | None = None,
        moving_var: Array | None = None,
    ) -> None:
        self.gamma = gamma
        self.beta = beta
        self.rho = as_number(rho, "BatchNormalization", "rho", 0.0, 1.0)
        self.moving_mean = moving_mean
        self.moving_var = moving_var
        self.dgamma: Array = None
        self.dbeta: Array = None
        self._measured: Any = None  # input, mean and variance of the last training forward

    @property
    def batch_size(self) -> int | None:
        return None if self._measured is None else self.x_mu.shape[0]

    @property
    def x_mu(self) -> Array:
        if self._measured is None:
            return None
        x, mean, _ = self._measured
        return channels_last(x) - mean

    @property
    def std(self) -> Array:
        if self._measured is None:
            return None
        variance = self._measured[2]
        return _xp.namespace(variance).sqrt(variance + self.epsilon)

    @property
    def x_std(self) -> Array:
        return None if self._measured is None else self.x_mu / self.std

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        (x,) = as_floats(self.who, x)
        xp = _xp.namespace(x)
        if x.ndim not in (2, 4):
            raise ValueError(
                f"{self.who}: expected an input (N, D) or (N, C, H, W), got {x.ndim} dimensions "
                f"with shape {tuple(x.shape)}"
            )
        ones = xp.ones((x.shape[1],), dtype=x.dtype, device=_xp.device_of(x))
        if self.gamma is None:
            self.gamma = xp.asarray(ones, copy=True)
        if self.beta is None:
            self.beta = xp.zeros_like(ones)
        x, gamma, beta = as_floats(self.who, x, self.gamma, self.beta)
        if tuple(gamma.shape) != (x.shape[1],) or tuple(beta.shape) != (x.shape[1],):
            raise ValueError(
                f"{self.who}: gamma and beta have shapes {tuple(gamma.shape)} and "
                f"{tuple(beta.shape)}, but axis 1 of an input of shape {tuple(x.shape)} is "
                f"{x.shape[1]} long"
            )
        statistics = None
        if not train_flg:
            mean = xp.zeros_like(ones) if self.moving_mean is None else self.moving_mean
            variance = ones if self.moving_var is None else self.moving_var
            statistics = (mean, variance)
        (y, mean, variance), saved = F.run(
            "batch_norm", x, gamma, beta, self.epsilon, statistics, who=self.who
        )
        if train_flg:
            self._measured = (x, mean, variance)
            self.moving_mean = self._average(self.moving_mean, mean)
            self.moving_var = self._average(self.moving_var, variance)
        return self._keep(y, saved)

    def _average(self, old: Array | None, new: Array) -> Array:
        fresh = (1.0 - self.rho) * new
        return fresh if old is None else self.rho * old + fresh

    def backward(self, dout: Array) -> Array:
        dout, saved = self._recall(dout)
        dx, self.dgamma, self.dbeta = F.run_backward(dout, saved, True)
        return dx
