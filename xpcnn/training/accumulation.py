"""One update of the parameters from the gradients of several batches.

It is the update of one batch as large as all of them together. The gradient of a mean is that of a
sum over what the mean divides by, its divisor, which differs between batches where labels are
ignored, or classes are weighted. So the gradient of each batch is multiplied by the divisor of the
batch, and their sum is divided by the sum of the divisors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.interrupts import deferred
from xpcnn.layers.graph import Graph
from xpcnn.losses.per_output import LossPerOutput
from xpcnn.losses.running import LossPart
from xpcnn.training.dataset import Batch, Turn, map_arrays
from xpcnn.training.oom import MemoryGuard
from xpcnn.training.state import Snapshot, TrainingState
from xpcnn.training.step import Outcome, Step, gradients, lose, update

Divisor = Array | int | None


class Group:
    """Turns of batches that make one update. Each is taken when it is asked for, not before."""

    def __init__(self, first: Turn, others: Iterator[Turn]) -> None:
        self._turns, self._last = chain([first], others), first

    @property
    def size(self) -> int:
        """Samples of a batch."""
        return self._last.size

    def __iter__(self) -> Iterator[Callable[[], Batch]]:
        for turn in self._turns:
            self._last = turn
            yield turn.load

    def again(self) -> Batch:
        """Bring the last batch that was asked for to the device once more."""
        return self._last.again()

    def skip(self) -> None:
        """Pass over the batches without loading them."""
        for _ in self:
            pass


def grouped(turns: Iterator[Turn], size: int) -> Iterator[Group]:
    """Yield groups of `size` batches, fewer in the last; each is used up before the next."""
    for first in turns:
        yield Group(first, islice(turns, size - 1))


def accumulated_step(
    state: TrainingState,
    group: Group,
    when_finite: Callable[[Snapshot], None] | None = None,
    wait: bool = False,
) -> Step:
    """Make one training step of several batches; as a whole or not at all.

    Parameters
    ----------
    state : TrainingState
    group : Group
    when_finite, wait
        As for :func:`xpcnn.training.step.train_step`.

    Returns
    -------
    Step
        Its batch and outcome are those of the last batch that was worked on.
    """
    before = Snapshot(state)
    made: list[tuple[Batch, Outcome]] = []
    with deferred() as ctrl_c, MemoryGuard(state, "a training step", group.size, before):
        state.zero_grad()
        shares = _shares_of(state, group)
        for batch, share in shares:
            program = state.program_for(batch.inputs, training=True)
            prediction = state.widen(program.forward(*state.narrow(batch.inputs), training=True))
            outcome, read = lose(state, batch, prediction, wait)
            made.append((batch, outcome))
            if outcome.not_finite is not None:
                break
            ctrl_c.check()
            with state.overflow_allowed():
                changed = gradients(state, partial(share, outcome.parts))
                program.backward(*changed, need_dx=False)
            ctrl_c.check()
        else:
            if when_finite is not None and read:
                when_finite(before)
            _scale_gradients(state, shares.rest())
            parts = tuple(part for _, done in made for part in done.parts)
            failed = update(state, outcome._replace(parts=parts))
            made[-1] = batch, outcome._replace(not_finite=failed)
        batch, outcome = made.pop()
        if outcome.not_finite is not None:
            before.restore()
    return Step(before, batch, outcome, tuple(made))


def _scale_gradients(state: TrainingState, factor: Array | float) -> None:
    """Multiply the gradients of all parameters."""
    if isinstance(factor, float) and factor == 1.0:
        return
    for parameter in state.parameters().values():
        if parameter.grad is not None:
            parameter.grad = parameter.grad * factor


def _shares_of(state: TrainingState, group: Group) -> _SharesOfOne | _SharesOfSeveral:
    if isinstance(state.loss, LossPerOutput):
        return _SharesOfSeveral(state, [load() for load in group])
    return _SharesOfOne(load() for load in group)


class _SharesOfOne:
    """Batches, and what brings their gradients to one measure; of one loss.

    Gradients are multiplied by divisors over some fixed number, so that they stay as large as those
    of one batch: in half precision there is not much room above.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._unit = 0
        self._sum: Divisor = None

    def __iter__(self) -> Iterator[tuple[Batch, Callable[..., Any]]]:
        for batch in self._batches:
            yield batch, partial(self._apply, batch)

    def _apply(self, batch: Batch, parts: Sequence[LossPart], gradient: Any) -> Any:
        """Multiply the gradient of a batch by its divisor over the fixed number."""
        divisor = parts[0].divisor
        if divisor is None:  # sums are added up
            return gradient
        if not self._unit:
            self._unit = max(divisor, 1) if isinstance(divisor, int) else _size(batch)
        self._sum = divisor if self._sum is None else self._sum + divisor
        return _shared(gradient, divisor, self._unit)

    def rest(self) -> Array | float:
        """Return what the sum of all is to be multiplied by."""
        return 1.0 if self._sum is None else _over(float(self._unit), self._sum)


