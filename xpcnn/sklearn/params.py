"""Checks of the parameters that both estimators have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.errors import check_choice
from xpcnn.training import Callback
from xpcnn.window import as_flag, as_int, as_number

DTYPES = ("auto", "float32", "float64")


def check_params(estimator: Any) -> None:
    """Raise if a parameter is none; those of the model are checked where it is made."""
    who = type(estimator).__name__
    for name in ("standardize", "early_stopping", "warm_start"):
        as_flag(getattr(estimator, name), who, name)
    as_int(estimator.epochs, who, "epochs", 1)
    as_int(estimator.n_iter_no_change, who, "n_iter_no_change", 1)
    if estimator.batch_size != "auto":
        as_int(estimator.batch_size, who, "batch_size", 1)
    for name in ("lr", "tol"):
        if getattr(estimator, name) is not None:
            as_number(getattr(estimator, name), who, name, 0.0)
    share = as_number(estimator.validation_fraction, who, "validation_fraction", 0.0, 1.0)
    if not 0.0 < share < 1.0:
        raise ValueError(f"{who}: validation_fraction must lie between 0 and 1, got {share}")
    check_choice(who, "dtype", estimator.dtype, DTYPES)
    if estimator.verbose not in ("auto", 0, 1):
        raise ValueError(f"{who}: verbose must be 'auto', 0 or 1, got {estimator.verbose!r}")
    given = estimator.callbacks
    if given is not None and not (
        isinstance(given, Sequence) and all(isinstance(each, Callback) for each in given)
    ):
        raise TypeError(f"{who}: callbacks must be a list of Callback, got {given!r}")
