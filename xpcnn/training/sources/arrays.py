"""Arrays in memory, and batches of their rows on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.kernels import open_transfer
from xpcnn.training.dataset import Batch, Numbered, Order, Turn

if TYPE_CHECKING:
    from xpcnn.training.prefetch import Load, Prefetcher


class Samples(Numbered):
    """Inputs, labels and weights in arrays, from which batches are taken to the device.

    Parameters
    ----------
    all : Batch
        On the host, but for inputs that lie on the device already.
    device : Device
    dtypes : sequence of str
        What each input holds on the device.
    dtype : str
        Of labels and weights that are no integers.
    order : Order, optional
        All of them in one batch if left out.
    """

    def __init__(
        self,
        all: Batch,
        device: Device,
        dtypes: Sequence[str],
        dtype: str,
        order: Order | None = None,
    ) -> None:
        order = Order(all.size, all.size) if order is None else order
        super().__init__(order)
        self._all = all
        self._arrays = all.arrays()
        self._dtypes = dtypes_of(all, dtypes, dtype)
        # In host memory, from which rows are taken. For an input that lies on the device already,
        # these are the numbers of the samples.
        numbers = np.arange(order.samples)
        self._sources = [a if isinstance(a, np.ndarray) else numbers for a in self._arrays]
        self.device = device
        self._prefetcher: Prefetcher | None = None

    def batch(self, indices: np.ndarray | slice) -> Batch:
        """Return some samples on the device."""
        return self._arrange([source[indices] for source in self._sources])

    def some(self, count: int) -> tuple[Array, ...]:
        """Return the inputs of the first samples on the device."""
        return self.batch(np.arange(count)).inputs

    def epoch(self, number: int, *, ahead: bool = True) -> Iterator[Turn]:
        """Yield the batches of an epoch.

        Where the device has memory of its own, the next one is on its way while one is worked on.
        """
        prefetcher = self._open() if ahead else None
        if prefetcher is None:
            for indices in self.order.epoch(number):
                load = partial(self.batch, indices)
                yield Turn(len(indices), load, load)
        else:
            for indices, fetch in prefetcher.each(self.order.epoch(number)):
                again = partial(self.batch, indices)
                yield Turn(len(indices), partial(self._load, fetch), again)

    def close(self) -> None:
        """End what brings batches ahead of their use, if there is something."""
        prefetcher, self._prefetcher = self._prefetcher, None
        if prefetcher is not None:
            prefetcher.close()

    def _open(self) -> Prefetcher | None:
        if self._prefetcher is None:
            transfer = open_transfer(self.device.xp, self.device.physical, self._sources)
            if transfer is not None:
                from xpcnn.training.prefetch import Prefetcher  # its threads are for GPUs only

                self._prefetcher = Prefetcher(transfer)
        return self._prefetcher

    def _load(self, load: Load) -> Batch:
        return self._arrange(load())

    def _arrange(self, rows: Sequence[Array]) -> Batch:
        """Make a batch of what was taken from the sources."""
        brought = []
        for source, row, dtype in zip(self._arrays, rows, self._dtypes, strict=True):
            if isinstance(source, np.ndarray):
                brought.append(self._bring(row, dtype))
            else:
                taken = self.device.xp.take(source, self._bring(row), axis=0)
                brought.append(self._bring(taken, dtype))
        return self._all.of(brought)

    def _bring(self, rows: Array, dtype: str | None = None) -> Array:
        return self.device.asarray(rows, dtype)


def dtypes_of(batch: Batch, dtypes: Sequence[str], dtype: str) -> list[Any]:
    """Return what each array of a batch holds on the device; ``None`` for integers."""
    others = batch.arrays()[len(batch.inputs) :]
    return [*dtypes, *(dtype if _xp.is_floating(a) else None for a in others)]


def bring(batch: Batch, device: Device, dtypes: Sequence[str], dtype: str) -> Batch:
    """Bring a batch to the device; the arguments are those of :class:`Samples`."""
    each = zip(batch.arrays(), dtypes_of(batch, dtypes, dtype), strict=True)
    return batch.of([device.asarray(a, kind) for a, kind in each])
