"""Validation after some of the epochs only."""

from __future__ import annotations

import json

import numpy as np
import pytest

import xpcnn
from xpcnn.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint

RNG = np.random.default_rng(2)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = RNG.integers(0, 3, 24)


def model_of(**options):
    model = xpcnn.Model([xpcnn.Linear(4, 3)], device="cpu", seed=1)
    model.compile(xpcnn.optim.SGD(lr=0.1, **options), "cross_entropy", ["accuracy"])
    return model


def fitted(model, epochs, **options):
    return model.fit(X, Y, epochs=epochs, validation_data=(X, Y), verbose=0, **options)


def validated(history):
    return [n for n, v in zip(history.epoch, history.history["val_loss"], strict=True) if v == v]


@pytest.mark.parametrize(
    ("freq", "expected"),
    [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), (5, [5]), ([1, 4, 9], [1, 4]), (range(2, 4), [2, 3])],
)
def test_which_epochs(freq, expected):
    history = fitted(model_of(), 5, validation_freq=freq)
    assert validated(history) == expected
    every = fitted(model_of(), 5)
    for name in ("val_loss", "val_accuracy"):
        some = [history.history[name][n - 1] for n in expected]
        assert some == [every.history[name][n - 1] for n in expected]
    assert history.history["loss"] == every.history["loss"]


def test_epochs_count_over_the_life_of_the_model():
    model = model_of()
    assert validated(fitted(model, 2, validation_freq=2)) == [2]
    assert validated(fitted(model, 3, validation_freq=2)) == [4]
    assert validated(model.history) == [2, 4]


def test_logs_of_other_epochs_lack_the_figures():
    seen = []

    class Noting(xpcnn.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(list(logs))

    fitted(model_of(), 2, validation_freq=2, callbacks=[Noting()])
    assert seen == [
        ["loss", "accuracy", "lr"],
        ["loss", "accuracy", "val_loss", "val_accuracy", "lr"],
    ]


class Script(xpcnn.Callback):
    """Put figures of its own in the place of those that were measured."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, epoch, logs):
        if "val_loss" in logs:
            logs["val_loss"] = self.values[epoch - 1]


def test_early_stopping_counts_validated_epochs():
    """Validated are 2, 4, 6, ...: the best is that of 2, and patience ends after 6."""
    stopping = EarlyStopping(patience=2)
    script = Script([0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0])
    history = fitted(model_of(), 8, validation_freq=2, callbacks=[script, stopping])
    assert stopping.stopped_epoch == 6
    assert history.epoch[-1] == 6
    assert stopping.best == 1.0


def test_checkpoints(tmp_path):
    best = ModelCheckpoint(tmp_path / "best")
    every = ModelCheckpoint(tmp_path / "{epoch}-{val_loss:.1f}", save_best_only=False)
    script = Script([9.0, 3.0, 9.0, 1.0, 9.0])
    fitted(model_of(), 5, validation_freq=2, callbacks=[script, best, every])
    assert xpcnn.Model.load(tmp_path / "best", device="cpu").epoch == 4
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"best", "1-nan", "2-3.0", "3-nan", "4-1.0", "5-nan"}


def test_plateau_sees_validated_epochs_only():
    """The rate falls after two validated epochs without improvement, not after two epochs."""
    schedule = xpcnn.optim.ReduceLROnPlateau(patience=1, factor=0.5, threshold=1e9)
    history = fitted(model_of(schedule=schedule), 8, validation_freq=2)
    # 2 sets the best; 4 and 6 are no better, so that 7 is slower
    assert history.history["lr"] == [0.1] * 6 + [0.05] * 2


def test_a_figure_of_training_is_seen_after_every_epoch():
    schedule = xpcnn.optim.ReduceLROnPlateau(patience=0, factor=0.5, threshold=1e9, monitor="loss")
    history = fitted(model_of(schedule=schedule), 4, validation_freq=4)
    assert history.history["lr"] == [0.1, 0.1, 0.05, 0.025]


def test_an_own_loop_may_say_so_too():
    schedule = xpcnn.optim.ReduceLROnPlateau(patience=0, factor=0.5)
    model = model_of(schedule=schedule)
    model.end_epoch({"loss": 1.0, "val_loss": 1.0})
    model.end_epoch({"loss": 9.0}, validated=False)
    assert schedule.bad_epochs == schedule.reductions == 0
    model.end_epoch({"loss": 9.0, "val_loss": 2.0})
    assert schedule.reductions == 1


def test_files(tmp_path):
    model = model_of()
    fitted(model, 2, validation_freq=2, callbacks=[CSVLogger(tmp_path / "log.csv")])
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert len(lines) == 3
    model.save(tmp_path / "model")
    again = xpcnn.Model.load(tmp_path / "model", device="cpu")
    assert repr(again.history.history) == repr(model.history.history)
    assert validated(again.history) == [2]


def test_early_stopping_goes_on_after_a_resume(tmp_path):
    """Saved after epoch 5, which was not validated: 2 and 4 have been counted."""
    script = Script([0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0])
    model = model_of()
    fitted(model, 5, validation_freq=2, callbacks=[script, EarlyStopping(patience=2)])
    model.save(tmp_path / "model")
    again = xpcnn.Model.load(tmp_path / "model", device="cpu")
    stopping = EarlyStopping(patience=2)
    fitted(again, 5, validation_freq=2, callbacks=[script, stopping])
    assert stopping.stopped_epoch == 6


def test_a_checkpoint_before_early_stopping_is_of_an_epoch_without_figures(tmp_path):
    """The file of epoch 3 lacks that epoch of EarlyStopping, which has nothing to catch up on."""
    script = Script([0.0, 1.0, 0.0, 2.0, 0.0, 3.0])
    saving = ModelCheckpoint(tmp_path / "{epoch}", save_best_only=False)
    callbacks = [script, saving, EarlyStopping(patience=2)]
    fitted(model_of(), 4, validation_freq=2, callbacks=callbacks)
    again = xpcnn.Model.load(tmp_path / "3", device="cpu")
    stopping = EarlyStopping(patience=2)
    fitted(again, 5, validation_freq=2, callbacks=[script, stopping])
    assert stopping.stopped_epoch == 6


@pytest.mark.parametrize(
    ("freq", "error", "message"),
    [
        (0, ValueError, "validation_freq must be at least 1, got 0"),
        (-2, ValueError, "validation_freq"),
        ("2", TypeError, "validation_freq must be a whole number.*got '2'"),
        (1.5, TypeError, "validation_freq must be a whole number"),
        ([1, "a"], TypeError, "validation_freq"),
        ([], ValueError, "leaves no epoch to validate after, since those to come are 1 to 3"),
        (4, ValueError, "validation_freq=4 leaves no epoch"),
        ([7, 8], ValueError, "leaves no epoch"),
    ],
)
def test_wrong_use(freq, error, message):
    model = model_of()
    with pytest.raises(error, match=message):
        fitted(model, 3, validation_freq=freq)
    assert model.epoch == 0


def test_nothing_to_validate_with():
    with pytest.raises(ValueError, match="needs something to validate with; give validation_data"):
        model_of().fit(X, Y, epochs=4, validation_freq=2, verbose=0)


def test_history_is_json():
    history = fitted(model_of(), 2, validation_freq=2)
    assert json.loads(json.dumps(history.history))["val_loss"][1] > 0.0
