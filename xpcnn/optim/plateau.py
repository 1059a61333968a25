"""The schedule that follows the progress of training."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from xpcnn.errors import check_choice
from xpcnn.optim.schedules import Schedule


class ReduceLROnPlateau(Schedule):
    """Multiply by `factor` when a monitored value has not improved for `patience` epochs.

    Whoever trains calls :meth:`observe` after every epoch.

    Parameters
    ----------
    mode : "auto", "min" or "max"
        Whether smaller or larger values are better. With "auto" a model that trains says it, by
        what its metric says; by itself the schedule knows that losses shall fall.
    factor : float
        Below 1.
    patience : int
        Epochs without improvement that are tolerated.
    threshold : float
        What counts as an improvement.
    threshold_mode : "rel" or "abs"
        Whether `threshold` is a share of the best value or a difference.
    cooldown : int
        Epochs after a reduction in which nothing is counted.
    min_lr : float
        The learning rate never falls below it.
    eps : float
        A reduction by no more than this is left out.
    monitor : str
        Which value of the training log is observed.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.optim import ReduceLROnPlateau
    >>> schedule = ReduceLROnPlateau(factor=0.5, patience=1)
    >>> for val_loss in (1.0, 0.7, 0.8, 0.9):  # twice not better than 0.7
    ...     schedule.observe(val_loss)
    >>> schedule.lr(1.0, epoch=4, step=0)
    0.5
    """

    def __init__(
        self,
        mode: str = "auto",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        monitor: str = "val_loss",
    ) -> None:
        check_choice("ReduceLROnPlateau", "mode", mode, ("min", "max", "auto"))
        check_choice("ReduceLROnPlateau", "threshold_mode", threshold_mode, ("rel", "abs"))
        self.mode = mode
        self._settled: str | None = None  # what a model has said
        self.factor = self._number("factor", factor)
        if self.factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor!r}")
        self.patience = self._count("patience", patience, least=0)
        self.threshold = self._number("threshold", threshold)
        self.threshold_mode = threshold_mode
        self.cooldown = self._count("cooldown", cooldown, least=0)
        self.min_lr = self._number("min_lr", min_lr)
        self.eps = self._number("eps", eps)
        if not isinstance(monitor, str):
            raise TypeError(
                f"ReduceLROnPlateau: monitor must be a name in the logs, got {monitor!r}"
            )
        self.monitor = monitor
        self.reset()

    def reset(self) -> None:
        """Forget all values observed, and the optimizer."""
        self._owner = None
        self.best: float | None = None
        self.bad_epochs = 0
        self.cooldown_left = 0
        self.reductions = 0

    def settle(self, mode: str) -> None:
        """Learn whether lower or higher is better, where the mode is "auto"."""
        self._settled = mode

    def _way(self) -> str:
        if self.mode != "auto":
            return str(self.mode)
        if self._settled is None and self.monitor not in ("loss", "val_loss"):
            raise ValueError(
                f"ReduceLROnPlateau: cannot tell whether more or less is better for "
                f"{self.monitor!r}; give mode='max' or mode='min'"
            )
        return self._settled or "min"

    def observe(self, value: float) -> None:
        """Take note of the monitored value of an epoch."""
        value = float(value)
        if self._is_better(value):
            self.best = value
            self.bad_epochs = 0
        else:
            self.bad_epochs += 1
        if self.cooldown_left > 0:
            self.cooldown_left -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            self.reductions += 1
            self.cooldown_left = self.cooldown
            self.bad_epochs = 0

    def _is_better(self, value: float) -> bool:
        sign = 1.0 if self._way() == "max" else -1.0
        if self.best is None:
            return sign * value > -math.inf  # never for NaN
        share = abs(self.best) if self.threshold_mode == "rel" else 1.0
        return sign * (value - self.best) > self.threshold * share

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate after the reductions so far."""
        for _ in range(min(self.reductions, 1000)):
            reduced = max(base_lr * self.factor, self.min_lr)
            if base_lr - reduced <= self.eps:
                return base_lr
            base_lr = reduced
        # A file may claim any number of them, and with a factor near 1 there are many.
        more = self.reductions - 1000
        if more > 0:
            smallest = max(self.eps, sys.float_info.min)
            last = math.log(smallest / (base_lr * (1.0 - self.factor))) / math.log(self.factor)
            base_lr = max(base_lr * self.factor ** min(more, math.ceil(last)), self.min_lr)
        return base_lr

    def state_dict(self) -> dict[str, Any]:
        """Return what was observed, as JSON has it."""
        names = ("best", "bad_epochs", "cooldown_left", "reductions")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        best = state["best"]
        if best is not None and (isinstance(best, bool) or not isinstance(best, (int, float))):
            raise ValueError(f"ReduceLROnPlateau: best must be a number or null, got {best!r:.80}")
        counts = {name: state[name] for name in state if name != "best"}
        for name, value in counts.items():
            self._count(name, value, least=0)
        self.best = None if best is None else float(best)
        for name, value in counts.items():
            setattr(self, name, value)
