"""Losses that are the negative logarithm of a probability, or a difference of such logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.losses.loss import REDUCTIONS, Reads, SameShapeLoss, Terms, check_same_shape
from xpcnn.losses.pair import PairLoss
from xpcnn.window import as_flag


class KLDivLoss(SameShapeLoss):
    """Kullback-Leibler divergence of predicted from true probabilities, ``t * (log t - x)``.

    Parameters
    ----------
    reduction : "mean", "batchmean", "sum" or "none"
        "batchmean" divides the sum by the number of samples, which is the divergence as
        mathematics has it; "mean" divides by the number of elements.
    log_target : bool
        Whether targets are logarithms of probabilities too.

    Notes
    -----
    Prediction x (N, ...), logarithms of probabilities, e.g. from LogSoftmax; target t of the same
    shape. Where t is zero the term is zero.

    Examples
    --------
    >>> import numpy as np
    >>> loss = KLDivLoss("batchmean")
    >>> float(loss(np.log([[0.5, 0.5]]), np.array([[1.0, 0.0]])))  # log(2)
    0.6931471805599453
    """

    reads = "log_probabilities"
    answers = "classes"

    reductions: ClassVar[tuple[str, ...]] = (*REDUCTIONS, "batchmean")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = as_flag(log_target, "KLDivLoss", "log_target")

    def _operation(self) -> tuple[Any, ...] | None:
        return ("kl_div_loss_of_logs" if self.log_target else "kl_div_loss",)

    def _by_kernel(
        self, xp: ModuleType, prediction: Any, target: Array, whole: bool
    ) -> Terms | None:
        found = super()._by_kernel(xp, prediction, target, whole)
        return None if found is None else (found[0], self._count(prediction), found[2])

    def _count(self, prediction: Array) -> int:
        shape = prediction.shape
        return math.prod(shape[:1] if self.reduction == "batchmean" else shape)

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        target = xp.astype(target, prediction.dtype)
        if self.log_target:
            share = xp.exp(target)
            terms = share * (target - prediction)
        else:
            share = target
            # 0 * log(0) counts as 0
            entropy = share * xp.log(xp.where(share == 0.0, 1.0, share))
            terms = entropy - share * prediction
        return terms, self._count(prediction), share

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        return -scale * saved

    def _check_values(self, target: np.ndarray) -> None:
        if not self.log_target and (target < 0).any():
            raise ValueError(
                f"KLDivLoss: targets are probabilities and must not be negative, got "
                f"{target.min():g}; pass log_target=True if they are logarithms"
            )


class PoissonNLLLoss(SameShapeLoss):
    """Negative log-likelihood of counts that follow Poisson distributions.

    Parameters
    ----------
    log_input : bool
        Whether predictions are logarithms of the expected counts: ``exp(x) - t * x`` then, and
        ``x - t * log(x + eps)`` otherwise.
    full : bool
        Whether to add log(t!) where t is above 1, by Stirling's formula. It does not depend on the
        prediction.
    eps : float
        Keeps the logarithm of a prediction of zero finite.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Prediction x (N, ...); target t of the same shape.

    Raises
    ------
    ValueError
        If `eps` is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> loss = xpcnn.PoissonNLLLoss(reduction="none")
    >>> y = loss(np.log([1.0, 2.0]), np.array([3.0, 1.0]))  # logarithms of the expected counts
    >>> y.round(4).tolist()  # 1 - 3 * 0, 2 - 1 * log(2)
    [1.0, 1.3069]
    """

    reads: Reads = "values"

    def __init__(
        self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.log_input = as_flag(log_input, "PoissonNLLLoss", "log_input")
        self.reads = "log_values" if self.log_input else "values"
        self.full = as_flag(full, type(self).__name__, "full")
        self.eps = self._number("eps", eps, above=0.0)

    def _operation(self) -> tuple[Any, ...] | None:
        if self.full:
            return None
        return ("poisson_nll_loss",) if self.log_input else ("poisson_nll_loss_of_rates", self.eps)

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        target = xp.astype(target, prediction.dtype)
        if self.log_input:
            expected = xp.exp(prediction)
            terms = expected - target * prediction
            slope = expected - target
        else:
            # NaN where a prediction is negative
            with np.errstate(divide="ignore", invalid="ignore"):
                terms = prediction - target * xp.log(prediction + self.eps)
                # 1 - t / (x + eps), without a difference of two numbers near 1
                slope = ((prediction - target) + self.eps) / (prediction + self.eps)
        if self.full:
            terms = terms + _log_factorial(xp, target)
        return terms, math.prod(prediction.shape), slope

    def _check_values(self, target: np.ndarray) -> None:
        if (target < 0).any():
            raise ValueError(
                f"PoissonNLLLoss: targets are counts and must not be negative, got {target.min():g}"
            )


def _log_factorial(xp: ModuleType, t: Array) -> Array:
    """Stirling's log(t!), and zero up to 1."""
    above = xp.maximum(t, 1.0)
    formula = above * xp.log(above) - above + 0.5 * xp.log((2.0 * math.pi) * above)
    return xp.where(t <= 1.0, 0.0, formula)


