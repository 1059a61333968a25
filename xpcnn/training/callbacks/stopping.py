"""Callbacks that end training."""

from __future__ import annotations

from xpcnn.errors import NonFiniteError
from xpcnn.training.callbacks.base import Callback, say


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
