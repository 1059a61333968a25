"""Callbacks and schedules that ask for what there is not: refused before anything is trained."""

import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import xpcnn
from xpcnn import metrics
from xpcnn.training.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ProgressBar,
)


class Distance(metrics.Metric):
    """A metric of which less is better."""

    name = "mae"
    higher_is_better = False

    def reset(self):
        self.total = self.count = 0

    def update(self, prediction, target):
        self.total = self.total + abs(prediction - target).sum()
        self.count += prediction.size

    def result(self):
        return float(self.total) / self.count if self.count else math.nan


class Undecided(Distance):
    """A metric that does not say which way is better."""

    name = "silent"
    higher_is_better = None


class Made(Callback):
    """Puts made-up numbers into the logs."""

    def __init__(self, **columns):
        self.columns = columns
        self.adds = list(columns)

    def on_epoch_end(self, epoch, logs):
        for name, values in self.columns.items():
            logs[name] = values[epoch - 1]


def model_of(metrics=("accuracy",), **options):
    model = xpcnn.Model([xpcnn.Linear(4, 1)], device="cpu", seed=0)
    model.compile(xpcnn.optim.SGD(0.01, **options), "bce_with_logits", list(metrics))
    return model


def data():
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 4), dtype="float32"), rng.random((12, 1), dtype="float32")
    return x, np.round(y)  # yes or no: of other numbers there is no accuracy


def fit(model, callbacks=(), epochs=2, **options):
    x, y = data()
    options = {"validation_data": (x, y), "batch_size": 5, "verbose": 0} | options
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options)


# -- Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: EarlyStopping(patience="a"), TypeError),
        (lambda: EarlyStopping(patience=math.nan), TypeError),
        (lambda: EarlyStopping(patience=2.5), TypeError),
        (lambda: EarlyStopping(patience=None), TypeError),
        (lambda: EarlyStopping(patience=-1), ValueError),
        (lambda: EarlyStopping(patience=True), TypeError),
        (lambda: EarlyStopping(min_delta=math.nan), ValueError),
        (lambda: EarlyStopping(min_delta="a"), TypeError),
        (lambda: EarlyStopping(monitor=None), TypeError),
        (lambda: EarlyStopping(restore_best_weights="no"), TypeError),
        (lambda: EarlyStopping(mode="best"), ValueError),
        (lambda: ModelCheckpoint(None), TypeError),
        (lambda: ModelCheckpoint(""), TypeError),
        (lambda: ModelCheckpoint(3), TypeError),
        (lambda: ModelCheckpoint("a", save_best_only="val_loss"), TypeError),
        (lambda: ModelCheckpoint("a", monitor=3), TypeError),
        (lambda: CSVLogger(None), TypeError),
        (lambda: CSVLogger("a", append="yes"), TypeError),
        (lambda: ProgressBar("stderr"), TypeError),
    ],
)
def test_settings_that_are_none(make, error):
    with pytest.raises(error):
        make()


def test_settings_are_checked_when_they_are_set():
    stopping = EarlyStopping(patience=3)
    with pytest.raises(TypeError, match="patience"):
        stopping.patience = "a"
    with pytest.raises(AttributeError, match="'patience'"):
        stopping.patiance = 4
    stopping.patience = np.int64(4)
    assert (type(stopping.patience), stopping.patience) == (int, 4)


def test_callbacks_say_what_they_are():
    assert repr(EarlyStopping("loss", patience=3)) == "EarlyStopping(monitor='loss', patience=3)"
    assert repr(ModelCheckpoint("a.st")) == "ModelCheckpoint(path='a.st')"
    assert repr(ProgressBar()) == "ProgressBar()"
    assert repr(Made(a=[1])) == "Made(columns={'a': [1]})"

    class Keeping(Callback):
        def __init__(self, what):
            self.kept = what

    assert repr(Keeping(1)) == "Keeping(...)"

    class Plain(Callback):
        pass

    assert repr(Plain()) == "Plain()"


