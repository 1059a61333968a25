"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn.training.callbacks.base import Callback, Logs

Function = Callable[..., Any] | None


class LambdaCallback(Callback):
    """Call functions of your own while a model trains, with Keras' names.

    Parameters
    ----------
    on_train_begin, on_train_end : callable, optional
        Called without arguments.
    on_epoch_begin : callable, optional
        Is given the number of the epoch, from 1.
    on_epoch_end : callable, optional
        Is given the number of the epoch and the logs, a dict of losses and metrics.
    on_batch_end : callable, optional
        Is given the number of the batch, from 1, and the logs so far, which may be empty.

    Raises
    ------
    TypeError, ValueError
        If one of them is no function, or none is given.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> tell = xpcnn.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch))
    >>> x = np.ones((4, 1), dtype="float32")
    >>> history = model.fit(x, x, epochs=2, callbacks=[tell], verbose=0)
    1
    2
    """

    def __init__(
        self,
        on_epoch_begin: Function = None,
        on_epoch_end: Function = None,
        on_train_begin: Function = None,
        on_train_end: Function = None,
        on_batch_end: Function = None,
    ) -> None:
        self._functions: dict[str, Any] = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_batch_end": on_batch_end,
        }
        for name, function in self._functions.items():
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be a function, got {function!r}")
        if not any(self._functions.values()):
            raise ValueError(
                f"LambdaCallback: give a function, as one of {', '.join(self._functions)}"
            )

    def arguments(self) -> dict[str, Any]:
        """Return the functions."""
        return dict(self._functions)

    def _call(self, name: str, *args: Any) -> None:
        function = self._functions[name]
        if function is not None:
            function(*args)

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Call the function."""
        self._call("on_train_begin")

    def on_epoch_begin(self, epoch: int) -> None:
        """Call the function."""
        self._call("on_epoch_begin", epoch)

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Call the function."""
        self._call("on_batch_end", batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Call the function."""
        self._call("on_epoch_end", epoch, logs)

    def on_train_end(self) -> None:
        """Call the function."""
        self._call("on_train_end")
