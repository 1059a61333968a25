"""One training step, which happens as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.interrupts import deferred
from xpcnn.losses.running import LossPart
from xpcnn.training.memory import MemoryGuard
from xpcnn.training.samples import Batch, each
from xpcnn.training.state import Snapshot

if TYPE_CHECKING:
    from xpcnn.training.captured import CapturedSteps
    from xpcnn.training.model import Model


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


def make_step(
    model: Model,
    size: int,
    load: Callable[[], Batch],
    captured: CapturedSteps | None = None,
    when_finite: Callable[[], None] | None = None,
) -> Step:
    """Make one training step: forward, loss, backward, update.

    After an error, and after a Ctrl-C that comes in its course, the model is the one before it.

    Parameters
    ----------
    model : Model
    size : int
        Number of samples.
    load : callable
        Returns the batch on the device.
    captured : CapturedSteps, optional
        What may have captured such a step, and repeat it.
    when_finite : callable, optional
        Called when the loss was read and is finite, before the update needs memory.
    """
    before = Snapshot(model)
    with deferred() as ctrl_c:
        guard = MemoryGuard(model, "a training step", size, before)
        with guard:
            batch = load()
            outcome = None if captured is None else captured.step(batch, guard.no_way_back)
            if outcome is None:
                outcome = _attempt(model, batch, ctrl_c.check, when_finite)
            if outcome.not_finite is not None:
                before.restore()
    return Step(before, batch, outcome)


def _attempt(
    model: Model,
    batch: Batch,
    safe_point: Callable[[], None],
    when_finite: Callable[[], None] | None,
) -> Outcome:
    assert model.loss is not None and model.optimizer is not None
    model.zero_grad()
    prediction = model.forward(*batch.inputs, training=True)
    loss = model.loss.forward(prediction, batch.labels, sample_weight=batch.weights)
    parts = model.loss.parts(loss, batch.size)
    if _xp.on_host(loss):
        if not all(part.is_finite for part in parts):
            return Outcome(parts, loss, prediction, "loss")
        if when_finite is not None:
            when_finite()
    safe_point()
    gradient: Any = model.loss.backward()
    if model.scaling is not None:
        gradient = each(gradient, model.scaling.multiply)
    model.backward(*(gradient if isinstance(gradient, tuple) else (gradient,)))
    safe_point()
    if model.scaling is None or model.scaling.unscale(model.parameters()):
        model.optimizer.step(model.parameters())
    elif not all(part.is_finite for part in parts):
        return Outcome(parts, loss, prediction, "loss")
    elif model.scaling.is_exhausted:
        return Outcome(parts, loss, prediction, "gradients")
    model.step += 1
    return Outcome(parts, loss, prediction)
