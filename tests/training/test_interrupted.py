"""Training that is cut short at any moment: all of a step has happened, or nothing of it."""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn import training

TRAINING = str(Path(training.__file__).parent)
PACKAGE = str(Path(xpcnn.__file__).parent)
BATCH, SAMPLES = 4, 24


def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, 2, 6, 6)).astype("float32")
    return x, rng.integers(0, 3, SAMPLES)


def make(precision="float32"):
    model = xpcnn.Model(
        [
            xpcnn.Conv2d(2, 3, 3, padding=1),
            xpcnn.BatchNorm2d(3),
            xpcnn.ReLU(),
            xpcnn.MaxPool2d(2),
            xpcnn.Flatten(),
            xpcnn.Dropout(0.3),
            xpcnn.Linear(27, 3),
        ],
        device="cpu",
        seed=1,
        precision=precision,
    )
    model.build((None, 2, 6, 6))
    model.compile(xpcnn.optim.Adam(0.01), "cross_entropy", ["accuracy"])
    return model


def state(model):
    """All numbers that training goes on with."""
    found = {name: np.array(a) for name, a in model.state_dict().items()}
    slots = model.optimizer.state_dict()
    found |= {f"optimizer {name}": np.array(a) for name, a in slots.items()}
    found |= {name: np.array(getattr(model, name)) for name in ("step", "forwards", "epoch")}
    if model.scaling is not None:
        found |= {name: np.array(a) for name, a in model.scaling.state_dict().items()}
    return found | {"history": np.array(model.history.epoch)}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


class Remember(xpcnn.Callback):
    """Keeps the state after every step and every epoch."""

    def __init__(self):
        self.states = []

    def on_train_begin(self, epochs, batches):
        self.states.append(state(self.model))

    def on_batch_end(self, batch, logs):
        self.states.append(state(self.model))

    def on_epoch_end(self, epoch, logs):
        self.states.append(state(self.model))


