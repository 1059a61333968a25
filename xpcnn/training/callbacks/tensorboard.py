"""Figures of each epoch as TensorBoard shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpcnn import _xp
from xpcnn.training.callbacks.base import Callback, Logs, as_path, never_stops, say
from xpcnn.window import as_flag


class TensorBoard(Callback):
    """Write event files for TensorBoard, by tensorboardX.

    As Keras does, it writes figures of training into the folder ``train`` below `log_dir` and those
    of validation into ``validation``, under one name, such as ``epoch_loss``, so that they share a
    chart. The learning rate is ``epoch_learning_rate``. ``tensorboard --logdir`` shows them. Where
    a file cannot be written, training goes on and the log says so once.

    Parameters
    ----------
    log_dir : str or Path
        Made when training begins. Another folder for each run keeps the runs apart.
    histograms : bool
        Whether to write how the numbers of each parameter are spread, after every epoch.

    Raises
    ------
    ImportError, ValueError, TypeError, OSError
        Before anything is trained, if tensorboardX is not installed, a setting is none, or the
        folder is a file.

    Examples
    --------
    One folder for each run, in a list of callbacks of :meth:`xpcnn.Model.fit`:

    >>> from xpcnn import callbacks
    >>> callbacks.TensorBoard("runs/first", histograms=True)
    TensorBoard(log_dir='runs/first', histograms=True)
    """

    def __init__(self, log_dir: str | Path = "logs", histograms: bool = False) -> None:
        self.log_dir = as_path("TensorBoard", log_dir, "log_dir")
        self.histograms = as_flag(histograms, "TensorBoard", "histograms")
        self._writers: dict[str, Any] = {}
        self._has_failed = False

    def check(self, names: Sequence[str]) -> None:
        """Raise if tensorboardX is missing, or there is a file in the place of the folder."""
        _writer_class()
        for folder in (Path(self.log_dir), *Path(self.log_dir).parents):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(f"TensorBoard: log_dir: {str(folder)!r} is no folder")

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Start afresh; a file is opened when there is something to write."""
        self._has_failed = False

    @never_stops
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the figures of an epoch, so that they can be seen at once."""
        if self._has_failed:
            return
        for name, value in logs.items():
            folder = "validation" if name.startswith("val_") else "train"
            tag = "learning_rate" if name == "lr" else name.removeprefix("val_")
            self._writer(folder).add_scalar(f"epoch_{tag}", value, epoch)
        if self.histograms:
            for name, parameter in self.model.parameters().items():
                values = _xp.to_numpy(parameter.value).astype("float64")
                self._writer("train").add_histogram(name, values, epoch)
        for writer in self._writers.values():
            writer.flush()

    @never_stops
    def on_train_end(self) -> None:
        """Close the files."""
        writers, self._writers = self._writers, {}
        for writer in writers.values():
            writer.close()

    def failed(self, error: Exception) -> None:
        """Say so."""
        say("%r cannot write its files, and training goes on: %s", self, error)

    def _writer(self, folder: str) -> Any:
        if folder not in self._writers:
            path = str(Path(self.log_dir) / folder)
            self._writers[folder] = _writer_class()(path, write_to_disk=True)
        return self._writers[folder]


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        if not re.search("tensorboardX", str(error)):
            raise
        raise ImportError(
            'TensorBoard needs tensorboardX: pip install "xpcnn[tensorboard]"'
        ) from error
    return SummaryWriter
