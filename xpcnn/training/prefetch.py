"""Batches on their way to the device while it works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from xpcnn._xp import Array
from xpcnn.kernels import Transfer

Load = Callable[[], list[Array]]


class _Ahead(NamedTuple):
    """A batch on its way."""

    indices: np.ndarray
    ticket: Any
    carried: Future[None]


class Prefetcher:
    """Fetches rows one batch ahead, with a thread of its own for what the host has to do.

    Parameters
    ----------
    transfer : Transfer
        What carries the rows.
    """

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="xpcnn-prefetch")
        self._ahead: _Ahead | None = None

    def each(self, order: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Load]]:
        """Yield the indices of each batch, and what returns its rows on the device.

        To be called once for each batch, in order; it sets off the fetching of the next one.
        """
        self._drop()
        for indices, following in pairwise(chain(order, [None])):
            assert indices is not None
            yield indices, partial(self._load, indices, following)

    def close(self) -> None:
        """End the thread, and wait for what is on its way."""
        try:
            self._drop()
        finally:
            self._thread.shutdown()
            self._transfer.close()

    def _load(self, indices: np.ndarray, following: np.ndarray | None) -> list[Array]:
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            ahead = self._begin(indices)
        assert ahead.indices is indices, "batches are loaded in their order"
        ahead.carried.result()
        arrays = self._transfer.finish(ahead.ticket)
        if following is not None:
            self._ahead = self._begin(following)
        return arrays

    def _begin(self, indices: np.ndarray) -> _Ahead:
        ticket = self._transfer.begin(indices)
        return _Ahead(indices, ticket, self._thread.submit(self._transfer.carry, ticket))

    def _drop(self) -> None:
        """Let go of a batch that nobody will ask for any more."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.carried.exception() is None:
            self._transfer.finish(ahead.ticket)  # its memory is free for others after that
