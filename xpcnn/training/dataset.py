"""The samples that a model works on, and batches of them on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.kernels import open_transfer

if TYPE_CHECKING:
    from xpcnn.training.prefetch import Load, Prefetcher


def map_arrays(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to an array, or to every array of a tuple; ``None`` stays."""
    if value is None:
        return None
    return tuple(map(function, value)) if isinstance(value, tuple) else function(value)


def split_validation(
    inputs: tuple[Array, ...], labels: Any, weights: np.ndarray | None, share: float
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Cut the last `share` of the samples off, before any shuffling, as Keras does.

    Raises
    ------
    ValueError
        If `share` is not between 0 and 1, or leaves one part empty.
    """
    if not isinstance(share, (int, float, np.number)) or not 0.0 < share < 1.0:
        raise ValueError(f"validation_split must lie between 0 and 1, got {share!r}")
    count = inputs[0].shape[0]
    cut = int(count * (1.0 - share))
    if cut == 0 or cut == count:
        raise ValueError(f"validation_split={share} of {count} samples leaves one part empty")
    everything = (inputs, labels, weights)
    front = tuple(map_arrays(part, lambda a: a[:cut, ...]) for part in everything)
    back = tuple(map_arrays(part, lambda a: a[cut:, ...]) for part in everything)
    return front, back


class Batch(NamedTuple):
    """Some samples: one array for each input; labels, a tuple if each output has some; weights."""

    inputs: tuple[Array, ...]
    labels: Any
    weights: Array | None

    @property
    def size(self) -> int:
        """Number of samples."""
        return int(self.inputs[0].shape[0])

    def arrays(self) -> list[Array]:
        """List the arrays."""
        labels = self.labels if isinstance(self.labels, tuple) else (self.labels,)
        return [a for a in (*self.inputs, *labels, self.weights) if a is not None]

    def of(self, arrays: Sequence[Array]) -> Batch:
        """Make a batch of other arrays, listed in the same order."""
        count = len(self.inputs)
        inputs, rest = tuple(arrays[:count]), list(arrays[count:])
        weights = None if self.weights is None else rest.pop()
        if isinstance(self.labels, tuple):
            return Batch(inputs, tuple(rest), weights)
        return Batch(inputs, rest[0] if rest else None, weights)


class Samples:
    """Inputs, labels and weights from which batches are taken to the device.

    Parameters
    ----------
    inputs : tuple of array
        One for each input of the network.
    labels : numpy.ndarray, tuple of them, or None
        A tuple if each output of the network has a loss of its own.
    weights : numpy.ndarray or None
    device : Device
    dtypes : sequence of str
        What each input holds.
    dtype : str
        Of labels and weights that are no integers.
    """

    def __init__(
        self,
        inputs: tuple[Array, ...],
        labels: Any,
        weights: np.ndarray | None,
        device: Device,
        dtypes: Sequence[str],
        dtype: str,
    ) -> None:
        self._all = Batch(inputs, labels, weights)
        self._size = self._all.size
        self._arrays = self._all.arrays()
        others = [dtype if _xp.is_floating(a) else None for a in self._arrays[len(inputs) :]]
        self._dtypes = [*dtypes, *others]
        # In host memory, from which rows are taken. For an input that lies on the device already,
        # these are the numbers of the samples.
        numbers = np.arange(self._size)
        self._sources = [a if isinstance(a, np.ndarray) else numbers for a in self._arrays]
        self.device = device
        self._prefetcher: Prefetcher | None = None

    def __len__(self) -> int:
        return self._size

    def batch(self, indices: np.ndarray | slice) -> Batch:
        """Return some samples on the device."""
        return self._arrange([source[indices] for source in self._sources])

    def prefetched(
        self, order: Iterator[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, Callable[[], Batch]]]:
        """Yield the indices of each batch, and what loads it: to be called once, in order.

        Where the device has memory of its own, the next batch is on its way by then.
        """
        if self._prefetcher is None:
            transfer = open_transfer(self.device.xp, self.device.physical, self._sources)
            if transfer is not None:
                from xpcnn.training.prefetch import Prefetcher  # its threads are for GPUs only

                self._prefetcher = Prefetcher(transfer)
        if self._prefetcher is None:
            for indices in order:
                yield indices, partial(self.batch, indices)
        else:
            for indices, load in self._prefetcher.each(order):
                yield indices, partial(self._load, load)

    def close(self) -> None:
        """End what brings batches ahead of their use, if there is something."""
        prefetcher, self._prefetcher = self._prefetcher, None
        if prefetcher is not None:
            prefetcher.close()

    def _load(self, load: Load) -> Batch:
        return self._arrange(load())

    def _arrange(self, rows: Sequence[Array]) -> Batch:
        """Make a batch of what was taken from the sources."""
        brought = []
        for source, row, dtype in zip(self._arrays, rows, self._dtypes, strict=True):
            if isinstance(source, np.ndarray):
                brought.append(self._bring(row, dtype))
            else:
                brought.append(self.device.xp.take(source, self._bring(row), axis=0))
        return self._all.of(brought)

    def _bring(self, rows: Array, dtype: str | None = None) -> Array:
        return self.device.asarray(rows, dtype)
