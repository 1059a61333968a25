"""A callback that keeps histograms of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn._patterns import check_pattern, matches, no_match_error
from xpcnn.training.callbacks.base import Callback, Logs, never_stops, say
from xpcnn.window import as_int, is_sequence


class Histogram(NamedTuple):
    """How the numbers of an array are spread.

    Attributes
    ----------
    counts : numpy.ndarray (bins,)
        How many numbers lie in each bin; those that are not finite lie in none.
    edges : numpy.ndarray (bins + 1,)
        Where bins begin and end.
    """

    counts: np.ndarray
    edges: np.ndarray


def histogram(array: np.ndarray, bins: int) -> Histogram:
    """Count the numbers of an array in bins of equal width, from the least to the greatest."""
    numbers = array[np.isfinite(array)].astype(np.float64)
    least, most = (numbers.min(), numbers.max()) if numbers.size else (0.0, 0.0)
    narrow = (most - least) <= 1e-9 * max(abs(least), abs(most))  # bins must have a width
    room = 0.5 * (abs(most) or 1.0) if narrow else 0.0
    return Histogram(*np.histogram(numbers, bins, (least - room, most + room)))


class WeightHistory(Callback):
    """Keep how the numbers of each parameter are spread, epoch by epoch.

    :func:`xpcnn.plot.weights` draws them. What is kept is small, whatever the size of the model:
    the counts of so many bins, not the weights. The state before the first epoch is number 0.
    Another ``fit`` of the same model goes on; of another model, or of one that was reset, it
    starts afresh.

    Parameters
    ----------
    names : sequence of str, optional
        Which parameters: names or shell patterns, such as ``"*.weight"``; all if left out.
    bins : int
        Of each histogram.
    most : int
        So many epochs are kept at most. Where there are more, every second one is dropped, and from
        then on only every second one kept, and so on.

    Attributes
    ----------
    histograms : dict of str to dict of int to Histogram
        By the name of the parameter and the epoch.
    shapes : dict of str to tuple of int
        Of the parameters.

    Raises
    ------
    ValueError, TypeError
        If a setting is none; before anything is trained, if a pattern picks no parameter.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> seen = xpcnn.callbacks.WeightHistory()
    >>> x = np.ones((4, 1), dtype="float32")
    >>> history = model.fit(x, x, epochs=2, callbacks=[seen], verbose=0)
    >>> list(seen.histograms["0.weight"])
    [0, 1, 2]
    """

    def __init__(self, names: Sequence[str] | None = None, bins: int = 50, most: int = 60) -> None:
        who = type(self).__name__
        if names is not None:
            if not is_sequence(names) or not len(names):
                raise TypeError(f"{who}: names must be a list of patterns, got {names!r:.100}")
            names = [check_pattern(pattern, f"{who}: names") for pattern in names]
        self.names = names
        self.bins = as_int(bins, who, "bins", 1)
        self.most = as_int(most, who, "most", 2)
        self.histograms: dict[str, dict[int, Histogram]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._every = 1
        self._last: tuple[Any, int] | None = None  # which model, after which epoch
        self._has_failed = False

    def check(self, names: Sequence[str]) -> None:
        """Raise if a pattern picks no parameter."""
        parameters = self.model.parameters()
        for pattern in self.names or ():
            if not any(matches(pattern, name) for name in parameters):
                raise no_match_error(pattern, parameters, "WeightHistory: names")

    @never_stops
    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Go on, or start afresh, and look at the weights before the first epoch."""
        self._has_failed = False
        before: tuple[Any, int] = self._last or (None, -1)
        if before[0] is not self.model or before[1] != self.model.epoch:
            self.histograms, self.shapes, self._every = {}, {}, 1
            self._keep(self.model.epoch)

    @never_stops
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Look at the weights."""
        self._keep(epoch)

    def _keep(self, epoch: int) -> None:
        self._last = self.model, epoch
        first = next(iter(next(iter(self.histograms.values()), {})), epoch)
        if (epoch - first) % self._every:
            return
        for name, parameter in self.model.parameters().items():
            if self.names is None or any(matches(pattern, name) for pattern in self.names):
                values = _xp.to_numpy(parameter.value)
                self.shapes[name] = tuple(values.shape)
                self.histograms.setdefault(name, {})[epoch] = histogram(values, self.bins)
        if any(len(kept) > self.most for kept in self.histograms.values()):
            self._every *= 2
            for name, kept in self.histograms.items():
                self.histograms[name] = {
                    n: each for n, each in kept.items() if not (n - first) % self._every
                }

    def failed(self, error: Exception) -> None:
        """Say so."""
        say("%r cannot look at the weights, and training goes on: %s", self, error)
