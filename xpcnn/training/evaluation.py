"""Loss and metrics of a model on some samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import numpy as np

from xpcnn import metrics
from xpcnn.losses.running import RunningLoss
from xpcnn.training.compile_args import bind
from xpcnn.training.dataset import Source
from xpcnn.training.monitors import loss_names
from xpcnn.training.oom import MemoryGuard
from xpcnn.training.state import TrainingState

_in_use: set[int] = set()
"""The metrics that count at this moment, by identity."""


@contextmanager
def counting(model: TrainingState) -> Iterator[list[metrics.Metric]]:
    """Lend the metrics of a model, with nothing counted.

    A metric that counts for somebody already, such as the epoch of whose callback this is called,
    or another thread, is copied.
    """
    chosen = model.metrics
    lent = [metric for metric in chosen if id(metric) not in _in_use]
    _in_use.update(map(id, lent))
    try:
        mine = [metric if metric in lent else deepcopy(metric) for metric in chosen]
        bind(mine, model.loss)
        for metric in mine:
            metric.reset()
        yield mine
    finally:
        _in_use.difference_update(map(id, lent))


def evaluate(model: TrainingState, source: Source) -> tuple[dict[str, float], int | None]:
    """Return loss and metrics of some samples, and the first batch whose loss is not finite."""
    assert model.loss is not None
    running = RunningLoss()
    with counting(model) as counted, MemoryGuard(model, "an evaluation", source.batch_size):
        for turn in source.epoch(0):
            x, y, weights = turn.load()
            prediction = model.forward_batch(x)
            loss = model.loss.forward(prediction, y, sample_weight=weights)
            running.add(model.loss.parts(loss, turn.size))
            for metric in counted:
                metric.update(prediction, y)
        logs = loss_figures(model, running) | figures(counted)
    return logs, running.first_not_finite


def loss_figures(model: TrainingState, running: RunningLoss) -> dict[str, float]:
    """Read the loss, and that of each output before it is weighted, where each has one."""
    names = loss_names(model.loss, model.outputs)
    of_each = running.of_each() if len(names) > 1 else []
    return dict(zip(names, [running.result(), *of_each], strict=True))


def figures(counted: Sequence[metrics.Metric]) -> dict[str, float]:
    """Read metrics.

    Raises
    ------
    ValueError
        If one gives something else than a number.
    """
    found = {}
    for metric in counted:
        value = metric.result()
        if np.ndim(value) != 0:
            raise ValueError(
                f"metric {metric.name!r} gives an array of shape {np.shape(value)}, and the "
                "history holds single numbers; call its function in xpcnn.metrics on "
                "model.predict(x) instead"
            )
        found[metric.name] = float(value)
    return found
