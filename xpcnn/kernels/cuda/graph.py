"""A step as a CUDA graph: what it launches is written down once, and launched again in one go.

Launches, not computations, take the time of small networks. What is captured is not executed; the
graph keeps the addresses and the numbers that the launches had. So all of it works on the same
memory for ever, which comes from a pool of its own, and nothing may be copied from the host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from xpcnn.kernels.cuda import source

Result = TypeVar("Result")


class _Launch:
    """Launches a graph in the current stream; holds what the graph knows by address alone."""

    def __init__(self, graph: Any, tables: list[tuple[Any, Any]]) -> None:
        self._graph, self._tables = graph, tables

    def __call__(self) -> None:
        self._graph.launch()


_free_pools: dict[int, list[Any]] = {}
"""The memory pools that no capture uses, by the number of the device.

CuPy never frees the memory of a pool that nobody refers to any more, so a pool is used again. Two
captures at one time have one each: their graphs would write into one another's arrays.
"""


class Capture:
    """Captures functions on one GPU; :class:`xpcnn.kernels.Capture` says how it is used."""

    def __init__(self, physical: Any) -> None:
        import cupy

        self._cupy, self._physical = cupy, physical
        self._usual_pool = cupy.get_default_memory_pool()
        with physical:
            # Whatever goes into CuPy's usual stream does not wait for this one, nor the reverse.
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._usual_pool.free_all_blocks()  # no other pool can use what this one holds
        pools = _free_pools.setdefault(physical.id, [])
        self._pool = pools.pop() if pools else cupy.cuda.MemoryPool()

    def rehearse(self, function: Callable[[], Result]) -> Result:
        """Run a function for real, with the kernels and the memory of a capture."""
        outer = self._cupy.cuda.get_current_stream()
        with self._apart(outer):
            result = function()
        outer.wait_event(self._stream.record())
        return result

    def capture(self, function: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Write down what a function launches; returns its result and what launches it."""
        outer = self._cupy.cuda.get_current_stream()
        tables: list[tuple[Any, Any]] = []
        with self._apart(outer), self._nothing_from_the_host(), source.tables_later(tables):
            self._stream.begin_capture()
            try:
                result = function()
            except BaseException:
                with suppress(Exception):  # the error that counts is the first one
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        for array, numbers in tables:
            if numbers is not None:
                array.set(numbers)
        return result, _Launch(graph, tables)

    def close(self) -> None:
        """Wait until nothing is being computed that was captured, and give its memory back.

        What was captured must not be launched afterwards.
        """
        if self._pool is None:
            return
        with self._physical:
            self._cupy.cuda.get_current_stream().synchronize()
            self._stream.synchronize()
            self._pool.free_all_blocks()
        _free_pools[self._physical.id].append(self._pool)
        self._pool = None

    @contextmanager
    def _apart(self, outer: Any) -> Iterator[None]:
        """Work in the stream and the pool of captures, after all that was put into `outer`."""
        self._stream.wait_event(outer.record())
        using = self._cupy.cuda.using_allocator
        usual = partial(using, self._cupy.cuda.get_allocator())
        with self._stream, using(self._allocate), source.as_for_capture(usual):
            yield

    def _allocate(self, size: int) -> Any:
        """Take memory from the pool of captures; what the usual one holds unused is given up."""
        try:
            return self._pool.malloc(size)
        except self._cupy.cuda.memory.OutOfMemoryError:
            self._usual_pool.free_all_blocks()
            return self._pool.malloc(size)

    @contextmanager
    def _nothing_from_the_host(self) -> Iterator[None]:
        """Let copies from the host fail in this thread.

        They would be captured with the address of pinned memory that soon holds something else.
        CuPy asks for pinned memory for each of them.
        """
        usual = self._cupy.get_default_pinned_memory_pool().malloc
        here = threading.get_ident()

        def refuse(size: int) -> Any:
            if threading.get_ident() == here:
                raise RuntimeError("it copies numbers from the host")
            return usual(size)

        self._cupy.cuda.set_pinned_memory_allocator(refuse)
        try:
            yield
        finally:
            self._cupy.cuda.set_pinned_memory_allocator(usual)