def fit(model, callbacks=()):
    x, y = data()
    model.fit(
        x, y, epochs=2, batch_size=BATCH, validation_data=(x[:5], y[:5]), callbacks=callbacks,
        verbose=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    """The states after each step of a training that nobody disturbs."""
    model, remember = make(), Remember()
    fit(model, [remember])
    assert len(remember.states) == 1 + 2 * (SAMPLES // BATCH) + 2
    return remember.states


def assert_whole(model, states):
    now = state(model)
    assert any(same(now, known) for known in states), f"in the middle of step {model.step}"
    # and the same model goes on as if it had come from a file
    x, y = data()
    model.train_on_batch(x[:BATCH], y[:BATCH])
    assert model.step == now["step"] + 1


class InjectedError(Exception):
    """What comes from elsewhere, such as from the handler of a signal."""


def raise_at(number, where, function):
    """Run a function, and raise in it at the line of so many that are run in some files.

    Returns
    -------
    bool
        Whether there were so many lines.
    """
    left = number

    def trace(frame, event, arg):
        nonlocal left
        if not frame.f_code.co_filename.startswith(where):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise InjectedError
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except InjectedError:
        pass
    finally:
        sys.settrace(old)
        let_go()
    return left <= 0


def let_go():
    """Release the lock of storage, for the threads of other tests.

    The errors made here come where no real one does, between the end of a `with` block and the
    release of its lock.
    """
    buffers = sys.modules.get("xpcnn.kernels.cpu.buffers")
    while buffers is not None and buffers._lock._is_owned():
        buffers._lock.release()


def lines_of(where, function):
    """Count the lines."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        if not frame.f_code.co_filename.startswith(where):
            return None
        count += event == "line"
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(old)
    return count


def at_lines(where, moments, states, seed):
    """Raise at so many lines of a fit, drawn at random.

    How many lines a fit runs differs by some: memory that is free is looked for among what earlier
    tests have left. A line behind the last one is no test.
    """
    first = make()
    total = lines_of(where, lambda: fit(first))
    raised = 0
    for number in random.Random(seed).sample(range(1, total + 1), moments):
        model = make()
        if raise_at(number, where, lambda: fit(model)):  # noqa: B023
            raised += 1
            assert_whole(model, states)
    assert raised > 0.9 * moments


def test_an_exception_at_any_line_of_the_loop(whole):
    at_lines(TRAINING, 60, whole, 1)


def test_an_exception_at_any_line_of_the_package(whole):
    at_lines(PACKAGE, 40, whole, 2)


@pytest.mark.slow
def test_an_exception_at_very_many_lines(whole):
    at_lines(TRAINING, 600, whole, 3)


def interrupt_at_random(moments, states, seed):
    """Press Ctrl-C once in each of many trainings, at random moments."""
    draw = random.Random(seed)
    fit(make())  # kernels are compiled and imported
    start = time.perf_counter()
    fit(make())
    length = time.perf_counter() - start
    old = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    cut = 0
    for _ in range(moments):
        model = make()
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + draw.random() * length)
            fit(model)
            signal.setitimer(signal.ITIMER_REAL, 0)
            time.sleep(0)  # an alarm may just have come
        except KeyboardInterrupt:
            cut += 1
        assert_whole(model, states)
    signal.signal(signal.SIGALRM, old)
    assert cut > moments // 3


@pytest.fixture
def pythons_handler():
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def test_ctrl_c_at_random_moments(whole, pythons_handler):
    interrupt_at_random(40, whole, 4)


@pytest.mark.slow
def test_ctrl_c_at_500_random_moments(whole, pythons_handler):
    interrupt_at_random(500, whole, 5)


class Pressed(xpcnn.ReLU):
    """A layer in which Ctrl-C is pressed, forward or backward."""

    times = 0
    where = "_forward"

    def _press(self, where):
        if where == self.where:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)

    def _forward(self, xp, x, training):
        self._press("_forward")
        return super()._forward(xp, x, training)

    def _backward(self, xp, dy, saved, need_dx):
        self._press("_backward")
        return super()._backward(xp, dy, saved, need_dx)


@pytest.mark.parametrize("where", ["_forward", "_backward"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.usefixtures("pythons_handler")
def test_ctrl_c_in_a_step_leaves_the_model_before_it(where, times):
    x, y = data()
    layer = Pressed()
    model = xpcnn.Model(
        [xpcnn.Conv2d(2, 3, 3), xpcnn.BatchNorm2d(3), layer, xpcnn.Flatten(), xpcnn.Linear(48, 3)],
        device="cpu",
        seed=0,
    )
    model.compile("adam", "cross_entropy")
    model.train_on_batch(x[:4], y[:4])
    before = state(model)
    layer.times, layer.where = times, where
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=4, verbose=0)
    assert same(state(model), before)
    with pytest.raises(KeyboardInterrupt):
        model.train_step(x[:4], y[:4])
    assert same(state(model), before)
    layer.times = 0
    model.fit(x, y, batch_size=4, verbose=0)


class Failing:
    """Something of a user's that raises at its third use."""

    uses = 0

    def count(self):
        self.uses += 1
        if self.uses == 3:
            raise InjectedError


class FailingLoss(xpcnn.CrossEntropyLoss, Failing):
    def backward(self):
        self.count()
        return super().backward()


class FailingMetric(xpcnn.metrics.Accuracy, Failing):
    def update(self, prediction, target):
        self.count()
        super().update(prediction, target)


class FailingCallback(xpcnn.Callback, Failing):
    def on_batch_end(self, batch, logs):
        self.count()


class FailingAtTheEnd(xpcnn.Callback):
    def on_epoch_end(self, epoch, logs):
        raise InjectedError


class FailingOptimizer(xpcnn.optim.Adam, Failing):
    def _update_all(self, tasks, lr, numbers=None):
        self.count()
        return super()._update_all(tasks, lr)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"loss": FailingLoss()}, 2),
        ({"metrics": [FailingMetric()]}, 3),
        ({"callbacks": [FailingCallback()]}, 3),
        ({"callbacks": [FailingAtTheEnd()]}, 6),
        ({"optimizer": FailingOptimizer(0.01)}, 2),
    ],
)
def test_errors_of_the_users_own(options, steps):
    x, y = data()
    model, twin, remember = make(), make(), Remember()
    settings = {"optimizer": xpcnn.optim.Adam(0.01), "callbacks": []} | options
    callbacks = [remember, *settings.pop("callbacks")]
    with pytest.raises(InjectedError):
        model.fit(x, y, batch_size=BATCH, callbacks=callbacks, verbose=0, **settings)
    assert model.step == steps
    twin_states = Remember()
    twin.fit(x, y, batch_size=BATCH, callbacks=[twin_states], verbose=0)
    assert any(same(state(model), known) for known in twin_states.states)


def test_a_validation_that_fails_does_not_count_the_epoch():
    x, y = data()
    model = make()

    class Once(xpcnn.metrics.Accuracy):
        def result(self):
            if model.step:
                raise InjectedError
            return super().result()

    with pytest.raises(InjectedError):
        model.fit(x, y, batch_size=BATCH, metrics=[Once()], validation_data=(x, y), verbose=0)
    assert (model.step, model.epoch, model.history.epoch) == (6, 0, [])
    assert model.optimizer.epochs == 0


def test_a_schedule_that_fails_does_not_count_the_epoch():
    class Failed(xpcnn.optim.StepLR):
        monitor = "loss"

        def observe(self, value):
            raise InjectedError

    x, y = data()
    model = make()
    optimizer = xpcnn.optim.SGD(0.1, schedule=Failed(1))
    with pytest.raises(InjectedError):
        model.fit(x, y, batch_size=BATCH, optimizer=optimizer, verbose=0)
    assert (model.step, model.epoch, model.history.epoch, optimizer.epochs) == (6, 0, [], 0)


def test_an_exception_where_storage_is_let_go_of():
    """The thread to which it comes can take storage again, rather than wait for itself."""
    buffers = pytest.importorskip("xpcnn.kernels.cpu.buffers", exc_type=ImportError)
    code, seen = buffers.empty.__code__, []

    def trace(frame, event, argument):
        if frame.f_code is code and event == "line":
            seen.append(frame.f_lineno)
            if seen.count(frame.f_lineno) == 2:  # a `with` statement, at its end
                raise KeyError
        return trace if frame.f_code is code else None

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(KeyError):
            buffers.empty(100_000)
    finally:
        sys.settrace(old)
    assert buffers._lock.acquire(timeout=1)
    let_go()
