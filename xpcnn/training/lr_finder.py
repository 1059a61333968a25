"""A search for a learning rate: steps with larger and larger rates, while the loss is watched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.errors import NonFiniteError
from xpcnn.optim import Schedule
from xpcnn.training.dataset import Source, Turn
from xpcnn.training.rollback import put_back
from xpcnn.training.state import TrainingState
from xpcnn.training.step import train_step
from xpcnn.window import as_int, as_number

SMOOTHING = 0.98
"""How much of the smoothed loss each step keeps."""
DIVERGED = 4.0
"""A smoothed loss so many times the least one ends the search."""


@dataclass(frozen=True, repr=False)
class RateSearch:
    """What :meth:`xpcnn.Model.find_lr` has found; as text it is a table.

    Attributes
    ----------
    lrs : list of float
        The learning rates that were tried, from small to large.
    losses : list of float
        The loss of the batch that each of them was tried on, before the step.
    smoothed : list of float
        Their moving average, each a share of 0.98 of the one before, corrected for its beginning.
    suggestion : float or None
        The middle of that decade of learning rates over which the loss falls most steeply, by a
        straight line through it; ``None`` where no fall stands out of the noise, or too few were
        tried.
    """

    lrs: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None

    def __repr__(self) -> str:
        return f"RateSearch(steps={len(self.lrs)}, suggestion={_written(self.suggestion)})"

    def __str__(self) -> str:
        places = sorted({round(p) for p in np.linspace(0, len(self.lrs) - 1, 12)})
        rows = [(self.lrs[i], self.losses[i], self.smoothed[i]) for i in places]
        lines = [f"{'lr':>8}  {'loss':>9}  {'smoothed':>9}", "-" * 30]
        lines += [f"{lr:8.1e}  {loss:9.4g}  {smooth:9.4g}" for lr, loss, smooth in rows]
        return "\n".join([*lines, "-" * 30, f"suggested lr: {_written(self.suggestion)}"])


class _Sweep(Schedule):
    """The learning rate that is being tried."""

    counts = "steps"
    sets_lr = True

    def __init__(self) -> None:
        self.now = 0.0

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return it."""
        return self.now


def rates(start: Any, end: Any, steps: Any) -> list[float]:
    """Return learning rates from `start` to `end`, each so many times the one before.

    Raises
    ------
    ValueError, TypeError
        If they are no rates above 0, one below the other, or no number of steps.
    """
    first, last = (as_number(v, "find_lr", n) for v, n in ((start, "start"), (end, "end")))
    if not 0.0 < first < last < math.inf:
        raise ValueError(
            f"find_lr: start and end must be learning rates above 0, start below end, got start="
            f"{start!r} and end={end!r}"
        )
    count = as_int(steps, "find_lr", "steps", 2)
    return [first * (last / first) ** (i / (count - 1)) for i in range(count)]


def search(model: TrainingState, source: Source, chosen: Sequence[float]) -> RateSearch:
    """Make a step with each rate, until the loss diverges; the model is as before afterwards."""
    optimizer = model.optimizer
    assert optimizer is not None
    sweep, losses, smoothed, average = _Sweep(), list[float](), list[float](), 0.0
    with put_back(model):
        optimizer.schedule = sweep
        for sweep.now, turn in zip(chosen, _turns(source, model.epoch), strict=False):
            step = train_step(model, turn.size, turn.load, wait=True)
            if step.outcome.not_finite is not None:
                break
            losses.append(float(_xp.to_numpy(step.outcome.loss)))
            average = SMOOTHING * average + (1.0 - SMOOTHING) * losses[-1]
            smoothed.append(average / (1.0 - SMOOTHING ** len(losses)))
            if smoothed[-1] > DIVERGED * min(smoothed) and smoothed[-1] > 0.0:
                break
    if not losses:
        raise NonFiniteError(
            "find_lr: the loss of the first batch is NaN or infinite already, before any step; "
            "look for outliers in the data, or at the loss",
            epoch=model.epoch + 1,
            batch=1,
            layer=None,
        )
    lrs = list(chosen[: len(losses)])
    return RateSearch(lrs, losses, smoothed, steepest(lrs, losses))


def steepest(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the middle of the decade of rates over which the loss falls most steeply.

    A straight line over the logarithm of the rate is laid through the losses of each decade, seven
    of them at least, up to where the loss is least. What is not five times as steep as its
    standard error is noise.
    """
    logs, values = np.log10(lrs), np.asarray(losses)
    if len(values) < 2:
        return None
    half = max(3, math.ceil(0.5 / (logs[1] - logs[0])))
    best, candidate = 0.0, None
    least, found = math.inf, None
    for middle in range(half, len(values) - half):
        part = slice(middle - half, middle + half + 1)
        x, y = logs[part] - logs[middle], values[part]
        slope = float(x @ y / (x @ x))
        left = y - y.mean() - slope * x
        error = math.sqrt(left @ left / (len(x) - 2) / (x @ x))
        if slope < min(best, -5.0 * error):
            best, candidate = slope, float(lrs[middle])
        if y.mean() < least:
            least, found = float(y.mean()), candidate
    return found


def _turns(source: Source, epoch: int) -> Iterator[Turn]:
    """Yield batches of one epoch after the other."""
    while True:
        empty = True
        for turn in source.epoch(epoch):
            empty = False
            yield turn
        if empty:
            return
        epoch += 1


def _written(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:.2g}"
