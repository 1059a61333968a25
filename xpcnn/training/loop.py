"""The training loop."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.data.batches import batches
from xpcnn.errors import NonFiniteError
from xpcnn.losses.running import LossPart, RunningLoss
from xpcnn.training.callbacks import Callback, ProgressBar, each_ends
from xpcnn.training.history import History
from xpcnn.training.memory import MemoryGuard
from xpcnn.training.monitors import better_way, known_log
from xpcnn.training.samples import Batch, Samples, each
from xpcnn.window import as_int

if TYPE_CHECKING:
    from xpcnn.training.captured import CapturedSteps
    from xpcnn.training.model import Model


class Fit:
    """One call of ``fit``: the model, its data, and the state of the current epoch.

    Where reading a number from the device would make the host wait, losses stay on the device
    until the epoch ends.
    """

    def __init__(
        self,
        model: Model,
        samples: Samples,
        validation: Samples | None,
        batch_size: int,
        shuffle: bool,
        capture: bool = False,
    ) -> None:
        if model.loss is not None and model.loss.reduction == "none":
            raise ValueError(
                f"{type(model.loss).__name__}: a model trains on one number, and "
                "reduction='none' gives one for each term; use reduction='mean' or 'sum'"
            )
        self.model = model
        self.samples = samples
        self.validation = validation
        self.batch_size = as_int(batch_size, "fit", "batch_size", 1)
        self.shuffle = shuffle
        self.history = History()
        self.captured = _captured_steps(model, self.batch_size) if capture else None

    def run(self, epochs: int, callbacks: Sequence[Callback], verbose: str | int) -> History:
        """Train for some epochs."""
        model = self.model
        epochs = as_int(epochs, "fit", "epochs", 0)
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0 or 1, got {verbose!r}")
        if not isinstance(callbacks, (list, tuple)):
            raise TypeError(f"fit: callbacks must be a list, got {callbacks!r}; write [callback]")
        everyone = [*([ProgressBar()] if verbose else []), *callbacks]
        for callback in everyone:
            if not isinstance(callback, Callback):
                raise TypeError(f"fit: not a callback: {callback!r}; make it with ClassName()")
            callback.model = model
        self._check(everyone)
        model.stop_training = False
        begun: list[Callback] = []
        try:
            with each_ends(begun):
                for callback in everyone:
                    callback.on_train_begin(epochs, -(-len(self.samples) // self.batch_size))
                    begun.append(callback)
                model._resume(everyone)
                for _ in range(epochs):
                    self._epoch(everyone)
                    if model.stop_training:
                        break
        finally:
            self.close()
        return self.history

    def _names(self) -> list[str]:
        """List what the logs of an epoch will hold."""
        names = ["loss", *(metric.name for metric in self.model.metrics)]
        return names + ([] if self.validation is None else [f"val_{name}" for name in names])

    def _check(self, callbacks: Sequence[Callback]) -> None:
        """Raise, before anything is trained, if callbacks or the schedule ask for what is not."""
        model = self.model
        names = self._names()
        schedule = None if model.optimizer is None else model.optimizer.schedule
        if schedule is not None and schedule.monitor is not None:
            monitor, who = _monitored(schedule.monitor, names), type(schedule).__name__
            known_log(monitor, names, who)
            if schedule.mode == "auto":
                schedule.settle(better_way(model, monitor, "auto", who))
        for callback in callbacks:
            callback.check(names)
            names = [*names, *callback.adds]

    def close(self) -> None:
        """End what brings batches to the device, and what was captured."""
        if self.captured is not None:
            self.captured.close()
        for samples in (self.samples, self.validation):
            if samples is not None:
                samples.close()

    def _epoch(self, callbacks: Sequence[Callback]) -> None:
        model = self.model
        number = model.epoch + 1
        self._good = _Snapshot(model)
        if self.captured is not None:
            self.captured.begin_epoch()
        for callback in callbacks:
            callback.on_epoch_begin(number)
        for metric in model.metrics:
            metric.reset()
        order = batches(
            len(self.samples),
            self.batch_size,
            shuffle=self.shuffle,
            seed=model.seed,
            epoch=model.epoch,
        )
        running = RunningLoss()
        for batch, (indices, load) in enumerate(self.samples.prefetched(order), start=1):
            with MemoryGuard(model, "a training step", len(indices), _Snapshot(model)):
                samples = load()
                parts, finite = self._step(samples)
            if not finite:
                self._stop(number, batch, samples.inputs)
            running.add(parts)
            logs = {"loss": running.result()} if parts[0].is_on_host else {}
            for callback in callbacks:
                callback.on_batch_end(batch, logs)
        self._end_epoch(number, running, callbacks)

    def _end_epoch(
        self,
        number: int,
        running: RunningLoss,
        callbacks: Sequence[Callback],
    ) -> None:
        model = self.model
        logs = {"loss": running.result()}
        if running.first_not_finite is not None:
            self._stop(number, running.first_not_finite, None)
        logs |= self._figures()
        if self.validation is not None:
            logs |= {f"val_{name}": value for name, value in self.evaluate(self.validation).items()}
        model.epoch = number
        schedule = model.optimizer.schedule if model.optimizer is not None else None
        if schedule is not None and schedule.monitor is not None:
            schedule.observe(logs[_monitored(schedule.monitor, logs)])
        self.history.append(number, logs)
        model.history.append(number, logs)
        for callback in callbacks:
            callback.on_epoch_end(number, logs)

    def _step(self, batch: Batch) -> tuple[tuple[LossPart, ...], bool]:
        """Make one step; returns what it adds to the loss, and whether it is finite.

        Where the loss cannot be read at once, it counts as finite for now. Where it can and is
        not finite, nothing has been changed.
        """
        model = self.model
        assert model.loss is not None and model.optimizer is not None
        done = None if self.captured is None else self.captured.step(batch)
        if done is not None:
            parts, prediction = done
            for metric in model.metrics:
                metric.update(prediction, batch.labels)
            return parts, True
        model.zero_grad()
        prediction = model.forward(*batch.inputs, training=True)
        loss = model.loss.forward(prediction, batch.labels, sample_weight=batch.weights)
        parts = model.loss.parts(loss, batch.size)
        if _xp.on_host(loss):
            if not all(part.is_finite for part in parts):
                return parts, False
            self._good = _Snapshot(model)
        for metric in model.metrics:
            metric.update(prediction, batch.labels)
        gradient: Any = model.loss.backward()
        if model.scaling is not None:
            gradient = each(gradient, model.scaling.multiply)
        model.backward(*(gradient if isinstance(gradient, tuple) else (gradient,)))
        if model.scaling is None or model.scaling.unscale(model.parameters()):
            model.optimizer.step(model.parameters(), epoch=model.epoch)
        elif model.scaling.is_exhausted or not all(part.is_finite for part in parts):
            return parts, False
        model.step += 1
        return parts, True

    def one_step(self) -> dict[str, float]:
        """Make one step on all samples and return loss and metrics."""
        self._good = _Snapshot(self.model)
        for metric in self.model.metrics:
            metric.reset()
        with MemoryGuard(self.model, "a training step", len(self.samples), self._good):
            samples = self.samples.batch(np.arange(len(self.samples)))
            parts, finite = self._step(samples)
        running = RunningLoss()
        running.add(parts)
        logs = {"loss": running.result()}
        if not finite or running.first_not_finite is not None:
            self._stop(self.model.epoch + 1, 1, samples.inputs)
        return logs | self._figures()

    def evaluate(self, samples: Samples) -> dict[str, float]:
        """Return loss and metrics of some samples."""
        model = self.model
        assert model.loss is not None
        for metric in model.metrics:
            metric.reset()
        running = RunningLoss()
        with MemoryGuard(model, "an evaluation", self.batch_size):
            order = batches(len(samples), self.batch_size, shuffle=False)
            for indices, load in samples.prefetched(order):
                x, y, weights = load()
                prediction = model.forward(*x)
                loss = model.loss.forward(prediction, y, sample_weight=weights)
                running.add(model.loss.parts(loss, len(indices)))
                for metric in model.metrics:
                    metric.update(prediction, y)
        return {"loss": running.result()} | self._figures()

    def _figures(self) -> dict[str, float]:
        """Read the metrics."""
        figures = {}
        for metric in self.model.metrics:
            value = metric.result()
            if np.ndim(value) != 0:
                raise ValueError(
                    f"metric {metric.name!r} gives an array of shape {np.shape(value)}, and the "
                    "history holds single numbers; call its function in xpcnn.metrics on "
                    "model.predict(x) instead"
                )
            figures[metric.name] = float(value)
        return figures

    def _stop(self, epoch: int, batch: int, x: tuple[Array, ...] | None) -> None:
        """Find the first layer that fails, go back to good weights, and raise.

        Good are the weights with which the loss was last finite; where losses are read after the
        epoch only, those from before it.
        """
        layer = None
        scaling = self.model.scaling
        scaled = scaling is not None and scaling.is_exhausted
        if x is not None and self.model._plan is not None:
            layer = self.model._plan.first_not_finite(*self.model._narrow(x))
        self._good.restore()
        where = (
            f"the first output that is not finite is that of {layer}"
            if layer
            else "no scale of the loss makes them finite"
            if scaled
            else "the outputs of all layers are finite, so the loss itself overflowed"
            if x is not None
            else "the layer is not known, since the loss was read after the epoch"
        )
        raise NonFiniteError(
            f"the {'gradients' if scaled else 'loss'} became NaN or infinite in epoch {epoch}, "
            f"batch {batch}; {where}. The weights are the last good ones; try a smaller learning "
            "rate, clip_norm=1.0 in the optimizer, or look for outliers in the data",
            epoch=epoch,
            batch=batch,
            layer=layer,
        )


def _captured_steps(model: Model, batch_size: int) -> CapturedSteps:
    from xpcnn.training.captured import CapturedSteps  # few programs need it

    return CapturedSteps(model, batch_size)


def _monitored(monitor: str, names: Container[str]) -> str:
    """Return what a schedule watches; without validation the training loss stands in."""
    return "loss" if monitor == "val_loss" and monitor not in names else monitor


class _Snapshot:
    """The state of a model at one moment.

    Updates put new arrays in the place of old ones, so keeping the old ones costs no copy.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.arrays = [(t, t.value) for t in model._tensors]
        self.step = model.step
        self.scale = None if model.scaling is None else model.scaling.state_dict()
        self.slots = None if model.optimizer is None else model.optimizer.snapshot()

    def restore(self) -> None:
        """Put the old arrays back."""
        for tensor, array in self.arrays:
            if tensor.value is not array:
                tensor.data = array
        self.model.step = self.step
        if self.model.scaling is not None and self.scale is not None:
            self.model.scaling.load_state_dict(self.scale)
        if self.model.optimizer is not None:
            self.model.optimizer.restore(self.slots)
