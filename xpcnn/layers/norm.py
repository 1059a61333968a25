"""Batch normalisation layers, and what instance normalisation shares with them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.initializers import ones, zeros
from xpcnn.kernels import Op
from xpcnn.layers.layer import Shape, WeightedLayer, check_inferred, runs_again
from xpcnn.layers.parameter import Buffer, Parameter, note_change
from xpcnn.ops.checks import LAYOUTS
from xpcnn.ops.norm import BATCH_NORM
from xpcnn.window import as_int, as_number


class ScaleAndShift(WeightedLayer):
    """What layers that normalise have in common: the weight scales, the bias shifts."""

    def _declare(self, shape: Shape | None, weight: bool, bias: bool) -> None:
        """Declare both for arrays of that shape; ``None`` is that of channels to be inferred."""
        self.weight = Parameter(shape, ones()) if weight else None
        self.bias = Parameter(shape, zeros()) if weight and bias else None
        for tensor in (self.weight, self.bias):
            if tensor is not None and shape is None:
                tensor.pattern = (None,)

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        found = super().arguments()
        if "bias" in found and self.weight is None:
            found["bias"] = True  # it says nothing where there is no weight
        return found

    def _values(self) -> list[Array | None]:
        return [None if p is None else p.value for p in (self.weight, self.bias)]


class PerChannelNorm(ScaleAndShift):
    """What normalisation with numbers for each channel has in common: how many channels there are.

    `width` names the attribute that says so. It follows from the first input if it is left out.
    """

    width: ClassVar[str]

    def _set_width(self, channels: int | None) -> Shape | None:
        """Check and keep the number of channels; return the shape of what has one for each."""
        if channels is not None:
            channels = as_int(channels, type(self).__name__, self.width, 1)
        setattr(self, self.width, channels)
        return None if channels is None else (channels,)

    def _check_channels(self, shape: Shape) -> None:
        channels = getattr(self, self.width)
        if channels is not None and shape[1] != channels:
            raise ValueError(
                f"{self.who}: expected {channels} channels (axis 1), got {shape[1]} in "
                f"an input of shape {shape}"
            )

    def _infer(self, input_shape: Shape) -> None:
        if getattr(self, self.width) is None:
            shape = self._set_width(input_shape[1])
            for _, tensor in self._own_tensors():
                if tensor.shape is None:
                    tensor.shape = shape

    def _after_load(self) -> None:
        if getattr(self, self.width) is None:
            lengths = [tensor.shape[0] for _, tensor in self._own_tensors() if tensor.shape]
            self._set_width(lengths[0] if lengths else None)


class ChannelNorm(PerChannelNorm):
    """What batch and instance normalisation have in common: running statistics."""

    width = "num_features"
    layouts: ClassVar[dict[int, str]]
    num_features: int | None
    _held = False  # whether it was frozen while it had no parameters

    def __init__(
        self,
        num_features: int | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        who = type(self).__name__
        shape = self._set_width(num_features)
        self.eps = as_number(eps, who, "eps", 0.0)
        self.momentum = None if momentum is None else as_number(momentum, who, "momentum", 0.0, 1.0)
        self.affine = bool(affine)
        self.track_running_stats = bool(track_running_stats)
        self._declare(shape, affine, bias)
        if track_running_stats:
            self.running_mean = Buffer(shape, zeros())
            self.running_var = Buffer(shape, ones())
            self.num_batches_tracked = Buffer((), _zero_count, on_host=True)
            if shape is None:
                self.running_mean.pattern = self.running_var.pattern = (None,)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = tuple(input_shape)
        if len(shape) not in self.layouts:
            allowed = " or ".join(self.layouts.values())
            raise ValueError(
                f"{self.who}: expected an input laid out as {allowed}, got {len(shape)} "
                f"dimensions with shape {shape}"
            )
        if self.num_features is None and len(shape) > 3:
            check_inferred(self.who, shape)
        self._check_channels(shape)
        return shape

    @property
    def holds_statistics(self) -> bool:
        """Whether it works in training as in inference, since all of it is frozen."""
        weight, bias = self.weight, self.bias
        if weight is None:
            return self._held
        return not (weight.requires_grad or (bias is not None and bias.requires_grad))

    def hold_statistics(self, held: bool) -> None:
        """Freeze a layer that has no parameters, or let it gather statistics again."""
        self._held = held
        note_change()

    def gathers(self, training: bool) -> bool:
        """Whether this is a forward whose statistics are to be gathered."""
        return training and self.track_running_stats and not self.holds_statistics

    def _tracks(self, training: bool) -> bool:
        """Whether this forward counts for the running statistics: in training, and once."""
        return self.gathers(training) and not runs_again.get()

    def _move_statistics(self, mean: Array, variance: Array, share: float) -> None:
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            if new.dtype != running.value.dtype:  # half precision is added up in float32
                new = _xp.namespace(new).astype(new, running.value.dtype)
            running.renew(running.value * (1.0 - share) + new * share)


class BatchNorm(ChannelNorm):
    """Batch normalisation (Ioffe & Szegedy, 2015) over any number of dimensions.

    In training every channel is brought to mean 0 and variance 1 over the batch; otherwise with
    the running statistics gathered in training. The layers to use are BatchNorm1d, BatchNorm2d and
    BatchNorm3d.

    Parameters
    ----------
    num_features : int, optional
        Number of channels; inferred from the first input if left out.
    eps : float
        Added to the variance.
    momentum : float or None
        Share of the new batch in the running statistics; ``None`` averages all batches.
    affine : bool
        Whether to scale by a learned `weight` and shift by a learned `bias`.
    track_running_stats : bool
        ``False`` uses the batch's own statistics always.
    bias : bool
        ``False`` leaves out the `bias` of an affine layer.

    Attributes
    ----------
    weight, bias : Parameter of shape (num_features,), or None
    running_mean, running_var : Buffer of shape (num_features,)
        The variance is the unbiased one.
    num_batches_tracked : Buffer of shape ()

    Raises
    ------
    ValueError
        If an input has the wrong rank or channels, or one value per channel in training.
    """

    computes_with_operands = True  # its kernels take half precision with parameters of float32

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return self.normalise(xp, BATCH_NORM, x, training=training)

    def _forward_nothing(self, x: Array, training: bool) -> Array:
        y = super()._forward_nothing(x, training)
        if self._tracks(training):  # a batch all the same, as PyTorch has it
            self.num_batches_tracked.renew(self.num_batches_tracked.value + np.int64(1))
        return y

    def normalise(
        self, xp: ModuleType, op: Op, x: Array, *more: Array, training: bool
    ) -> tuple[Array, Any]:
        """Normalise by an operation that may do more, and track the statistics.

        Parameters
        ----------
        op : Op
            Takes x, gamma, beta, eps and statistics, and perhaps more.
        x : array
        *more : array
            What else the operation takes.
        """
        self.output_shape(x.shape)
        count = prod(x.shape) // x.shape[1]
        gathers = self.gathers(training)
        own_statistics = gathers or not self.track_running_stats
        if own_statistics and training and count < 2:
            raise ValueError(
                f"{self.who}: training needs more than one value per channel, got an input of "
                f"shape {tuple(x.shape)}; use a larger batch"
            )
        statistics = None if own_statistics else (self.running_mean.value, self.running_var.value)
        operands = (x, *self._values(), self.eps, statistics)
        (y, mean, variance), saved = op.run(xp, *operands, *more)
        if gathers and not runs_again.get():
            self._track(mean, variance * (count / (count - 1)))
        return y, saved

    def _track(self, mean: Array, variance: Array) -> None:
        """Move the running statistics towards those of this batch."""
        self.num_batches_tracked.renew(self.num_batches_tracked.value + np.int64(1))
        share = self.momentum
        if share is None:
            share = 1.0 / int(self.num_batches_tracked.value)
        self._move_statistics(mean, variance, share)


def _zero_count(shape: Shape, rng: Any) -> np.ndarray:
    return np.zeros(shape, dtype=np.int64)


class BatchNorm1d(BatchNorm, layouts={2: "(N, C)", 3: LAYOUTS[1]}):
    """Batch normalisation of (N, C) or (N, C, L); for the arguments see :class:`BatchNorm`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.BatchNorm1d(2)
    >>> x = np.array([[10.0, 30.0], [30.0, 50.0]], dtype="float32")
    >>> layer.forward(x, training=True).round(3).tolist()  # each feature over the batch
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> layer.running_mean.data.round(3).tolist()  # 0.9 * 0 + 0.1 * mean
    [2.0, 4.0]
    """


class BatchNorm2d(BatchNorm, layouts={4: LAYOUTS[2]}):
    """Batch normalisation of (N, C, H, W); for the arguments see :class:`BatchNorm`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.BatchNorm2d(1)
    >>> x = np.array([[[[1.0, 1.0]]], [[[3.0, 3.0]]]], dtype="float32")
    >>> layer.forward(x, training=True).round(3).tolist()  # over the batch and all places
    [[[[-1.0, -1.0]]], [[[1.0, 1.0]]]]
    """


class BatchNorm3d(BatchNorm, layouts={5: LAYOUTS[3]}):
    """Batch normalisation of (N, C, D, H, W); for the arguments see :class:`BatchNorm`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.BatchNorm3d(4)
    >>> layer(np.zeros((2, 4, 3, 3, 3), dtype="float32")).shape
    (2, 4, 3, 3, 3)
    >>> layer.weight.shape, layer.running_var.shape  # one number for each channel
    ((4,), (4,))
    """