class _SharesOfSeveral:
    """As above, where each output has a loss: all divisors must be known before the first backward.

    They depend on targets alone, so the losses tell them of predictions that are made up.
    """

    def __init__(self, state: TrainingState, batches: Sequence[Batch]) -> None:
        self._batches = batches
        sums: list[Divisor] | None = None
        for batch in batches:
            own = [part.divisor for part in _parts_of(state, batch)]
            pairs = zip(sums or [None] * len(own), own, strict=True)
            sums = [new if old is None or new is None else old + new for old, new in pairs]
        self._sums = sums or []

    def __iter__(self) -> Iterator[tuple[Batch, Callable[..., Any]]]:
        for batch in self._batches:
            yield batch, self._apply

    def _apply(self, parts: Sequence[LossPart], gradients: Sequence[Any]) -> tuple[Any, ...]:
        """Multiply the gradient of each output by the share of the batch in the divisor."""
        return tuple(
            gradient if part.divisor is None else _shared(gradient, part.divisor, total)
            for gradient, part, total in zip(gradients, parts, self._sums, strict=True)
        )

    def rest(self) -> float:
        """Return what the sum of all is to be multiplied by."""
        return 1.0


def _parts_of(state: TrainingState, batch: Batch) -> Sequence[LossPart]:
    """Return what a batch adds to the losses, but for their totals."""
    assert state.loss is not None
    assert isinstance(state.network, Graph)  # what else has several outputs?
    shapes = state.network.output_shapes(*(tuple(x.shape) for x in batch.inputs))
    halves = tuple(state.device.zeros(shape, state.dtype) + 0.5 for shape in shapes)
    value = state.loss.forward(halves, batch.labels, sample_weight=batch.weights)
    return state.loss.parts(value, batch.size)


def _size(batch: Batch) -> int:
    """Return the number of targets, or of samples where there are none."""
    labels = batch.labels
    return batch.size if labels is None else max(math.prod(labels.shape), 1)


def _shared(gradient: Any, divisor: Array | int, over: Array | int) -> Any:
    """Multiply a gradient by what the loss has divided it by, and divide it by another number.

    In this order: where nothing counts, the loss has divided by the least normal number, and a
    fraction of that is 0 on devices that have no smaller ones.
    """
    if isinstance(divisor, int):
        return _times(gradient, _over(float(max(divisor, 1)), over))
    xp = _xp.namespace(divisor)
    least = float(xp.finfo(divisor.dtype).smallest_normal)
    whole = _times(gradient, xp.where(divisor == 0.0, least, divisor))
    return _times(whole, _over(1.0, over))


def _times(gradient: Any, factor: Array | float) -> Any:
    if isinstance(factor, float) and factor == 1.0:
        return gradient
    return map_arrays(gradient, lambda g: g * factor)


def _over(number: Array | float, total: Array | int) -> Array | float:
    """Divide; by 1 where nothing counts, so that the gradients are zeros."""
    if isinstance(total, int):
        return number / max(total, 1)
    xp = _xp.namespace(total)
    return number / xp.where(total == 0.0, 1.0, total)
