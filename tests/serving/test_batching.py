"""Requests that wait are put together; each gets its own answer."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from xpcnn.serving.batching import Arrays, Batcher


class Recorder:
    """Doubles arrays, keeps what it was called with, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.threads: set[int] = set()
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, inputs: Arrays) -> Arrays:
        self.may_go.wait(30)
        self.threads.add(threading.get_ident())
        first = inputs[0].reshape(len(inputs[0]), -1)[:, 0].tolist()
        self.batches.append(first)
        if any(value < 0 for value in first):
            raise ValueError("a negative number")
        return tuple(2 * x for x in inputs)


def numbers(*values: float) -> Arrays:
    return (np.array(values, "float32")[:, None],)


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def test_what_waits_at_the_same_time_goes_together():
    async def main() -> None:
        run = Recorder()
        async with Batcher(run, max_batch=8, max_delay=0.05) as batcher:
            found = await asyncio.gather(*(batcher.put(numbers(i)) for i in range(5)))
        assert run.batches == [[0, 1, 2, 3, 4]]
        assert [y.tolist() for (y,) in found] == [[[0]], [[2]], [[4]], [[6]], [[8]]]
        assert run.threads.isdisjoint({threading.get_ident()})

    asyncio.run(main())


def test_a_full_batch_does_not_wait():
    async def main() -> None:
        run = Recorder()
        async with Batcher(run, max_batch=4, max_delay=1000) as batcher:
            await asyncio.gather(*(batcher.put(numbers(i)) for i in range(8)))
        assert run.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]

    asyncio.run(main())


def test_what_comes_while_the_function_runs_makes_the_next_batch():
    async def main() -> None:
        run = Recorder()
        run.may_go.clear()
        async with Batcher(run, max_batch=4, max_delay=0) as batcher:
            first = batcher.put(numbers(0))
            await until(lambda: batcher.samples_waiting == 0)
            others = [batcher.put(numbers(i)) for i in (1, 2, 3)]
            assert batcher.samples_waiting == 3
            run.may_go.set()
            await asyncio.gather(first, *others)
        assert run.batches == [[0], [1, 2, 3]]
        assert len(run.threads) == 1

    asyncio.run(main())


def test_requests_of_several_samples_keep_their_samples_and_their_turn():
    async def main() -> None:
        run = Recorder()
        async with Batcher(run, max_batch=4, max_delay=0.01) as batcher:
            given = [numbers(1, 2, 3), numbers(4, 5), numbers(6), numbers(7, 8, 9, 10)]
            found = await asyncio.gather(*map(batcher.put, given))
        # 6 would have had room in the first batch, but does not overtake 4 and 5
        assert run.batches == [[1, 2, 3], [4, 5, 6], [7, 8, 9, 10]]
        for (x,), (y,) in zip(given, found, strict=True):
            np.testing.assert_array_equal(y, 2 * x)

    asyncio.run(main())


def test_only_what_fits_together_goes_together():
    async def main() -> None:
        run = Recorder()
        async with Batcher(run, max_batch=8, max_delay=0.01) as batcher:
            whole = (np.array([[7]], "uint8"),)
            long = (np.array([[1, 1]], "float32"),)
            given = [numbers(3), whole, numbers(4), long, whole]
            found = await asyncio.gather(*map(batcher.put, given))
        assert run.batches == [[3, 4], [7, 7], [1]]
        for (x,), (y,) in zip(given, found, strict=True):
            assert (y.dtype, y.tolist()) == (x.dtype, (2 * x).tolist())

    asyncio.run(main())


@pytest.mark.parametrize("bad", [{0}, {6}, {1, 2, 5}, set(range(7))])
def test_a_bad_request_does_not_spoil_the_others(bad):
    async def main() -> None:
        run = Recorder()
        async with Batcher(run, max_batch=8, max_delay=0.01) as batcher:
            given = [batcher.put(numbers(-1 if i in bad else i)) for i in range(7)]
            found = await asyncio.gather(*given, return_exceptions=True)
        assert len(run.batches[0]) == 7
        for i, answer in enumerate(found):
            if i in bad:
                assert isinstance(answer, ValueError)
            else:
                assert answer[0].tolist() == [[2 * i]]

    asyncio.run(main())


def test_a_request_that_is_given_up_is_dropped():
    async def main() -> None:
        run = Recorder()
        run.may_go.clear()
        async with Batcher(run, max_batch=4, max_delay=0) as batcher:
            first = batcher.put(numbers(0))
            await until(lambda: batcher.samples_waiting == 0)
            kept, dropped = batcher.put(numbers(1)), batcher.put(numbers(2, 3))
            dropped.cancel()
            await until(lambda: batcher.samples_waiting == 1)
            first.cancel()  # it is being worked on, and nobody takes its answer
            run.may_go.set()
            assert (await kept)[0].tolist() == [[2]]
            assert (await batcher.put(numbers(5)))[0].tolist() == [[10]]
        assert run.batches == [[0], [1], [5]]

    asyncio.run(main())


def test_the_end_waits_for_what_runs_and_cancels_what_waits():
    async def main() -> None:
        run = Recorder()
        run.may_go.clear()
        batcher = Batcher(run, max_batch=1, max_delay=0)
        assert not batcher.is_working
        async with batcher:
            batcher.put(numbers(0))
            await until(lambda: batcher.samples_waiting == 0)
            waiting = batcher.put(numbers(1))
            assert batcher.is_working
            run.may_go.set()
        assert waiting.cancelled() or waiting.done()
        assert not batcher.is_working
        assert run.batches[0] == [0]

    asyncio.run(main())


def test_batches_are_reported():
    async def main() -> list[tuple[int, float]]:
        seen: list[tuple[int, float]] = []
        run = Recorder()
        async with Batcher(
            run, max_batch=8, max_delay=0.01, ran=lambda *batch: seen.append(batch)
        ) as batcher:
            await asyncio.gather(batcher.put(numbers(1, 2)), batcher.put(numbers(3)))
        return seen

    ((samples, seconds),) = asyncio.run(main())
    assert samples == 3
    assert 0 <= seconds < 30
