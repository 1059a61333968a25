"""Things to do while a model trains."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from xpcnn.errors import choice_error

if TYPE_CHECKING:
    from xpcnn.training.model import Model

Logs = Mapping[str, float]


class Callback:
    """Base class: override the methods of interest.

    Attributes
    ----------
    model : Model
        Set before training begins. Setting ``model.stop_training = True`` ends training after the
        epoch.
    """

    model: Model

    def check(self, names: Sequence[str]) -> None:
        """Look at the settings before anything happens; an error here leaves all as it was.

        Parameters
        ----------
        names : sequence of str
            What the logs of an epoch will hold, such as ``["loss", "accuracy", "val_loss"]``.
        """

    def on_train_begin(self, epochs: int, batches: int) -> None:
        """Training starts: so many epochs of so many batches."""

    def on_epoch_begin(self, epoch: int) -> None:
        """An epoch starts; `epoch` counts from 1."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """A batch is done; `batch` counts from 1. `logs` is empty where reading would wait."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """An epoch is done, validation included."""

    def on_train_end(self) -> None:
        """Training ends, also after an error or an interrupt."""


def format_logs(logs: Logs) -> str:
    """Write losses and metrics for one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in logs.items())


class ProgressBar(Callback):
    """Show progress: a moving bar in a terminal or notebook, one line per epoch in a log file.

    Parameters
    ----------
    stream : text file, optional
        Where to write in a terminal or log; standard error if left out.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self._bar: Any = None
        self._epochs = self._batches = self._first = 0

    def on_train_begin(self, epochs: int, batches: int) -> None:
        """Remember how much there is to do."""
        self._epochs, self._batches = epochs, batches
        self._first = self.model.epoch

    def on_epoch_begin(self, epoch: int) -> None:
        """Open a bar."""
        stream = self.stream or sys.stderr
        if self.stream is None and "ipykernel" in sys.modules:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._batches, desc=self._title(epoch), unit="batch")
        elif getattr(stream, "isatty", bool)():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._batches, desc=self._title(epoch), unit="batch", file=stream
            )

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Move the bar."""
        if self._bar is not None:
            if logs:
                self._bar.set_postfix_str(format_logs(logs), refresh=False)
            self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Close the bar with the epoch's figures."""
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs))
            self._bar.close()
            self._bar = None
        else:
            stream = self.stream or sys.stderr
            print(f"{self._title(epoch)}: {format_logs(logs)}", file=stream, flush=True)

    def on_train_end(self) -> None:
        """Close a bar that an error left open."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _title(self, epoch: int) -> str:
        return f"epoch {epoch}/{self._first + self._epochs}"


class _Monitor(Callback):
    """Watches one quantity and knows when it got better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise choice_error(type(self).__name__, "mode", mode, ("auto", "min", "max"))
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best = math.nan

    def improved(self, logs: Logs) -> bool:
        """Compare with the best so far, and remember the new value if it is better."""
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__}: there is no {self.monitor!r} to monitor, only "
                f"{', '.join(logs)}; give validation_data, or monitor one of these"
            )
        value = logs[self.monitor]
        rising = self.mode == "max" or (self.mode == "auto" and "loss" not in self.monitor)
        gain = value - self.best if rising else self.best - value
        if math.isnan(self.best) or gain > self.min_delta:
            self.best = value
            return True
        return False


class EarlyStopping(_Monitor):
    """Stop training when a quantity no longer improves.

    Parameters
    ----------
    monitor : str
        Name in the logs, such as ``"val_loss"``.
    patience : int
        Number of epochs in a row without improvement after which training stops (at least 1).
    min_delta : float
        Smallest change that counts as an improvement.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" takes smaller for losses.
    restore_best_weights : bool
        Whether to end with the weights of the best epoch.

    Attributes
    ----------
    stopped_epoch : int or None
        The epoch after which training was stopped.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._best_state: dict[str, Any] = {}

    def on_train_begin(self, epochs: int, batches: int) -> None:
        """Start afresh."""
        self.best, self._waited, self.stopped_epoch, self._best_state = math.nan, 0, None, {}

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Count the epochs without improvement."""
        if self.improved(logs):
            self._waited = 0
            if self.restore_best_weights:
                self._best_state = self.model.state_dict()
            return
        self._waited += 1
        if self._waited >= max(self.patience, 1):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self) -> None:
        """Go back to the best weights."""
        if self._best_state:
            self.model.load_state_dict(self._best_state)


class ModelCheckpoint(_Monitor):
    """Save the model after every epoch, or only when it is the best so far.

    Parameters
    ----------
    path : str or Path
        File to write; ``{epoch}`` in it is replaced by the number of the epoch.
    monitor : str
        Name in the logs.
    save_best_only : bool
    mode : {"auto", "min", "max"}
    """

    def __init__(
        self,
        path: str | Path,
        monitor: str = "val_loss",
        save_best_only: bool = True,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode)
        self.path = str(path)
        self.save_best_only = save_best_only

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save."""
        if not self.save_best_only or self.improved(logs):
            self.model.save(self.path.replace("{epoch}", str(epoch)))


class CSVLogger(Callback):
    """Write one line per epoch to a CSV file.

    Parameters
    ----------
    path : str or Path
    append : bool
        Continue an existing file instead of starting anew.
    """

    def __init__(self, path: str | Path, append: bool = False) -> None:
        self.path = Path(path)
        self.append = append
        self._columns: Sequence[str] = ()

    def on_train_begin(self, epochs: int, batches: int) -> None:
        """Start the file, or read its columns."""
        self._columns = ()
        if self.append and self.path.exists():
            with self.path.open(newline="") as file:
                self._columns = next(csv.reader(file), [])

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the line at once, so that it is there if the next epoch fails."""
        first = not self._columns
        if first:
            self._columns = ["epoch", *logs]
        row = {"epoch": epoch} | {name: repr(value) for name, value in logs.items()}
        with self.path.open("w" if first else "a", newline="") as file:
            writer = csv.writer(file)
            if first:
                writer.writerow(self._columns)
            writer.writerow([row.get(name, "") for name in self._columns])
