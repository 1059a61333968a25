"""Weights of samples, of places within them, and of the outputs of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn.losses.loss import Loss, fits_from_the_left
from xpcnn.losses.per_output import LossPerOutput
from xpcnn.training.data_adapter import as_numbers, check_weights, to_host

WHO = "sample_weight"
Weights = np.ndarray | tuple[np.ndarray | None, ...] | None


def as_weights(
    sample_weight: Any, loss: Loss, outputs: Sequence[str], shapes: Sequence[Any], dtype: str
) -> Weights:
    """Check weights against the terms of the loss; ``None`` stays.

    Parameters
    ----------
    sample_weight : array, or a tuple or mapping of them
        One for each output, where each has a loss of its own; else for all of them.
    loss : Loss
    outputs : sequence of str
        Names of the network's outputs.
    shapes : sequence of tuple of int
        Shapes of the outputs for all samples.
    dtype : str
        What the weights become.

    Returns
    -------
    numpy.ndarray, a tuple with one or ``None`` for each output, or None

    Raises
    ------
    ValueError
        If shapes do not fit, there are other outputs, or a weight is negative or not finite.
    TypeError
        If they are no numbers.
    """
    if sample_weight is None:
        return None
    if not isinstance(loss, LossPerOutput):
        if isinstance(sample_weight, Mapping):
            raise TypeError(
                f"{WHO}: expected an array, got a dict; weights by output are for networks of "
                "several outputs, each with a loss of its own"
            )
        shape = shapes[0] if loss.predictions == 1 else tuple(shapes)
        return _of_one(sample_weight, loss.terms_shape(shape), dtype, WHO)
    terms = [one.terms_shape(shape) for one, shape in zip(loss.losses, shapes, strict=True)]
    given = _by_output(sample_weight, outputs)
    if given is None:
        return _of_one(sample_weight, terms[0][:1], dtype, WHO)
    return tuple(
        None if one is None else _of_one(one, shape, dtype, f"{WHO}[{name!r}]")
        for one, shape, name in zip(given, terms, outputs, strict=True)
    )


def is_all_zero(weights: Any) -> bool:
    """Whether no weight is above 0, so that nothing counts."""
    given = weights if isinstance(weights, tuple) else (weights,)
    return not any(one is None or one.any() for one in given)


def _by_output(given: Any, outputs: Sequence[str]) -> list[Any] | None:
    """List the weights of each output; ``None`` if there is one array for all."""
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in outputs]
        if unknown or not given:
            found = repr(unknown[0]) if unknown else "nothing"
            raise ValueError(
                f"{WHO}: expected some of the outputs {', '.join(outputs)}; got {found}"
            )
        return [given.get(name) for name in outputs]
    if not isinstance(given, (tuple, list)) or all(np.ndim(one) == 0 for one in given):
        if isinstance(given, (tuple, list)) and None in given:
            raise ValueError(f"{WHO}: {given!r:.80} has no weights for any output; leave it out")
        return None
    if len(given) != len(outputs):
        raise ValueError(
            f"{WHO}: expected one array for all outputs, or one for each of {', '.join(outputs)}; "
            f"got {len(given)}"
        )
    return list(given)


def _of_one(given: Any, terms: tuple[int, ...], dtype: str, who: str) -> np.ndarray:
    """Check the weights of one loss."""
    weights = as_numbers(to_host(given, who), who, dtype)
    if not fits_from_the_left(weights.shape, terms):
        more = ""
        if len(terms) > 1:
            more = f"; or further axes of the terms of the loss, which have the shape {terms}"
        raise ValueError(f"{who}: expected shape ({terms[0]},), got {weights.shape}{more}")
    check_weights(weights, who)
    return weights
