"""Copies beside the computation, on a stand-in for CuPy whose streams run in the worst order.

What is put into a stream waits there until somebody needs it, and then streams are served at
random, held together by events alone. Memory goes back to the stream it was taken in and is handed
out again at once. A wait that is missing shows as wrong numbers.
"""

from __future__ import annotations

import random
import sys
import threading
import types

import numpy as np
import pytest

from xpcnn.kernels.cuda import transfer
from xpcnn.training.prefetch import Prefetcher


class Machine:
    """A GPU: streams of work, and memory that is used again."""

    def __init__(self, seed):
        self.random, self.lock = random.Random(seed), threading.RLock()
        self.streams, self.free = [], {}
        self.null = FakeStream(self)

    def work(self, until=None, steps=10**6):
        """Serve streams at random until an event has happened, or nothing is left."""
        with self.lock:
            for _ in range(steps):
                if until is not None and until():
                    return
                ready = [s for s in self.streams if s.queue and s.queue[0][0]()]
                if not ready:
                    break
                self.random.choice(ready).queue.pop(0)[1]()
        assert until is None or until(), "a stream waits for ever"


class FakeStream:
    def __init__(self, machine):
        self.machine, self.queue = machine, []
        machine.streams.append(self)

    def put(self, do, ready=lambda: True):
        with self.machine.lock:
            self.queue.append((ready, do))
        self.machine.work(steps=self.machine.random.choice([0, 0, 1, 3]))

    def wait_event(self, event):
        wanted = event.asked
        self.put(lambda: None, lambda: event.done >= wanted)

    def synchronize(self):
        self.machine.work(lambda: not self.queue)


class FakeEvent:
    def __init__(self, machine):
        self.machine, self.asked, self.done = machine, 0, 0

    def record(self, stream=None):
        self.asked += 1
        number = self.asked

        def happen():
            self.done = number

        (stream or self.machine.null).put(happen)

    def synchronize(self):
        wanted = self.asked
        self.machine.work(lambda: self.done >= wanted)


class FakeArray:
    def __init__(self, machine, shape, dtype):
        self.machine, self.key = machine, (shape, np.dtype(dtype).str)
        free = machine.free.setdefault(self.key, [])
        self.memory = free.pop() if free else np.zeros(shape, dtype)

    def set(self, rows, stream):
        memory = self.memory
        stream.put(lambda: np.copyto(memory, rows))

    def __del__(self):
        self.machine.free[self.key].append(self.memory)


class FakeDevice:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def stand_in(machine):
    """Return what the module under test uses of CuPy."""
    cupy = types.ModuleType("cupy")
    cupy.empty = lambda shape, dtype: FakeArray(machine, shape, dtype)
    cupy.cuda = types.SimpleNamespace(
        Stream=lambda non_blocking: FakeStream(machine),
        Event=lambda block=False, disable_timing=False: FakeEvent(machine),
        get_current_stream=lambda: machine.null,
        alloc_pinned_memory=lambda size: bytearray(size + 24),
    )
    return cupy


@pytest.fixture
def machine(monkeypatch, request):
    made = Machine(request.param)
    monkeypatch.setitem(sys.modules, "cupy", stand_in(made))
    return made


def run(machine, sizes=(4, 4, 4, 3), epochs=3):
    """Fetch batches, "compute" with each, and return what the computation saw, and should see."""
    rng = np.random.default_rng(0)
    n = sum(sizes)
    wide = rng.random((n, 2, 3))
    sources = [wide.transpose(0, 2, 1), rng.integers(0, 9, n), rng.random((n, 1), "float32")]
    prefetcher = Prefetcher(transfer.Transfer(sources, FakeDevice()))
    seen, expected = [], []
    for _ in range(epochs):
        order = np.split(rng.permutation(n), np.cumsum(sizes)[:-1])
        for indices, load in prefetcher.each(iter(order)):
            expected += [a[indices] for a in sources]
            for array in load():
                memory = array.memory
                # In pieces, so that something can come in between.
                for _ in range(2):
                    machine.null.put(lambda m=memory: seen.append(m.copy()))
            del array
    prefetcher.close()
    machine.work()
    return seen, expected


@pytest.mark.parametrize("machine", range(20), indirect=True)
def test_every_batch_is_seen_as_it_is(machine):
    seen, expected = run(machine)
    assert len(seen) == 2 * len(expected)
    for position, a in enumerate(expected):
        for b in seen[2 * position : 2 * position + 2]:
            assert b.dtype == a.dtype
            np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize("machine", [0], indirect=True)
def test_memory_is_used_again(machine):
    run(machine)
    assert all(len(memory) <= 3 for memory in machine.free.values())


WAITS = {
    "for the memory": "self._stream.wait_event(ticket.free)",
    "for the copy": "self._cuda.get_current_stream().wait_event(ticket.filled)",
    "for the pinned memory": "self._copied[self._turn].synchronize()",
}


@pytest.mark.parametrize("missing", WAITS)
def test_every_wait_is_needed(monkeypatch, missing):
    """Without any one of them, some order of the streams gives wrong numbers."""
    path = transfer.__file__
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert WAITS[missing] in text
    changed = types.ModuleType("changed")
    monkeypatch.setitem(sys.modules, "changed", changed)
    exec(compile(text.replace(WAITS[missing], "pass"), path, "exec"), changed.__dict__)
    monkeypatch.setattr(transfer, "Transfer", changed.Transfer)
    for seed in range(30):
        made = Machine(seed)
        monkeypatch.setitem(sys.modules, "cupy", stand_in(made))
        seen, expected = run(made)
        same = all(
            np.array_equal(seen[2 * i + k], a) for i, a in enumerate(expected) for k in (0, 1)
        )
        if not same:
            return
    raise AssertionError(f"nobody misses the wait {missing}")


def test_gather():
    source = np.random.default_rng(0).random((6, 2, 3))
    for array in (source, source[:, ::-1], source.transpose(0, 2, 1), source[::2]):
        indices = np.array([2, 0, 2, 1])
        rows = np.full((4, *array.shape[1:]), np.nan)
        transfer.gather(array, indices, rows)
        np.testing.assert_array_equal(rows, array[indices])
