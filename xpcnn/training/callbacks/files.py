"""Figures of each epoch, written to files and logs."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xpcnn.training.callbacks.base import Callback, Logs, as_path, never_stops, say
from xpcnn.window import as_flag


class CSVLogger(Callback):
    """Write one line per epoch to a CSV file.

    Training goes on where a line cannot be written, say because the disk is full, and the log
    says so once.

    Parameters
    ----------
    path : str or Path
    append : bool
        Continue an existing file instead of starting anew.

    Raises
    ------
    OSError
        Before anything is trained, if there is no such folder.
    """

    def __init__(self, path: str | Path, append: bool = False) -> None:
        self.path = Path(as_path("CSVLogger", path))
        self.append = as_flag(append, "CSVLogger", "append")
        self._columns: Sequence[str] = ()
        self._has_failed = False

    def check(self, names: Sequence[str]) -> None:
        """Raise if there is no such folder."""
        if self.path.is_dir():
            raise IsADirectoryError(
                f"CSVLogger: {str(self.path)!r} is a folder; add the name of a file"
            )
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"CSVLogger: there is no folder {str(self.path.parent)!r} for the file "
                f"{self.path.name!r}; make it"
            )

    @never_stops
    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Start the file, or read its columns."""
        self._columns = ()
        self._has_failed = False
        if self.append and self.path.exists():
            with self.path.open(newline="") as file:
                self._columns = next(csv.reader(file), [])

    @never_stops
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the line at once, so that it is there if the next epoch fails."""
        first = not self._columns
        columns = ["epoch", *logs] if first else self._columns
        row = {"epoch": epoch} | {name: repr(value) for name, value in logs.items()}
        size = 0 if first or not self.path.is_file() else self.path.stat().st_size
        try:
            with self.path.open("w" if first else "a", newline="") as file:
                writer = csv.writer(file)
                if first:
                    writer.writerow(columns)
                writer.writerow([row.get(name, "") for name in columns])
        except OSError:
            with suppress(OSError):
                os.truncate(self.path, size)  # no half lines
            raise
        self._columns = columns

    def failed(self, error: Exception) -> None:
        """Say so."""
        say("%r cannot write its file, and training goes on: %s", self, error)
