"""Mini-batches as arrays of indices, in an order that follows from the seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpcnn import rng
from xpcnn.window import as_int


def batches(
    n: int,
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    epoch: int = 0,
    drop_last: bool = False,
) -> Iterator[np.ndarray]:
    """Iterate once over `n` samples in mini-batches.

    The order depends on `seed` and `epoch` alone, so training that is stopped and resumed sees
    the samples in the order it would have seen them.

    Parameters
    ----------
    n : int
        Number of samples.
    batch_size : int
        Samples in a batch; the last batch may be smaller.
    shuffle : bool
        Draw a new order for every epoch; without it the samples come in their own order.
    seed : int
        Where the order is drawn from, 0 or more.
    epoch : int
        Number of the epoch, counted from 0.
    drop_last : bool
        Leave out the last batch if it is smaller than the others.

    Returns
    -------
    iterator of numpy.ndarray
        Indices of the samples of each batch, int64 of shape ``(batch_size,)``.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If there are no samples, or a number is negative or 0 where that makes no sense.

    Examples
    --------
    >>> from xpcnn.data import batches
    >>> [indices.tolist() for indices in batches(5, 2, shuffle=False)]
    [[0, 1], [2, 3], [4]]
    """
    n = _integer("n", n, 1, "give at least one sample")
    batch_size = _integer("batch_size", batch_size, 1, "32 is a usual choice")
    seed = _integer("seed", seed, 0, "any number from 0 up does")
    epoch = _integer("epoch", epoch, 0, "epochs are counted from 0")
    # Checks run now, at the call, and not at the first next() of the iterator.
    return _iterate(n, batch_size, shuffle, seed, epoch, drop_last)


def _iterate(
    n: int, batch_size: int, shuffle: bool, seed: int, epoch: int, drop_last: bool
) -> Iterator[np.ndarray]:
    order = np.arange(n, dtype=np.int64)
    if shuffle:
        rng.generator(seed, "shuffle", epoch).shuffle(order)
    stop = n - n % batch_size if drop_last else n
    for start in range(0, stop, batch_size):
        yield order[start : start + batch_size]


def _integer(name: str, value: int, least: int, hint: str) -> int:
    try:
        return as_int(value, "batches", name, least)
    except ValueError as error:
        raise ValueError(f"{error}; {hint}") from None
