"""One training step, which happens as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.interrupts import deferred
from xpcnn.kernels import give_up_idle
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

    def has_finite_loss(self) -> bool:
        """Read the loss, and say whether it is finite."""
        return all(part.is_finite for part in self.parts)


class Step(NamedTuple):
    """A step that was made, or taken back because its outcome is not finite.

    Attributes
    ----------
    before : Snapshot
    batch : Batch
    outcome : Outcome
    others : tuple of (Batch, Outcome)
        The batches before that one, if the step was made of several.
    """

    before: Snapshot
    batch: Batch
    outcome: Outcome
    others: tuple[tuple[Batch, Outcome], ...] = ()

    @property
    def pieces(self) -> tuple[tuple[Batch, Outcome], ...]:
        """All batches of the step, each with what has come of it."""
        return (*self.others, (self.batch, self.outcome))


def train_step(
    state: TrainingState,
    size: int,
    load: Callable[[], Batch],
    replay: Callable[[Batch, Callable[[], None]], Outcome | None] | None = None,
    when_finite: Callable[[Snapshot], None] | None = None,
    numbers: Array | None = None,
    wait: bool = False,
) -> Step:
    """Make one training step: forward, loss, backward, update; as a whole or not at all.

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
        Called when the loss was read and is finite, before the update needs memory, with the state
        before the step.
    numbers : array, optional
        What the optimizer takes from the device rather than from the host.
    wait : bool
        Whether to read the loss even if that makes the host wait for the device.
    """
    before = Snapshot(state)
    guard = MemoryGuard(state, "a training step", size, before)
    with deferred() as ctrl_c, guard:
        batch = load()
        outcome = None if replay is None else replay(batch, guard.no_way_back)
        if outcome is None:
            state.zero_grad()
            program = state.program_for(batch.inputs, training=True)
            prediction = state.widen(program.forward(*state.narrow(batch.inputs), training=True))
            outcome, read = lose(state, batch, prediction, wait)
            if when_finite is not None and read and not outcome.not_finite:
                when_finite(before)
            if outcome.not_finite is None:
                ctrl_c.check()
                with state.overflow_allowed():
                    program.backward(*gradients(state), need_dx=False)
                ctrl_c.check()
                outcome = outcome._replace(not_finite=update(state, outcome, numbers))
        if outcome.not_finite is not None:
            before.restore()
    return Step(before, batch, outcome)


def lose(state: TrainingState, batch: Batch, prediction: Any, wait: bool) -> tuple[Outcome, bool]:
    """Compute the loss, and say whether it was read."""
    assert state.loss is not None
    loss = state.loss.forward(prediction, batch.labels, sample_weight=batch.weights)
    outcome = Outcome(state.loss.parts(loss, batch.size), loss, prediction)
    read = wait or _xp.on_host(loss)
    if read and not outcome.has_finite_loss():
        return outcome._replace(not_finite="loss"), read
    return outcome, read


def gradients(state: TrainingState, change: Callable[[Any], Any] | None = None) -> Sequence[Array]:
    """Return the gradients of the network's outputs.

    Parameters
    ----------
    state : TrainingState
    change : callable, optional
        Is given the gradient, or a tuple of those of all outputs, before it is scaled, and returns
        what is to be taken in its place.
    """
    assert state.loss is not None
    gradient: Any = state.loss.backward()
    if change is not None:
        gradient = change(gradient)
    if state.scaling is not None:
        gradient = map_arrays(gradient, state.scaling.multiply)
    return state.narrow(gradient if isinstance(gradient, tuple) else (gradient,))


def update(state: TrainingState, outcome: Outcome, numbers: Array | None = None) -> str | None:
    """Let the optimizer change the parameters; say what is not finite, if something is."""
    assert state.optimizer is not None
    scaling, parameters = state.scaling, state.parameters()
    give_up_idle()
    if scaling is None or scaling.unscale(parameters):
        state.optimizer.step(parameters, numbers=numbers)
    elif not outcome.has_finite_loss():
        return "loss"
    elif scaling.is_exhausted:
        return "gradients"
    state.step += 1
    return None
