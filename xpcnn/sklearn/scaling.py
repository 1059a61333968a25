"""Means and standard deviations by which inputs and targets are scaled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CHUNK = 1 << 20
"""Numbers that are looked at together, so that no copy of all of them is made."""


class Scaling(NamedTuple):
    """The mean and the standard deviation of each feature or channel; 1 where all are alike."""

    mean: np.ndarray
    scale: np.ndarray


def measure(x: np.ndarray, weights: np.ndarray | None, who: str) -> Scaling:
    """Measure each feature of rows (N, F), or each channel of (N, C, ...), in float64.

    Parameters
    ----------
    x : numpy.ndarray
    weights : numpy.ndarray (N,), optional
        What each sample counts; the results are those of samples that are there so often.
    who : str
        Name for messages.

    Returns
    -------
    Scaling
        The standard deviation divides by the number of values, as in scikit-learn's
        ``StandardScaler``; one that may be the rounding of the mean counts as 0, and becomes 1.

    Raises
    ------
    ValueError
        If numbers are so large that their squares overflow.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.sklearn.scaling import measure
    >>> found = measure(np.array([[1.0, 5.0], [3.0, 5.0]]), None, "X")
    >>> found.mean.tolist(), found.scale.tolist()
    ([2.0, 5.0], [1.0, 1.0])
    """
    weights = np.ones(len(x)) if weights is None else weights
    count = weights.sum() * np.prod(x.shape[2:], dtype=float)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = _weighted_sum(x, weights, 0.0, 1) / count
        variance = _weighted_sum(x, weights, mean, 2) / count
        noise = (count * np.finfo(np.float64).eps * mean) ** 2
    if not np.isfinite(variance + noise).all():
        raise ValueError(
            f"{who} has numbers of up to {np.abs(x).max():.3g}, which are too large to be "
            "standardized; bring them to another unit"
        )
    return Scaling(mean, np.sqrt(np.where(variance <= noise, 1.0, variance)))


def _weighted_sum(
    x: np.ndarray, weights: np.ndarray, center: np.ndarray | float, power: int
) -> np.ndarray:
    """Add up powers of the distances from the center, for each feature or channel."""
    total = np.zeros(x.shape[1])
    rows = max(CHUNK * len(x) // max(x.size, 1), 1)
    for start in range(0, len(x), rows):
        part = x[start : start + rows].astype(np.float64)
        part = part.reshape(*part.shape[:2], -1)
        distances = part - np.reshape(center, (-1, 1)) if power > 1 else part
        total += weights[start : start + rows] @ (distances**power).sum(axis=2)
    return total
