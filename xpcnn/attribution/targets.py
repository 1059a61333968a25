"""Which number of the output is explained, for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from xpcnn import _xp

Place = tuple[int, ...]
"""Indices behind the batch axis; if they are fewer than the output has, the rest is added up."""


class Targets:
    """What is explained of each sample: a class, or another number of the output.

    Parameters
    ----------
    target : int, str, tuple of int, sequence of these, or None
        One for all samples, or in a list or array one for each. ``None`` is the largest output.
    count : int
        Samples.
    who : str
        For messages.
    class_names : sequence of str or None
        What names mean.
    """

    def __init__(
        self, target: Any, count: int, who: str, class_names: Sequence[str] | None = None
    ) -> None:
        self._who, self._names = who, class_names
        if _xp.is_array(target):
            target = _xp.to_numpy(target).tolist()
        if target is None:
            self._places: list[Place] | None = None
        elif isinstance(target, list):
            if len(target) != count:
                raise ValueError(
                    f"{who}: target has {len(target)} entries for {count} samples; give one for "
                    "each, or one number for all"
                )
            self._places = [self._place(each) for each in target]
        else:
            self._places = [self._place(target)] * count

    def _place(self, target: Any) -> Place:
        """Return the indices that one target stands for."""
        if isinstance(target, str):
            if self._names is None or target not in self._names:
                known = (
                    f"the classes are {', '.join(map(repr, self._names))}"
                    if self._names
                    else "the model has no class_names; give the number of the class"
                )
                raise ValueError(f"{self._who}: target: there is no class {target!r}; {known}")
            return (list(self._names).index(target),)
        given = target if isinstance(target, tuple) and target else (target,)
        try:
            if any(isinstance(number, (bool, np.bool_)) for number in given):
                raise TypeError
            return tuple(map(index, given))
        except TypeError:
            raise TypeError(
                f"{self._who}: target must be the number of a class, a list with one for each "
                f"sample, or None for the class that is predicted, got {target!r:.200}"
            ) from None

    def places(self, y: np.ndarray, rows: np.ndarray) -> list[Place]:
        """Return the indices for some samples and their outputs.

        Raises
        ------
        ValueError
            If there is no such number in the output, or nobody has said which one is meant.
        """
        shape = y.shape[1:]
        if self._places is not None:
            found = [self._places[row] for row in rows]
            for place in found:
                self._check(place, shape)
            return found
        if len(shape) > 1:
            raise ValueError(
                f"{self._who}: the output has shape (N, {', '.join(map(str, shape))}), more than "
                "one number for each class; give target: the number of a class, whose numbers are "
                "added up, or a tuple such as (class, row, column)"
            )
        return [(int(np.argmax(row)),) if shape else () for row in y]

    def _check(self, place: Place, shape: tuple[int, ...]) -> None:
        if not shape:
            raise ValueError(
                f"{self._who}: the output is one number for each sample, so that there is nothing "
                f"to choose; leave out target, got {place[0] if len(place) == 1 else place}"
            )
        if len(place) > len(shape):
            raise ValueError(
                f"{self._who}: target {place} has {len(place)} numbers, and the output has shape "
                f"(N, {', '.join(map(str, shape))}); a tuple is one place for all samples, a list "
                "has one for each"
            )
        for number, length in zip(place, shape, strict=False):
            if not 0 <= number < length:
                raise ValueError(
                    f"{self._who}: target must be from 0 to {length - 1}, as the output has shape "
                    f"(N, {', '.join(map(str, shape))}), got {number}"
                )


def scores_at(y: np.ndarray, places: Sequence[Place]) -> np.ndarray:
    """Return what is explained of each sample, in float64."""
    pairs = zip(y, places, strict=True)
    return np.array([row[place].sum(dtype=np.float64) for row, place in pairs])


def ones_at(y: np.ndarray, places: Sequence[Place]) -> np.ndarray:
    """Return the gradient of the sum of :func:`scores_at`."""
    found = np.zeros_like(y)
    for row, place in enumerate(places):
        found[(row, *place)] = 1
    return found
