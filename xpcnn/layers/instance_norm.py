"""Instance normalisation layers."""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.layers.norm import ChannelNorm
from xpcnn.ops.checks import LAYOUTS
from xpcnn.ops.group_norm import GROUP_NORM
from xpcnn.ops.norm import BATCH_NORM


class InstanceNorm(ChannelNorm):
    """Instance normalisation (Ulyanov et al., 2016) over any number of dimensions.

    Every channel of every sample is brought to mean 0 and variance 1 over its positions. The layers
    to use are InstanceNorm1d, InstanceNorm2d and InstanceNorm3d.

    Parameters
    ----------
    num_features : int, optional
        Number of channels; inferred from the first input if left out.
    eps : float
        Added to the variance.
    momentum : float or None
        Share of the new batch in the running statistics; ``None`` leaves them as they are.
    affine : bool
        Whether to scale by a learned `weight` and shift by a learned `bias`.
    track_running_stats : bool
        Whether to gather statistics in training, and normalise by them otherwise.
    bias : bool
        ``False`` leaves out the `bias` of an affine layer.

    Attributes
    ----------
    weight, bias : Parameter of shape (num_features,), or None
    running_mean, running_var : Buffer of shape (num_features,)
        Only with `track_running_stats`. The variance is the unbiased one.
    num_batches_tracked : Buffer of shape ()
        Only with `track_running_stats`; as in PyTorch it stays 0.

    Raises
    ------
    ValueError
        If an input has the wrong rank or channels, or a single position per channel.
    """

    def __init__(
        self,
        num_features: int | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        gamma, beta = self._values()
        if self.track_running_stats and not self.gathers(training):
            statistics = self.running_mean.value, self.running_var.value
            result = BATCH_NORM.run(xp, x, gamma, beta, self.eps, statistics)
            return result[0][0], result[1]
        count = prod(x.shape[2:])
        if count < 2:
            raise ValueError(
                f"{self.who}: expected more than one position per channel, got an input of shape "
                f"{tuple(x.shape)}; there is nothing to normalise over"
            )
        # every channel is a group of its own
        (y, mean, variance), saved = GROUP_NORM.run(xp, x, gamma, beta, x.shape[1], self.eps)
        if self._tracks(training) and self.momentum is not None:
            unbiased = variance * (count / (count - 1))
            self._move_statistics(xp.mean(mean, axis=0), xp.mean(unbiased, axis=0), self.momentum)
        return y, saved


class InstanceNorm1d(InstanceNorm, sample_ndim=2, layouts={3: LAYOUTS[1]}):
    """Instance normalisation of (N, C, L); for the arguments see :class:`InstanceNorm`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[1.0, 3.0], [10.0, 50.0]]], dtype="float32")
    >>> xpcnn.InstanceNorm1d(2)(x).round(3).tolist()  # each channel by itself
    [[[-1.0, 1.0], [-1.0, 1.0]]]
    """


class InstanceNorm2d(InstanceNorm, sample_ndim=3, layouts={4: LAYOUTS[2]}):
    """Instance normalisation of (N, C, H, W); for the arguments see :class:`InstanceNorm`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([[[[1.0, 3.0], [3.0, 1.0]]], [[[5.0, 5.0], [9.0, 9.0]]]], dtype="float32")
    >>> xpcnn.InstanceNorm2d(1)(x)[:, 0].round(3).tolist()  # each sample by itself
    [[[-1.0, 1.0], [1.0, -1.0]], [[-1.0, -1.0], [1.0, 1.0]]]
    """


class InstanceNorm3d(InstanceNorm, sample_ndim=4, layouts={5: LAYOUTS[3]}):
    """Instance normalisation of (N, C, D, H, W); for the arguments see :class:`InstanceNorm`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.full((1, 2, 2, 2, 2), 7.0, dtype="float32")  # no variance: what is left is 0
    >>> float(abs(xpcnn.InstanceNorm3d(2)(x)).max())
    0.0
    """
