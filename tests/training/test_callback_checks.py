"""Callbacks look at their settings before the first step."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn


class Refusing(xpcnn.Callback):
    def __init__(self):
        self.names: list[str] = []
        self.began = False

    def check(self, names):
        self.names = list(names)
        raise ValueError("not like this")

    def on_train_begin(self, epochs, batches):
        self.began = True


def small_model():
    model = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu", seed=0)
    model.compile("adam", "cross_entropy", ["accuracy"])
    return model


X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = np.array([0, 1] * 4)


def test_names_of_the_logs_are_known_before_training():
    model, callback = small_model(), Refusing()
    with pytest.raises(ValueError, match="not like this"):
        model.fit(X, Y, callbacks=[callback], validation_split=0.25, verbose=0)
    assert callback.names == ["loss", "accuracy", "val_loss", "val_accuracy", "lr"]
    assert not callback.began
    assert model.step == 0


def test_names_without_validation():
    model, callback = small_model(), Refusing()
    with pytest.raises(ValueError, match="not like this"):
        model.fit(X, Y, callbacks=[callback], verbose=0)
    assert callback.names == ["loss", "accuracy", "lr"]


def test_names_are_those_of_the_logs():
    model = small_model()

    class Comparing(xpcnn.Callback):
        def check(self, names):
            self.names = list(names)

        def on_epoch_end(self, epoch, logs):
            assert list(logs) == self.names

    model.fit(X, Y, callbacks=[Comparing()], validation_data=(X, Y), verbose=0)
