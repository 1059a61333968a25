"""Normalisation whose scale and shift are inputs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation, SameShape
from xpcnn.operations.numbers import Ints, normal_dims
from xpcnn.ops.group_norm import GROUP_NORM, standardise, standardise_backward
from xpcnn.ops.norm import BATCH_NORM
from xpcnn.ops.sums import total
from xpcnn.window import as_int, as_number


class Standardize(Operation):
    """All elements from an axis on brought to mean 0 and variance 1.

    Outputs are the result, the mean and the inverse of the standard deviation, these two with the
    axes kept; their own gradients are not followed.

    Parameters
    ----------
    dim : int
        The first of the axes.
    eps : float
        Added to the variance.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Standardize
    >>> y, mean, inverse = Standardize()(np.array([[1.0, 3.0]]))
    >>> y.round(3).tolist(), mean.tolist(), inverse.round(3).tolist()
    ([[-1.0, 1.0]], [[2.0]], [[1.0]])
    """

    def __init__(self, dim: int = -1, eps: float = 1e-5) -> None:
        self.dim = int(dim)
        self.eps = as_number(eps, type(self).__name__, "eps", 0.0)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the input's shape, and twice that of the statistics."""
        shape = tuple(input_shapes[0] or ())
        axes = self.axes(len(shape))
        kept = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
        return shape, kept, kept

    def axes(self, ndim: int) -> Ints:
        """Return the axes of an input with so many."""
        (first,) = normal_dims((self.dim,), ndim, self.who)
        return tuple(range(first, ndim))

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        (x,) = inputs
        axes = self.axes(x.ndim)
        y, mean, _, inv_std = standardise(xp, x, self.eps, axes)
        return (y, mean, inv_std), (y, inv_std, axes)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return () if dys[0] is None else (standardise_backward(xp, dys[0], *saved),)


class GroupStandardize(SameShape):
    """All elements of a group of channels brought to mean 0 and variance 1, in each sample.

    Parameters
    ----------
    num_groups : int, optional
        Number of groups; each channel is one if left out.
    eps : float
        Added to the variance.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import GroupStandardize
    >>> x = np.array([[[1.0], [3.0], [10.0], [30.0]]])  # four channels of one number
    >>> GroupStandardize(2)(x).round(3).tolist()
    [[[-1.0], [1.0], [-1.0], [1.0]]]
    """

    def __init__(self, num_groups: int | None = None, eps: float = 1e-5) -> None:
        self.num_groups = (
            None if num_groups is None else as_int(num_groups, "GroupStandardize", "num_groups", 1)
        )
        self.eps = as_number(eps, type(self).__name__, "eps", 0.0)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        shape = tuple(inputs[0].shape)
        groups = self.num_groups or (shape[1] if len(shape) > 1 else 0)
        if len(shape) < 2 or not groups or shape[1] % groups:
            raise ValueError(
                f"{self.who}: expected an input (N, C, ...) with channels in {groups} groups, got "
                f"shape {shape}"
            )
        (y, _, _), saved = GROUP_NORM(inputs[0], None, None, groups, self.eps, who=self.who)
        return (y,), saved

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return saved(dys[0], need[0])


class PerChannel(SameShape):
    """Every channel scaled and shifted: ``scale * x + shift`` with x (N, C, ...).

    The second and third input are scale and shift, of shape (C,); where there is a number for
    every group of channels only, it holds for all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import PerChannel
    >>> x = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    >>> PerChannel()(x, np.array([10.0, 100.0]), np.array([0.0, 1.0])).tolist()
    [[[10.0, 20.0], [301.0, 401.0]]]
    """

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x = inputs[0]
        scale, shift = (self._spread(xp, values, x) for values in inputs[1:])
        return (x * scale + shift,), (x, scale, tuple(inputs[1].shape))

    def _spread(self, xp: ModuleType, values: Array, x: Array) -> Array:
        if x.ndim < 2 or values.ndim != 1 or x.shape[1] % values.shape[0]:
            raise ValueError(
                f"{self.who}: {tuple(values.shape)} numbers do not fit the channels of an input of "
                f"shape {tuple(x.shape)}"
            )
        if values.shape[0] != x.shape[1]:
            values = xp.repeat(values, x.shape[1] // values.shape[0])
        return xp.reshape(values, (1, -1) + (1,) * (x.ndim - 2))

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        x, scale, shape = saved
        (dy,) = dys
        axes = (0, *range(2, x.ndim))

        def per_channel(values: Array) -> Array:
            sums = total(xp, values, axes)
            return total(xp, xp.reshape(sums, (*shape, -1)), 1)

        dscale = per_channel(dy * x) if need[1] else None
        return dy * scale, dscale, per_channel(dy) if need[2] else None


class BatchNormalization(Operation):
    """Batch normalisation with inputs x, scale, shift, mean and variance.

    Parameters
    ----------
    eps : float
        Added to the variance.
    momentum : float, optional
        Normalise by the mean and the variance of the batch, and give two more outputs: the
        running ones, of which this share is kept. The inputs serve as they are if left out.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import BatchNormalization
    >>> x, one, zero = np.array([[1.0], [3.0]]), np.array([1.0]), np.array([0.0])
    >>> BatchNormalization()(x, one, zero, one, 4.0 * one).round(3).tolist()
    [[0.0], [1.0]]
    >>> y, mean, variance = BatchNormalization(momentum=0.75)(x, one, zero, zero, zero)
    >>> mean.tolist(), variance.tolist()  # a quarter of the batch's 2 and 1
    ([0.5], [0.25])
    """

    def __init__(self, eps: float = 1e-5, momentum: float | None = None) -> None:
        self.eps = as_number(eps, type(self).__name__, "eps", 0.0)
        self.momentum = (
            None if momentum is None else as_number(momentum, type(self).__name__, "momentum")
        )

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the input's shape, and those of the running statistics."""
        shapes = [tuple(shape or ()) for shape in input_shapes]
        return (shapes[0],) if self.momentum is None else (shapes[0], shapes[3], shapes[4])

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x, scale, shift, mean, variance = inputs
        if any(tuple(a.shape) != (x.shape[1],) for a in inputs[1:]):
            raise ValueError(
                f"{self.who}: expected one scale, shift, mean and variance for each channel of an "
                f"input of shape {tuple(x.shape)}, got {[tuple(a.shape) for a in inputs[1:]]}"
            )
        statistics = (mean, variance) if self.momentum is None else None
        result, saved = BATCH_NORM(x, scale, shift, self.eps, statistics, who=self.who)
        if self.momentum is None:
            return result[:1], saved
        kept = self.momentum
        running = [
            old * kept + new * (1.0 - kept)
            for old, new in ((mean, result[1]), (variance, result[2]))
        ]
        return (result[0], *running), saved

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        if dys[0] is None:
            return ()
        return saved(dys[0], need[0])
