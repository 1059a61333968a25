"""The training loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from math import ceil
from typing import NoReturn

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import NonFiniteError
from xpcnn.losses.running import RunningLoss
from xpcnn.metrics import Metric
from xpcnn.training.accumulation import Group, accumulated_step, grouped
from xpcnn.training.callbacks import Callback, TerminateOnNaN, each_ends
from xpcnn.training.dataset import Source, Turn
from xpcnn.training.evaluation import counting, evaluate, figures, loss_figures
from xpcnn.training.fit_args import all_callbacks, epochs_to_validate, unique_names
from xpcnn.training.graph_capture import CapturedSteps
from xpcnn.training.history import History
from xpcnn.training.memory import PROBED, Plan, StepMemory, as_bytes
from xpcnn.training.monitors import better_way, known_log, loss_names
from xpcnn.training.state import Snapshot, TrainingState, all_below
from xpcnn.training.step import Step, train_step
from xpcnn.training.wayback import WayBack
from xpcnn.window import as_flag, as_int


class Trainer:
    """One call of ``fit``: the model, its data, and what was asked for.

    Where reading a number from the device would make the host wait, losses stay on the device
    until the epoch ends. All that is given is checked when this is made; nothing has been trained
    then.
    """

    def __init__(
        self,
        model: TrainingState,
        source: Source,
        validation: Source | None,
        *,
        epochs: int,
        callbacks: Sequence[Callback] | None,
        verbose: str | int,
        capture: bool,
        memory: int | str | None,
        accumulate: int = 1,
        validation_freq: int | Sequence[int] = 1,
    ) -> None:
        self.model = model
        self.source = source
        self.validation = validation
        self.epochs = as_int(epochs, "fit", "epochs", 0)
        self.accumulate = as_int(accumulate, "fit", "accumulate", 1)
        self._validated = epochs_to_validate(
            validation_freq, model.epoch, self.epochs, validation is not None
        )
        self._failure: NonFiniteError | None = None  # that has ended this training
        self.callbacks = all_callbacks(callbacks, verbose)
        self.history = History()
        self._check_last_batch()
        self._check_schedule()
        self._ask_callbacks()
        capture = as_flag(capture, "fit", "capture")
        if capture and self.accumulate > 1:
            raise ValueError(
                "fit: a captured step is that of one batch, which accumulate= cannot be; leave out "
                "capture or accumulate"
            )
        self._limit = None if memory is None else as_bytes(memory, "fit")
        if capture and self._limit is not None:
            raise ValueError(
                "fit: captured steps have memory of their own, which memory= cannot limit; leave "
                "out capture or memory"
            )
        if capture and not source.can_repeat:
            raise ValueError(
                "fit: capture=True needs samples that can be read a second time, to go back from "
                "numbers that are not finite; give arrays, or leave out capture"
            )
        self._plan = self._make_plan()
        self.captured = CapturedSteps(model, source.batch_size) if capture else None
        self._wait = not source.can_repeat
        self._replay = None if self.captured is None else self.captured.step

    # -- Checks before anything is trained -----------------------------------------------------

    def _check_last_batch(self) -> None:
        """Try a last batch of one sample: some layers cannot be trained on it."""
        if self.source.last_size != 1 or not self.epochs:
            return
        model, now = self.model, Snapshot(self.model)
        try:
            model.forward(*self.source.some(1), training=True)
        except ValueError as error:
            raise ValueError(
                "fit: the last of the batches would hold one sample, with batch_size "
                f"{self.source.batch_size}: {error}; leave it out with drop_last=True, or choose "
                "another batch_size"
            ) from error
        finally:
            now.restore()
            model.forget_step()

    def _make_plan(self) -> Plan | None:
        """Choose how steps stay below the limit of memory, by a look at some samples."""
        if self._limit is None:
            return None
        source = self.source
        size = source.batch_size if source.batches != 1 else source.last_size or source.batch_size
        inputs = source.some(self.model.batch or min(PROBED, size))
        return StepMemory(self.model, inputs).plan(self._limit, size)

    def _names(self) -> list[str]:
        """List what the logs of an epoch will hold."""
        names = [
            *loss_names(self.model.loss, self.model.outputs),
            *(metric.name for metric in self.model.metrics),
        ]
        names += [] if self.validation is None else [f"val_{name}" for name in names]
        return unique_names([*names, "lr"])

    def _check_schedule(self) -> None:
        """Raise if the schedule watches what there is not, and tell it which way is better."""
        model, names = self.model, self._names()
        schedule = None if model.optimizer is None else model.optimizer.schedule
        if schedule is None or schedule.monitor is None:
            return
        monitor, who = schedule.monitor, type(schedule).__name__
        if monitor == "val_loss" and monitor not in names:
            monitor = "loss"  # without validation the training loss stands in
        known_log(monitor, names, who)
        if schedule.mode == "auto":
            losses = loss_names(model.loss, model.outputs)
            schedule.settle(better_way(model.metrics, monitor, "auto", who, losses))

    def _ask_callbacks(self) -> None:
        """Let callbacks look at their settings; if one refuses, all belong to whom they did."""
        names = self._names()
        before = [(callback, vars(callback).get("model")) for callback in self.callbacks]
        try:
            for callback in self.callbacks:
                callback.model = self.model
            for callback in self.callbacks:
                callback.check(names)
                names = [*names, *callback.adds]
        except BaseException:
            for callback, model in before:
                del callback.model
                if model is not None:
                    callback.model = model
            raise

    # -- Training ------------------------------------------------------------------------------

    def run(self) -> History:
        """Train."""
        model = self.model
        assert model.optimizer is not None
        with self._training():
            for _ in range(self.epochs):
                if model.stop_training:
                    break
                turns = self._begin_epoch()
                with counting(model) as counted:
                    for batch, turn in enumerate(turns, start=1):
                        rate = model.optimizer.lr
                        advance = partial(self._way.advance, batch)
                        if isinstance(turn, Group):
                            step = accumulated_step(model, turn, advance, self._wait)
                        else:
                            step = train_step(
                                model, turn.size, turn.load, self._replay, advance, wait=self._wait
                            )
                        self._after_step(batch, turn, rate, step, counted)
                        del step  # it holds the arrays from before the step
                        if model.stop_training or self._running.first_not_finite is not None:
                            break
                    logs = self._measured(counted)
                self._end_epoch(logs)
            self._finish()
        return self.history

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Begin and end what goes on around the epochs."""
        model, begun = self.model, list[Callback]()
        batches = self.source.batches
        updates = None if batches is None else ceil(batches / self.accumulate)
        following = nullcontext() if self._plan is None else self._plan.followed(model)
        try:
            with model.fitting(), following, each_ends(begun):
                for callback in self.callbacks:
                    callback.on_train_begin(self.epochs, updates)
                    begun.append(callback)
                model.resume(self.callbacks)
                with self._ending_quietly():
                    yield
        finally:
            self.close()

    @contextmanager
    def _ending_quietly(self) -> Iterator[None]:
        """Let numbers that are not finite end training without an error, if a callback says so."""
        try:
            yield
        except NonFiniteError as error:
            wanted = [c for c in self.callbacks if isinstance(c, TerminateOnNaN)]
            if error is not self._failure or not wanted:
                raise
            self.model.stop_training = True
            for callback in wanted:
                callback.ended(error)

    def close(self) -> None:
        """End what brings batches to the device, and what was captured."""
        if self.captured is not None:
            self.captured.close()
        for source in (self.source, self.validation):
            if source is not None:
                source.close()

    def _begin_epoch(self) -> Iterator[Turn | Group]:
        """Make ready for an epoch, and return its batches, or groups of them."""
        model = self.model
        self._number, self._made = model.epoch + 1, 0
        for callback in self.callbacks:
            callback.on_epoch_begin(self._number)
        self._way = WayBack(model, self.source, model.epoch, self.accumulate)
        self._running = RunningLoss()
        if self.captured is not None:
            self.captured.begin_epoch()
        turns = self.source.epoch(model.epoch)
        if self._plan is not None:
            turns = self._as_planned(turns)
        return turns if self.accumulate == 1 else grouped(turns, self.accumulate)

    def _as_planned(self, turns: Iterator[Turn]) -> Iterator[Turn]:
        """Raise where a batch is larger than those that steps were planned for."""
        for batch, turn in enumerate(turns, start=1):
            if turn.size > self.source.batch_size:
                raise ValueError(
                    f"fit: batch {batch} has {turn.size} samples, and memory= was planned for "
                    f"{self.source.batch_size}, as in the first batch; let that be the largest"
                )
            yield turn

    def _after_step(
        self, batch: int, turn: Turn | Group, rate: float, step: Step, counted: list[Metric]
    ) -> None:
        """Add a step to what is known of the epoch; raise if its numbers are not finite."""
        outcome, way = step.outcome, self._way
        if outcome.not_finite is not None:
            self._stop(batch, outcome.not_finite, way, step.batch.inputs)
        read = self._wait or _xp.on_host(outcome.parts[0].total)
        way.note(step.before if read else None, turn, rate)
        self._made, self._base_rate = batch, rate
        self._running.add(*(done.parts for _, done in step.pieces))
        for metric in counted:
            for piece, done in step.pieces:
                metric.update(done.prediction, piece.labels)
        if self.callbacks:
            self._tell(batch, read)

    def _measured(self, counted: list[Metric]) -> dict[str, float]:
        """Return loss and metrics of an epoch; raise if its numbers were not finite."""
        running, way = self._running, self._way
        logs = loss_figures(self.model, running)
        if running.first_not_finite is not None:
            self._stop(running.first_not_finite, "loss", way)
        if not (self.model.is_moderate() or way.is_good()):
            self._stop(self._made, "weights", way)
        return logs | figures(counted)

    def _stop(
        self, batch: int, what: str, way: WayBack | None, inputs: tuple[Array, ...] | None = None
    ) -> NoReturn:
        """Go back to the last good weights, and raise."""
        try:
            stop(self.model, way, self._number, batch, what, inputs)
        except NonFiniteError as error:
            self._failure = error
            raise

    def _tell(self, batch: int, read: bool) -> None:
        """Tell the callbacks of a step."""
        logs = loss_figures(self.model, self._running) if read else {}
        watched = None
        if not read and self.captured is None:
            watched = Snapshot(self.model)
        for callback in self.callbacks:
            callback.on_batch_end(batch, logs)
        if watched is not None and not watched.is_current():
            # a callback has set weights: good ones, if the losses so far are
            self._running.result()
            self._way.restart(batch + 1)

    def _end_epoch(self, logs: dict[str, float]) -> None:
        model, number, rate = self.model, self._number, self._last_rate()
        for callback in self.callbacks:
            callback.on_epoch_trained(number)
        validated = self.validation is not None and number in self._validated
        if self.validation is not None and validated:
            found, bad = evaluate(model, self.validation)
            if bad is not None:
                self._stop(bad, "val_loss", None)
            logs |= {f"val_{name}": value for name, value in found.items()}
        logs["lr"] = rate
        model.end_epoch(logs, validated=validated or self.validation is None)
        self.history.append(number, logs)
        for callback in self.callbacks:
            callback.on_epoch_end(number, logs)

    def _last_rate(self) -> float:
        """Return the learning rate of the last update."""
        optimizer = self.model.optimizer
        assert optimizer is not None
        if optimizer.schedule is None:
            return self._base_rate
        step = max(optimizer.iterations - 1, 0)
        return optimizer.schedule.lr(self._base_rate, epoch=optimizer.epochs, step=step)

    def _finish(self) -> None:
        """Let callbacks look at the training data once more, behind the last epoch."""
        for callback in self.callbacks:
            callback.on_epochs_done(self._inputs)

    def _inputs(self) -> Iterator[tuple[Array, ...]]:
        """Go through the inputs of the training data, batch by batch."""
        for turn in self.source.epoch(self.model.epoch):
            yield turn.load().inputs


