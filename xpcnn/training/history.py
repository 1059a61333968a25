"""The results of training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(repr=False)
class History:
    """Loss and metrics of every epoch.

    Attributes
    ----------
    epoch : list of int
        Numbers of the epochs, counted from 1 over the life of the model.
    history : dict of str to list of float
        One list per quantity, such as ``"loss"`` and ``"val_accuracy"``, as long as `epoch`.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 1), dtype="float32")
    >>> history = model.fit(x, x, epochs=3, verbose=0)
    >>> history.epoch
    [1, 2, 3]
    >>> losses = history.history["loss"]
    >>> losses[2] < losses[1] < losses[0]
    True
    """

    epoch: list[int] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        last = "".join(
            f", {name}={column[-1]:.6g}" for name, column in self.history.items() if column
        )
        return f"History(epochs={len(self.epoch)}{last})"

    def _repr_html_(self) -> str:
        """Return curves and a table of the last epochs, for notebooks."""
        from xpcnn.training.history_html import as_html  # here: no program without one needs it

        return as_html(self.epoch, self.history)

    def append(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Add one epoch; a quantity that an epoch lacks is NaN there."""
        for name in [*self.history, *logs]:
            column = self.history.setdefault(name, [float("nan")] * len(self.epoch))
            if len(column) == len(self.epoch):
                column.append(float(logs.get(name, float("nan"))))
        self.epoch.append(epoch)

    def length(self) -> tuple[int, list[str]]:
        """Return the number of epochs and the names of the quantities."""
        return len(self.epoch), list(self.history)

    def cut(self, length: tuple[int, list[str]]) -> None:
        """Forget what came after :meth:`length` was asked."""
        count, names = length
        del self.epoch[count:]
        for name in list(self.history):
            del self.history[name][count:]
            if name not in names:
                del self.history[name]
