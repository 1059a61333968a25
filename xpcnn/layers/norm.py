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
from xpcnn.layers.layer import Shape, WeightedLayer, check_inferred
from xpcnn.layers.parameter import Buffer, Parameter
from xpcnn.ops.checks import LAYOUTS
from xpcnn.ops.norm import BATCH_NORM
from xpcnn.window import as_int, as_number


class ChannelNorm(WeightedLayer):
    """What batch and instance normalisation have in common: channels and running statistics."""

    layouts: ClassVar[dict[int, str]]

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
        self.num_features = (
            None if num_features is None else as_int(num_features, who, "num_features", 1)
        )
        self.eps = as_number(eps, who, "eps", 0.0)
        self.momentum = None if momentum is None else as_number(momentum, who, "momentum", 0.0, 1.0)
        self.affine = bool(affine)
        self.track_running_stats = bool(track_running_stats)
        shape = None if self.num_features is None else (self.num_features,)
        self.weight = Parameter(shape, ones()) if affine else None
        self.bias = Parameter(shape, zeros()) if affine and bias else None
        if track_running_stats:
            self.running_mean = Buffer(shape, zeros())
            self.running_var = Buffer(shape, ones())
            self.num_batches_tracked = Buffer((), _zero_count, on_host=True)
        for _, tensor in self._own_tensors():
            if tensor.shape is None:
                tensor.pattern = (None,)

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().arguments() | {"bias": self.bias is not None or not self.affine}

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
        if self.num_features is not None and shape[1] != self.num_features:
            raise ValueError(
                f"{self.who}: expected {self.num_features} channels (axis 1), got {shape[1]} in "
                f"an input of shape {shape}"
            )
        return shape

    def _move_statistics(self, mean: Array, variance: Array, share: float) -> None:
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            if new.dtype != running.value.dtype:  # half precision is added up in float32
                new = _xp.namespace(new).astype(new, running.value.dtype)
            running.renew(running.value * (1.0 - share) + new * share)

    def _infer(self, input_shape: Shape) -> None:
        if self.num_features is None and len(input_shape) in self.layouts:
            self.num_features = input_shape[1]
            for name, tensor in self._own_tensors():
                if name != "num_batches_tracked":
                    tensor.shape = (self.num_features,)

    def _after_load(self) -> None:
        if self.num_features is None:
            shapes = [t.shape for _, t in self._own_tensors() if t.shape]
            self.num_features = shapes[0][0] if shapes else None


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
        if training and self.track_running_stats:  # a batch all the same, as PyTorch has it
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
        own_statistics = training or not self.track_running_stats
        if own_statistics and training and count < 2:
            raise ValueError(
                f"{self.who}: training needs more than one value per channel, got an input of "
                f"shape {tuple(x.shape)}; use a larger batch"
            )
        statistics = None if own_statistics else (self.running_mean.value, self.running_var.value)
        gamma = None if self.weight is None else self.weight.value
        beta = None if self.bias is None else self.bias.value
        (y, mean, variance), saved = op.run(xp, x, gamma, beta, self.eps, statistics, *more)
        if training and self.track_running_stats:
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


class BatchNorm1d(BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); for the arguments see :class:`BatchNorm`."""

    layouts: ClassVar[dict[int, str]] = {2: "(N, C)", 3: LAYOUTS[1]}


class BatchNorm2d(BatchNorm):
    """Batch normalisation of (N, C, H, W); for the arguments see :class:`BatchNorm`."""

    layouts: ClassVar[dict[int, str]] = {4: LAYOUTS[2]}


class BatchNorm3d(BatchNorm):
    """Batch normalisation of (N, C, D, H, W); for the arguments see :class:`BatchNorm`."""

    layouts: ClassVar[dict[int, str]] = {5: LAYOUTS[3]}
