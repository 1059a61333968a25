"""Requests that wait are put together into batches, which one thread works through."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

Arrays = tuple[np.ndarray, ...]
"""An array for each input or output of a network; the first axis is that of the samples."""

log = logging.getLogger("xpcnn.serving")


@dataclass(eq=False, slots=True)
class _Request:
    inputs: Arrays
    kind: tuple[object, ...]  # only requests of one kind can be put together
    arrived: float
    answer: asyncio.Future[Arrays]

    @property
    def samples(self) -> int:
        return len(self.inputs[0])


class Batcher:
    """Runs a function for many requests at a time.

    Requests wait until there are `max_batch` samples, or until the first of them has waited for
    `max_delay`. While the function runs, the next ones gather. The event loop is never blocked.

    Parameters
    ----------
    run : callable
        Takes arrays of samples and returns such arrays. One thread calls it, never two at a time.
    max_batch : int
        The most samples of a call; no request has more.
    max_delay : float
        Seconds that a request may wait for others.
    ran : callable, optional
        Is told the samples and the seconds of each batch.

    Examples
    --------
    >>> import asyncio
    >>> import numpy as np
    >>> async def main():
    ...     batcher = Batcher(lambda inputs: (inputs[0] * 2,), max_batch=8, max_delay=0.01)
    ...     async with batcher:
    ...         return await asyncio.gather(*[batcher.put((np.full((1, 2), i),)) for i in range(3)])
    >>> [y.tolist() for (y,) in asyncio.run(main())]
    [[[0, 0]], [[2, 2]], [[4, 4]]]
    """

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        *,
        max_batch: int,
        max_delay: float,
        ran: Callable[[int, float], None] = lambda samples, seconds: None,
    ) -> None:
        self._run, self._ran = run, ran
        self._max_batch, self._max_delay = max_batch, max_delay
        self._waiting: deque[_Request] = deque()
        self._samples = 0  # that wait
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="xpcnn-model")
        self._work: asyncio.Task[None] | None = None

    @property
    def samples_waiting(self) -> int:
        """Samples of the requests that wait; those that are being worked on are not among them."""
        return self._samples

    @property
    def is_working(self) -> bool:
        """Whether there is anybody to answer."""
        return self._work is not None and not self._work.done()

    async def __aenter__(self) -> Batcher:
        self._work = asyncio.create_task(self._work_through())
        return self

    async def __aexit__(self, *error: object) -> None:
        """End; what still waits is cancelled, what is being worked on ends first."""
        assert self._work is not None
        self._work.cancel()
        with suppress(asyncio.CancelledError):
            await self._work
        for request in self._waiting:
            request.answer.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    def put(self, inputs: Arrays) -> asyncio.Future[Arrays]:
        """Let arrays of samples wait for their turn.

        Returns
        -------
        Future
            Of the outputs for these samples. If it is cancelled while they wait, they are dropped.
        """
        loop = asyncio.get_running_loop()
        kind = tuple((x.dtype, x.shape[1:]) for x in inputs)
        request = _Request(inputs, kind, loop.time(), loop.create_future())
        self._waiting.append(request)
        self._samples += request.samples
        self._arrived.set()
        request.answer.add_done_callback(lambda _: self._drop(request))
        return request.answer

    def _drop(self, request: _Request) -> None:
        """Forget a request whose answer nobody wants any more, if it still waits."""
        if request.answer.cancelled() and request in self._waiting:
            self._waiting.remove(request)
            self._samples -= request.samples

    async def _work_through(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._until_it_is_time(loop)
            batch = self._take()
            began = loop.time()
            given = [request.inputs for request in batch]
            found = await loop.run_in_executor(self._thread, self._run_all, given)
            self._ran(sum(request.samples for request in batch), loop.time() - began)
            for request, result in zip(batch, found, strict=True):
                if request.answer.done():
                    continue
                if isinstance(result, Exception):
                    request.answer.set_exception(result)
                else:
                    request.answer.set_result(result)

    async def _until_it_is_time(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            self._arrived.clear()
            if not self._waiting:
                await self._arrived.wait()
                continue
            left = self._waiting[0].arrived + self._max_delay - loop.time()
            if left <= 0 or self._samples >= self._max_batch:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._arrived.wait()

    def _take(self) -> list[_Request]:
        """Take the first request, and those behind it that can be put together with it."""
        kind, room = self._waiting[0].kind, self._max_batch
        batch: list[_Request] = []
        left: deque[_Request] = deque()
        for request in self._waiting:
            if request.kind == kind and (request.samples <= room or not batch):
                room -= request.samples
                batch.append(request)
            else:
                left.append(request)
                if request.kind == kind:
                    room = 0  # none overtakes another of its kind
        self._waiting = left
        self._samples -= sum(request.samples for request in batch)
        return batch

    # -- In the thread -------------------------------------------------------------------------

    def _run_all(self, given: Sequence[Arrays]) -> list[Arrays | Exception]:
        """Return the outputs for each request, or what went wrong with it.

        Where a batch fails, its halves are run, and so on: one bad request does not spoil others.
        """
        try:
            return list(self._run_together(given))
        except Exception as error:
            if len(given) == 1:
                return [error]
            log.info("a batch of %d requests failed, and is divided: %s", len(given), error)
        half = len(given) // 2
        return self._run_all(given[:half]) + self._run_all(given[half:])

    def _run_together(self, given: Sequence[Arrays]) -> list[Arrays]:
        if len(given) == 1:
            return [self._run(given[0])]
        outputs = self._run(tuple(np.concatenate(parts) for parts in zip(*given, strict=True)))
        ends = list(itertools.accumulate(len(inputs[0]) for inputs in given))
        return [
            tuple(y[begin:end] for y in outputs)
            for begin, end in zip([0, *ends[:-1]], ends, strict=True)
        ]
