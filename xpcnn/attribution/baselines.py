"""What stands for nothing in the place of an input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.attribution.explained import Explained
from xpcnn.training.data_adapter import one_each


def baselines_for(explained: Explained, given: Any, *, moves_integers: bool) -> list[np.ndarray]:
    """Return an array like each input, of what stands in its place.

    Parameters
    ----------
    explained : Explained
    given : number or array, or a tuple or dict of one for each input
        One number serves all inputs.
    moves_integers : bool
        Whether inputs of integers have a baseline too; otherwise theirs is the input itself.

    Raises
    ------
    ValueError, TypeError
        If it does not fit.
    """
    names, who = explained.model.inputs, explained.who
    if _is_number(given):
        each = [given] * len(names)
    elif isinstance(given, Mapping) or len(names) > 1:
        each = one_each(given, names, f"{who}: baseline", "input")
    else:
        each = [given]
    return [
        x if x.dtype.kind != "f" and not moves_integers else _like(x, value, name, who)
        for x, value, name in zip(explained.inputs, each, names, strict=True)
    ]


def _is_number(given: Any) -> bool:
    return isinstance(given, (int, float, np.number)) and not isinstance(given, bool)


def _like(x: np.ndarray, given: Any, name: str, who: str) -> np.ndarray:
    """Return a baseline of the shape of the input."""
    try:
        values = _xp.to_numpy(given) if _xp.is_array(given) else np.asarray(given)
        right = values.dtype.kind in "iuf"
    except (TypeError, ValueError):
        right = False
    if not right:
        raise TypeError(
            f"{who}: baseline of {name!r} must be a number or an array of numbers, got "
            f"{type(given).__name__}"
        )
    if values.shape not in ((), x.shape, x.shape[1:], (1, *x.shape[1:])):
        raise ValueError(
            f"{who}: baseline of {name!r} must be a number, or have the shape of a sample, "
            f"{x.shape[1:]}, or of x, {x.shape}; got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{who}: baseline of {name!r} holds NaN or infinity")
    if x.dtype.kind != "f" and (values != np.round(values)).any():
        raise ValueError(f"{who}: baseline of {name!r} must hold integers, as the input does")
    return np.broadcast_to(values, x.shape).astype(x.dtype)
