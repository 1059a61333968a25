"""How many threads compute, and who else may."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from xpcnn import functional as F
from xpcnn import kernels
from xpcnn.kernels import threads
from xpcnn.kernels.cpu import buffers, elementwise
from xpcnn.kernels.cpu import threads as cpu_threads

needs_compiled_kernels()

LARGE = 10 * cpu_threads.WORTH_IT


@pytest.fixture(autouse=True)
def default_afterwards():
    yield
    threads.release_blas()
    xpcnn.set_num_threads(None)


@pytest.fixture
def four(monkeypatch):
    """Four threads may be had, though kernels have memory for fewer."""
    monkeypatch.setenv("XPCNN_NUM_THREADS", "4")
    xpcnn.set_num_threads(None)


def seen_by_a_kernel(operations):
    seen = []

    class Kernel:
        def launch(self, threads, jobs, arguments):
            seen.append(threads)

    cpu_threads.launch(operations, Kernel(), 1)
    return seen[0]


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# -- the setting ---------------------------------------------------------------------------------


def test_default_is_what_the_process_may_use(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.delenv("XPCNN_NUM_THREADS", raising=False)
    xpcnn.set_num_threads(None)
    if hasattr(os, "sched_getaffinity"):
        assert xpcnn.get_num_threads() == len(os.sched_getaffinity(0))
    else:
        assert xpcnn.get_num_threads() == os.cpu_count()


def test_setting(four):
    assert xpcnn.get_num_threads() == 4
    xpcnn.set_num_threads(np.int64(3))
    assert xpcnn.get_num_threads() == 3
    xpcnn.set_num_threads(None)
    assert xpcnn.get_num_threads() == 4


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "set_num_threads: n must be at least 1, got 0"),
        (-2, ValueError, "set_num_threads: n must be at least 1, got -2"),
        (5, ValueError, "set_num_threads: n must be at most 4, .* got 5"),
        (2.0, TypeError, "set_num_threads: n must be an integer, got 2.0"),
        (True, TypeError, "set_num_threads: n must be an integer, got True"),
        ("2", TypeError, "set_num_threads: n must be an integer, got '2'"),
    ],
)
def test_bad_numbers(four, n, error, message):
    xpcnn.set_num_threads(2)
    with pytest.raises(error, match=message):
        xpcnn.set_num_threads(n)
    assert xpcnn.get_num_threads() == 2


# -- launching -----------------------------------------------------------------------------------


def test_large_kernels_get_the_threads_and_small_ones_one():
    assert seen_by_a_kernel(LARGE) == threads.most()
    assert seen_by_a_kernel(10) == 1
    xpcnn.set_num_threads(1)
    assert seen_by_a_kernel(LARGE) == 1


def test_not_more_threads_than_there_is_memory_for(four):
    assert xpcnn.get_num_threads() == 4
    assert seen_by_a_kernel(LARGE) == min(4, threads.most())


@pytest.mark.parametrize("name", ["XPCNN_NUM_THREADS", "NUMBA_NUM_THREADS"])
def test_variables(name):
    assert run("import xpcnn; print(xpcnn.get_num_threads())", **{name: "3"}) == ["3"]


def test_the_setting_counts_in_every_python_thread():
    xpcnn.set_num_threads(1)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(seen_by_a_kernel(LARGE)))
    thread.start()
    thread.join()
    assert seen == [1]


TWO_AT_ONCE = """
    import threading
    import numpy as np
    import xpcnn
    from xpcnn import functional as F, kernels

    x = np.random.default_rng(0).random((400, 300), dtype="float32")
    def work():
        for _ in range(60):
            results.append(float(F.linear(x, x).sum()))

    results = []
    with kernels.force("cpu"):
        work()
    alone, results = results, []
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for n in 200 * [1, None]:
        xpcnn.set_num_threads(n)
    for worker in workers:
        worker.join()
    assert sorted(results) == sorted(3 * alone)
