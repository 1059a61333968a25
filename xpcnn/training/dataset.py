"""What training works on, batch by batch, wherever the samples come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from xpcnn._xp import Array
from xpcnn.data.batches import batches


def map_arrays(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to an array, or to every array of a tuple; ``None`` stays."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple([None if each is None else function(each) for each in value])
    return function(value)


class Batch(NamedTuple):
    """Some samples: one array for each input; labels, a tuple if each output has some; weights.

    Where outputs have weights of their own, those are a tuple too, with ``None`` for the others.
    """

    inputs: tuple[Array, ...]
    labels: Any
    weights: Any

    @property
    def size(self) -> int:
        """Number of samples."""
        return int(self.inputs[0].shape[0])

    def arrays(self) -> list[Array]:
        """List the arrays."""
        labels = self.labels if isinstance(self.labels, tuple) else (self.labels,)
        weights = self.weights if isinstance(self.weights, tuple) else (self.weights,)
        return [a for a in (*self.inputs, *labels, *weights) if a is not None]

    def of(self, arrays: Sequence[Array]) -> Batch:
        """Make a batch of other arrays, listed in the same order."""
        left = iter(arrays)
        return Batch(*(map_arrays(part, lambda _: next(left)) for part in self))


def split_validation(data: Batch, share: float) -> tuple[Batch, Batch]:
    """Cut the last `share` of the samples off, before any shuffling, as Keras does.

    Raises
    ------
    ValueError
        If `share` is not between 0 and 1, or leaves one part empty.
    """
    if not isinstance(share, (int, float, np.number)) or not 0.0 < share < 1.0:
        raise ValueError(f"validation_split must lie between 0 and 1, got {share!r}")
    count = data.size
    cut = int(count * (1.0 - share))
    if cut == 0 or cut == count:
        raise ValueError(f"validation_split={share} of {count} samples leaves one part empty")
    front = Batch(*(map_arrays(part, lambda a: a[:cut, ...]) for part in data))
    back = Batch(*(map_arrays(part, lambda a: a[cut:, ...]) for part in data))
    return front, back


class Turn(NamedTuple):
    """A batch whose turn it is.

    Attributes
    ----------
    size : int
        Number of samples.
    load : callable
        Brings the batch to the device. To be called once, in the order of the batches: the next
        one may be set off by it.
    again : callable
        Brings the same batch to the device once more, at any time before the epoch ends.
    """

    size: int
    load: Callable[[], Batch]
    again: Callable[[], Batch]


class Source:
    """What training asks of its samples, wherever they come from.

    Attributes
    ----------
    batches : int or None
        Batches of an epoch; ``None`` if nobody knows before its end.
    batch_size : int
        Samples in a batch, but perhaps for the last one, as far as that is known.
    last_size : int or None
        Samples in the last batch; ``None`` if nobody knows.
    can_repeat : bool
        Whether the batches of an epoch can be had a second time.
    """

    batches: int | None
    batch_size: int
    last_size: int | None = None
    can_repeat: bool = True

    def epoch(self, number: int, *, ahead: bool = True) -> Iterator[Turn]:
        """Yield the batches of an epoch, counted from 0.

        Parameters
        ----------
        number : int
        ahead : bool
            Whether batches may be on their way before their turn.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement epoch")

    def some(self, count: int) -> tuple[Array, ...]:
        """Return the inputs of a few samples, on the device, to try a network on."""
        raise NotImplementedError(f"{type(self).__name__} does not implement some")

    def close(self) -> None:
        """End what brings batches ahead of their use, if there is something."""


class Order(NamedTuple):
    """In which batches an epoch goes through samples that have numbers; `steps` of them, or all."""

    samples: int
    batch_size: int
    shuffle: bool = False
    drop_last: bool = False
    seed: int = 0
    steps: int | None = None

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Yield the numbers of the samples of each batch."""
        n, size, shuffle, drop_last, seed, steps = self
        every = batches(n, size, shuffle=shuffle, seed=seed, epoch=number, drop_last=drop_last)
        return islice(every, steps)


class Numbered(Source):
    """Samples that have numbers, in an order that follows from the seed and the epoch.

    Raises
    ------
    ValueError
        If there is no batch.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.batch_size = order.batch_size
        self.batches, rest = divmod(order.samples, order.batch_size)
        self.last_size = order.batch_size
        if rest and not order.drop_last:
            self.batches += 1
            self.last_size = rest
        if not self.batches:
            raise ValueError(
                f"fit: drop_last=True leaves no batch, since there are {order.samples} samples "
                f"and batch_size is {order.batch_size}; choose a smaller batch_size"
            )
        if order.steps is not None and order.steps < self.batches:
            self.batches, self.last_size = order.steps, order.batch_size
