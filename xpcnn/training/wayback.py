"""The way back from a step that went wrong, to the last weights that were good."""

from __future__ import annotations

from xpcnn.training.accumulation import Group, accumulated_step, grouped
from xpcnn.training.dataset import Batch, Source, Turn
from xpcnn.training.state import Snapshot, TrainingState
from xpcnn.training.step import Step, train_step


class WayBack:
    """What it takes to go back within an epoch.

    Where losses are read at once, these are the arrays from before the last step. Where they wait
    on the device, and arrays of all steps would take too much memory, the steps are made again from
    the start of the epoch. Of a source that cannot be repeated, losses are always read at once.

    Parameters
    ----------
    model : TrainingState
    source : Source
    epoch : int
        Its number, counted from 0.
    accumulate : int
        Batches of a step.
    """

    def __init__(
        self, model: TrainingState, source: Source, epoch: int, accumulate: int = 1
    ) -> None:
        self._model, self._source, self._epoch = model, source, epoch
        self._accumulate = accumulate
        self._start, self._first = Snapshot(model), 1
        self._before: Snapshot | None = None
        self._last: Turn | Group | None = None
        self._rates: list[float] = []

    def note(self, before: Snapshot | None, turn: Turn | Group, rate: float) -> None:
        """Remember a step that was made.

        Parameters
        ----------
        before : Snapshot or None
            The state before it, unless its loss waits on the device.
        turn : Turn or Group
            Of its batch, or its batches.
        rate : float
            The learning rate that the optimizer had.
        """
        self._before, self._last = before, turn
        self._rates.append(rate)

    def advance(self, batch: int, before: Snapshot) -> None:
        """Let go of older arrays: the state before a batch is good, since its loss is finite.

        Those from the start of the epoch stay if nobody knows whether the weights are finite: a
        loss does not always show it.
        """
        self._before = None
        if before.is_surely_finite():
            self._start, self._first = before, batch

    def restart(self, batch: int) -> None:
        """Take the state at this moment, before such a batch, for the start of the epoch."""
        self._start, self._first = Snapshot(self._model), batch

    def go_back(self, stop: int) -> None:
        """Go back to the last good weights before batch `stop`; the state is that before it.

        Weights are good if they are finite and the loss of the batch before is finite with them:
        it was the update that broke them else.
        """
        if self._before is None and self._last is not None:
            self._repeat(stop)
        if self.is_good():
            return
        if self._before is not None and not self._before.is_finite():
            self._repeat(stop)  # the loss has not shown for some time that weights were not finite
            if self.is_good():
                return
        if self._before is not None:
            self._before.restore()

    def is_good(self) -> bool:
        """Whether weights and statistics are finite, and with them the loss of the last batch."""
        now = Snapshot(self._model)
        return now.is_finite() and (
            self._last is None or loss_is_finite(self._model, self._last.again())
        )

    def _repeat(self, stop: int) -> None:
        """Make the steps from the start up to `stop` again, while all numbers are finite.

        Without the batches there is only the start to go back to.
        """
        model = self._model
        assert model.optimizer is not None
        self._start.restore()
        self._before = self._last = None
        if not self._source.can_repeat:
            return
        turns = self._source.epoch(self._epoch, ahead=False)
        for batch, group in enumerate(grouped(turns, self._accumulate), start=1):
            if batch < self._first:
                group.skip()
                continue
            if batch >= stop:
                break
            if model.optimizer.lr != self._rates[batch - 1]:
                model.optimizer.lr = self._rates[batch - 1]
            try:
                step = self._step(group)
            except Exception:  # as above
                break
            outcome = step.outcome
            losses = [done.has_finite_loss() for _, done in step.pieces]
            good = outcome.not_finite is None and all(losses)
            if not good or not Snapshot(model).is_finite():
                step.before.restore()
                break
            self._before, self._last = step.before, group

    def _step(self, group: Group) -> Step:
        if self._accumulate > 1:
            return accumulated_step(self._model, group)
        (load,) = group
        return train_step(self._model, group.size, load)


def loss_is_finite(model: TrainingState, batch: Batch) -> bool:
    """Whether the loss of a batch is finite, in training; the model stays as it is."""
    now = Snapshot(model)
    assert model.loss is not None
    try:
        prediction = model.forward_batch(batch.inputs, training=True)
        loss = model.loss.forward(prediction, batch.labels, sample_weight=batch.weights)
        return all(part.is_finite for part in model.loss.parts(loss, batch.size))
    except Exception:  # whatever it is, the numbers are no good
        return False
    finally:
        now.restore()
        model.forget_step()
