"""Ends of training: within an epoch, and where numbers are not finite."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import xpcnn
from xpcnn import NonFiniteError
from xpcnn.callbacks import Callback, EarlyStopping, TerminateOnNaN

X = np.arange(20, dtype="float32").reshape(20, 1)
Y = 2.0 * X


def model_of(lr=1e-4):
    model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=1)
    model.compile(xpcnn.optim.SGD(lr=lr), "mse")
    return model


class StopAt(Callback):
    def __init__(self, epoch, batch):
        self.epoch, self.batch = epoch, batch
        self.calls = []

    def on_train_begin(self, epochs, batches):
        if self.epoch == 0:
            self.model.stop_training = True

    def on_epoch_begin(self, epoch):
        self.calls.append(("begin", epoch))

    def on_batch_end(self, batch, logs):
        self.calls.append(batch)
        if (self.model.epoch + 1, batch) == (self.epoch, self.batch):
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs):
        self.calls.append(("end", epoch, "val_loss" in logs))

    def on_train_end(self):
        self.calls.append("over")


def test_after_a_batch():
    """The second of two epochs of four batches ends after its third, and is validated."""
    model, stop = model_of(lr=0.0), StopAt(2, 3)
    options = {"validation_data": (X, Y), "shuffle": False, "verbose": 0}
    history = model.fit(X, Y, epochs=9, batch_size=5, callbacks=[stop], **options)
    first = [("begin", 1), 1, 2, 3, 4, ("end", 1, True)]
    assert stop.calls == [*first, ("begin", 2), 1, 2, 3, ("end", 2, True), "over"]
    assert (model.epoch, model.step, history.epoch) == (2, 7, [1, 2])
    errors = (model.predict(X).astype("float64") - Y) ** 2
    assert history.history["loss"] == pytest.approx([errors.mean(), errors[:15].mean()])
    assert history.history["val_loss"] == pytest.approx([errors.mean()] * 2)


def test_after_an_update_of_several_batches():
    model, stop = model_of(), StopAt(1, 2)
    model.fit(X, Y, epochs=9, batch_size=2, accumulate=2, callbacks=[stop], verbose=0)
    assert (model.epoch, model.step, model.forwards) == (1, 2, 4)


def test_before_the_first_epoch():
    model, stop = model_of(), StopAt(0, 0)
    history = model.fit(X, Y, epochs=9, callbacks=[stop], verbose=0)
    assert history.epoch == []
    assert stop.calls == ["over"]
    assert model.step == 0


def test_the_next_training_goes_on():
    model = model_of()
    model.fit(X, Y, epochs=9, batch_size=5, callbacks=[StopAt(1, 1)], verbose=0)
    model.fit(X, Y, epochs=2, batch_size=5, verbose=0)
    assert (model.epoch, model.step) == (3, 9)


# -- Numbers that are not finite -------------------------------------------------------------------


def test_training_ends_quietly(caplog):
    """The numbers grow until they are infinite; the weights are those of the error."""
    raising, ending = model_of(lr=1.0), model_of(lr=1.0)
    with pytest.raises(NonFiniteError) as caught:
        raising.fit(X, Y, epochs=20, batch_size=5, verbose=0)
    quiet, stop = TerminateOnNaN(), StopAt(99, 99)
    with caplog.at_level(logging.WARNING):
        history = ending.fit(X, Y, epochs=20, batch_size=5, callbacks=[quiet, stop], verbose=0)
    assert str(quiet.error) == str(caught.value)
    assert "training has ended" in caplog.text
    assert history.epoch == list(range(1, caught.value.epoch))
    assert history.history == raising.history.history
    assert ending.step == raising.step
    for name, expected in raising.state_dict().items():
        np.testing.assert_array_equal(ending.state_dict()[name], expected)
    assert stop.calls[-1] == "over"
    assert ending.stop_training


def test_best_weights_are_restored():
    model, stopping = model_of(lr=1.0), EarlyStopping("loss", 99, restore_best_weights=True)
    model.fit(X, Y, epochs=20, batch_size=20, callbacks=[stopping, TerminateOnNaN()], verbose=0)
    assert model.evaluate(X, Y)["loss"] < 1e9


def test_a_validation_loss_that_is_not_finite():
    model, quiet = model_of(), TerminateOnNaN()
    bad = np.full((4, 1), 1e30, dtype="float32")
    history = model.fit(X, Y, epochs=3, validation_data=(bad, bad), callbacks=[quiet], verbose=0)
    assert "val_loss" in str(quiet.error)
    assert history.epoch == []
    assert model.step == 1


def test_it_starts_afresh():
    quiet = TerminateOnNaN()
    model_of(lr=1.0).fit(X, Y, epochs=30, callbacks=[quiet], verbose=0)
    assert quiet.error is not None
    model_of().fit(X, Y, callbacks=[quiet], verbose=0)
    assert quiet.error is None


def test_errors_of_others_are_errors():
    """A training inside of a callback has a model of its own, which diverges."""

    class Inner(Callback):
        def on_epoch_end(self, epoch, logs):
            model_of(lr=1.0).fit(X, Y, epochs=30, verbose=0)

    with pytest.raises(NonFiniteError):
        model_of().fit(X, Y, callbacks=[Inner(), TerminateOnNaN()], verbose=0)


def test_a_callback_that_fails_at_the_end_is_heard():
    class Failing(Callback):
        def on_train_end(self):
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        model_of(lr=1.0).fit(X, Y, epochs=30, callbacks=[TerminateOnNaN(), Failing()], verbose=0)


def test_early_stopping_says_once_that_its_figure_is_nan(caplog):
    """With validation samples of one class the AUC is NaN: training must not end without a word."""
    model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    model.compile(xpcnn.optim.SGD(lr=1e-4), "bce_with_logits", ["auc"])
    labels = (X > 9).astype("float32")
    early = EarlyStopping("val_auc", patience=2)
    options = {"validation_data": (X[:5], labels[:5]), "callbacks": [early], "verbose": 0}
    for _ in range(2):
        caplog.clear()
        history = model.fit(X, labels, epochs=5, **options)
        assert np.isnan(history.history["val_auc"]).all()
        assert len(history.epoch) == 2
        assert caplog.text.count("EarlyStopping: 'val_auc' is NaN, which counts as no") == 1
    caplog.clear()
    model.fit(X, labels, callbacks=[EarlyStopping("auc")], verbose=0)
    assert not caplog.text
