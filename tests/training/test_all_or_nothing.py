"""What is refused, or fails, leaves a model as it was; and what is not finite is reported."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import NonFiniteError, _xp
from xpcnn.optim import SGD, Adam

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int64")


def make(*layers, optimizer="adam"):
    model = xpcnn.Model(layers or [xpcnn.Linear(4, 2)], device="cpu", seed=0)
    model.compile(optimizer, "cross_entropy", ["accuracy"])
    return model


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamm"}, {"loss": "mse "}, {"metrics": ["acuracy"]}, {"epochs": -1},
        {"batch_size": 0}, {"shuffle": "batch"}, {"shuffle": 1}, {"drop_last": None},
        {"capture": "yes"}, {"verbose": "loud"}, {"callbacks": [3]}, {"validation_split": 2.0},
        {"validation_data": (X[:, :3], Y)}, {"validation_data": (X, Y + 7)},
        {"class_weight": {0: 1.0}}, {"sample_weight": np.zeros(40)},
    ],
)  # fmt: skip
def test_a_refused_fit_changes_nothing(options):
    model = make(xpcnn.Linear(None, 2))
    before = model.optimizer, model.loss, list(model.metrics)
    with pytest.raises((ValueError, TypeError)):
        model.fit(X, Y, **{"optimizer": SGD(0.1), "loss": "mse", "verbose": 0, **options})
    assert (model.optimizer, model.loss, model.metrics) == before
    assert model.input_shape is None
    assert model.layers[0].in_features is None
    assert (model.step, model.epoch, model.history.epoch) == (0, 0, [])


def test_a_prediction_that_fails_builds_nothing():
    model = make(xpcnn.Linear(None, 3), xpcnn.ReLU(), xpcnn.Linear(7, 2))
    with pytest.raises(ValueError, match="expected 7"):
        model.predict(X)
    assert model.layers[0].in_features is None
    assert model.layers[0].weight.shape is None


def test_a_move_that_fails_half_way(monkeypatch):
    model = make(xpcnn.Linear(4, 3), xpcnn.Linear(3, 2))
    model.fit(X, Y, verbose=0)
    before = {name: np.array(a) for name, a in model.state_dict().items()}
    last = model.layers[1].bias
    monkeypatch.setattr(type(last), "move", move_that_fails(last, type(last).move))
    with pytest.raises(MemoryError):
        model.to(dtype="float64")
    assert model.dtype == "float32"
    for name, array in model.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, before[name])
    monkeypatch.undo()
    model.fit(X, Y, verbose=0)


def move_that_fails(at, move):
    def run(self, device, dtype):
        if self is at:
            raise MemoryError
        move(self, device, dtype)

    return run


def test_evaluation_needs_no_optimizer():
    model = xpcnn.Model([xpcnn.Linear(4, 2)], device="cpu", seed=0)
    model.loss = xpcnn.CrossEntropyLoss()
    assert np.isfinite(model.evaluate(X, Y)["loss"])


def test_metrics_of_an_epoch_are_its_own():
    def logs_of(callbacks):
        model = make()
        found = model.fit(X, Y, batch_size=8, callbacks=callbacks, verbose=0)
        return found.history

    class Evaluate(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            self.model.evaluate(X[:3], 1 - Y[:3])
            self.model.predict(X)

    assert logs_of([Evaluate()]) == logs_of(None)


def test_the_last_batch_of_one_sample():
    model = make(xpcnn.Linear(4, 3), xpcnn.BatchNorm1d(3), xpcnn.Linear(3, 2))
    model.build((None, 4))
    with pytest.raises(ValueError, match="drop_last=True"):
        model.fit(X[:33], Y[:33], batch_size=32, verbose=0)
    assert (model.step, model.forwards) == (0, 0)
    assert model.layers[1].num_batches_tracked.value == 0
    model.fit(X[:33], Y[:33], batch_size=32, drop_last=True, verbose=0)
    assert model.step == 1
    with pytest.raises(ValueError, match="leaves no batch"):
        model.fit(X, Y, batch_size=41, drop_last=True, verbose=0)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("bad", [0, 2, 4])
def test_the_weights_are_those_before_the_bad_batch(monkeypatch, late, bad):
    if late:
        monkeypatch.setattr(_xp, "on_host", lambda x: False)
    x, y = X.copy(), 5.0 * X[:, :1]
    x[8 * bad] = 1e38  # its square is infinite
    model, twin = (xpcnn.Model([xpcnn.Linear(4, 1)], device="cpu", seed=0) for _ in range(2))
    for each in (model, twin):
        each.build((None, 4))
        each.compile(Adam(0.01), "mse")
    for start in range(0, 8 * bad, 8):
        twin.train_step(X[start : start + 8], y[start : start + 8])
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=f"batch {bad + 1}"):
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for name, array in twin.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array, err_msg=name)
    assert (model.step, model.epoch) == (bad, 0)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("rate", [1e38, 1e30])
def test_an_update_that_overflows_at_the_very_end(monkeypatch, late, rate):
    if late:
        monkeypatch.setattr(_xp, "on_host", lambda x: False)
    model = xpcnn.Model([xpcnn.Linear(4, 1)], device="cpu", seed=0)
    model.build((None, 4))
    before = {name: np.array(a) for name, a in model.state_dict().items()}
    model.compile(SGD(rate), "mse")
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="weights"):
        model.fit(X, 5.0 * X[:, :1], batch_size=40, verbose=0)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="weights"):
        model.train_on_batch(X, 5.0 * X[:, :1])
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_labels_that_are_masked():
    with pytest.raises(TypeError, match="masked"):
        make().fit(X, np.ma.masked_equal(Y, 1), verbose=0)


def test_an_array_of_arrays():
    images = np.empty(4, dtype=object)
    for i in range(4):
        images[i] = X[i]
    with pytest.raises(TypeError, match=r"numpy\.stack"):
        make().predict(images)
    images[2] = X[2, :3]
    with pytest.raises(TypeError, match=r"\(3,\) and \(4,\)"):
        make().predict(images)
