"""Captured training steps, on PyTorch's tensors with a stand-in for a device that captures.

The stand-in notes every operation of ATen with its tensors and numbers, and repeats them into the
same memory. So, as in a CUDA graph, what came from the host stays what it was: Python is not asked
again.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest

import xpcnn
from tests.pytorch import WhenUsed, torch
from xpcnn import _xp, kernels
from xpcnn.errors import NonFiniteError
from xpcnn.ops.activation import RELU
from xpcnn.optim import SGD, Adam, AdamW, StepLR, Warmup
from xpcnn.training.callbacks import Callback

tapes = WhenUsed("tests.training.tape")

EPOCHS, BATCH, SAMPLES = 2, 4, 18  # four full batches and one of two


class FakeCapture:
    """What a capture does, without a GPU; see ``xpcnn.kernels.Capture``."""

    def __init__(self):
        self.log, self.error = [], None

    def rehearse(self, function):
        self.log.append("rehearse")
        return function()

    def capture(self, function):
        self.log.append("capture")
        tape = tapes.Tape()
        try:
            with tape:
                result = function()
        finally:
            tape.undo()
        if self.error is not None:
            raise self.error
        assert tape.overwritten, "a step that is repeated writes to memory that is there"

        def launch():
            self.log.append("launch")
            tape.repeat()

        return result, launch

    def close(self):
        self.log.append("close")


@pytest.fixture
def capture(monkeypatch):
    """Let "torch:cpu" be a device that captures, and whose numbers are not read in a step."""
    pytest.importorskip("torch")
    made = FakeCapture()
    monkeypatch.setattr(kernels, "open_capture", lambda xp, physical: made)
    monkeypatch.setattr(_xp, "on_host", lambda x: isinstance(x, np.ndarray))
    return made


def data():
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, SAMPLES)
    x = rng.standard_normal((SAMPLES, 2, 6, 6)) + y[:, None, None, None]
    return x, y, rng.random(SAMPLES)


def network():
    return [
        xpcnn.Conv2d(2, 4, 3, padding=1), xpcnn.BatchNorm2d(4), xpcnn.ReLU(), xpcnn.MaxPool2d(2),
        xpcnn.Dropout2d(0.2), xpcnn.Residual(xpcnn.Conv2d(4, 4, 3, padding=1)), xpcnn.ReLU(),
        xpcnn.Flatten(), xpcnn.Linear(36, 8), xpcnn.ReLU(), xpcnn.Dropout(0.4),
        xpcnn.Linear(8, 3),
    ]  # fmt: skip


def make(layers=None, optimizer=None, loss="cross_entropy"):
    model = xpcnn.Model(layers or network(), device="torch:cpu", dtype="float64", seed=1)
    model.compile(optimizer or Adam(0.01), loss, ["accuracy"])
    return model


def fit(model, captured, weighted=False, **options):
    x, y, weights = data()
    settings = {"epochs": EPOCHS, "validation_data": (x, y), "verbose": 0} | options
    weights = weights if weighted else None
    with kernels.force("generic"):
        model.fit(x, y, batch_size=BATCH, sample_weight=weights, capture=captured, **settings)
    return model


def state(model):
    """Return all numbers of a model that training has to go on with."""
    found = {name: np.array(_xp.to_numpy(a)) for name, a in model.state_dict().items()}
    found |= {
        f"optimizer {name}": np.array(_xp.to_numpy(a))
        for name, a in model.optimizer.state_dict().items()
    }
    return found | {"steps": np.array([model.step, model.epoch])}


def assert_same(found, expected, rtol=1e-11):
    a, b = state(found), state(expected)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=1e-13, err_msg=name)
    assert found.history.epoch == expected.history.epoch
    assert found.history.history.keys() == expected.history.history.keys()
    for name, values in expected.history.history.items():
        np.testing.assert_allclose(found.history.history[name], values, rtol=rtol, err_msg=name)


OPTIMIZERS = {
    "Adam": lambda: Adam(0.01),
    "Adam, decay and clipping": lambda: Adam(0.02, weight_decay=0.1, clip_norm=0.5),
    "AdamW, lr by step": lambda: AdamW(0.02, weight_decay=0.2, schedule=Warmup(9)),
    "SGD, lr by step": lambda: SGD(0.05, schedule=Warmup(9)),
    "SGD, lr by epoch": lambda: SGD(0.05, momentum=0.9, nesterov=True, schedule=StepLR(1, 0.3)),
}


@pytest.mark.parametrize(
    ("name", "weighted"), [*((name, False) for name in OPTIMIZERS), ("Adam", True)]
)
def test_the_numbers_are_those_of_ordinary_steps(capture, name, weighted):
    expected = fit(make(optimizer=OPTIMIZERS[name]()), False, weighted)
    assert capture.log == []
    found = fit(make(optimizer=OPTIMIZERS[name]()), True, weighted)
    epoch = ["rehearse", "capture", "launch", "launch", "launch"]
    assert capture.log == EPOCHS * epoch + ["close"]
    assert_same(found, expected)


def test_training_goes_on(capture):
    found, expected = (fit(make(), captured, epochs=1) for captured in (True, False))
    assert_same(fit(found, True, epochs=2), fit(expected, False, epochs=2))
    assert capture.log.count("capture") == 3


def test_a_learning_rate_that_a_callback_sets(capture):
    class Lower(Callback):
        def on_batch_end(self, batch, logs):
            self.model.optimizer.lr *= 0.7

    runs = [fit(make(), captured, callbacks=[Lower()]) for captured in (True, False)]
    assert_same(*runs)


def test_a_callback_may_change_the_model_between_epochs(capture):
    class Change(Callback):
        def on_epoch_end(self, epoch, logs):
            layers = self.model.layers
            layers[0].weight.requires_grad = epoch > 1
            layers[-1].load_state_dict({"weight": np.ones((3, 8)), "bias": np.zeros(3)})

    # A frozen parameter is behind in its updates: that is said, and its epochs are ordinary ones.
    runs = [fit(make(), captured, callbacks=[Change()], epochs=4) for captured in (True, False)]
    assert_same(*runs)


def test_arrays_of_earlier_epochs_are_not_written_to(capture):
    kept = []

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs):
            arrays = [p.value for p in self.model.parameters().values()]
            kept.append((arrays, [a.clone() for a in arrays]))

    x, y, _ = data()
    made = make()
    with kernels.force("generic"):
        made.fit(
            x[:16], y[:16], epochs=3, batch_size=4, capture=True, callbacks=[Keep()], verbose=0
        )
    assert capture.log.count("launch") == 9
    for arrays, copies in kept:
        assert all(torch.equal(a, b) for a, b in zip(arrays, copies, strict=True))


def test_a_metric_may_keep_what_it_is_given(capture):
    class Keep(xpcnn.metrics.Metric):
        name = "kept"

        def reset(self):
            self.pairs = []

        def update(self, prediction, target):
            self.pairs.append((prediction, target))

        def result(self):
            return float(sum((p[:, 0] * (t + 1)).sum() for p, t in self.pairs))

    def run(captured):
        made = make()
        made.metrics = [Keep()]
        return fit(made, captured)

    assert_same(run(True), run(False))


def test_a_loss_that_becomes_nan(capture):
    """It is noticed at the end of the epoch; the weights are those from before it."""
    states = []

    class Note(Callback):
        def on_epoch_end(self, epoch, logs):
            states.append(state(self.model))

    class Spoil(Callback):
        def on_epoch_begin(self, epoch):
            self.model.optimizer.lr = 0.01 if epoch < 3 else 1e300

    made = make(optimizer=SGD(0.01))
    with pytest.raises(NonFiniteError, match="epoch 3, batch [2-5];") as error:
        fit(made, True, epochs=4, callbacks=[Note(), Spoil()])
    assert error.value.epoch == 3
    assert len(states) == 2
    found = state(made)
    for name, array in states[-1].items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    made.optimizer.lr = 0.01
    fit(made, True)


# -- What is not captured --------------------------------------------------------------------------


class Own(xpcnn.ReLU):
    pass


class OwnLoss(xpcnn.CrossEntropyLoss):
    pass


def plain(*between):
    return [xpcnn.Flatten(), xpcnn.Linear(72, 5), *between, xpcnn.Linear(5, 3)]


REFUSED = {
    "Adadelta with these settings cannot be captured": {"optimizer": xpcnn.optim.Adadelta},
    "Adam with these settings": {"optimizer": lambda: Adam(amsgrad=True)},
    "Own '2' is a layer of your own": {"layers": lambda: plain(Own())},
    "BatchNorm1d '2' with momentum=None": {
        "layers": lambda: plain(xpcnn.BatchNorm1d(5, momentum=None))
    },
    "OwnLoss is a loss of your own": {"loss": OwnLoss},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_captured_is_trained_without(capture, caplog, reason):
    def run(captured):
        options = {"layers": plain} | REFUSED[reason]
        return fit(make(**{name: build() for name, build in options.items()}), captured)

    with caplog.at_level(logging.WARNING):
        found = run(True)
    assert [r.getMessage()[:33] for r in caplog.records] == ["training steps are not captured: "]
    assert reason in caplog.text
    assert "capture" not in capture.log
    assert_same(found, run(False))


def test_a_capture_that_fails(capture, caplog):
    """Half a step was written down; the model is as it was, and goes on without."""
    capture.error = NotImplementedError("cuBLAS is unsupported during capture")
    with caplog.at_level(logging.WARNING):
        found = fit(make(), True)
    assert capture.log == ["rehearse", "capture", "close"]
    assert "not captured: NotImplementedError: cuBLAS is unsupported" in caplog.text
    assert_same(found, fit(make(), False))


def test_numbers_from_the_host_are_noticed(capture, caplog, monkeypatch):
    """The stand-in would not prove much otherwise."""
    forward = RELU.forward

    def with_numbers(xp, x):
        return forward(xp, x + xp.asarray(np.ones(1)))

    monkeypatch.setattr(RELU, "forward", with_numbers)
    with caplog.at_level(logging.WARNING):
        fit(make(), True)
    assert "numbers are copied from the host" in caplog.text


@pytest.mark.parametrize("device", ["cpu", "strict", "torch:cpu"])
def test_devices_that_capture_nothing(caplog, device):
    if device == "torch:cpu":
        pytest.importorskip("torch")
    x, y, _ = data()
    runs = []
    for captured in (True, False):
        model = xpcnn.Model(plain(), device=device, dtype="float64", seed=0)
        with caplog.at_level(logging.WARNING):
            model.fit(
                x, y, batch_size=4, optimizer="adam", loss="cross_entropy", capture=captured,
                verbose=0,
            )  # fmt: skip
        runs.append(model)
    assert_same(*runs, rtol=0)
    name = runs[0].device.name
    assert [r.getMessage() for r in caplog.records] == [
        f"training steps are not captured: device {name!r} cannot capture steps"
    ]


def test_too_few_batches(capture):
    x, y, _ = data()
    made = make()
    made.fit(x, y, batch_size=32, epochs=2, capture=True, verbose=0)
    assert capture.log == ["close"]


def test_captured_steps_run_segments_again(capture):
    """Masks that are held serve the second run of the forward too."""
    models = [make(), make()]
    for model, captured in zip(models, (False, True), strict=True):
        model.build((None, 2, 6, 6))
        model.program.run_again([(0, 3), (3, len(model.program.steps))])
        fit(model, captured)
        assert len(model.segments) == 2
    assert capture.log.count("capture") == EPOCHS
    whole = state(fit(make(), False))
    for name, value in state(models[0]).items():
        np.testing.assert_array_equal(value, whole[name])
        np.testing.assert_allclose(state(models[1])[name], value, rtol=1e-9, atol=1e-12)