class GaussianNLLLoss(PairLoss):
    """Negative log-likelihood of numbers that follow normal distributions (Nix & Weigend, 1994).

    ``(log(var) + (mean - t)^2 / var) / 2``. A network predicts both the mean and the variance.

    Parameters
    ----------
    full : bool
        Whether to add the constant ``log(2 pi) / 2``.
    eps : float
        Variances below it count as `eps`; their gradient passes all the same.
    reduction : "mean", "sum" or "none"

    Notes
    -----
    Called as ``loss((mean, var), target)``, or in PyTorch's order ``loss(mean, target, var)``;
    :meth:`backward` returns the gradients of mean and var. Mean and target (N, ...); var of the
    same shape, or 1 long on one axis, or without the last axis, or a number in PyTorch's order.

    Raises
    ------
    ValueError
        If `eps` is not above 0, or a variance in the host's memory is negative. On other devices,
        where looking would make the host wait, the loss is NaN then.

    Examples
    --------
    >>> import numpy as np
    >>> loss = GaussianNLLLoss()
    >>> mean, var, target = np.array([[1.0]]), np.array([[1.0]]), np.array([[3.0]])
    >>> float(loss((mean, var), target))  # (log(1) + 4 / 1) / 2
    2.0
    >>> loss.backward()
    (array([[-2.]]), array([[-1.5]]))
    """

    reads = "values"

    inputs = "mean and variance"

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full = as_flag(full, type(self).__name__, "full")
        self.eps = self._number("eps", eps, above=0.0)

    def forward(
        self,
        prediction: Any,
        target: Array,
        var: Array | float | None = None,
        *,
        sample_weight: Array | None = None,
    ) -> Array:
        """Compute the loss.

        Parameters
        ----------
        prediction : (array, array), or array (N, ...)
            Mean and variance, or the mean alone where `var` is given.
        target : array (N, ...)
        var : array or float, optional
            The variance, in PyTorch's place.
        sample_weight : array (N,), optional
            Multiplies the terms of each sample.

        Raises
        ------
        ValueError
            If the shapes do not fit, or a variance is negative.
        TypeError
            If the arrays are not of floats, or of different libraries.
        """
        if isinstance(var, (int, float)):
            xp = _xp.namespace(prediction, who="GaussianNLLLoss")
            var = xp.full_like(prediction, float(var))
        pair = prediction if var is None else (prediction, var)
        return super().forward(pair, target, sample_weight=sample_weight)

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the means."""
        return tuple(output_shape[0])

    def _check_fit(self, xp: ModuleType, prediction: tuple[Array, ...], target: Array) -> None:
        mean, var = prediction
        shape = tuple(mean.shape)
        check_same_shape("GaussianNLLLoss", shape, tuple(target.shape))
        if not _fits(shape, tuple(var.shape)):
            raise ValueError(
                f"GaussianNLLLoss: the variance must have the shape of the mean, {shape}, or 1 on "
                f"one of its axes, or all but the last axis; got {tuple(var.shape)}"
            )
        if _xp.on_host(var) and bool(xp.any(var < 0.0)):
            raise ValueError(
                f"GaussianNLLLoss: variances must not be negative, got {float(xp.min(var)):g}; "
                "end that output of the network in Softplus, or in an exponential"
            )

    def _terms(self, xp: ModuleType, prediction: tuple[Array, ...], target: Array) -> Terms:
        mean, given = prediction
        var = xp.where(given < 0.0, math.nan, xp.maximum(given, self.eps))
        if var.ndim < mean.ndim:
            var = xp.expand_dims(var, axis=-1)
        difference = mean - xp.astype(target, mean.dtype)
        terms = 0.5 * (xp.log(var) + difference * difference / var)
        if self.full:
            terms = terms + 0.5 * math.log(2.0 * math.pi)
        return terms, math.prod(mean.shape), (difference, var, tuple(given.shape))

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Any:
        difference, var, shape = saved
        share = difference / var
        by_var = scale * (0.5 * (1.0 / var - share * share))
        # one variance of several terms gets the sum of their gradients
        axes = tuple(a for a, n in enumerate(var.shape) if n < by_var.shape[a])
        if axes:
            by_var = xp.sum(by_var, axis=axes, keepdims=True, dtype=by_var.dtype)
        return scale * share, xp.reshape(by_var, shape)


def _fits(mean: tuple[int, ...], var: tuple[int, ...]) -> bool:
    """Whether PyTorch takes a variance of that shape."""
    if var in (mean, mean[:-1]):
        return True
    different = [n for m, n in zip(mean, var, strict=False) if m != n]
    return len(mean) == len(var) and different == [1]
