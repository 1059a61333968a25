"""What all callbacks have in common."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, TypeVar

from xpcnn._registry import Checked

Logs = dict[str, float]
Method = TypeVar("Method", bound=Callable[..., None])
logger = logging.getLogger("xpcnn.training.callbacks")


class Callback(Checked):
    """Base class: override the methods of interest.

    Attributes
    ----------
    model : Model
        Set before training begins. Setting ``model.stop_training = True`` ends training: in
        :meth:`on_batch_end` after that batch, and its epoch is one of fewer batches, which is
        validated and counted as any other; elsewhere after the epoch, or before the first one.
    adds : sequence of str
        Names that the callback adds to the logs of an epoch, for those that stand behind it in the
        list of callbacks.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> class Tell(xpcnn.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(epoch, sorted(logs))
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse", ["mae"])
    >>> x = np.ones((4, 1), dtype="float32")
    >>> history = model.fit(x, x, epochs=2, callbacks=[Tell()], verbose=0)
    1 ['loss', 'lr', 'mae']
    2 ['loss', 'lr', 'mae']
    """

    model: Any  # a Model, which knows callbacks
    adds: Sequence[str] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return what the callback goes on with after a resume; it is saved with the model.

        Returns
        -------
        dict
            Values that JSON has, and arrays of NumPy. Nothing is saved where it is empty.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` returned; called after :meth:`on_train_begin`.

        A model that was loaded gives the state in its file to the first callback of the same class
        and the same :meth:`identity`.
        """

    def identity(self) -> dict[str, Any]:
        """Return what tells the callback from others of its class: by default its settings."""
        try:
            return self.config()
        except AttributeError:  # a class that does not keep its arguments
            return {}

    def check(self, names: Sequence[str]) -> None:
        """Look at the settings before anything happens; an error here leaves all as it was.

        Parameters
        ----------
        names : sequence of str
            What the logs of an epoch will hold, such as ``["loss", "accuracy", "val_loss"]``.
        """

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Training starts: so many epochs of so many batches, ``None`` if nobody knows that."""

    def on_epoch_begin(self, epoch: int) -> None:
        """An epoch starts; `epoch` counts from 1."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """A batch is done; `batch` counts from 1. `logs` is empty where reading would wait.

        With ``fit(accumulate=n)`` this is called once for the n batches of an update, and counts
        updates.
        """

    def on_epoch_trained(self, epoch: int) -> None:
        """The batches of an epoch are done, and their numbers are good; validation comes next."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """An epoch is done, validation included."""

    def on_epochs_done(self, inputs: Callable[[], Iterator[tuple[Any, ...]]]) -> None:
        """All epochs are done, and nothing has failed.

        Parameters
        ----------
        inputs : callable
            Goes through the training data once more: returns an iterator over the batches, each a
            tuple of arrays on the device, one for each input of the network.
        """

    def on_train_end(self) -> None:
        """Training ends, also after an error or an interrupt."""


@contextmanager
def each_ends(begun: Sequence[Callback]) -> Iterator[None]:
    """Call ``on_train_end`` of all callbacks that have begun, whatever any of them raises.

    The first error is raised, and the others are noted on it.
    """
    first: BaseException | None = None
    try:
        yield
    except BaseException as error:
        first = error
        raise
    finally:
        for callback in begun:
            try:
                callback.on_train_end()
            except BaseException as error:
                if first is None:
                    first = error
                else:
                    first.add_note(f"{callback!r} also failed as training ended: {error!r}")
        if first is not None and sys.exc_info()[1] is not first:
            raise first


def never_stops(method: Method) -> Method:
    """Let training go on when a method fails that only tells of it; the first failure is logged."""

    @wraps(method)
    def run(self: Any, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:
            if not self._has_failed:
                self._has_failed = True
                self.failed(error)

    return run  # type: ignore[return-value]


def say(message: str, *args: Any) -> None:
    """Write a warning to the log, if there is anywhere to write to."""
    with suppress(Exception):  # standard error may be closed
        logger.warning(message, *args)


def format_logs(logs: Mapping[str, float]) -> str:
    """Write losses and metrics for one line; the learning rate is left to the history."""
    shown = {name: value for name, value in logs.items() if name != "lr"}
    return "  ".join(f"{name} {value:.4f}" for name, value in shown.items())


def as_path(who: str, path: Any, name: str = "path") -> str:
    """Return a path as text, or raise if it is none."""
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        kind = "a folder" if name == "log_dir" else "a file"
        raise TypeError(f"{who}: {name} must be the path of {kind}, got {path!r}")
    return str(path)
