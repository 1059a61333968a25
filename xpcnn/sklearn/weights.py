"""The weights of samples: what each of them counts in training."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array

Data = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]
"""Inputs, targets of the network, and weights."""


def read_weights(given: Any, count: int, who: str) -> np.ndarray:
    """Check the weights of samples."""
    weights: np.ndarray = check_array(
        given, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name="sample_weight"
    )
    if weights.shape != (count,):
        raise ValueError(
            f"{who}: sample_weight must have shape ({count},), one number for each sample; got "
            f"{weights.shape}"
        )
    if (weights < 0).any():
        raise ValueError(f"{who}: sample_weight must not be negative, got {weights.min():g}")
    if not weights.any():
        raise ValueError(f"{who}: sample_weight must not be zero for all samples")
    return weights


def counting(X: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> Data:
    """Leave out samples of weight 0, which would fill batches and count in the mean of a loss."""
    if weights is None or weights.all():
        return X, targets, weights
    rows = weights != 0
    return X[rows], targets[rows], weights[rows]


def of_mean_one(weights: np.ndarray | None, factors: np.ndarray | None) -> np.ndarray | None:
    """Multiply weights and factors, and bring their mean to 1: only their relations count."""
    if weights is None and factors is None:
        return None
    product = weights if factors is None else factors if weights is None else weights * factors
    assert product is not None
    mean = product.mean()
    return product / mean if mean > 0 else product
