"""Callbacks that end training."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from xpcnn.errors import NonFiniteError
from xpcnn.training.callbacks.base import Callback, Logs, say
from xpcnn.window import as_number


class TerminateOnNaN(Callback):
    """End training without an error where a loss or a weight becomes NaN or infinite.

    :meth:`xpcnn.Model.fit` raises :class:`xpcnn.NonFiniteError` then; with this callback it logs
    what the error says, and returns the history of the epochs that were completed. The weights are
    the last good ones either way.

    Attributes
    ----------
    error : NonFiniteError or None
        What has ended the last training, if that has.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile(xpcnn.optim.SGD(lr=1e30), "mse")
    >>> ending = xpcnn.callbacks.TerminateOnNaN()
    >>> x = np.ones((4, 1), dtype="float32")
    >>> history = model.fit(x, x, epochs=50, callbacks=[ending], verbose=0)
    >>> len(history.epoch) < 50, ending.error.epoch == len(history.epoch) + 1
    (True, True)
    """

    def __init__(self) -> None:
        self.error: NonFiniteError | None = None

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Start afresh."""
        self.error = None

    def ended(self, error: NonFiniteError) -> None:
        """Note and log what has ended training."""
        self.error = error
        say("training has ended: %s", error)


class TimeLimit(Callback):
    """End training after some time: after the batch in which it is over.

    The epoch is validated and counted as any other, of the batches that were made.

    Parameters
    ----------
    limit : float or str
        Seconds, or text such as "90s", "45m" or "1h30m".

    Attributes
    ----------
    stopped_epoch : int or None
        The epoch in which the time was over.

    Raises
    ------
    ValueError, TypeError
        If it is no time above 0.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 1), dtype="float32")
    >>> limit = xpcnn.callbacks.TimeLimit("1h30m")
    >>> history = model.fit(x, x, epochs=2, callbacks=[limit], verbose=0)
    >>> print(limit.stopped_epoch)  # it was not used up
    None
    """

    def __init__(self, limit: float | str) -> None:
        self.limit = limit
        self._seconds = _seconds(limit)
        self._end = 0.0
        self.stopped_epoch: int | None = None

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Look at the clock."""
        self._end, self.stopped_epoch = time.monotonic() + self._seconds, None

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Stop if the time is over."""
        if time.monotonic() >= self._end and self.stopped_epoch is None:
            self.stopped_epoch = self.model.epoch + 1
            self.model.stop_training = True


def _seconds(limit: Any) -> float:
    """Return a time in seconds."""
    found = None
    if isinstance(limit, str):
        pattern = r"(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s)?"
        found = re.fullmatch(pattern, limit.replace(" ", ""))
        try:
            parts = [float(part or 0.0) for part in found.groups()] if found else [0.0]
        except ValueError:
            parts = [0.0]
        seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    else:
        seconds = as_number(limit, "TimeLimit", "limit")
    if not 0.0 < seconds < math.inf:
        raise ValueError(
            "TimeLimit: limit must be seconds above 0, or text such as '90s', '45m' or '1h30m', "
            f"got {limit!r}"
        )
    return seconds