"""


@pytest.mark.parametrize("count", ["2", "7"])
def test_several_python_threads_at_once_while_the_number_changes(count):
    run(TWO_AT_ONCE, XPCNN_NUM_THREADS=count)


FORK = """
    import os
    import numpy as np
    import xpcnn

    model = xpcnn.Model(xpcnn.networks.make("simple"), device="cpu", seed=0)
    x = np.random.default_rng(0).random((40, 1, 28, 28), dtype="float32")
    y = np.arange(40) % 10
    model.compile("adam", "cross_entropy")
    model.train_on_batch(x, y)

    def train():
        with xpcnn.kernels.trace() as decisions:
            loss = model.train_on_batch(x, y)["loss"]
        return loss, {d.kernel_set for d in decisions}

    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, repr(train()).encode())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found = os.read(read, 10_000).decode()
    assert found == repr(train()), (found, train())
    assert "cpu" in found and "generic" not in found, found
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("count", ["1", "2", "5"])
def test_a_forked_process_goes_on_with_the_compiled_kernels(count):
    """Python warns of a fork while there are threads (-W error here): ours have ended by then."""
    run(FORK, XPCNN_NUM_THREADS=count, OPENBLAS_NUM_THREADS="1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_many_forks_while_another_thread_computes():
    run(
        """
        import os, threading
        import numpy as np
        from xpcnn import functional as F

        x = np.random.default_rng(0).random((400, 300), dtype="float32")
        expected = float(F.linear(x, x).sum())
        stop = threading.Event()

        def work():
            while not stop.is_set():
                assert float(F.linear(x, x).sum()) == expected

        worker = threading.Thread(target=work)
        worker.start()
        for _ in range(50):
            child = os.fork()
            if child == 0:
                os._exit(0 if float(F.linear(x, x).sum()) == expected else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        worker.join()
        """,
        PYTHONWARNINGS="ignore",
        XPCNN_NUM_THREADS="3",
    )


# -- BLAS ----------------------------------------------------------------------------------------


@pytest.fixture
def blas():
    """Return a function that says how many threads BLAS has; two to begin with."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    if not libraries:
        pytest.skip("threadpoolctl does not know this BLAS library")
    threads.release_blas()
    before = [library.get_num_threads() for library in libraries]
    for library in libraries:
        library.set_num_threads(2)
    threads._blas = None
    yield lambda: {library.get_num_threads() for library in libraries}
    threads._blas = None
    for library, number in zip(libraries, before, strict=True):
        library.set_num_threads(number)


def linear(dtype):
    F.linear(np.ones((3, 4), dtype), np.ones((5, 4), dtype))


def test_blas_has_one_thread_while_compiled_kernels_run(blas):
    assert blas() == {2}
    linear("float32")
    assert blas() == {1}
    # Declined in the middle of compiled work.
    F.max_pool(np.ones((1, 1, 4, 4, 4), "float32"), 2)
    assert blas() == {1}
    linear("float64")
    assert blas() == {2}
    linear("float32")
    assert blas() == {1}
    with kernels.force("generic"):
        linear("float32")
    assert blas() == {2}


def test_the_setting_counts_for_blas(blas):
    xpcnn.set_num_threads(1)
    assert blas() == {1}
    xpcnn.set_num_threads(None)
    assert blas() == {2}
    linear("float32")
    xpcnn.set_num_threads(1)
    threads.release_blas()
    assert blas() == {1}
    xpcnn.set_num_threads(None)
    assert blas() == {2}


def test_blas_has_its_threads_back_after_training_and_predicting():
    model = xpcnn.Model([xpcnn.Linear(4, 3)], device="cpu", seed=0)
    model.compile("sgd", "cross_entropy")
    x, y = np.ones((8, 4), "float32"), np.zeros(8, int)
    calls = (lambda: model.fit(x, y, verbose=0), lambda: model.evaluate(x, y))
    for call in (*calls, lambda: model.predict(x)):
        threads.hold_blas()
        call()
        assert not threads.held


def doubled(x):
    """Add x to itself, in storage that is free again afterwards."""
    return elementwise.add_forward(np, x, x)[0]


def test_recorded_launches_work_on_the_same_memory_again():
    x = np.ones((4, 2000), np.float32)
    with cpu_threads.Recording() as recording:
        y = doubled(doubled(doubled(x)))
    y = recording.settle(y)
    assert np.isnan(y).all()
    others = [buffers.zeros((4, 2000)) for _ in range(10)]
    x[...] = 3
    recording.repeat()
    np.testing.assert_array_equal(y, np.full((4, 2000), 24))
    assert not any(other.any() for other in others)


def test_memory_that_somebody_else_keeps_stays_as_it_is():
    x = np.ones((4, 2000), np.float32)
    with cpu_threads.Recording() as recording:
        kept = doubled(x)
        y = first = doubled(kept)
    y = recording.settle(y)
    x[...] = 3
    recording.repeat()
    np.testing.assert_array_equal(y, np.full((4, 2000), 12))
    np.testing.assert_array_equal(kept, np.full((4, 2000), 2))
    np.testing.assert_array_equal(first, np.full((4, 2000), 4))


def test_memory_of_recorded_launches_is_what_is_needed_at_one_time():
    x = np.ones((4, 2000), np.float32)
    with cpu_threads.Recording() as recording:
        y = x
        for _ in range(9):
            y = doubled(y)
    y = recording.settle(y)
    recording.repeat()
    np.testing.assert_array_equal(y, np.full((4, 2000), 512))
    assert 2 * x.nbytes <= recording.memory <= 2.2 * x.nbytes


def test_recorded_is_what_this_thread_launches():
    x = np.ones((4, 2000), np.float32)
    with cpu_threads.Recording() as recording:
        other = threading.Thread(target=doubled, args=(x,))
        other.start()
        other.join()
        y = doubled(x)
    y = recording.settle(y)
    recording.repeat()
    np.testing.assert_array_equal(y, np.full((4, 2000), 2))
    assert len(recording._launches) == 1
