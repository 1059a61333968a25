"""The state of a model at one moment, and going back to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.interrupts import deferred
from xpcnn.training.choices import bind

if TYPE_CHECKING:
    from xpcnn.training.model import Model

Method = TypeVar("Method", bound=Callable[..., Any])


class Snapshot:
    """All that a training step changes.

    Updates put new arrays in the place of old ones, so keeping the old ones costs no copy.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.arrays = [(t, t.value) for t in model._tensors]
        self.counts = model.step, model.forwards
        self.scale = None if model.scaling is None else model.scaling.state_dict()
        self.slots = None if model.optimizer is None else model.optimizer.snapshot()

    def restore(self) -> None:
        """Put the old arrays back."""
        model = self.model
        with deferred():
            for tensor, array in self.arrays:
                if tensor.value is not array:
                    tensor.data = array
            model.step, model.forwards = self.counts
            if model.scaling is not None and self.scale is not None:
                model.scaling.load_state_dict(self.scale)
            if model.optimizer is not None and self.slots is not None:
                model.optimizer.restore(self.slots)

    def is_current(self) -> bool:
        """Whether the model has the same arrays still."""
        return all(tensor.value is array for tensor, array in self.arrays)

    def is_finite(self) -> bool:
        """Whether parameters and running statistics are free of NaN and infinity."""
        return all_below([array for _, array in self.arrays], 1.0)

    def is_moderate(self) -> bool:
        """Whether, besides, no product of two of them can overflow."""
        return all_below([array for _, array in self.arrays], 0.5)


def all_below(arrays: list[Array], power: float) -> bool:
    """Whether all numbers are finite, and below some power of the largest one of their dtype.

    The host waits for the device once.
    """
    good: Any = True
    with np.errstate(over="ignore", invalid="ignore"):
        for array in arrays:
            if not _xp.is_floating(array) or 0 in array.shape:
                continue
            xp = _xp.namespace(array)
            largest = _largest(xp, array.dtype) ** power
            if _xp.on_host(array):
                # One look at the sum of squares is enough as a rule: none of them is larger.
                flat = array if array.ndim == 1 else xp.reshape(array, (-1,))
                squares = float(flat @ flat)
                if math.isfinite(squares) and squares <= largest * largest:
                    continue
            # NaN is the largest and the smallest where there is one, and below nothing.
            here = xp.logical_and(xp.max(array) <= largest, xp.min(array) >= -largest)
            good = here if good is True else xp.logical_and(good, here)
    return bool(good)


@cache
def _largest(xp: ModuleType, dtype: Any) -> float:
    return float(xp.finfo(dtype).max)


@contextmanager
def all_or_nothing(model: Any) -> Iterator[None]:
    """Put a model back as it was if what stands in the ``with`` statement fails.

    That is the model with its layers, built or not, its optimizer and its history; arrays that
    somebody writes to are not copied.
    """
    before = _Everything(model)
    try:
        yield
    except BaseException:
        before.restore()
        raise


def unbuilt_if_it_fails(method: Method) -> Method:
    """Make a method leave a model that was not built yet so, if it fails."""

    @wraps(method)
    def run(self: Any, *args: Any, **options: Any) -> Any:
        if self._plan is not None:
            return method(self, *args, **options)
        with all_or_nothing(self):
            return method(self, *args, **options)

    return run  # type: ignore[return-value]


class _Everything:
    """The attributes of a model, of its layers, and of their parameters and buffers."""

    def __init__(self, model: Any) -> None:
        self.model = model
        parts = [model]
        for _, layer in model._network.layers_within():
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
            if self.history is not None and self.epochs is not None:
                self.history.cut(self.epochs)
            if new is not self.optimizer and new is not None and not new.iterations:
                new.release()
            if self.optimizer is not None:
                self.optimizer.restore(self.slots)
                if self.watched is not None:
                    vars(self.optimizer.schedule).update(self.watched)
            bind(getattr(self.model, "metrics", ()), getattr(self.model, "loss", None))
