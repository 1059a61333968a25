"""Running out of memory: one clear error, and a model that is as it was before the step."""

from __future__ import annotations

import gc
import traceback
import weakref

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp
from xpcnn.errors import OutOfMemoryError, one_line

LIMIT = 4
"""Samples for which the memory of :class:`Greedy` suffices."""


class Scratch(np.ndarray):
    """An array that can be watched for being freed."""


class Greedy(xpcnn.ReLU):
    """A layer that needs more memory than there is for more than a few samples."""

    where = "forward"
    failure: BaseException = MemoryError("Unable to allocate 12.0 GiB for an array")
    scratch: weakref.ref | None = None

    def _work(self, x):
        scratch = np.zeros(1000).view(Scratch)
        Greedy.scratch = weakref.ref(scratch)
        if x.shape[0] > LIMIT:
            raise self.failure
        return scratch

    def forward(self, x, *, training=False):
        if self.where == "forward":
            self._work(x)
        return super().forward(x, training=training)

    def backward(self, dy, *, need_dx=True):
        if self.where == "backward":
            self._work(dy)
        return super().backward(dy, need_dx=need_dx)


def make(device="cpu", where="forward", optimizer=None):
    """Return a model with running statistics, dropout, a residual block and a greedy layer."""
    greedy = Greedy()
    greedy.where = where
    model = xpcnn.Model(
        [
            xpcnn.Conv2d(1, 3, 3, padding=1),
            xpcnn.BatchNorm2d(3),
            xpcnn.ReLU(),
            xpcnn.Residual(xpcnn.Sequential(greedy, xpcnn.Conv2d(3, 3, 1), xpcnn.BatchNorm2d(3))),
            xpcnn.ReLU(),
            xpcnn.MaxPool2d(2),
            xpcnn.Flatten(),
            xpcnn.Dropout(0.2),
            xpcnn.Linear(12, 4),
            xpcnn.ReLU(),
            xpcnn.Linear(4, 2),
        ],
        device=device,
        seed=3,
    )
    model.compile(optimizer or xpcnn.optim.Adam(), "cross_entropy", ["accuracy"])
    return model


def data(n=12):
    x = np.random.default_rng(5).random((n, 1, 4, 4), dtype="float32")
    return x, (x.mean(axis=(1, 2, 3)) > 0.5).astype(int)


def state(model):
    """Everything a step changes, as NumPy arrays."""
    arrays = model.state_dict() | {
        f"optimizer {key}": value for key, value in model.optimizer.state_dict().items()
    }
    copies = {key: np.array(_xp.to_numpy(value)) for key, value in arrays.items()}
    return copies | {"step": np.array(model.step), "epoch": np.array(model.epoch)}


def assert_same(these, those):
    assert these.keys() == those.keys()
    for key, value in these.items():
        np.testing.assert_array_equal(value, those[key], err_msg=key)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_the_model_is_as_before_the_step(device, where):
    x, y = data()
    model, untouched = make(device, where), make(device, where)
    for each in (model, untouched):
        each.train_on_batch(x[:3], y[:3])
    before = state(model)
    with pytest.raises(OutOfMemoryError):
        model.train_on_batch(x, y)
    assert_same(state(model), before)
    for each in (model, untouched):  # and goes on as if nothing had been tried
        each.train_on_batch(x[3:6], y[3:6])
    assert_same(state(model), state(untouched))
    np.testing.assert_array_equal(model.predict(x[:4]), untouched.predict(x[:4]))


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_nothing_is_left_of_the_step(device, where):
    x, y = data()
    model = make(device, where)
    with pytest.raises(OutOfMemoryError):
        model.train_on_batch(x, y)
    assert all(parameter.grad is None for parameter in model.parameters().values())
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        model.backward(model.device.zeros((12, 2), "float32"))
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        model.loss.backward()
    for layer in model.layers:
        for _, inner in layer.layers_within():
            assert inner._saved is None
    for step in model.program.steps:
        assert getattr(step, "_saved", None) is None


def test_fit_stops_at_the_step_and_can_go_on():
    """Batches of 4 work, a batch of 5 does not; the steps made before it are kept."""
    x, y = data(9)
    model, other = make(), make()
    with pytest.raises(OutOfMemoryError) as error:
        model.fit(x, y, batch_size=5, verbose=0, epochs=2)
    assert (model.epoch, model.step, error.value.batch_size) == (0, 0, 5)
    history = model.fit(x, y, batch_size=4, verbose=0, epochs=2)
    assert len(history.history["loss"]) == 2
    other.fit(x, y, batch_size=4, verbose=0, epochs=2)
    assert_same(state(model), state(other))


def test_steps_before_are_kept():
    x, y = data(9)
    model = make()
    greedy = next(layer for _, layer in model.network.layers_within() if type(layer) is Greedy)

    class FailLater(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            if batch == 2:
                self.kept = state(self.model)
                greedy.failure = MemoryError("no more")
                greedy._work = self.fail

        def fail(self, x):
            raise MemoryError

    callback = FailLater()
    with pytest.raises(OutOfMemoryError, match="batch_size=1, in Greedy '3.body.0' .MemoryError."):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[callback])
    assert model.step == 2
    assert_same(state(model), callback.kept)


