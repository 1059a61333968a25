"""Progress, shown while a model trains."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from xpcnn.training.callbacks.base import Callback, Logs, format_logs, never_stops, say


class ProgressBar(Callback):
    """Show progress: a moving bar in a terminal or notebook, one line per epoch in a log file.

    Parameters
    ----------
    stream : text file, optional
        Where to write in a terminal or log; standard error if left out.

    Examples
    --------
    >>> import sys
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 1), dtype="float32")
    >>> bar = xpcnn.ProgressBar(sys.stdout)
    >>> history = model.fit(x, x, epochs=2, callbacks=[bar], verbose=0)
    epoch 1/2: loss ...
    epoch 2/2: loss ...
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        if stream is not None and not hasattr(stream, "write"):
            raise TypeError(f"ProgressBar: stream must be a text file, got {stream!r}")
        self.stream = stream
        self._bar: Any = None
        self._epochs = self._first = 0
        self._batches: int | None = None
        self._has_failed = False

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Remember how much there is to do."""
        self._epochs, self._batches = epochs, batches
        self._first = self.model.epoch
        self._has_failed = False

    @never_stops
    def on_epoch_begin(self, epoch: int) -> None:
        """Open a bar."""
        if self._has_failed:
            return
        # a bar of text there too: widgets would need ipywidgets, in the kernel and in the browser
        in_notebook = self.stream is None and _in_a_notebook()
        stream = sys.stdout if in_notebook else self.stream or sys.stderr
        if in_notebook or getattr(stream, "isatty", bool)():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._batches, desc=self._title(epoch), unit="batch", file=stream
            )

    @never_stops
    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Move the bar."""
        if self._bar is not None:
            if logs:
                self._bar.set_postfix_str(format_logs(logs), refresh=False)
            self._bar.update()

    @never_stops
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Close the bar with the epoch's figures."""
        stream = self.stream or sys.stderr
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs))
            self._close()
        elif not self._has_failed and stream is not None:
            print(f"{self._title(epoch)}: {format_logs(logs)}", file=stream, flush=True)

    @never_stops
    def on_train_end(self) -> None:
        """Close a bar that an error left open."""
        if self._bar is not None:
            self._close()

    def _close(self) -> None:
        self._bar.close()
        self._bar = None

    def failed(self, error: Exception) -> None:
        """Show no more."""
        if self._bar is not None:
            self._bar.disable = True  # or it tries again when it is thrown away
            self._bar = None
        say("progress is not shown any more, and training goes on: %r", error)

    def _title(self, epoch: int) -> str:
        return f"epoch {epoch}/{self._first + self._epochs}"


def _in_a_notebook() -> bool:
    """Whether a notebook's kernel runs this; much imports ``ipykernel`` without being one."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return hasattr(get_shell(), "kernel")
