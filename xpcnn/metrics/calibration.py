"""Calibration: whether probabilities are as large as the share of answers that are right."""

from __future__ import annotations

import math

import numpy as np

from xpcnn._xp import Array
from xpcnn.errors import check_choice
from xpcnn.metrics.answers import Answers
from xpcnn.metrics.scores import IGNORED, ScoreMetric

MOST_BINS = 1_000_000
NORMS = ("l1", "l2", "max")


class CalibrationError(ScoreMetric):
    """How far probabilities are from the share of answers that are right (Guo et al., 2017).

    Predictions fall into bins by their confidence: the probability of yes, or of the class that is
    predicted. Compared are the mean confidence of a bin and the share of its answers that are yes
    (or right).

    Parameters
    ----------
    n_bins : int
        Bins of equal width from 0 to 1.
    norm : "l1", "l2" or "max"
        The mean of the differences over all samples (ECE), the root of the mean of their squares,
        or the largest one.
    multilabel : bool
        Whether each column is an answer by itself also where targets could be one-hot rows of
        classes; all columns are put together.
    from_logits : bool, optional
        Whether predictions are logits. Without it the loss says what they are, and without a loss
        they must be probabilities.
    ignore_index : int, optional
        Label of places that do not count; the loss's if left out.
    name : str, optional
        Key in training logs, where another metric has the usual one.

    Notes
    -----
    The numbers are those of torchmetrics. As there, a confidence on the border of two bins belongs
    to the upper one, and one of exactly 1 has a bin of its own.

    Raises
    ------
    ValueError
        If a setting is out of range, or predictions are no probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> metric = CalibrationError(n_bins=2)
    >>> metric.update(np.array([0.25, 0.25, 0.9]), np.array([0, 1, 1]))
    >>> round(metric.result(), 4)  # (2 * (1/2 - 0.25) + (1 - 0.9)) / 3
    0.2
    """

    name = "calibration_error"
    higher_is_better = False

    def __init__(
        self,
        n_bins: int = 15,
        norm: str = "l1",
        multilabel: bool = False,
        from_logits: bool | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        who = type(self).__name__
        good = isinstance(n_bins, (int, np.integer)) and not isinstance(n_bins, bool)
        if not good or not 1 <= n_bins <= MOST_BINS:
            raise ValueError(
                f"{who}: n_bins must be a whole number from 1 to {MOST_BINS}, got {n_bins!r}"
            )
        check_choice(who, "norm", norm, NORMS)
        self.n_bins, self.norm = int(n_bins), norm
        super().__init__(from_logits, multilabel, ignore_index, name)

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        # Of each bin: answers, their confidence, and those that are right.
        self._bins = np.zeros((3, self.n_bins + 1))

    def _noted(self, answers: Answers, prediction: Array, truth: Array) -> tuple[Array, Array]:
        xp, sure = answers.xp, self._probabilities(answers, prediction)
        if not answers.is_yes_or_no:
            sure = xp.max(sure, axis=1)
            right = xp.astype(answers.predicted == answers.truth, xp.int32)
            truth = xp.where(truth == IGNORED, truth, right)
        return xp.reshape(sure, (-1,)), xp.reshape(truth, (-1,))

    def _keep(self, scores: np.ndarray, truth: np.ndarray) -> None:
        counted = truth != IGNORED
        sure, right = scores[counted].astype(np.float64), truth[counted]
        if (sure < 0.0).any() or (sure > 1.0 + 1e-6).any():
            raise ValueError(
                f"{type(self).__name__}: predictions must be probabilities from 0 to 1, got values "
                f"from {sure.min():g} to {sure.max():g}; pass from_logits=True if they are logits"
            )
        at = np.searchsorted(np.linspace(0.0, 1.0, self.n_bins + 1), sure, side="right") - 1
        for row, weights in enumerate((None, sure, right)):
            self._bins[row] += np.bincount(at, weights, self.n_bins + 1)

    def result(self) -> float:
        """Return the error for all batches since :meth:`reset`; NaN if nothing counted."""
        self._settle()
        count, sure, right = self._bins
        if not count.any():
            return math.nan
        gaps = np.abs(right - sure) / np.maximum(count, 1.0)
        if self.norm == "max":
            return float(gaps.max())
        if self.norm == "l2":
            return math.sqrt(np.average(gaps**2, weights=count))
        return float(np.average(gaps, weights=count))