def test_the_message():
    x, y = data()
    model = make()
    with pytest.raises(OutOfMemoryError) as error:
        model.train_on_batch(x, y)
    assert str(error.value) == (
        "out of memory in a training step with batch_size=12, in Greedy '3.body.0' (MemoryError: "
        "Unable to allocate 12.0 GiB for an array); the model is as it was before this step; try "
        "a smaller batch_size"
    )
    assert (error.value.layer, error.value.batch_size) == ("Greedy '3.body.0'", 12)
    assert isinstance(error.value, RuntimeError)
    assert isinstance(error.value, MemoryError)
    shown = "".join(traceback.format_exception(error.value))
    assert shown.count("Traceback") == 1
    assert "another exception" not in shown


def test_the_message_has_the_pool_and_how_to_empty_it(monkeypatch):
    monkeypatch.setattr(
        xpcnn.Device, "memory_use", lambda self: ("the pool holds 7 GiB", "pool.empty()")
    )
    x, y = data()
    with pytest.raises(OutOfMemoryError) as error:
        make().train_on_batch(x, y)
    assert "; the pool holds 7 GiB; the model is" in str(error.value)
    assert str(error.value).endswith(
        "try a smaller batch_size, or delete arrays you do not need and call pool.empty()"
    )


@pytest.mark.parametrize(
    ("use", "doing"),
    [
        (lambda model, x, y: model.predict(x, batch_size=6), "a prediction with batch_size=6"),
        (lambda model, x, y: model(x), "a prediction with batch_size=12"),
        (lambda model, x, y: model.evaluate(x, y, batch_size=7), "an evaluation with batch_size=7"),
    ],
)
def test_predictions(use, doing):
    """Nothing is trained here; a waiting backward must survive."""
    x, y = data()
    model = make()
    output = model.forward(x[:3], training=True)
    before = state(model)
    with pytest.raises(OutOfMemoryError, match=f"out of memory in {doing}, in Greedy '3.body.0'"):
        use(model, x, y)
    assert_same(state(model), before)
    model.backward(np.ones_like(output))
    assert model.parameters()["0.weight"].grad is not None
    assert model.predict(x, batch_size=4).shape == (12, 2)


def test_what_else_may_be_running(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    x, y = data(4)
    for owner, method, expected in (
        (xpcnn.CrossEntropyLoss, "_by_kernel", "CrossEntropyLoss"),
        (xpcnn.optim.Adam, "_update_all", "Adam"),
        (xpcnn.Conv2d, "accumulate", "Conv2d '3.body.1'"),
        (xpcnn.graph.steps.LinearReluStep, "_call", "Linear '8' + ReLU '9'"),
        (xpcnn.training.sources.arrays.Samples, "_bring", None),
    ):
        model = make()
        model.train_on_batch(x, y)
        before = state(model)
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, fail)
            with pytest.raises(OutOfMemoryError) as error:
                model.train_on_batch(x, y)
        assert error.value.layer == expected
        assert_same(state(model), before)
        model.train_on_batch(x, y)


def test_the_memory_of_the_failed_step_is_free_at_once():
    """While the error is still being handled: that is where a program tries again."""
    x, y = data()
    model = make()
    gc.disable()
    try:
        model.train_on_batch(x, y)
    except OutOfMemoryError:
        assert Greedy.scratch is not None
        assert Greedy.scratch() is None
        model.train_on_batch(x[:4], y[:4])
    else:
        pytest.fail("memory sufficed")
    finally:
        gc.enable()


class OfTorch(Greedy):
    @property
    def failure(self):
        torch = pytest.importorskip("torch")
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore.")


def test_the_error_of_torch():
    pytest.importorskip("torch")
    x = data()[0].reshape(12, 16)
    y = data()[1]
    model = xpcnn.Model([xpcnn.Linear(16, 2), OfTorch()], device="torch:cpu", seed=0)
    model.compile("adam", "cross_entropy")
    model.train_on_batch(x[:4], y[:4])
    before = state(model)
    with pytest.raises(OutOfMemoryError, match="Tried to allocate 20.00 GiB[.].;") as error:
        model.train_on_batch(x, y)
    assert error.value.layer == "OfTorch '1'"
    assert_same(state(model), before)
    model.train_on_batch(x[:4], y[:4])


def test_other_errors_pass():
    x, y = data()
    model = make()
    greedy = next(layer for _, layer in model.network.layers_within() if type(layer) is Greedy)
    for failure in (RuntimeError("something else"), KeyboardInterrupt("stop")):
        greedy.failure = failure
        with pytest.raises(type(failure)) as error:
            model.train_on_batch(x, y)
        assert error.value is failure
        assert error.value.__traceback__ is not None


def test_an_error_in_one_line():
    assert one_line(ValueError("  first\nsecond ")) == "ValueError: first"
    assert one_line(MemoryError()) == "MemoryError"
    assert one_line(ValueError("x" * 300)) == f"ValueError: {'x' * 200}..."
    banner = ImportError("====\nFailed")
    banner.__cause__ = OSError("no libcudart")
    assert one_line(banner) == "OSError: no libcudart"
