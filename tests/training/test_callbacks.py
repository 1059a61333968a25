"""Callbacks: progress, early stopping, checkpoints, logs."""

import csv
import io

import numpy as np
import pytest

import xpcnn
from xpcnn.training.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ProgressBar,
)


def fitted(callbacks, epochs=4, **options):
    rng = np.random.default_rng(0)
    x = rng.random((12, 4), dtype="float32")
    y = rng.integers(0, 2, 12)
    model = xpcnn.Model([xpcnn.Linear(4, 2)], device="cpu", seed=0)
    model.compile("sgd", "cross_entropy", ["accuracy"])
    options = {"verbose": 0, "batch_size": 5, "validation_data": (x, y)} | options
    return model, model.fit(x, y, epochs=epochs, callbacks=callbacks, **options)


class Script(Callback):
    """Puts made-up validation losses in the place of the real ones, for those that follow."""

    def __init__(self, values):
        self.values = values
        self.weights = []

    def on_epoch_end(self, epoch, logs):
        logs["val_loss"] = self.values[epoch - 1]
        self.weights.append(np.array(self.model.state_dict()["0.weight"]))


def test_order_of_calls():
    calls = []

    class Recorder(Callback):
        def on_train_begin(self, epochs, batches):
            calls.append(("train", epochs, batches))

        def on_epoch_begin(self, epoch):
            calls.append(("epoch", epoch))

        def on_batch_end(self, batch, logs):
            calls.append(("batch", batch, "loss" in logs))

        def on_epoch_end(self, epoch, logs):
            calls.append(("end", epoch, sorted(logs)))

        def on_train_end(self):
            calls.append(("over",))

    fitted([Recorder()], epochs=1)
    names = ["accuracy", "loss", "lr", "val_accuracy", "val_loss"]
    batches = [("batch", i, True) for i in (1, 2, 3)]
    assert calls == [("train", 1, 3), ("epoch", 1), *batches, ("end", 1, names), ("over",)]


@pytest.mark.parametrize(
    ("patience", "stopped"),
    [(1, 4), (2, 7), (3, None)],
)
def test_early_stopping_waits_for_patience(patience, stopped):
    """The losses fall to 1.0 at epoch 3, rise, fall below at 5, and rise for good."""
    values = [3.0, 2.0, 1.0, 1.5, 0.9, 1.5, 1.5]
    stopping = EarlyStopping("val_loss", patience=patience)
    _, history = fitted([Script(values), stopping], epochs=7)
    assert stopping.stopped_epoch == stopped
    assert history.epoch[-1] == (stopped or 7)


def test_early_stopping_restores_the_best_weights():
    script = Script([3.0, 1.0, 2.0, 2.0])
    model, history = fitted([script, EarlyStopping(patience=2, restore_best_weights=True)])
    assert history.epoch == [1, 2, 3, 4]
    np.testing.assert_array_equal(model.state_dict()["0.weight"], script.weights[1])
    assert not np.array_equal(script.weights[1], script.weights[3])


def test_min_delta_and_mode():
    small_gains = Script([1.0, 0.99, 0.98, 0.97])
    stopping = EarlyStopping(patience=1, min_delta=0.05)
    assert fitted([small_gains, stopping])[1].epoch[-1] == 2
    rising = EarlyStopping("val_loss", patience=1, mode="max")
    assert fitted([Script([1.0, 2.0, 3.0, 4.0]), rising])[1].epoch[-1] == 4
    with pytest.raises(ValueError, match="mode must be one of"):
        EarlyStopping(mode="best")


def test_checkpoint_keeps_the_best(tmp_path):
    script = Script([3.0, 1.0, 2.0, 4.0])
    fitted([script, ModelCheckpoint(tmp_path / "best")])
    best = xpcnn.Model.load(tmp_path / "best", device="cpu")
    np.testing.assert_array_equal(best.state_dict()["0.weight"], script.weights[1])
    assert best.epoch == 2


def test_checkpoint_of_every_epoch(tmp_path):
    fitted([ModelCheckpoint(tmp_path / "at-{epoch}", save_best_only=False)], epochs=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at-1", "at-2", "at-3"]


def test_csv_log(tmp_path):
    path = tmp_path / "log.csv"
    _, history = fitted([CSVLogger(path)], epochs=2)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["val_loss"]) for row in rows] == history.history["val_loss"]
    fitted([CSVLogger(path, append=True)], epochs=1)
    assert len(path.read_text().splitlines()) == 4
    fitted([CSVLogger(path)], epochs=1)
    assert len(path.read_text().splitlines()) == 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_in_a_log_file_is_one_line_per_epoch():
    stream = io.StringIO()
    _, history = fitted([ProgressBar(stream)], epochs=2)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2: loss ")
    assert f"val_accuracy {history.history['val_accuracy'][1]:.4f}" in lines[1]


def test_progress_in_a_terminal_moves():
    stream = Terminal()
    fitted([ProgressBar(stream)], epochs=1)
    assert "\r" in stream.getvalue()
    assert "3/3" in stream.getvalue()
    assert "val_loss" in stream.getvalue()


def test_verbose_writes_to_standard_error(capsys):
    fitted([], epochs=1, verbose="auto")
    captured = capsys.readouterr()
    assert captured.err.startswith("epoch 1/1")
    assert captured.out == ""


def test_callbacks_end_after_an_interrupt():
    ended = []

    class Interrupt(Callback):
        def on_batch_end(self, batch, logs):
            if batch == 2:
                raise KeyboardInterrupt

        def on_train_end(self):
            ended.append(self.model.step)

    with pytest.raises(KeyboardInterrupt):
        fitted([Interrupt()])
    assert ended == [2]
