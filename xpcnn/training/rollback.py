"""Putting a model back as it was, when something that changes more than arrays fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from xpcnn.interrupts import deferred
from xpcnn.layers.layer import Layer
from xpcnn.layers.parameter import note_change
from xpcnn.training.compile_args import bind


@contextmanager
def all_or_nothing(model: Any, *layers: Layer) -> Iterator[None]:
    """Put a model back as it was if what stands in the ``with`` statement fails.

    That is the model with its layers, built or not, its optimizer and its history, and more layers
    that are to become part of it; arrays that somebody writes to are not copied.
    """
    before = _Everything(model, layers)
    try:
        yield
    except BaseException:
        before.restore()
        raise


@contextmanager
def put_back(model: Any) -> Iterator[None]:
    """Put a model back as it was, whatever happens in the ``with`` statement.

    That is what :func:`all_or_nothing` does after an error, with the settings of the optimizer and
    the scale of the loss besides.
    """
    before, optimizer, scaling = _Everything(model, ()), model.optimizer, model.scaling
    settings = None if optimizer is None else dict(vars(optimizer))
    scale = None if scaling is None else scaling.state_dict()
    try:
        yield
    finally:
        with deferred():
            model.forget_step()
            if optimizer is not None and settings is not None:
                vars(optimizer).clear()
                vars(optimizer).update(settings)
            if scaling is not None and scale is not None:
                scaling.load_state_dict(scale)
            before.restore()


class _Everything:
    """The attributes of a model, of its layers, and of their parameters and buffers."""

    def __init__(self, model: Any, layers: Iterable[Layer]) -> None:
        self.model = model
        parts = [model]
        for outer in (model.network, *layers):
            for _, layer in outer.layers_within():
                parts += [layer, *(tensor for _, tensor in layer._own_tensors())]
        self.attributes = [(part, dict(vars(part))) for part in parts]
        self.history = getattr(model, "history", None)
        self.epochs = None if self.history is None else self.history.length()
        self.optimizer = getattr(model, "optimizer", None)
        if self.optimizer is not None:
            self.slots, schedule = self.optimizer.snapshot(), self.optimizer.schedule
            self.watched = None if schedule is None else dict(vars(schedule))

    def restore(self) -> None:
        """Go back to them."""
        with deferred():
            new = getattr(self.model, "optimizer", None)
            for part, attributes in self.attributes:
                vars(part).clear()
                vars(part).update(attributes)
            note_change()
            if self.history is not None and self.epochs is not None:
                self.history.cut(self.epochs)
            if new is not self.optimizer and new is not None and not new.iterations:
                new.release()
            if self.optimizer is not None:
                self.optimizer.restore(self.slots)
                if self.watched is not None:
                    vars(self.optimizer.schedule).update(self.watched)
            bind(getattr(self.model, "metrics", ()), getattr(self.model, "loss", None))
