"""Training steps that are captured once in an epoch, and then repeated without Python between them.

A repeated step works on the same memory with the same numbers each time. So a batch is copied into
arrays that stay; so is what differs from step to step and comes from the host: learning rate and
corrections of the optimizer, and the masks of dropout. At its end the step writes what it has
updated over the old, which a step otherwise never does; and the arrays from before the epoch are
not touched, so that one can go back to them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.errors import CaptureError, one_line
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.parameter import Buffer
from xpcnn.training.dataset import Batch, map_arrays
from xpcnn.training.state import TrainingState
from xpcnn.training.step import Outcome, train_step

logger = logging.getLogger(__name__)


class CapturedSteps:
    """The steps of one call of ``fit``.

    In each epoch the first full batch is a rehearsal: a step like any other, but with the kernels
    that a captured one has. The second is captured and repeated from then on. Batches of another
    size are steps of the ordinary kind, and so are all of them once something cannot be captured.
    """

    def __init__(self, model: TrainingState, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        device = model.device
        self._capture = kernels.open_capture(device.xp, device.physical)
        self._batch: Batch | None = None
        self._repeat: _Repeat | None = None
        if self._capture is None:
            _say(f"device {device.name!r} cannot capture steps")

    def begin_epoch(self) -> None:
        """Forget what was captured: it belongs to the arrays of the last epoch."""
        self._batch = self._repeat = None

    def close(self) -> None:
        """Forget everything, wait for the last step, and give the memory back."""
        self.begin_epoch()  # first: memory that is referred to is not given back
        if self._capture is not None:
            self._capture.close()
        self._capture = None

    def step(self, batch: Batch, no_way_back: Callable[[], None]) -> Outcome | None:
        """Make a step; ``None`` if it has to be made in the ordinary way, and nothing was done.

        Parameters
        ----------
        batch : Batch
        no_way_back : callable
            Called before something is written over the arrays that there are.
        """
        if self._capture is None or batch.size != self._batch_size:
            return None
        try:
            if self._batch is None:
                _check(self._model)
                return self._rehearse(batch)
            if self._repeat is None:
                self._repeat = _Repeat(self._model, self._batch, self._numbers, self._capture)
        except CaptureError as reason:
            _say(str(reason))
            self.close()
            return None
        return self._repeat(batch, no_way_back)

    def _rehearse(self, batch: Batch) -> Outcome:
        assert self._capture is not None
        model, device = self._model, self._model.device
        assert model.optimizer is not None
        numbers = model.optimizer.next_numbers(model.parameters())
        self._numbers: Array = device.asarray(np.array(numbers), model.dtype)
        self._batch = batch.of([device.xp.asarray(a, copy=True) for a in batch.arrays()])
        run = partial(_run, model, self._batch, self._numbers)
        outcome: Outcome = self._capture.rehearse(run)
        return outcome


class _Repeat:
    """One step, captured when this is made, and made each time that this is called."""

    def __init__(
        self, model: TrainingState, batch: Batch, numbers: Array, capture: kernels.Capture
    ) -> None:
        self._model, self._batch, self._numbers = model, batch, numbers
        self._masks = [layer for layer in model.random_layers if layer.p > 0.0]
        home = _Home(model)
        device = model.device
        try:
            for layer in self._masks:
                layer.held = device.zeros(layer._drawn_shape, model.compute_dtype)
            self._held = [layer.held for layer in self._masks]
            self._outputs, self._launch = self._captured(capture, home)
        finally:
            self._updated, self._counted = home.put_back()
            for layer in self._masks:
                layer.held = None

    def _captured(
        self, capture: kernels.Capture, home: _Home
    ) -> tuple[Outcome, Callable[[], None]]:
        def step() -> Outcome:
            outputs = _run(self._model, self._batch, self._numbers)
            home.write()
            return outputs

        try:
            return capture.capture(step)
        except Exception as error:
            home.put_back()
            self._model.forget_step()
            raise CaptureError(one_line(error)) from error

    def __call__(self, batch: Batch, no_way_back: Callable[[], None]) -> Outcome:
        model, device = self._model, self._model.device
        assert model.optimizer is not None
        numbers = model.optimizer.next_numbers(model.parameters())
        # Memory first: if there is none, nothing has been done.
        news = [*batch.arrays(), device.asarray(np.array(numbers), model.dtype)]
        for layer in self._masks:
            layer.step = model.forwards
            news.append(device.asarray(layer.draw(), model.compute_dtype))
        for old, new in zip([*self._batch.arrays(), self._numbers, *self._held], news, strict=True):
            _xp.set_at(old, ..., new)
        no_way_back()
        self._launch()
        model.optimizer.count_step(self._updated)
        model.step += 1
        model.forwards += 1
        for buffer, more in self._counted:
            buffer.renew(buffer.value + more)
        parts, _, prediction, _ = self._outputs
        parts = tuple(part.apply(_copy) for part in parts)
        return Outcome(parts, None, map_arrays(prediction, _copy))


class _Home:
    """The arrays of a model and its optimizer that a captured step reads, and writes at its end."""

    def __init__(self, model: TrainingState) -> None:
        assert model.optimizer is not None
        self._model, self._optimizer = model, model.optimizer
        self._counts = model.step, model.forwards
        self._tensors = [(tensor, tensor.value) for tensor in model.tensors]
        self._state = self._optimizer.snapshot()
        slots = self._optimizer._state
        self._slots = {name: dict(arrays) for name, arrays in slots.items()}

    def write(self) -> None:
        """Write the new values over the old ones, on the device."""
        for tensor, old in self._tensors:
            if tensor.value is not old and not _is_on_host(tensor):
                _xp.set_at(old, ..., tensor.value)
        for name, arrays in self._optimizer._state.items():
            for slot, new in arrays.items():
                if new is not self._slots[name][slot]:
                    _xp.set_at(self._slots[name][slot], ..., new)

    def put_back(self) -> tuple[list[str], list[tuple[Buffer, Any]]]:
        """Put the old arrays back in their places.

        Returns
        -------
        list of str
            Names of the parameters that were updated.
        list of (Buffer, array)
            Counters on the host, and how much was added to them.
        """
        steps = self._state[1]
        updated = [n for n, step in self._optimizer._steps.items() if step != steps.get(n)]
        counted = []
        for tensor, old in self._tensors:
            if tensor.value is not old:
                if isinstance(tensor, Buffer) and tensor.on_host:
                    counted.append((tensor, tensor.value - old))
                tensor.data = old
        self._optimizer.restore(self._state)
        self._model.step, self._model.forwards = self._counts
        return updated, counted


def _is_on_host(tensor: Any) -> bool:
    return isinstance(tensor, Buffer) and tensor.on_host


def _copy(x: Array) -> Array:
    return _xp.namespace(x).asarray(x, copy=True)


def _run(model: TrainingState, batch: Batch, numbers: Array) -> Outcome:
    """Make a step that takes nothing from the host that another step would not take too."""
    step = train_step(model, batch.size, lambda: batch, numbers=numbers)
    return step.outcome._replace(loss=None)


def _check(model: TrainingState) -> None:
    """Raise if something is known to take other things from the host in each step."""
    if model.scaling is not None:
        raise CaptureError("the host decides about the scale of the loss in float16")
    for _, layer in model.network.layers_within():
        kind = type(layer)
        if not kind.__module__.startswith("xpcnn."):
            raise CaptureError(f"{layer.who} is a layer of your own")
        if isinstance(layer, BatchNorm) and layer.momentum is None and layer.gathers(True):
            raise CaptureError(f"{layer.who} with momentum=None counts its batches on the host")
    for layer in model.random_layers:
        if type(layer)._forward is not Dropout._forward:
            raise CaptureError(f"{layer.who} draws random numbers on the host")
    if not type(model.loss).__module__.startswith("xpcnn."):
        raise CaptureError(f"{type(model.loss).__name__} is a loss of your own")


def _say(reason: str) -> None:
    logger.warning("training steps are not captured: %s", reason)
