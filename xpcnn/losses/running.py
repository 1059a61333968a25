"""The loss of many batches, as if they were one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xpcnn import _xp
from xpcnn._xp import Array


class LossPart(NamedTuple):
    """What a batch adds to the loss of a data set: ``weight * total / divisor``.

    Attributes
    ----------
    total : array
        0-dimensional: the sum of the terms.
    divisor : array, int or None
        What the mean divides by; ``None`` where totals are added up, not averaged.
    weight : float
        Of this loss among those of several outputs.
    """

    total: Array
    divisor: Array | int | None
    weight: float = 1.0

    def apply(self, function: Callable[[Array], Array]) -> LossPart:
        """Return the part with a function applied to its arrays."""
        fixed = self.divisor is None or isinstance(self.divisor, int)
        divisor = self.divisor if fixed else function(self.divisor)
        return LossPart(function(self.total), divisor, self.weight)

    def plus(self, other: LossPart) -> LossPart:
        """Return the sum with a part of the same loss."""
        divisor = other.divisor
        if divisor is not None and self.divisor is not None:
            divisor = self.divisor + divisor
        return LossPart(self.total + other.total, divisor, self.weight)

    @property
    def is_on_host(self) -> bool:
        """Whether it can be read without waiting for a device."""
        return _xp.on_host(self.total)

    @property
    def is_finite(self) -> bool:
        """Whether the total is; a batch in which nothing counts has a total of 0."""
        return math.isfinite(float(self.total) * self.weight)


class RunningLoss:
    """The loss of all batches so far, as if they were one.

    The totals of the batches and what they are divided by are added up apart, as float64 on the
    host, so that neither the size of the batches shows, nor that more counts in one than in
    another. Where reading a number would make the host wait for a device, this is put off until
    :meth:`result`.

    Attributes
    ----------
    first_not_finite : int or None
        The first step, counted from 1, of those read whose loss is NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import losses
    >>> loss, running = losses.CrossEntropyLoss(ignore_index=-1), RunningLoss()
    >>> scores = np.log([[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]])
    >>> for rows in (slice(0, 2), slice(2, 3)):
    ...     value = loss(scores[rows], np.array([0, 1, -1])[rows])
    ...     running.add(loss.parts(value, len(scores[rows])))
    >>> round(running.result(), 4)  # -log(0.5 * 0.75) / 2
    0.4904
    """

    def __init__(self) -> None:
        self._sums: list[LossPart] = []
        self._waiting: list[tuple[Sequence[LossPart], ...]] = []
        self._read = 0
        self.first_not_finite: int | None = None

    def add(self, *batches: Sequence[LossPart]) -> None:
        """Take in a batch, or the batches of one step; nothing waits for the device.

        Parameters
        ----------
        *batches : sequence of LossPart
            As :meth:`xpcnn.losses.Loss.parts` returns them.
        """
        self._waiting.append(batches)
        if all(part.is_on_host for parts in batches for part in parts):
            self._settle()

    def _settle(self) -> None:
        """Read what waits on the device."""
        for batches in self._waiting:
            self._read += 1
            for parts in batches:
                self._take(parts)
        self._waiting = []

    def _take(self, parts: Sequence[LossPart]) -> None:
        read = [part.apply(float) for part in parts]
        if self.first_not_finite is None and not all(part.is_finite for part in read):
            self.first_not_finite = self._read
        sums = self._sums or [LossPart(0.0, 0.0, part.weight) for part in read]
        self._sums = [old.plus(new) for old, new in zip(sums, read, strict=True)]

    def result(self) -> float:
        """Return the loss of all batches so far; NaN where nothing counted."""
        each = self.of_each()
        if not each:
            return math.nan
        return sum(part.weight * loss for part, loss in zip(self._sums, each, strict=True))

    def of_each(self) -> list[float]:
        """Return the loss of each output, without its weight, where each has a loss of its own."""
        self._settle()
        found = []
        for total, divisor, _ in self._sums:
            if divisor is not None:
                total = total / divisor if divisor else math.nan
            found.append(total)
        return found