# -- Before the first step -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callback", "error", "message"),
    [
        (EarlyStopping("val_los"), ValueError, "did you mean 'val_loss'"),
        (EarlyStopping("val_f1_score"), ValueError, "no 'val_f1_score' to monitor, only loss"),
        (ModelCheckpoint("m", monitor="acuracy"), ValueError, "did you mean 'accuracy'"),
        (ModelCheckpoint("nix/m"), FileNotFoundError, "no folder"),
        (ModelCheckpoint("nix/m-{epoch}"), FileNotFoundError, "no folder"),
        (ModelCheckpoint("."), IsADirectoryError, "folder"),
        (ModelCheckpoint("m-{epohc}"), ValueError, r"the field \{epohc\}.*epoch, loss"),
        (ModelCheckpoint("m-{}"), ValueError, "field"),
        (ModelCheckpoint("m-{0}"), ValueError, "field"),
        (ModelCheckpoint("m-{epoch"), ValueError, "no format"),
        (ModelCheckpoint("m-{epoch.real}"), ValueError, "field"),
        (ModelCheckpoint("m-{loss:d}"), ValueError, "cannot be filled in"),
        (ModelCheckpoint("m-{epoch:{width}}"), ValueError, "cannot be filled in"),
        (CSVLogger("nix/log.csv"), FileNotFoundError, "no folder 'nix'"),
        (CSVLogger("."), IsADirectoryError, "folder"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_refused_before_the_first_step(callback, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = model_of()
    begun = []

    class Recorder(Callback):
        def on_train_begin(self, epochs, batches):
            begun.append(epochs)

    with pytest.raises(error, match=message):
        fit(model, [Recorder(), callback])
    assert (begun, model.step, model.epoch, model.history.epoch) == ([], 0, 0, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [EarlyStopping, lambda: ModelCheckpoint("m")])
def test_val_loss_without_validation_data(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = model_of()
    with pytest.raises(ValueError, match="no 'val_loss'.*give validation_data or"):
        fit(model, [make()], validation_data=None)
    assert model.step == 0


def test_schedule_that_monitors_what_there_is_not():
    for schedule in (
        xpcnn.optim.ReduceLROnPlateau(monitor="val_acuracy"),
        xpcnn.optim.Warmup(2, after=xpcnn.optim.ReduceLROnPlateau(monitor="val_acuracy")),
    ):
        model = model_of(schedule=schedule)
        with pytest.raises(ValueError, match="did you mean 'val_accuracy'"):
            fit(model)
        assert model.step == 0


def test_names_that_a_callback_adds():
    stopping = EarlyStopping("extra", mode="min", patience=1)
    model = model_of()
    history = fit(model, [Made(extra=[1.0, 2.0, 3.0]), stopping], epochs=3)
    assert history.epoch == [1, 2]


# -- Which way is better ---------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", ["mae", "val_mae"])
def test_a_metric_says_that_less_is_better(monitor):
    stopping = EarlyStopping(monitor, patience=1)
    values = [3.0, 2.0, 1.0, 1.5]
    history = fit(model_of([Distance()]), [Made(**{monitor: values}), stopping], epochs=4)
    assert history.epoch == [1, 2, 3, 4]
    assert (stopping.best, stopping.stopped_epoch) == (1.0, 4)


def test_a_metric_says_that_more_is_better():
    stopping = EarlyStopping("val_accuracy", patience=1)
    fit(model_of(), [Made(val_accuracy=[0.1, 0.2, 0.1]), stopping], epochs=3)
    assert (stopping.best, stopping.stopped_epoch) == (0.2, 3)


def test_a_name_with_loss_in_it_is_no_loss():
    """The accuracy of an output that is called "gloss"."""
    metric = metrics.OutputMetric(metrics.Accuracy(), "gloss", 0)
    assert metric.name == "gloss_accuracy"
    model = model_of()
    model.metrics = [metric]
    for monitor in ("gloss_accuracy", "val_gloss_accuracy"):
        stopping = EarlyStopping(monitor)
        stopping.model = model
        assert stopping.improved({monitor: 0.5})
        assert stopping.improved({monitor: 0.6})
        assert not stopping.improved({monitor: 0.55})


@pytest.mark.parametrize("monitor", ["silent", "val_silent"])
def test_where_nobody_says_it_the_mode_must_be_given(monitor):
    model = model_of([Undecided()])
    message = "cannot tell whether .* give mode='max' or mode='min'"
    with pytest.raises(ValueError, match=message):
        fit(model, [EarlyStopping(monitor)])
    with pytest.raises(ValueError, match=message):
        fit(model_of([Undecided()], schedule=xpcnn.optim.ReduceLROnPlateau(monitor=monitor)))
    fit(model, [EarlyStopping(monitor, mode="max")])


@pytest.mark.parametrize("wrapped", [False, True])
def test_plateau_of_an_accuracy_that_rises(wrapped):
    """Rising accuracy is no plateau; the falling one at the end is."""
    schedule = xpcnn.optim.ReduceLROnPlateau(monitor="val_accuracy", patience=0)
    whole = xpcnn.optim.Warmup(1, after=schedule) if wrapped else schedule
    model = model_of(schedule=whole)
    fit(model, epochs=1)
    for value in (0.5, 0.6, 0.7):
        whole.observe(value)
    assert schedule.reductions == 0
    whole.observe(0.4)
    assert schedule.reductions == 1


def test_plateau_by_itself():
    for monitor in ("loss", "val_loss"):
        schedule = xpcnn.optim.ReduceLROnPlateau(monitor=monitor, patience=0)
        for value in (3.0, 2.0, 1.0):
            schedule.observe(value)
        assert schedule.reductions == 0
    with pytest.raises(ValueError, match="cannot tell whether"):
        xpcnn.optim.ReduceLROnPlateau(monitor="val_accuracy").observe(0.5)


# -- NaN -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_never_a_number_stops(value, tmp_path):
    stopping = EarlyStopping(patience=2, restore_best_weights=True)
    checkpoint = ModelCheckpoint(tmp_path / "best")
    made = Made(val_loss=[value] * 6)
    history = fit(model_of(), [made, stopping, checkpoint], epochs=6)
    assert history.epoch == [1, 2]
    assert math.isnan(stopping.best)
    assert list(tmp_path.iterdir()) == []


def test_nan_between_numbers_is_no_improvement():
    stopping = EarlyStopping(patience=2)
    values = [math.nan, 2.0, math.nan, 1.0, math.nan, math.nan]
    history = fit(model_of(), [Made(val_loss=values), stopping], epochs=6)
    assert history.epoch == [1, 2, 3, 4, 5, 6]
    assert (stopping.best, stopping.stopped_epoch) == (1.0, 6)


# -- Names of checkpoints --------------------------------------------------------------------------


def test_fields_of_a_path(tmp_path):
    path = tmp_path / "m-{epoch:02d}-{val_loss:.2f}-{accuracy:.1f}-{{x}}.st"
    made = Made(val_loss=[0.123, 2.0], accuracy=[0.5, 0.25])
    fit(model_of(), [made, ModelCheckpoint(path, save_best_only=False)])
    found = sorted(p.name for p in tmp_path.iterdir())
    assert found == ["m-01-0.12-0.5-{x}.st", "m-02-2.00-0.2-{x}.st"]


def test_folders_that_have_fields_are_made(tmp_path):
    path = tmp_path / "run-{epoch}" / "m"
    fit(model_of(), [ModelCheckpoint(path, save_best_only=False)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-1", "run-2"]
    assert xpcnn.Model.load(tmp_path / "run-2" / "m", device="cpu").epoch == 2


def test_a_checkpoint_that_could_not_be_written_is_not_the_best(tmp_path, monkeypatch):
    checkpoint = ModelCheckpoint(tmp_path / "m")
    model = model_of()
    model.build((None, 4))
    checkpoint.model = model
    monkeypatch.setattr(model, "save", lambda path: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpoint.on_epoch_end(1, {"val_loss": 1.0})
    monkeypatch.undo()
    checkpoint.on_epoch_end(2, {"val_loss": 2.0})
    assert (tmp_path / "m").exists()


# -- Errors in callbacks ---------------------------------------------------------------------------


class Failing(Callback):
    def __init__(self, where, message="mine"):
        self.where, self.message = where, message

    def on_train_begin(self, epochs, batches):
        if self.where == "begin":
            raise ValueError(self.message)

    def on_epoch_end(self, epoch, logs):
        if self.where in ("epoch", "epoch and end"):
            raise ValueError(f"{self.message} in the epoch")

    def on_train_end(self):
        if self.where.endswith("end"):
            raise ValueError(self.message)


class Ended(Callback):
    ended = False

    def on_train_end(self):
        self.ended = True


def test_all_callbacks_end_whatever_one_raises():
    between, last = Ended(), Ended()
    with pytest.raises(ValueError, match="first") as caught:
        fit(model_of(), [Failing("end", "first"), between, Failing("end", "second"), last])
    assert between.ended
    assert last.ended
    assert "second" in caught.value.__notes__[0]


def test_the_error_of_training_comes_before_those_of_its_end():
    last = Ended()
    with pytest.raises(ValueError, match="in the epoch") as caught:
        fit(model_of(), [Failing("epoch and end"), last])
    assert last.ended
    assert "mine" in caught.value.__notes__[0]


def test_a_failed_begin_does_not_load_the_weights_of_another_model():
    stopping = EarlyStopping(patience=5, restore_best_weights=True)
    fit(model_of(), [Made(val_loss=[1.0, 2.0, 3.0]), stopping], epochs=3)
    other = xpcnn.Model([xpcnn.Linear(4, 1)], device="cpu", seed=99)
    other.compile("sgd", "mse")
    other.build((None, 4))
    before = other.state_dict()["0.weight"].copy()
    ended = Ended()
    with pytest.raises(ValueError, match="mine"):
        fit(other, [ended, Failing("begin"), stopping])
    np.testing.assert_array_equal(other.state_dict()["0.weight"], before)
    assert ended.ended


# -- What only tells of training -------------------------------------------------------------------


class Broken:
    """A stream that is closed, or whose disk is full; in a terminal or not."""

    def __init__(self, error, terminal):
        self.error, self.terminal, self.tries = error, terminal, 0

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.tries += 1
        raise self.error

    flush = write


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    "error", [ValueError("I/O operation on closed file"), OSError(28, "full"), BrokenPipeError()]
)
def test_a_bar_that_cannot_be_shown_does_not_stop_training(error, terminal, caplog):
    stream = Broken(error, terminal)
    history = fit(model_of(), [ProgressBar(stream)], epochs=3)
    assert history.epoch == [1, 2, 3]
    assert [record.message.count("progress is not shown") for record in caplog.records] == [1]


def test_standard_error_that_is_closed():
    program = textwrap.dedent(
        """
        import os, sys
        import numpy as np
        import xpcnn

        model = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu", seed=0)
        model.compile("sgd", "mse")
        x, y = np.ones((4, 2), dtype="float32"), np.ones((4, 1))
        sys.stderr.close()
        model.fit(x, y, epochs=2)
        sys.stderr = None
        model.fit(x, y, epochs=2)
        print(model.epoch)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stdout.split() == [b"4"]


def test_a_log_file_that_cannot_be_written_does_not_stop_training(tmp_path, monkeypatch, caplog):
    logger = CSVLogger(tmp_path / "log.csv")
    plain = type(logger.path).open
    epochs = []

    def fail_twice(path, mode="r", **options):
        if "r" not in mode:
            epochs.append(mode)
            if len(epochs) in (2, 3):
                raise OSError(28, "No space left on device")
        return plain(path, mode, **options)

    monkeypatch.setattr(type(logger.path), "open", fail_twice)
    history = fit(model_of(), [logger], epochs=4)
    assert history.epoch == [1, 2, 3, 4]
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "4"]
    assert [record.message.count("cannot write its file") for record in caplog.records] == [1]


def test_logs_may_be_called_a_dict(tmp_path):
    """The signature of an own callback, as a type checker sees it."""
    mypy = pytest.importorskip("mypy.api")
    source = tmp_path / "own.py"
    source.write_text(
        textwrap.dedent(
            """
            from collections.abc import Mapping

            import xpcnn

            class One(xpcnn.Callback):
                def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None: ...

            class Two(xpcnn.Callback):
                def on_batch_end(self, batch: int, logs: dict) -> None: ...

            class Three(xpcnn.Callback):
                def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None: ...
            """
        )
    )
    out, err, status = mypy.run([str(source), "--cache-dir", str(tmp_path / "cache")])
    assert status == 0, out + err
