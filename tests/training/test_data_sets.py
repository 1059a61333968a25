"""Data sets of samples: batched here, read by processes or not, with the same numbers."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading

import numpy as np
import pytest

import xpcnn
from xpcnn.errors import SampleError
from xpcnn.training.sources import workers as workers_module

RNG = np.random.default_rng(11)
X = RNG.random((23, 1, 6, 6), dtype="float32")
Y = RNG.integers(0, 3, 23)


class Samples:
    """As a data set of PyTorch: a length, and a sample by its number."""

    def __init__(self, x=X, y=Y, *more, fails=None):
        self.parts, self.fails = (x, y, *more), fails

    def __len__(self):
        return len(self.parts[0])

    def __getitem__(self, number):
        assert type(number) is int
        if self.fails and number == 7:
            self.fails()
        return tuple(part[number] for part in self.parts)


class Noisy(Samples):
    """Draws from the generators of the process, as augmentations do."""

    def __getitem__(self, number):
        x, y = super().__getitem__(number)
        return x + np.float32(random.random() + np.random.random()), y


def make(device="cpu"):
    layers = [xpcnn.Conv2d(1, 3, 3), xpcnn.BatchNorm2d(3), xpcnn.ReLU(), xpcnn.Flatten()]
    made = xpcnn.Model([*layers, xpcnn.Linear(out_features=3)], device=device, seed=0)
    made.compile("adam", "cross_entropy", ["accuracy"])
    return made


@pytest.fixture(autouse=True)
def none_is_left():
    before = multiprocessing.active_children()
    yield
    assert [each for each in multiprocessing.active_children() if each not in before] == []


@pytest.mark.parametrize("spelling", ["cpu", "strict", "torch:cpu"])
@pytest.mark.parametrize("count", [0, 2])
def test_the_history_is_that_of_arrays_bit_for_bit(spelling, count):
    try:
        device = xpcnn.device.resolve(spelling)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    by_arrays, by_samples = make(device), make(device)
    options = {"epochs": 2, "batch_size": 5, "verbose": 0}
    expected = by_arrays.fit(X, Y, validation_data=(X, Y), **options)
    found = by_samples.fit(Samples(), validation_data=Samples(), workers=count, **options)
    assert found.history == expected.history
    options = {"batch_size": 5}
    figures = by_samples.evaluate(Samples(), workers=count, **options)
    assert figures == by_arrays.evaluate(X, Y, **options)
    np.testing.assert_array_equal(
        by_samples.predict(Samples(), workers=count, **options), by_arrays.predict(X, **options)
    )


def test_a_list_of_samples_is_a_data_set_too():
    samples = list(zip(X, Y.tolist(), strict=True))
    expected = make().fit(X, Y, batch_size=5, verbose=0)
    assert make().fit(samples, batch_size=5, verbose=0).history == expected.history


def test_data_sets_of_torch():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    expected = make().fit(X, Y, batch_size=5, verbose=0).history
    for count in (0, 2):
        assert make().fit(data, batch_size=5, workers=count, verbose=0).history == expected


def test_what_samples_draw_does_not_depend_on_who_reads_them():
    random.seed(3)
    np.random.seed(4)
    before = random.getstate(), np.random.get_state()[1].tolist()
    found = [
        make().fit(Noisy(), epochs=2, batch_size=5, workers=count, verbose=0).history
        for count in (0, 1, 3)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0] != make().fit(Samples(), epochs=2, batch_size=5, verbose=0).history
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_every_epoch_draws_anew():
    seen = []

    class Note(Noisy):
        def __getitem__(self, number):
            x, y = super().__getitem__(number)
            seen.append((number, float(x.sum())))
            return x, y

    made = make()
    made.fit(Note(), epochs=2, batch_size=5, verbose=0)
    of_one = [value for number, value in seen[1:] if number == 4]
    assert len(of_one) == 2
    assert of_one[0] != of_one[1]


def test_training_that_is_resumed_sees_what_it_would_have_seen(tmp_path):
    whole, first = make(), make()
    whole.fit(Noisy(), epochs=4, batch_size=5, verbose=0)
    first.fit(Noisy(), epochs=2, batch_size=5, verbose=0)
    first.save(tmp_path / "model.safetensors")
    second = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    second.fit(Noisy(), epochs=2, batch_size=5, workers=2, verbose=0)
    assert second.history.history == whole.history.history


def test_weights_and_the_last_batch():
    weights = RNG.random(23)
    expected = make().fit(X, Y, sample_weight=weights, batch_size=5, drop_last=True, verbose=0)
    found = make().fit(Samples(X, Y, weights), batch_size=5, drop_last=True, verbose=0)
    assert found.history == expected.history


def test_balanced_weights_are_those_of_scikit_learn():
    y = np.array([0] * 12 + [1] * 3 + [2] * 8)
    by_hand = {0: 23 / (3 * 12), 1: 23 / (3 * 3), 2: 23 / (3 * 8)}
    expected = make().fit(X, y, class_weight=by_hand, batch_size=5, verbose=0).history
    assert make().fit(X, y, class_weight="balanced", batch_size=5, verbose=0).history == expected
    data = Samples(X, y)
    with pytest.raises(ValueError, match="'balanced' needs all labels.*targets"):
        make().fit(data, class_weight="balanced", verbose=0)
    data.targets = y.tolist()
    found = make().fit(data, class_weight="balanced", batch_size=5, workers=2, verbose=0)
    assert found.history == expected
    with pytest.raises(ValueError, match="'balanced' needs all labels.*batch by batch"):
        make().fit([(X, y)], class_weight="balanced", verbose=0)
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    weights = sklearn.compute_class_weight("balanced", classes=np.arange(3), y=y)
    np.testing.assert_allclose(weights, list(by_hand.values()), rtol=1e-15)


def test_only_labels_that_count_are_balanced():
    from xpcnn.training.class_weights import balanced

    assert balanced(np.array([0, 0, 0, 1, -1, -1]), -1) == {0: 4 / 6, 1: 4 / 2}
    assert balanced(np.eye(3)[[0, 2, 2, 2]], None) == {0: 2.0, 2: 4 / 6}


def bad_image():
    raise OSError("the image is broken")


@pytest.mark.parametrize("count", [0, 2])
def test_an_error_says_which_sample_it_was(count):
    made = make()
    with pytest.raises(SampleError, match=r"sample 7 cannot be read, OSError: the image") as found:
        made.fit(Samples(fails=bad_image), epochs=2, batch_size=5, workers=count, verbose=0)
    assert found.value.sample == 7
    assert 'raise OSError("the image is broken")' in found.value.text
    made.fit(Samples(), workers=count, verbose=0)


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_an_error_and_no_hang():
    made = make()
    with pytest.raises(SampleError, match=r"worker process \d of 2 has ended.*7.*code -9"):
        made.fit(Samples(fails=kill_myself), batch_size=5, shuffle=False, workers=2, verbose=0)
    assert made.step == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_all_processes_end_when_training_does(error):
    class Stop(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            if batch == 2:
                found.extend(each.pid for each in multiprocessing.active_children())
                raise error

    others, found, made = multiprocessing.active_children(), [], make()
    with pytest.raises(error):
        made.fit(Samples(), batch_size=5, workers=3, callbacks=[Stop()], verbose=0)
    found = [pid for pid in found if pid not in [each.pid for each in others]]
    assert len(found) == 3
    for pid in found:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_ctrl_c_while_a_worker_is_waited_for():
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("Ctrl-C reaches the main thread alone")
    parent = os.getpid()

    def press():
        os.kill(parent, signal.SIGINT)
        signal.pause()

    made = make()
    with pytest.raises(KeyboardInterrupt):
        made.fit(Samples(fails=press), batch_size=5, shuffle=False, workers=2, verbose=0)
    assert made.step <= 1


def test_workers_use_one_thread():
    class Ask(Samples):
        def __getitem__(self, number):
            x, y = super().__getitem__(number)
            return np.full_like(x, xpcnn.get_num_threads()), y

    assert (make().predict(Ask(), workers=1) == make().predict(np.ones_like(X))).all()


def test_several_inputs_and_outputs_through_processes():
    a, b = RNG.random((10, 3), dtype="float32"), RNG.random((10, 4), dtype="float32")
    y, z = RNG.integers(0, 2, 10), RNG.random((10, 1), dtype="float32")

    class Several(Samples):
        def __getitem__(self, i):
            return {"a": a[i], "b": b[i].tolist()}, (y[i], z[i])

    def train(*data, **options):
        nodes = [("one", xpcnn.Linear(3, 2), "a"), ("two", xpcnn.Linear(4, 1), "b")]
        made = xpcnn.Model(xpcnn.Graph(["a", "b"], nodes, ["one", "two"]), device="cpu", seed=0)
        made.compile("adam", {"one": "cross_entropy", "two": "mse"})
        return made.fit(*data, epochs=2, batch_size=4, verbose=0, **options).history

    expected = train((a, b), (y, z))
    for count in (0, 2):
        assert train(Several(a), workers=count) == expected


def lone(x):
    return type("Lone", (Samples,), {"__getitem__": lambda self, i: x(i)})()


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (Samples(), {"steps_per_epoch": 2}, ValueError, "steps_per_epoch=2, but 23 samples"),
        (Samples(), {"workers": -1}, ValueError, "workers must be at least 0"),
        (Samples(), {"workers": 1.5}, TypeError, "workers must be an integer"),
        (Samples(), {"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        (Samples(), {"validation_split": 0.2}, ValueError, "validation_split"),
        (Samples(), {"sample_weight": Y}, ValueError, "sample_weight was given"),
        (Samples(), {"capture": True}, ValueError, "capture=True needs"),
        (Samples(X[:0]), {}, ValueError, "x is empty"),
        ([(X, Y)], {"workers": 2}, ValueError, "workers are for data sets"),
        (Samples(X.astype("float64")), {}, TypeError, "sample 0: x: .*float64"),
        (Samples(X, Y + 5), {}, ValueError, "sample 0: .*label"),
        (lone(lambda i: X[i]), {}, TypeError, r"number 0 is ndarray of shape \(1, 6, 6\)"),
        (Samples, {}, TypeError, r"Samples is a class; make one of it, Samples\(\.\.\.\)"),
        (lone(lambda i: {"x": 1}), {}, TypeError, "number 0 is a dict of 'x'"),
    ],
)
def test_what_is_wrong_is_an_error_before_the_first_step(x, options, error, message):
    made = make()
    with pytest.raises(error, match=message):
        made.fit(x, verbose=0, **options)
    assert made.step == 0
    assert made.input_shape is None


def test_workers_are_no_use_to_arrays():
    with pytest.raises(ValueError, match="workers are for data sets"):
        make().fit(X, Y, workers=2, verbose=0)
    with pytest.raises(ValueError, match="workers are for data sets"):
        make().evaluate(X, Y, workers=2)
    with pytest.raises(ValueError, match="workers are for data sets"):
        make().predict(X, workers=2)


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (lambda i: (X[i] if i < 9 else X[i, :, :5], Y[i]), r"x of sample \d+ has shape"),
        (lambda i: (X[i], Y[i]) if i < 9 else (X[i], Y[i], 1.0), "has no sample_weight"),
        (lambda i: (X[i] if i < 9 else X[i] * np.nan, Y[i]), r"x: .*NaN.*first in sample (9|1\d)"),
        (lambda i: (X[i], Y[i] if i < 9 else 17), "samples .*label.*17"),
    ],
    ids=["shapes", "parts", "NaN", "labels"],
)
def test_a_wrong_sample_in_the_middle(count, sample, message):
    made = make()
    with pytest.raises(ValueError, match=message):
        made.fit(lone(sample), shuffle=False, batch_size=4, workers=count, verbose=0)
    assert made.step == 2


def test_a_data_set_that_cannot_be_sent_is_an_error_where_processes_start_anew(monkeypatch):
    class Local(Samples):
        pass

    monkeypatch.setattr(workers_module, "METHOD", "spawn")
    with pytest.raises(TypeError, match="Local cannot be pickled.*top of a module, or use workers"):
        make().fit(Local(), workers=1, verbose=0)


def test_samples_and_batches_are_told_apart_before_the_network_is_built():
    def fit(x, *layers):
        made = xpcnn.Model([*layers, xpcnn.Linear(out_features=3)], device="cpu", seed=0)
        made.compile("adam", "cross_entropy")
        made.fit(x, verbose=0)
        return made.step

    flat = X[:, 0, 0]
    one_hot = np.eye(3, dtype="float32")[Y]
    assert fit(Samples(flat, Y), xpcnn.ReLU()) == 1
    assert fit([(flat[:4], Y[:4])] * 5, xpcnn.ReLU()) == 5
    assert fit([(flat[:4], one_hot[:4])] * 5, xpcnn.ReLU()) == 5
    assert fit(Samples(X, one_hot), xpcnn.Flatten()) == 1
    wide = np.repeat(X, 3, axis=1)
    with pytest.raises(ValueError, match="may be a batch, or one sample.*model.build"):
        fit(Samples(wide, one_hot), xpcnn.Flatten())


def test_inputs_by_name_come_in_any_order():
    nodes = [
        ("flat", xpcnn.Flatten(), "image"),
        ("both", xpcnn.operations.Concat(dim=1), ["flat", "more"]),
        ("out", xpcnn.Linear(38, 3), "both"),
    ]
    made = xpcnn.Model(xpcnn.Graph(["image", "more"], nodes, ["out"]), device="cpu", seed=0)
    made.compile("adam", "cross_entropy")
    made.build({"image": (None, 1, 6, 6), "more": (None, 2)})
    more = np.ones((23, 2), np.float32)
    samples = [({"more": more[i], "image": X[i]}, Y[i]) for i in range(23)]
    assert made.evaluate(samples, batch_size=5) == made.evaluate((X, more), Y, batch_size=5)
