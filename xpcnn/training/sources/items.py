"""Data sets that give one sample at a time, batched here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from xpcnn._xp import Array
from xpcnn.training.dataset import Batch, Numbered, Turn
from xpcnn.training.sources.reader import Reader
from xpcnn.training.sources.streams import Raw

if TYPE_CHECKING:
    from xpcnn.training.sources.workers import Workers


class Items(Numbered):
    """Samples of a data set, read as their turn comes, or ahead of it by worker processes.

    Parameters
    ----------
    reader : Reader
    prepare : callable
        Checks the parts of a batch, told the numbers of its samples, and returns it on the host.
    bring : callable
        Brings it to the device.
    workers : int
        How many processes read; 0 for this one.
    """

    can_repeat = False  # samples may be drawn at random

    def __init__(
        self,
        reader: Reader,
        prepare: Callable[[Raw, np.ndarray], Batch],
        bring: Callable[[Batch], Batch],
        workers: int,
    ) -> None:
        super().__init__(reader.order)
        self._reader, self._prepare, self._bring = reader, prepare, bring
        self._count = workers
        self._workers: Workers | None = None

    def epoch(self, number: int, *, ahead: bool = True) -> Iterator[Turn]:
        """Yield the batches of an epoch."""
        for indices, raw in self._read(number):
            load = partial(self._bring, self._prepare(raw, indices))
            del raw
            yield Turn(len(indices), load, load)
            del load

    def _read(self, epoch: int) -> Iterator[tuple[np.ndarray, Raw]]:
        if self._count:
            if self._workers is None:
                from xpcnn.training.sources.workers import Workers  # few programs need processes

                self._workers = Workers(self._reader, self._count)
            yield from self._workers.each(epoch)
            return
        for batch, indices in enumerate(self.order.epoch(epoch)):
            yield indices, self._reader.read(epoch, batch, indices)

    def some(self, count: int) -> tuple[Array, ...]:
        """Return the inputs of the first samples on the device."""
        indices = np.arange(min(count, self.order.samples))
        return self._bring(self._prepare(self._reader.read(0, 0, indices), indices)).inputs

    def close(self) -> None:
        """End the processes."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()
