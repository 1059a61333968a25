"""Ctrl-C inside ``deferred()``: held back, then dealt with as it would have been."""

# ruff: noqa: PT012 - what happens after Ctrl-C, and before its exception, is what is tested
from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.compiled import needs_compiled_kernels
from xpcnn.interrupts import deferred


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def handler_stays():
    """Every test starts with Python's own handler, and must leave it in force."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.signal(signal.SIGINT, old)
    assert left is signal.default_int_handler


@pytest.fixture
def caught():
    """Install a handler of the user's own, and list what it is called with."""
    calls: list[int] = []
    old = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGINT, old)


def test_the_statement_is_finished_first():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        press_ctrl_c()
        done.append(1)
        press_ctrl_c()
        press_ctrl_c()
        done.append(2)
    assert done == [1, 2]


def test_nothing_happens_without_ctrl_c():
    with deferred():
        pass


def test_a_handler_of_the_users_own_is_called_once(caught):
    with deferred():
        press_ctrl_c()
        press_ctrl_c()
        assert caught == []
    assert caught == [signal.SIGINT]
    press_ctrl_c()
    assert caught == [signal.SIGINT] * 2


def test_what_is_ignored_stays_ignored():
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred():
        press_ctrl_c()
    assert signal.signal(signal.SIGINT, old) is signal.SIG_IGN


def test_the_outermost_statement_decides():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        with deferred() as inner:
            press_ctrl_c()
            inner.check()
        done.append("outer")
    assert done == ["outer"]


def test_one_after_the_other():
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), deferred():
            press_ctrl_c()


def test_a_safe_point():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred() as ctrl_c:
        ctrl_c.check()
        done.append("before")
        press_ctrl_c()
        ctrl_c.check()
        done.append("after")
    assert done == ["before"]


def test_a_second_one_while_things_are_put_back():
    done = []
    with pytest.raises(KeyboardInterrupt) as caught, deferred() as ctrl_c:
        try:
            press_ctrl_c()
            ctrl_c.check()
        finally:
            press_ctrl_c()
            done.append("put back")
    assert done == ["put back"]
    assert isinstance(caught.value.__context__, KeyboardInterrupt)


def test_a_safe_point_with_a_handler_that_goes_on(caught):
    with deferred() as ctrl_c:
        press_ctrl_c()
        ctrl_c.check()
        assert caught == [signal.SIGINT]
        ctrl_c.check()
    assert caught == [signal.SIGINT]


def test_ctrl_c_together_with_an_error():
    with pytest.raises(KeyboardInterrupt) as caught, deferred():
        press_ctrl_c()
        raise ValueError("something else")
    assert isinstance(caught.value.__context__, ValueError)


def test_an_error_alone():
    with pytest.raises(ValueError, match="something else"), deferred():
        raise ValueError("something else")


def test_a_handler_chosen_inside_stays():
    calls: list[int] = []

    def chosen(number, frame):
        calls.append(number)

    with deferred():
        old = signal.signal(signal.SIGINT, chosen)
        press_ctrl_c()
    left = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert left is chosen
    assert calls == [signal.SIGINT]
    assert isinstance(old, deferred)


def test_other_threads_are_left_alone():
    inside, leave = threading.Event(), threading.Event()

    def work():
        with deferred() as ctrl_c:
            inside.set()
            leave.wait(10)
            ctrl_c.check()
        return threading.current_thread() is threading.main_thread()

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(work)
        inside.wait(10)
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
        with pytest.raises(KeyboardInterrupt), deferred():
            press_ctrl_c()
        leave.set()
        assert found.result() is False


def test_a_statement_that_was_never_left_holds_nothing_back():
    """As after an exception from elsewhere in the moment in which a statement ends."""

    def broken():
        deferred().__enter__()

    broken()
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_a_statement_after_one_that_was_never_left():
    def broken():
        deferred().__enter__()

    done = []
    broken()
    with pytest.raises(KeyboardInterrupt), deferred():
        press_ctrl_c()
        done.append(1)
    assert done == [1]


FIRST_STEPS = """
import signal, sys
import numpy as np
import xpcnn

signal.signal(signal.SIGINT, signal.default_int_handler)

def train():
    model = xpcnn.Model([xpcnn.Conv2d(1, 8, 3), xpcnn.ReLU(), xpcnn.Flatten(),
                         xpcnn.Linear(out_features=10)], device="cpu", seed=0)
    model.compile("sgd", "cross_entropy")
    model.fit(np.ones((8, 1, 6, 6), "f4"), np.arange(8), epochs=2, verbose=0)
    return model.predict(np.ones((8, 1, 6, 6), "f4"))

class Presses:  # Ctrl-C, once, when a certain module is looked for
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

def press_after(seconds):
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, seconds)

if sys.argv[1][0].isdigit():
    press_after(float(sys.argv[1]))
else:
    sys.meta_path.insert(0, Presses())
interrupted = 0
try:
    train()
except KeyboardInterrupt:
    interrupted = 1
if sys.argv[1][0].isdigit():
    signal.setitimer(signal.ITIMER_REAL, 0)
print(interrupted, np.isfinite(train()).all(), xpcnn.kernels.why_not_compiled(np))
"""


def interrupt_first_steps(moment):
    """Press Ctrl-C while a process begins to train; then it must be able to train.

    The moment is a time in seconds, or the name of a module that is imported then.
    """
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEPS, str(moment)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr
    interrupted, good, *reason = done.stdout.split()
    assert good == "True"
    assert reason == ["None"]
    return interrupted == "1"


@pytest.mark.parametrize(
    "module",
    ["xpcnn.kernels.cpu.pairs", "xpcnn.kernels.cpu.vector"],
)
def test_ctrl_c_while_a_library_is_imported(module):
    needs_compiled_kernels()
    assert interrupt_first_steps(module)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX only")
def test_ctrl_c_at_many_moments_of_the_first_steps():
    found = [interrupt_first_steps(0.04 * moment) for moment in range(1, 41)]
    assert sum(found) > 5
