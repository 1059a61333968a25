"""What the courses' two classifiers have in common: the loop over the epochs, and its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.scratch._shared import CourseClass, batch_slices


class Classifier(CourseClass):
    """Trains for some epochs, and keeps the losses and accuracies."""

    verbose: bool

    def _clear_history(self) -> None:
        self.train_loss_list: list[float] = []
        self.train_acc_list: list[float] = []
        self.val_loss_list: list[float] = []
        self.val_acc_list: list[float] = []

    def _train(
        self, n_epochs: int, epoch: Callable[[int], tuple[float, float]], x_val: Any, y_val: Any
    ) -> None:
        """Run the epochs, counted from 1; each returns its loss and accuracy."""
        for number in range(1, n_epochs + 1):
            loss, accuracy = epoch(number)
            self.train_loss_list.append(loss)
            self.train_acc_list.append(accuracy)
            line = f"epoch {number}/{n_epochs}: loss {loss:.4f}, accuracy {accuracy:.4f}"
            if x_val is not None:
                loss, accuracy = self.evaluate(x_val, y_val)
                self.val_loss_list.append(loss)
                self.val_acc_list.append(accuracy)
                line += f", validation loss {loss:.4f}, accuracy {accuracy:.4f}"
            if self.verbose:
                print(line, flush=True)

    def evaluate(self, x: Array, y: Any) -> tuple[float, float]:
        raise NotImplementedError


def in_batches(function: Callable[[Array], Array], x: Array, batch_size: int) -> Array:
    """Return what a function of samples gives for all of `x`, computed batch by batch."""
    parts = [function(x[part, ...]) for part in batch_slices(x.shape[0], batch_size)]
    return parts[0] if len(parts) == 1 else _xp.namespace(*parts).concat(parts, axis=0)
