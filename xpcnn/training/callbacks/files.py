"""Figures of each epoch, written to files and logs."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xpcnn.errors import choice_error
from xpcnn.training.callbacks.base import Callback, Logs, as_path, format_logs, never_stops, say
from xpcnn.window import as_flag, as_int


class _FileLogger(Callback):
    """Writes lines to a file, and lets training go on where that fails."""

    def __init__(self, path: str | Path, append: bool = False) -> None:
        who = type(self).__name__
        self.path = Path(as_path(who, path))
        self.append = as_flag(append, who, "append")
        self._has_failed = False

    def check(self, names: Sequence[str]) -> None:
        """Raise if there can be no file at the path."""
        who, path = type(self).__name__, self.path
        if path.is_dir():
            raise IsADirectoryError(f"{who}: {str(path)!r} is a folder; add the name of a file")
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"{who}: there is no folder {str(path.parent)!r} for the file {path.name!r}; "
                "make it"
            )

    def failed(self, error: Exception) -> None:
        """Say so."""
        say("%r cannot write its file, and training goes on: %s", self, error)

    def _write(self, text: str, *, anew: bool = False) -> None:
        """Write lines to the file at once, as a whole or not at all."""
        size = 0 if anew or not self.path.is_file() else self.path.stat().st_size
        try:
            with self.path.open("w" if anew else "a", newline="", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            with suppress(OSError):
                os.truncate(self.path, size)  # no half lines
            raise


class CSVLogger(_FileLogger):
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

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 1), dtype="float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = xpcnn.CSVLogger(Path(folder) / "log.csv")
    ...     history = model.fit(x, x, epochs=2, callbacks=[log], verbose=0)
    ...     lines = log.path.read_text(encoding="utf-8").splitlines()
    >>> lines[0], len(lines)
    ('epoch,loss,lr', 3)
    """

    def __init__(self, path: str | Path, append: bool = False) -> None:
        super().__init__(path, append)
        self._columns: Sequence[str] = ()

    @never_stops
    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Start the file, or read its columns."""
        self._columns = ()
        self._has_failed = False
        if self.append and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file), [])

    @never_stops
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the line at once, so that it is there if the next epoch fails."""
        first = not self._columns
        columns = ["epoch", *logs] if first else self._columns
        row = {"epoch": epoch} | {name: repr(value) for name, value in logs.items()}
        lines = io.StringIO()
        writer = csv.writer(lines)
        if first:
            writer.writerow(columns)
        writer.writerow([row.get(name, "") for name in columns])
        self._write(lines.getvalue(), anew=first)
        self._columns = columns


class JSONLogger(_FileLogger):
    """Write one line per epoch to a file of JSON lines, such as ``{"epoch": 1, "loss": 0.5}``.

    Each line is an object of its own. What is NaN or infinite, which JSON has not, is null.
    Training goes on where a line cannot be written, and the log says so once.

    Parameters
    ----------
    path : str or Path
    append : bool
        Continue an existing file instead of starting anew.

    Raises
    ------
    OSError
        Before anything is trained, if there is no such folder.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 1), dtype="float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = xpcnn.callbacks.JSONLogger(Path(folder) / "log.jsonl")
    ...     history = model.fit(x, x, epochs=2, callbacks=[log], verbose=0)
    ...     lines = log.path.read_text(encoding="utf-8").splitlines()
    >>> [json.loads(line)["epoch"] for line in lines]
    [1, 2]
    """

    @never_stops
    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Start the file, unless it is to be continued."""
        self._has_failed = False
        if not self.append:
            self.path.write_bytes(b"")

    @never_stops
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the line at once, so that it is there if the next epoch fails."""
        figures = {name: value if math.isfinite(value) else None for name, value in logs.items()}
        self._write(json.dumps({"epoch": epoch, **figures}, allow_nan=False) + "\n")


class LoggingCallback(Callback):
    """Write one line per epoch to a log of Python's :mod:`logging`.

    Parameters
    ----------
    logger : str
        Name of the log, as for :func:`logging.getLogger`.
    level : str or int
        Such as "INFO"; of a log that shows warnings alone, as Python's do unless told otherwise,
        nothing is seen below "WARNING".

    Raises
    ------
    ValueError, TypeError
        If there is no such level, or the name is no text.

    Examples
    --------
    >>> import logging, sys
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 1), dtype="float32")
    >>> log = logging.getLogger("my run")
    >>> log.addHandler(logging.StreamHandler(sys.stdout))
    >>> log.setLevel("INFO")
    >>> told = xpcnn.callbacks.LoggingCallback("my run")
    >>> history = model.fit(x, x, epochs=2, callbacks=[told], verbose=0)
    epoch 1...loss ...
    epoch 2...loss ...
    >>> log.handlers.clear()
    """

    def __init__(self, logger: str = "xpcnn.training", level: str | int = "INFO") -> None:
        if not isinstance(logger, str):
            raise TypeError(f"LoggingCallback: logger must be the name of a log, got {logger!r}")
        known = logging.getLevelNamesMapping()
        if isinstance(level, str) and level not in known:
            raise choice_error("LoggingCallback", "level", level, tuple(known))
        self.logger = logger
        self.level = (
            level if isinstance(level, str) else as_int(level, "LoggingCallback", "level", 1)
        )
        self._has_failed = False

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Start afresh."""
        self._has_failed = False

    @never_stops
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the line."""
        level = self.level
        number = logging.getLevelNamesMapping()[level] if isinstance(level, str) else level
        rate = f"  lr {logs['lr']:.3g}" if "lr" in logs else ""
        logging.getLogger(self.logger).log(number, "epoch %d: %s%s", epoch, format_logs(logs), rate)

    def failed(self, error: Exception) -> None:
        """Say so."""
        say("%r cannot write to its log, and training goes on: %s", self, error)