def stop(
    model: TrainingState,
    way: WayBack | None,
    epoch: int,
    batch: int,
    what: str,
    inputs: tuple[Array, ...] | None = None,
) -> NoReturn:
    """Find the first layer that fails, go back to the last good weights, and raise.

    Parameters
    ----------
    model : TrainingState
        In the state in which it failed on `inputs`.
    way : WayBack or None
        ``None`` if there is nothing to go back from.
    epoch, batch : int
        Where it failed, counted from 1.
    what : {"loss", "gradients", "weights", "val_loss"}
        What is not finite.
    inputs : tuple of array, optional
        The batch, where it is known at once.
    """
    layer = None if inputs is None else model.first_not_finite(inputs)
    if what == "weights":
        layer = _first_with_bad_weights(model)
    if way is not None:
        way.go_back(batch + (what == "weights"))
    became = "became NaN or infinite"
    where = {
        "gradients": "no loss scale makes them finite",
        "weights": f"first in {layer}",
        "val_loss": "the training loss is still finite",
        "loss": "the layer is unknown, since the loss was read after the epoch"
        if inputs is None
        else "the outputs of all layers are finite, so the loss itself overflowed",
    }[what]
    if layer is not None and what == "loss":
        where = f"the first layer with such an output is {layer}"
    if layer is None and what == "weights":
        became, where = "became too large", "the loss is no longer finite"
    left = "those of the last step" if what == "val_loss" else "the last good ones"
    raise NonFiniteError(
        f"the {what} {became} in epoch {epoch}, batch {batch}; {where}. The weights that the model "
        f"has now are {left}; try a smaller learning rate, clip_norm=1.0 in the optimizer, or look "
        "for outliers in the data",
        epoch=epoch,
        batch=batch,
        layer=layer,
    )


def _first_with_bad_weights(model: TrainingState) -> str | None:
    for _, layer in model.network.layers_within():
        if not all_below([tensor.value for _, tensor in layer._own_tensors()], 1.0):
            return layer.who
    return None
