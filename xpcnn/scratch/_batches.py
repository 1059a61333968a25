"""The courses' iterator over shuffled mini-batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.scratch._shared import CourseClass, as_array
from xpcnn.window import as_int


class GetMiniBatch(CourseClass):
    """Shuffled mini-batches of samples and labels, for a ``for`` loop.

    Parameters
    ----------
    X : array of shape (N, ...)
    y : array of shape (N, ...)
    batch_size : int
        The last batch holds what remains.
    seed : int or None
        Of the shuffle, which is the one ``np.random.seed(seed)`` would give; the global generator
        itself is left alone. ``None`` shuffles with the global generator.

    Raises
    ------
    ValueError
        If `X` and `y` differ in length, or `batch_size` is not positive.

    Attributes
    ----------
    X, y : array
        Samples and labels in the order in which the batches take them.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import GetMiniBatch
    >>> batches = GetMiniBatch(np.arange(5), np.arange(5) * 10, batch_size=2, seed=0)
    >>> len(batches), [list(map(int, y)) for _, y in batches]
    (3, [[20, 0], [10, 30], [40]])
    """

    def __init__(self, X: Array, y: Array, batch_size: int = 20, seed: int | None = 0) -> None:
        self.batch_size = as_int(batch_size, "GetMiniBatch", "batch_size", 1)
        self._X, self._y = as_array(X), as_array(y)
        if not self._X.ndim or not self._y.ndim:
            raise ValueError("GetMiniBatch: X and y must be arrays with a sample in each row")
        n = self._X.shape[0]
        if self._y.shape[0] != n:
            raise ValueError(f"GetMiniBatch: got {n} samples but {self._y.shape[0]} labels")
        generator: Any = np.random if seed is None else np.random.RandomState(seed)
        self._order = generator.permutation(np.arange(n))
        self._stop = -(-n // self.batch_size)
        self._counter = 0

    @property
    def X(self) -> Array:  # noqa: N802
        return take_rows(self._X, self._order)

    @property
    def y(self) -> Array:
        return take_rows(self._y, self._order)

    def __len__(self) -> int:
        return self._stop

    def __getitem__(self, item: int) -> tuple[Array, Array]:
        if not -self._stop <= item < self._stop:
            raise IndexError(f"GetMiniBatch: no batch {item}, there are {self._stop}")
        start = item % self._stop * self.batch_size
        rows = self._order[start : start + self.batch_size]
        return take_rows(self._X, rows), take_rows(self._y, rows)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        self._counter = 0
        return self

    def __next__(self) -> tuple[Array, Array]:
        if self._counter >= self._stop:
            raise StopIteration
        self._counter += 1
        return self[self._counter - 1]


def take_rows(x: Array, rows: np.ndarray) -> Array:
    """Return the samples of the given numbers, in that order."""
    if isinstance(x, np.ndarray):
        return x[rows]
    return _xp.namespace(x).take(x, Device.of(x).asarray(rows), axis=0)
