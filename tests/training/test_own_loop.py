"""Training loops of a user's own: one step at a time, or forward, loss, backward and update."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn.data import batches
from xpcnn.optim import SGD, Adam, CosineAnnealingLR, ReduceLROnPlateau, StepLR, Warmup

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int64")


def make(optimizer=None):
    layers = [xpcnn.Linear(4, 16), xpcnn.Dropout(0.5), xpcnn.Linear(16, 2)]
    model = xpcnn.Model(layers, device="cpu", seed=3)
    model.build((None, 4))
    model.compile(optimizer or Adam(0.01), "cross_entropy", ["accuracy"])
    return model


def test_every_training_forward_has_a_mask_of_its_own():
    model = make()
    outputs = [model.forward(X, training=True) for _ in range(3)]
    model.optimizer.step(model.parameters())  # without gradients nothing changes
    outputs.append(model.forward(X, training=True))
    for i, first in enumerate(outputs):
        for second in outputs[:i]:
            assert not np.array_equal(first, second)
    assert model.forwards == 4


def test_a_loop_of_steps_is_fit():
    own, fitted = make(), make()
    fitted.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    for epoch in range(2):
        for rows in batches(len(X), 8, seed=own.seed, epoch=epoch):
            own.train_step(X[rows], Y[rows])
        own.end_epoch()
    assert (own.step, own.epoch, own.forwards) == (fitted.step, fitted.epoch, fitted.forwards)
    for name, array in fitted.state_dict().items():
        np.testing.assert_array_equal(own.state_dict()[name], array)


def test_a_loop_goes_on_after_loading(tmp_path):
    def steps(model, count):
        for _ in range(count):
            model.forward(X, training=True)
            model.train_step(X, Y)

    whole, first = make(), make()
    steps(whole, 4)
    steps(first, 2)
    first.save(tmp_path / "m")
    second = xpcnn.Model.load(tmp_path / "m", device="cpu")
    steps(second, 2)
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], array)


def test_schedules_of_steps_move():
    model = make(SGD(1.0, schedule=Warmup(4, start_factor=0.0)))
    rates = []
    for _ in range(4):
        rates.append(model.optimizer.current_lr())
        model.train_step(X, Y)
    assert rates == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("counted", ["end_epoch", "epoch"])
def test_schedules_of_epochs_move(counted):
    model = make(SGD(1.0, schedule=StepLR(1, 0.5)))
    rates = []
    for _ in range(3):
        model.train_step(X, Y)
        rates.append(model.optimizer.current_lr())
        if counted == "end_epoch":
            model.end_epoch()
        else:
            model.epoch += 1
    assert rates == [1.0, 0.5, 0.25]


def test_a_plateau_wants_what_it_watches():
    model = make(SGD(1.0, schedule=ReduceLROnPlateau(patience=0, monitor="loss")))
    with pytest.raises(ValueError, match=r"end_epoch\(\{'loss'"):
        model.end_epoch()
    assert (model.epoch, model.optimizer.epochs) == (0, 0)
    for _ in range(2):
        model.end_epoch({"loss": 1.0})
    assert model.optimizer.current_lr() == pytest.approx(0.1)
    assert model.history.history == {"loss": [1.0, 1.0]}


class Rates(xpcnn.Callback):
    def __init__(self):
        self.rates = []

    def on_epoch_begin(self, epoch):
        self.rates.append(self.model.optimizer.current_lr())


def rates_of(model, epochs):
    seen = Rates()
    model.fit(X, Y, epochs=epochs, callbacks=[seen], verbose=0)
    return seen.rates


def test_a_new_optimizer_starts_its_schedule_anew(tmp_path):
    def new():
        return SGD(0.1, schedule=CosineAnnealingLR(5))

    model = make(new())
    first = rates_of(model, 5)
    assert first[0] == 0.1
    model.compile(new(), "cross_entropy")
    assert rates_of(model, 2) == first[:2]
    model.save(tmp_path / "m")
    loaded = xpcnn.Model.load(tmp_path / "m", device="cpu")
    assert rates_of(loaded, 3) == first[2:]


def test_an_optimizer_belongs_to_one_model():
    optimizer = Adam()
    first, second = make(optimizer), make()
    with pytest.raises(ValueError, match="belongs to another model"):
        second.compile(optimizer, "mse")
    assert second.optimizer is not optimizer
    assert isinstance(second.loss, xpcnn.CrossEntropyLoss)
    first.compile(optimizer, "cross_entropy")  # its own, as it is
    optimizer.reset()
    second.compile(optimizer, "cross_entropy")


def test_a_refused_compile_does_not_take_the_optimizer():
    optimizer = Adam()
    with pytest.raises(ValueError, match="unknown metric"):
        make().compile(optimizer, "cross_entropy", ["acuracy"])
    make(optimizer)


def test_a_plateau_belongs_to_one_optimizer():
    schedule = ReduceLROnPlateau()
    make(SGD(0.1, schedule=schedule))
    with pytest.raises(ValueError, match="belongs to another optimizer"):
        make(SGD(0.1, schedule=schedule))
