"""Captures on a stand-in for CuPy: what waits for what, whose memory is taken, what is refused."""

from __future__ import annotations

import sys
import threading
import types
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from xpcnn.kernels.cuda import graph, source


class OutOfMemoryError(Exception):
    """CuPy's error of the same name."""


class Stand:
    """What the module under test uses of CuPy, with a record of all calls."""

    def __init__(self):
        self.log, self.current = [], "null"
        self.pinned = self.usual
        stand = self

        class Stream:
            def __init__(self, name="side", non_blocking=False):
                assert name == "null" or non_blocking, "a blocking stream cannot be captured"
                self.name = name

            def __enter__(self):
                self.before, stand.current = stand.current, self.name

            def __exit__(self, *_):
                stand.current = self.before

            def record(self):
                assert "begin" not in stand.log[-1:], "an event within the capture"
                stand.log.append(f"record {self.name}")
                return self.name

            def wait_event(self, event):
                stand.log.append(f"{self.name} waits for {event}")

            def begin_capture(self):
                stand.log.append("begin")

            def end_capture(self):
                stand.log.append("end")
                return types.SimpleNamespace(launch=lambda: stand.log.append("launch"))

            def synchronize(self):
                stand.log.append(f"synchronize {self.name}")

        @contextmanager
        def using_allocator(allocator):
            before, stand.allocator = stand.allocator, allocator
            try:
                yield
            finally:
                stand.allocator = before

        class Pool:
            """Takes what it is asked for, but fails as often as `full` says before."""

            def __init__(self, name="pool of captures"):
                self.name, self.full = name, 0
                stand.pools.append(self)

            def malloc(self, size):
                if self.full:
                    self.full -= 1
                    raise OutOfMemoryError
                return f"{size} bytes of the {self.name}"

            def free_all_blocks(self):
                stand.log.append(f"free the {self.name}")

        self.pools = []
        self.default = Pool("usual pool")
        self.allocator = self.default.malloc
        null = Stream("null")
        self.cupy = types.ModuleType("cupy")
        self.cupy.cuda = types.SimpleNamespace(
            Stream=lambda non_blocking: Stream("side", non_blocking),
            MemoryPool=Pool,
            memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            get_allocator=lambda: self.allocator,
            get_current_stream=lambda: null,
            using_allocator=using_allocator,
            set_pinned_memory_allocator=lambda pinned: setattr(self, "pinned", pinned),
        )
        self.cupy.get_default_memory_pool = lambda: self.default
        self.cupy.get_default_pinned_memory_pool = lambda: types.SimpleNamespace(malloc=self.usual)

    id = 0  # of the device

    def usual(self, size):
        return f"{size} bytes"

    @property
    def memory(self):
        """Where memory comes from now."""
        return self.allocator(1).removeprefix("1 bytes of the ")

    def __enter__(self):  # the device, too
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def stand(monkeypatch):
    made = Stand()
    monkeypatch.setitem(sys.modules, "cupy", made.cupy)
    monkeypatch.setattr(graph, "_free_pools", {})
    return made


def capture_on(stand):
    """Open a capture, without what it does first."""
    made = graph.Capture(stand)
    assert stand.log.pop() == "free the usual pool"
    return made


def test_a_rehearsal(stand):
    def work():
        assert (stand.current, stand.memory) == ("side", "pool of captures")
        assert source.is_for_capture()
        stand.log.append("work")
        return 5

    assert capture_on(stand).rehearse(work) == 5
    assert stand.log == [
        "record null", "side waits for null", "work", "record side", "null waits for side",
    ]  # fmt: skip
    assert (stand.current, stand.memory) == ("null", "usual pool")
    assert not source.is_for_capture()


def test_a_capture(stand):
    class Table:
        def set(self, numbers):
            stand.log.append(("filled", stand.current, numbers.tolist()))

    def work():
        assert (stand.current, stand.memory) == ("side", "pool of captures")
        assert source.is_for_capture()
        source._mode.tables += [(Table(), np.arange(3)), (Table(), None)]
        return 5

    capture = capture_on(stand)
    result, launch = capture.capture(work)
    assert result == 5
    assert stand.log == [
        "record null", "side waits for null", "begin", "end", ("filled", "null", [0, 1, 2]),
    ]  # fmt: skip
    launch()
    launch()
    assert stand.log[-2:] == ["launch", "launch"]
    assert source._mode.tables is None
    assert len(launch._tables) == 2, "the graph knows their addresses"
    capture.close()
    assert stand.log[-3:] == ["synchronize null", "synchronize side", "free the pool of captures"]


