"""Jobs: kernels with a body in Python, in a library or compiled in this process."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from tests.compiled import needs_compiled_kernels
from xpcnn.kernels.cpu import elementwise, jobs, threads
from xpcnn.kernels.cpu.jobs import Bytes, Floats, Ints, Job, Worker, addresses_of
from xpcnn.kernels.native import library, sources, targets

needs_compiled_kernels()


@pytest.fixture
def compiling(monkeypatch):
    """Have new kernels compiled by Numba, as in a process that has no library."""
    pytest.importorskip("numba", exc_type=ImportError)
    from xpcnn.kernels.native import jit, targets

    machine = jit.Jit(targets.HOST)
    monkeypatch.setattr(jobs, "machine", lambda: machine)


def plain(
    job: int, worker: Worker, x: Floats, at: Ints, flags: Bytes, n: int, scale: float, out: Floats,
    seen: Ints,
) -> None:  # fmt: skip
    seen[worker] += 1
    for i in range(n):
        k = job * n + i
        out[k] = x[at[k]] * scale if flags[k] else np.float32(-1)


def test_every_job_is_done_once(compiling):
    job = Job(plain)
    rng = np.random.default_rng(0)
    for count, n in ((1, 1), (7, 3), (100, 40)):
        x = rng.random(count * n, dtype="float32")
        at = rng.permutation(count * n)
        flags = rng.integers(0, 2, count * n, dtype="uint8")
        expected = np.where(flags, x[at] * np.float32(0.3), np.float32(-1))
        for operations in (1, 10 * threads.WORTH_IT):
            out, seen = np.zeros(count * n + 1, "float32"), np.zeros(8, np.int64)
            threads.launch(operations, job, count, x, at, flags, n, 0.3, out, seen)
            np.testing.assert_array_equal(out[:-1], expected)
            assert out[-1] == 0
            assert seen[0] == count or operations > 1
    out[...] = 3
    job(0, x, at, flags, n, 0.3, out, seen)
    assert (out == 3).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_process_has_threads_of_its_own(compiling):
    """Those of the process that forked are not there, and would be waited for without end."""
    job, x, count = Job(plain), np.arange(8, dtype="float32"), 8
    at, flags = np.arange(count), np.ones(count, "uint8")
    out, seen = np.zeros(count, "float32"), np.zeros(8, np.int64)
    job.launch(3, count, (x, at, flags, 1, 1.0, out, seen))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of a fork while there are threads
        child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends the process
        out[:] = 0
        job.launch(3, count, (x, at, flags, 1, 1.0, out, seen))
        os._exit(0 if (out == x).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_that_come_first_at_once_share_what_compiles(monkeypatch):
    """One of them would look for its machine code in that of the other."""
    jit = pytest.importorskip("xpcnn.kernels.native.jit", exc_type=ImportError)
    both = threading.Barrier(2)

    class Slow(jit.Jit):
        def __init__(self, target):
            both.wait(20)
            super().__init__(target)

    monkeypatch.setattr(jit, "Jit", Slow)
    monkeypatch.setattr(jobs, "_compiling", {})
    here = SimpleNamespace(library=None, target=targets.HOST)
    monkeypatch.setattr(jobs.choice, "chosen", lambda: here)
    jobs.machine.cache_clear()
    found = []
    try:
        threads_ = [threading.Thread(target=lambda: found.append(jobs.machine())) for _ in "ab"]
        for thread in threads_:
            thread.start()
        for thread in threads_:
            thread.join()
    finally:
        jobs.machine.cache_clear()
    assert len(found) == 2
    assert found[0] is found[1]


@pytest.mark.parametrize(
    ("position", "wrong"),
    [
        (0, np.ones(2)),
        (1, np.arange(2, dtype="int32")),
        (2, [1, 1]),
        (3, 1.0),
        (4, "half"),
    ],
)
def test_wrong_arguments_go_nowhere(position, wrong):
    arguments = [np.ones(2, "float32"), np.arange(2), np.ones(2, "uint8"), 1, 1.0]
    arguments[position] = wrong
    out, seen = np.zeros(2, "float32"), np.zeros(1, np.int64)
    with pytest.raises(TypeError, match=f"plain: argument {position + 1} is to be "):
        Job(plain)(1, *arguments, out, seen)
    with pytest.raises(TypeError, match="takes 7 arguments, got 6"):
        Job(plain)(1, *arguments, out)


def test_wrong_arguments_of_a_kernel_that_ran_before():
    """Only numbers are looked at then; Python's own conversion complains, and nothing runs."""
    x, y = np.ones(16, np.float32), np.zeros(16, np.float32)
    kernel, arguments = elementwise._apply, [x, 16, x, 16, 1, 16, elementwise.ADD, y, 16]
    kernel(1, *arguments)
    assert (y == 2).all()
    y.fill(5)
    for position in (1, 3, 4, 5, 6, 8):
        wrong = [*arguments]
        wrong[position] = "many"
        with pytest.raises((TypeError, ValueError)):
            kernel(1, *wrong)
    with pytest.raises((TypeError, IndexError)):
        kernel(1, *arguments[:-1])
    with pytest.raises((TypeError, IndexError)):
        kernel(1, *arguments, 7)
    assert (y == 5).all()


def test_more_arguments_than_there_is_room_for():
    assert library.letters(["int"] * 65) == b"i" * 64
    with pytest.raises(ValueError, match="at most 64 arguments, got 65"):
        library.letters(["int"] * 66)
    runtime = sources.RUNTIME.read_text()
    assert f"#define MOST_ARGUMENTS {library.MOST_ARGUMENTS} " in runtime


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 20])
def test_addresses_are_those_that_numpy_names(count):
    arrays = [np.empty(1 + i, "float32")[i:] for i in range(count)]
    found = addresses_of(arrays)
    assert found.tolist() == [a.__array_interface__["data"][0] for a in arrays]


def divide(job: int, x: Floats, whole: int, by: float, out: Floats) -> None:
    for i in range(3):
        out[i] = x[i] / by + (i // 3) * (1 if whole == 0 else i // whole)


def test_a_job_that_divides_by_zero_goes_on(compiling):
    out = np.full(3, 7.0, np.float32)
    Job(divide)(1, np.array([1.0, 0.0, -1.0], np.float32), 0, 0.0, out)
    np.testing.assert_array_equal(out, [np.inf, np.nan, -np.inf])


def fails(job: int, n: int, out: Floats) -> None:
    for i in range(0, 8, n):
        out[i] = 1


def test_bodies_that_may_raise_are_not_compiled(compiling):
    """A loop with a step that may be zero would."""
    with pytest.raises(RuntimeError, match="machine code would call .*numba"):
        Job(fails)(1, 2, np.zeros(8, np.float32))
