"""One training step, which happens as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.interrupts import deferred
from xpcnn.losses.running import LossPart
from xpcnn.training.dataset import Batch, map_arrays
from xpcnn.training.oom import MemoryGuard
from xpcnn.training.state import Snapshot, TrainingState


class Outcome(NamedTuple):
    """What comes of a step.

    Attributes
    ----------
    parts : tuple of LossPart
        What the batch adds to the loss of an epoch.
    loss : array or None
        0-dimensional; ``None`` of a step that was captured.
    prediction : array, or a tuple if the network has several outputs
    not_finite : {None, "loss", "gradients"}
        What is NaN or infinite. Where reading the loss would make the host wait, it counts as
        finite for now.
    """

    parts: tuple[LossPart, ...]
    loss: Array | None
    prediction: Any
    not_finite: str | None = None


class Step(NamedTuple):
    """A step that was made, or taken back because its outcome is not finite."""

    before: Snapshot
    batch: Batch
    outcome: Outcome


def train_step(
    state: TrainingState,
    size: int,
    load: Callable[[], Batch],
    replay: Callable[[Batch, Callable[[], None]], Outcome | None] | None = None,
    when_finite: Callable[[], None] | None = None,
) -> Step:
    """Make one training step, as a whole or not at all.

    After an error, and after a Ctrl-C that comes in its course, the state is the one before it.

    Parameters
    ----------
    state : TrainingState
    size : int
        Number of samples.
    load : callable
        Returns the batch on the device.
    replay : callable, optional
        Repeats a step that was captured, as :meth:`CapturedSteps.step` does; it is given what to
        call before it writes over arrays, and returns ``None`` if the step is still to be made.
    when_finite : callable, optional
        Called when the loss was read and is finite, before the update needs memory.
    """
    before = Snapshot(state)
    with deferred() as ctrl_c:
        guard = MemoryGuard(state, "a training step", size, before)
        with guard:
            batch = load()
            outcome = None if replay is None else replay(batch, guard.no_way_back)
            if outcome is None:
                outcome = compute_step(
                    state, batch, safe_point=ctrl_c.check, when_finite=when_finite
                )
            if outcome.not_finite is not None:
                before.restore()
    return Step(before, batch, outcome)


def compute_step(
    state: TrainingState,
    batch: Batch,
    *,
    numbers: Array | None = None,
    safe_point: Callable[[], None] | None = None,
    when_finite: Callable[[], None] | None = None,
) -> Outcome:
    """Compute a step: forward, loss, backward, update.

    Parameters
    ----------
    state : TrainingState
    batch : Batch
    numbers : array, optional
        What the optimizer takes from the device rather than from the host.
    safe_point : callable, optional
        Called where the step can be ended and taken back.
    when_finite : callable, optional
        As for :func:`train_step`.
    """
    loss_function, optimizer, scaling = state.loss, state.optimizer, state.scaling
    assert loss_function is not None and optimizer is not None
    state.zero_grad()
    prediction = state.forward_batch(batch.inputs, training=True)
    loss = loss_function.forward(prediction, batch.labels, sample_weight=batch.weights)
    parts = loss_function.parts(loss, batch.size)
    if _xp.on_host(loss):
        if not all(part.is_finite for part in parts):
            return Outcome(parts, loss, prediction, "loss")
        if when_finite is not None:
            when_finite()
    if safe_point is not None:
        safe_point()
    gradient: Any = loss_function.backward()
    if scaling is not None:
        gradient = map_arrays(gradient, scaling.multiply)
    state.backward_batch(gradient if isinstance(gradient, tuple) else (gradient,))
    if safe_point is not None:
        safe_point()
    parameters = state.parameters()
    if scaling is None or scaling.unscale(parameters):
        optimizer.step(parameters, numbers=numbers)
    elif not all(part.is_finite for part in parts):
        return Outcome(parts, loss, prediction, "loss")
    elif scaling.is_exhausted:
        return Outcome(parts, loss, prediction, "gradients")
    state.step += 1
    return Outcome(parts, loss, prediction)