def test_tables_come_from_the_usual_memory(stand):
    """A graph writes over what it has of its own pool, and a table is filled only once."""
    like = np.zeros(1)
    found = []

    def work():
        with source._mode.memory():
            found.append(stand.memory)

    capture = capture_on(stand)
    capture.capture(work)
    capture.rehearse(work)
    assert found == ["usual pool", "usual pool"]
    assert source._mode.memory is nullcontext
    entered = []

    @contextmanager
    def noting():
        entered.append(True)
        yield

    with source.as_for_capture(noting):
        source.constants(np, like, (17, 19, 23), np.int64)  # as none is kept yet
        with source.tables_later([]):
            source.constants(np, like, (17, 19, 29), np.int64)
    assert len(entered) == 2


def test_one_pool_serves_all_captures_that_follow_one_another(stand):
    first = capture_on(stand)
    beside = capture_on(stand)
    assert len(stand.pools) == 3, "the usual one and one for each, as both work at once"
    assert first._pool is not beside._pool
    first.close()
    first.close()
    assert stand.log.count("free the pool of captures") == 1
    third = capture_on(stand)
    fourth = capture_on(stand)
    assert len(stand.pools) == 4
    assert fourth._pool not in (third._pool, beside._pool)


def test_what_the_usual_pool_holds_is_given_up_when_memory_runs_out(stand):
    capture = capture_on(stand)
    capture._pool.full = 1
    assert capture.rehearse(lambda: stand.allocator(5)) == "5 bytes of the pool of captures"
    assert "free the usual pool" in stand.log
    capture._pool.full = 2
    with pytest.raises(OutOfMemoryError):
        capture.rehearse(lambda: stand.allocator(5))


def test_nothing_is_copied_from_the_host_in_a_capture(stand):
    """Each copy asks for pinned memory, of which others may go on taking."""
    others = []

    def work():
        thread = threading.Thread(target=lambda: others.append(stand.pinned(7)))
        thread.start()
        thread.join()
        stand.pinned(8)

    with pytest.raises(RuntimeError, match="it copies numbers from the host"):
        capture_on(stand).capture(work)
    assert others == ["7 bytes"]
    assert stand.log[-2:] == ["begin", "end"]
    assert stand.pinned(9) == "9 bytes"
    assert (stand.current, stand.memory) == ("null", "usual pool")
    assert source._mode.tables is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_a_capture_ends_it(stand, error):
    def work():
        raise error

    with pytest.raises(error):
        capture_on(stand).capture(work)
    assert stand.log[-2:] == ["begin", "end"]
    assert not source.is_for_capture()


def test_the_stand_ins_are_like_cupy():
    """What streams, events, copies and captures use of CuPy is there, under these names."""
    cupy = pytest.importorskip("cupy")
    cuda = cupy.cuda
    assert {"record", "wait_event", "begin_capture", "end_capture", "synchronize"} <= set(
        dir(cuda.Stream)
    )
    assert {"record", "synchronize"} <= set(dir(cuda.Event))
    assert callable(cuda.Graph.launch)
    assert callable(cuda.MemoryPool().malloc)
    assert callable(cuda.MemoryPool().free_all_blocks)
    assert callable(cupy.get_default_memory_pool().free_all_blocks)
    assert issubclass(cuda.memory.OutOfMemoryError, Exception)
    assert callable(cupy.get_default_pinned_memory_pool().malloc)
    for name in (
        "alloc_pinned_memory", "get_current_stream", "set_pinned_memory_allocator",
        "using_allocator", "get_allocator",
    ):  # fmt: skip
        assert callable(getattr(cuda, name))
    assert "stream" in cupy.ndarray.set.__doc__
    with pytest.raises(ValueError, match="left"), cuda.using_allocator(cuda.MemoryPool().malloc):
        raise ValueError("left")
