"""Losses from plain functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._registry import function_name
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.errors import DeviceError
from xpcnn.losses.loss import Loss, check_finite, check_numeric, spread_over
from xpcnn.losses.running import LossPart

LARGEST = 4096
"""Numbers that a function is differentiated by, one after the other, where it has no gradient."""

Function = Callable[[Any, Any], Any]


class FunctionLoss(Loss):
    """A loss given by a function, and its gradient.

    :meth:`xpcnn.Model.compile` makes it of ``loss=function`` or ``loss=(function, gradient)``.

    Parameters
    ----------
    function : callable
        Takes predictions and targets of a batch, arrays on the model's device, and returns one
        number, the mean of the batch; or one for each sample, which depends on the prediction for
        this sample alone. Only the latter can be weighted by sample.
    gradient : callable, optional
        Takes the same, and returns the derivatives of that number (of the sample's own number) with
        respect to the predictions, an array of their shape. It is compared with differences of
        `function` when it is used first. Without it each gradient is made of such differences, in
        float64 where the device has it: right, but slow, so that it is for trying things out.

    Raises
    ------
    TypeError
        If one of them is no function.

    Examples
    --------
    >>> import numpy as np
    >>> def quartic(prediction, target):
    ...     return ((prediction - target) ** 4).mean(axis=1)
    >>> loss = FunctionLoss(quartic)
    >>> float(loss(np.array([[1.0], [3.0]]), np.array([[0.0], [1.0]])))  # (1 + 16) / 2
    8.5
    >>> loss.backward().round(6)  # 4 * 1 / 2 and 4 * 8 / 2
    array([[ 2.],
           [16.]])
    """

    def __init__(self, function: Function, gradient: Function | None = None) -> None:
        super().__init__()
        for name, given in (("function", function), ("gradient", gradient)):
            if not callable(given) and not (name == "gradient" and given is None):
                raise TypeError(f"FunctionLoss: {name} must be a function, got {given!r}")
        self.function = function
        self.gradient = gradient
        self._last: tuple[Array, Array, Array | None, bool] | None = None
        self._is_compared = False

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"function": self.function, "gradient": self.gradient}

    @property
    def _who(self) -> str:
        return f"loss {function_name(self.function)!r}"

    def forward(
        self, prediction: Array, target: Array, *, sample_weight: Array | None = None
    ) -> Array:
        """Compute the loss: the mean over the samples."""
        xp = self._check(prediction, target, sample_weight)
        count = int(prediction.shape[0])
        value = self.function(prediction, target)
        if not hasattr(value, "shape") and not hasattr(value, "__float__"):
            pair = ", not the gradient too: that is given as loss=(function, gradient)"
            raise TypeError(
                f"{self._who}: the function must return one number, or an array of one for each of "
                f"the {count} samples{pair if isinstance(value, tuple) else ''}; it returned "
                f"{'None' if value is None else 'a ' + type(value).__name__}"
            )
        shape = tuple(getattr(value, "shape", ()))
        if shape not in ((), (count,)):
            raise ValueError(
                f"{self._who}: the function must return one number, or one for each of the {count} "
                f"samples; it returned an array of shape {shape}"
            )
        each = len(shape) == 1
        if not each and sample_weight is not None:
            raise ValueError(
                f"{self._who}: the function returns one number for the whole batch, so that its "
                "samples cannot be weighted; return one for each sample"
            )
        if each:
            weights: Any = 1.0
            if sample_weight is not None:
                weights = spread_over(xp, sample_weight, value, self._who)
            total = xp.sum(value * weights, dtype=value.dtype)
            result = total / count
            self._parts = (result, (LossPart(total, count),))
        else:
            result = Device.of(prediction).asarray(value, _xp.dtype_name(prediction))
        self._last = (prediction, target, sample_weight, each)
        return result

    def backward(self, dy: Array | None = None) -> Array:
        """Compute the gradient with respect to the prediction of the last forward."""
        if self._last is None:
            raise RuntimeError(f"{self._who}: backward needs a forward before it")
        prediction, target, sample_weight, each = self._last
        xp = _xp.namespace(prediction)
        if self.gradient is None:
            found = Device.of(prediction).asarray(
                self._differences(prediction, target, each), _xp.dtype_name(prediction)
            )
        else:
            found = self.gradient(prediction, target)
            shape = tuple(getattr(found, "shape", ()))
            if shape != tuple(prediction.shape):
                raise ValueError(
                    f"{self._who}: the gradient must have the shape {tuple(prediction.shape)} of "
                    f"the prediction, got {shape}"
                )
            if not self._is_compared:
                self._compare(found, prediction, target, each)
                self._is_compared = True
            found = xp.astype(found, prediction.dtype)
        if each:
            scale = 1.0 / prediction.shape[0]
            if sample_weight is not None:
                weights = xp.astype(sample_weight, found.dtype)
                found = found * xp.reshape(weights, (-1, *(1,) * (found.ndim - 1)))
            found = found * scale
        return found if dy is None else found * dy

    def _at(self, values: np.ndarray, prediction: Array, target: Array) -> np.ndarray:
        """Return what the function says for other predictions, on the host."""
        value = self.function(self._like(values, prediction), target)
        return np.asarray(_xp.to_numpy(value) if hasattr(value, "shape") else value, np.float64)

    @staticmethod
    def _like(values: np.ndarray, prediction: Array) -> Array:
        device = Device.of(prediction)
        try:
            return device.asarray(values, "float64")
        except DeviceError:
            return device.asarray(values, _xp.dtype_name(prediction))

    def _step(self, prediction: Array, values: np.ndarray) -> float:
        """Return how far to go for a difference: the third root of the rounding error."""
        kept = _xp.to_numpy(self._like(values[:1], prediction)).dtype
        return float(np.finfo(kept).eps) ** (1 / 3) if kept.kind == "f" else 1e-2

    def _differences(self, prediction: Array, target: Array, each: bool) -> np.ndarray:
        """Return the derivatives, by central differences."""
        values = np.asarray(_xp.to_numpy(prediction), np.float64)
        rows = values.reshape(len(values), -1)
        count = rows.shape[1] if each else rows.size
        if count > LARGEST:
            raise ValueError(
                f"{self._who}: the prediction has {count} numbers, and differences by more than "
                f"{LARGEST} take too long; give the gradient too, as in loss=(function, gradient), "
                "or return one number for each sample"
            )
        h = self._step(prediction, values)
        result = np.empty_like(rows)
        places = [np.s_[:, i] for i in range(count)] if each else list(np.ndindex(rows.shape))
        for place in places:
            size = h * np.maximum(np.abs(rows[place]), 1.0)
            ends = []
            for sign in (1.0, -1.0):
                moved = rows.copy()
                moved[place] += sign * size
                ends.append(self._at(moved.reshape(values.shape), prediction, target))
            result[place] = (ends[0] - ends[1]) / (2.0 * size)
        return result.reshape(values.shape)

    def _compare(self, gradient: Array, prediction: Array, target: Array, each: bool) -> None:
        """Raise unless a gradient is that of the function, in three directions."""
        values = np.asarray(_xp.to_numpy(prediction), np.float64)
        given = np.asarray(_xp.to_numpy(gradient), np.float64)
        h = self._step(prediction, values)
        generator = np.random.default_rng(0)
        for _ in range(3):
            way = generator.choice([-1.0, 1.0], values.shape) * np.maximum(np.abs(values), 1.0)
            after = self._at(values + h * way, prediction, target)
            before = self._at(values - h * way, prediction, target)
            slope = np.sum(after - before) / (2.0 * h)
            claimed, size = np.sum(given * way), np.sum(np.abs(given * way)) + abs(slope)
            if not np.isfinite(slope) or not np.isfinite(claimed):
                return
            if abs(slope - claimed) > max(0.01, 30.0 * h) * size:
                raise ValueError(
                    f"{self._who}: the gradient does not match the function: along one direction "
                    f"it gives {claimed:.6g}, but differences of the function give {slope:.6g}"
                )

    def prepare_target(
        self, output_shape: Sequence[int], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check that targets are numbers; their shape is up to the function."""
        target = np.asarray(target)
        check_numeric(self._who, target)
        check_finite(self._who, target)
        return target.astype(dtype, copy=False) if target.dtype.kind == "f" else target
