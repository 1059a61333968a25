"""Callbacks that tell of training, call functions, or look at the clock."""

from __future__ import annotations

import json
import logging
import math
import sys

import numpy as np
import pytest

import xpcnn
from xpcnn.callbacks import (
    CSVLogger,
    JSONLogger,
    LambdaCallback,
    LoggingCallback,
    TensorBoard,
    TimeLimit,
)

X = np.random.default_rng(3).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3


def fitted(callbacks, epochs=2, **options):
    model = xpcnn.Model([xpcnn.Linear(4, 3)], device="cpu", seed=0)
    schedule = xpcnn.optim.StepLR(1, 0.5)
    model.compile(xpcnn.optim.SGD(lr=0.25, schedule=schedule), "cross_entropy", ["accuracy"])
    options = {"validation_data": (X, Y), "batch_size": 4, "verbose": 0} | options
    return model, model.fit(X, Y, epochs=epochs, callbacks=callbacks, **options)


def test_json_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    _, history = fitted([JSONLogger(path)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = list(history.history)
    assert [list(line) for line in lines] == [["epoch", *names]] * 2
    assert [line["epoch"] for line in lines] == [1, 2]
    for name in names:
        assert [line[name] for line in lines] == history.history[name]
    fitted([JSONLogger(path, append=True)], epochs=1)
    assert len(path.read_text().splitlines()) == 3
    fitted([JSONLogger(path)], epochs=1)
    assert len(path.read_text().splitlines()) == 1


def test_what_is_not_finite_is_null(tmp_path):
    class Odd(xpcnn.Callback):
        def on_epoch_end(self, epoch, logs):
            logs |= {"a": math.nan, "b": math.inf}

    fitted([Odd(), JSONLogger(tmp_path / "log")], epochs=1)
    line = json.loads((tmp_path / "log").read_text())
    assert (line["a"], line["b"]) == (None, None)


@pytest.mark.parametrize("make", [JSONLogger, CSVLogger])
def test_no_place_for_a_file(make, tmp_path):
    with pytest.raises(IsADirectoryError, match=f"{make.__name__}: .* is a folder"):
        fitted([make(tmp_path)])
    with pytest.raises(FileNotFoundError, match="there is no folder .* make it"):
        fitted([make(tmp_path / "missing" / "log")])
    with pytest.raises(TypeError, match="path must be the path of a file, got 3"):
        make(3)


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    path = tmp_path / "log.jsonl"

    class Removing(xpcnn.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 2:
                path.unlink()
                path.mkdir()

    _, history = fitted([Removing(), JSONLogger(path)], epochs=4)
    assert len(history.epoch) == 4
    assert caplog.text.count("cannot write its file, and training goes on") == 1


def test_logging(caplog):
    with caplog.at_level(logging.INFO, "mine"):
        _, history = fitted([LoggingCallback("mine")])
    assert [record.name for record in caplog.records] == ["mine"] * 2
    loss = history.history["loss"][1]
    assert caplog.messages[1].startswith(f"epoch 2: loss {loss:.4f}  accuracy ")
    assert caplog.messages[1].endswith("lr 0.125")
    caplog.clear()
    with caplog.at_level(logging.INFO, "mine"):
        fitted([LoggingCallback("mine", "DEBUG")])
        fitted([LoggingCallback("mine", logging.WARNING)], epochs=1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(ValueError, match="level must be one of"):
        LoggingCallback(level="LOUD")
    with pytest.raises(TypeError, match="logger must be the name of a log"):
        LoggingCallback(logging.getLogger("mine"))


def test_functions():
    calls = []
    callback = LambdaCallback(
        on_epoch_begin=lambda epoch: calls.append(("begin", epoch)),
        on_epoch_end=lambda epoch, logs: calls.append(("end", epoch, "val_loss" in logs)),
        on_train_begin=lambda: calls.append("train"),
        on_train_end=lambda: calls.append("over"),
        on_batch_end=lambda batch, logs: calls.append(batch),
    )
    fitted([callback], epochs=1)
    assert calls == ["train", ("begin", 1), 1, 2, 3, ("end", 1, True), "over"]
    with pytest.raises(
        ValueError, match="LambdaCallback: give a function, as one of on_epoch_begin"
    ):
        LambdaCallback()
    with pytest.raises(TypeError, match="on_batch_end must be a function, got 3"):
        LambdaCallback(on_batch_end=3)
    with pytest.raises(TypeError, match="on_test_end"):
        LambdaCallback(on_test_end=print)
    assert "on_epoch_end=<function" in repr(LambdaCallback(on_epoch_end=test_functions))


def test_functions_may_be_changed():
    calls = []
    callback = LambdaCallback(on_epoch_begin=calls.append)
    callback.on_epoch_begin = lambda epoch: calls.append(10 * epoch)
    fitted([callback], epochs=1)
    assert calls == [10]


class Clock:
    """A clock that goes on by a second at each look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_time_limit(monkeypatch):
    """Looked at as training begins and after each batch: the fifth is in the second epoch."""
    monkeypatch.setattr("time.monotonic", Clock())
    limit = TimeLimit(5)
    model, history = fitted([limit], epochs=9)
    assert (model.step, history.epoch, limit.stopped_epoch) == (5, [1, 2], 2)
    assert len(history.history["val_loss"]) == 2
    model, history = fitted([TimeLimit(1000)], epochs=2)
    assert model.step == 6


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [(90, 90), (0.5, 0.5), ("90s", 90), ("45m", 2700), ("1h30m", 5400), ("2h 5s", 7205)],
)
def test_times(limit, seconds, monkeypatch):
    callback = TimeLimit(limit)
    assert repr(callback) == f"TimeLimit(limit={limit!r})"
    assert callback._seconds == seconds


@pytest.mark.parametrize("limit", [0, -1, math.inf, math.nan, "", "5", "1.2.3h", "1d", "h"])
def test_no_times(limit):
    with pytest.raises(ValueError, match="TimeLimit: limit must be .*got|limit"):
        TimeLimit(limit)
    with pytest.raises(TypeError, match="limit"):
        TimeLimit(None)


# -- TensorBoard -----------------------------------------------------------------------------------


def read(folder):
    """Read event files by TensorBoard's own reader: step and value for each tag."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder), size_guidance={"histograms": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    scalars = {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in tags["scalars"]
    }
    return scalars, accumulator, tags["histograms"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_is_written(tmp_path):
    pytest.importorskip("tensorboardX")
    _, history = fitted([TensorBoard(tmp_path / "runs" / "1")], epochs=3)
    train, _, histograms = read(tmp_path / "runs" / "1" / "train")
    validation, _, _ = read(tmp_path / "runs" / "1" / "validation")
    assert set(train) == {"epoch_loss", "epoch_accuracy", "epoch_learning_rate"}
    assert set(validation) == {"epoch_loss", "epoch_accuracy"}
    assert not histograms
    pairs = [
        (train["epoch_loss"], "loss"),
        (train["epoch_learning_rate"], "lr"),
        (validation["epoch_loss"], "val_loss"),
        (validation["epoch_accuracy"], "val_accuracy"),
    ]
    for events, name in pairs:
        assert [step for step, _ in events] == [1, 2, 3]
        assert [value for _, value in events] == pytest.approx(history.history[name], rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_histograms(tmp_path):
    pytest.importorskip("tensorboardX")
    model, _ = fitted([TensorBoard(tmp_path, histograms=True)], validation_data=None)
    _, accumulator, tags = read(tmp_path / "train")
    assert set(tags) == {"0.weight", "0.bias"}
    event = accumulator.Histograms("0.weight")[-1]
    weights = model.state_dict()["0.weight"].astype("float64")
    found = event.histogram_value
    assert (event.step, found.num) == (2, weights.size)
    assert found.sum == pytest.approx(weights.sum(), rel=1e-6)
    assert (found.min, found.max) == pytest.approx((weights.min(), weights.max()))
    assert not (tmp_path / "validation").exists()


def test_tensorboard_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "xpcnn\[tensorboard\]"'):
        fitted([TensorBoard(tmp_path)])


def test_no_place_for_events(tmp_path, monkeypatch, caplog):
    module = pytest.importorskip("tensorboardX")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="log_dir"):
        fitted([TensorBoard(tmp_path / "file")])
    with pytest.raises(TypeError, match="log_dir must be the path of a folder, got 1"):
        TensorBoard(1)
    with pytest.raises(TypeError, match="histograms"):
        TensorBoard(tmp_path, histograms="yes")

    class Full(module.SummaryWriter):
        def add_scalar(self, *args, **options):
            raise OSError("no space left")

    monkeypatch.setattr(module, "SummaryWriter", Full)
    _, history = fitted([TensorBoard(tmp_path)])
    assert len(history.epoch) == 2
    assert caplog.text.count("training goes on: no space left") == 1
