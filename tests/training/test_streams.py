"""Batches that come ready: lists, loaders, generators, sequences; and what is none of them."""

from __future__ import annotations

import itertools
import multiprocessing

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp
from xpcnn.errors import NonFiniteError
from xpcnn.training.sources import streams

RNG = np.random.default_rng(7)
X = RNG.random((22, 1, 6, 6), dtype="float32")
Y = RNG.integers(0, 3, 22)
W = RNG.random(22)
ROWS = [slice(start, start + 5) for start in range(0, 22, 5)]
BATCHES = [(X[rows], Y[rows]) for rows in ROWS]


def make(device="cpu"):
    layers = [xpcnn.Conv2d(1, 3, 3), xpcnn.BatchNorm2d(3), xpcnn.ReLU(), xpcnn.Flatten()]
    made = xpcnn.Model([*layers, xpcnn.Linear(out_features=3)], device=device, seed=0)
    made.compile("adam", "cross_entropy", ["accuracy"])
    return made


class Sequence:
    """As those of Keras: a length, and batches by number."""

    def __init__(self, batches=BATCHES):
        self.batches, self.ends, self.asked = batches, 0, []

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        self.asked.append(number)
        return self.batches[number]

    def on_epoch_end(self):
        self.ends += 1


class Again:
    """What can be gone through again and again, and does not say how much it is."""

    def __iter__(self):
        return iter(BATCHES)


def endless(batches=BATCHES):
    while True:
        yield from batches


def loader(batch_size=5, **options):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(data, batch_size, **options)


SOURCES = {
    "a list": lambda: (BATCHES, None),
    "lists in a list": lambda: ([list(batch) for batch in BATCHES], None),
    "a sequence": lambda: (Sequence(), None),
    "an iterable": lambda: (Again(), None),
    "a generator": lambda: (endless(), 5),
    "a loader": lambda: (loader(), None),
}


@pytest.mark.parametrize("spelling", ["cpu", "strict", "torch:cpu"])
@pytest.mark.parametrize("source", SOURCES)
def test_the_history_is_that_of_arrays_bit_for_bit(spelling, source):
    try:
        device = xpcnn.device.resolve(spelling)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    by_arrays, by_batches = make(device), make(device)
    expected = by_arrays.fit(
        X, Y, epochs=2, batch_size=5, shuffle=False, validation_data=(X, Y), verbose=0
    )
    (x, steps), (validation, _) = SOURCES[source](), SOURCES[source]()
    found = by_batches.fit(
        x,
        epochs=2,
        steps_per_epoch=steps,
        validation_data=validation,
        validation_steps=steps,
        verbose=0,
    )
    assert found.history == expected.history
    x, steps = SOURCES[source]()
    assert by_batches.evaluate(x, steps=steps) == by_arrays.evaluate(X, Y, batch_size=5)
    x, steps = SOURCES[source]()
    np.testing.assert_array_equal(
        by_batches.predict(x, steps=steps), by_arrays.predict(X, batch_size=5)
    )


def test_the_losses_are_means_over_samples_not_over_batches():
    made = xpcnn.Model([xpcnn.Linear(1, 1, bias=False)], device="cpu", seed=0)
    made.compile(xpcnn.optim.SGD(1e-30), "mse")
    made.load_state_dict({"0.weight": np.array([[1.0]], np.float32)})
    column = np.array([[1.0], [2.0], [5.0]], np.float32)
    batches = [(column[:2], np.zeros((2, 1))), (column[2:], np.zeros((1, 1)))]
    assert made.fit(batches, verbose=0).history["loss"] == [10.0]  # (1 + 4 + 25) / 3
    assert made.evaluate(batches) == {"loss": 10.0}


def test_weights_come_with_their_batches():
    weighted = [(X[rows], Y[rows], W[rows]) for rows in ROWS]
    expected = make().fit(X, Y, sample_weight=W, batch_size=5, shuffle=False, verbose=0)
    assert make().fit(weighted, verbose=0).history == expected.history
    expected = make().fit(
        X, Y, class_weight={0: 1.0, 1: 3.0, 2: 0.5}, batch_size=5, shuffle=False, verbose=0
    )
    found = make().fit(BATCHES, class_weight={0: 1.0, 1: 3.0, 2: 0.5}, verbose=0)
    assert found.history == expected.history
    with pytest.raises(ValueError, match=r"batch 1: sample_weight: expected shape \(5,\)"):
        make().fit([(X[:5], Y[:5], W[:4])], verbose=0)


def test_an_epoch_goes_on_where_the_last_one_ended():
    seen = []

    def note():
        for number in range(6):
            seen.append(number)
            yield BATCHES[number % 5]

    made = make()
    made.fit(note(), epochs=3, steps_per_epoch=2, verbose=0)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert made.step == 6
    sequence = Sequence()
    make().fit(sequence, epochs=2, steps_per_epoch=4, verbose=0)
    assert sequence.asked == [0, 1, 2, 3, 4, 0, 1, 2]
    assert sequence.ends == 2


def test_no_batch_is_taken_before_its_turn_but_the_first():
    taken, made = [], make()

    class Note(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            taken.append(count)

    def note():
        nonlocal count
        while True:
            count += 1
            yield BATCHES[0]

    count = 0
    made.fit(note(), steps_per_epoch=3, callbacks=[Note()], verbose=0)
    assert taken == [1, 2, 3]
    assert count == 3


def test_a_generator_that_runs_dry_says_how_far_it_came():
    made = make()
    with pytest.raises(ValueError, match="steps_per_epoch=3.*ended after 5 batches.*2 of them"):
        made.fit(iter(BATCHES), epochs=2, steps_per_epoch=3, verbose=0)
    assert made.step == 5
    with pytest.raises(ValueError, match="steps=7.*ended after 5 batches in all"):
        made.evaluate(BATCHES, steps=7)
    with pytest.raises(ValueError, match="validation_steps=9.*ended after 5"):
        made.fit(X, Y, validation_data=BATCHES, validation_steps=9, verbose=0)


def test_what_begins_anew_and_has_no_end_is_given_up(monkeypatch):
    class Endless:
        def __iter__(self):
            return endless()

    monkeypatch.setattr(streams, "MOST", 12)
    made = make()
    for run in (made.fit, made.evaluate, made.predict):
        name = "steps_per_epoch=" if run == made.fit else "steps="
        with pytest.raises(ValueError, match=f"the Endless has given 12 batches.*{name}"):
            run(Endless(), **({"verbose": 0} if run == made.fit else {}))
    assert made.step == 12
    assert made.fit(Again(), epochs=2, verbose=0).epoch == [1, 2]
    assert len(made.predict(Endless(), steps=12)) == 2 * 22 + 10


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((endless(),), {}, ValueError, "steps_per_epoch="),
        ((BATCHES, Y), {}, ValueError, "y was given.*leave y out"),
        ((BATCHES,), {"sample_weight": W}, ValueError, "sample_weight was given"),
        ((BATCHES,), {"batch_size": 5}, ValueError, "batch_size is for arrays.*leave batch_size"),
        ((BATCHES,), {"shuffle": False}, ValueError, "shuffle is for arrays"),
        ((BATCHES,), {"drop_last": True}, ValueError, "drop_last is for arrays"),
        ((BATCHES,), {"validation_split": 0.2}, ValueError, "validation_split.*validation_data"),
        ((BATCHES,), {"capture": True}, ValueError, "capture=True needs"),
        ((BATCHES,), {"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be at least 1"),
        ((BATCHES,), {"steps_per_epoch": 1.5}, TypeError, "steps_per_epoch must be an integer"),
        ((BATCHES,), {"validation_steps": 2}, ValueError, "validation_steps needs validation_data"),
        ((X, Y), {"steps_per_epoch": 2}, ValueError, "steps_per_epoch=2, but 22 .* of 32 make 1;"),
        (
            (X, Y),
            {"validation_data": (X, Y), "validation_steps": 2},
            ValueError,
            "validation_steps=2, but 22 samples in batches of 32 make 1; give a smaller",
        ),
        ((X, Y), {"validation_data": endless()}, ValueError, "validation_data.*validation_steps="),
        ((X, Y), {"validation_data": 5}, TypeError, r"validation_data must be \(x, y\).*got int"),
        ((X,), {}, ValueError, "y is missing"),
        (([[1.0, 2.0], [3.0, 4.0]],), {}, ValueError, "y is missing"),
        ((([1, 2] for _ in range(3)),), {"steps_per_epoch": 2}, ValueError, "single samples"),
        ((zip(X, Y, strict=True),), {"steps_per_epoch": 2}, ValueError, "single samples"),
        ((itertools.count(),), {"steps_per_epoch": 2}, TypeError, "number 1 is 0"),
        ((range(10),), {}, TypeError, "must give tuples"),
        (({1, 2},), {}, TypeError, "must give tuples"),
        (([{"x": X, "y": Y}] * 2,), {}, ValueError, "y is missing"),
        ((iter([{"x": X, "y": Y}]),), {"steps_per_epoch": 1}, TypeError, "a dict of 'x', 'y'"),
        ((iter([]),), {"steps_per_epoch": 1}, ValueError, "there is no batch in it"),
        (([(X[:4], Y[:5])],), {}, ValueError, "batch 1: y: expected one label for each of the 4"),
        (([(X[:4].astype("float64"), Y[:4])],), {}, TypeError, "batch 1: x: .*float64"),
        (("pictures",), {}, ValueError, "y is missing"),
    ],
)
def test_what_is_wrong_is_an_error_before_the_first_step(arguments, options, error, message):
    made = make()
    with pytest.raises(error, match=message):
        made.fit(*arguments, verbose=0, **options)
    assert made.step == 0
    assert made.input_shape is None


def test_what_has_numbers_without_an_end_is_refused():
    class NoEnd:
        def __getitem__(self, number):
            return BATCHES[0]

    with pytest.raises(TypeError, match="NoEnd has __getitem__.*__len__"):
        make().fit(NoEnd(), verbose=0)


def test_a_wrong_batch_in_the_middle_ends_training_after_the_last_whole_step():
    made = make()
    with pytest.raises(ValueError, match="batch 3: .*label.*9"):
        made.fit([*BATCHES[:2], (X[:5], np.full(5, 9))], verbose=0)
    assert made.step == 2
    bad = X[:5].copy()
    bad[3, 0, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"batch 2: x: 1 of 180 values.*\(3, 0, 1, 2\)"):
        made.fit([BATCHES[0], (bad, Y[:5])], verbose=0)
    assert made.step == 3


def test_an_error_in_a_generator_is_its_own():
    def fail():
        yield BATCHES[0]
        raise LookupError("no such file")

    made = make()
    with pytest.raises(LookupError, match="no such file"):
        made.fit(fail(), steps_per_epoch=2, verbose=0)
    assert made.step == 1


@pytest.mark.parametrize("spelling", ["cpu", "torch:cpu"])
def test_the_weights_are_good_after_numbers_that_are_not(spelling):
    if spelling != "cpu":
        pytest.importorskip("torch")
    made = make(spelling)
    with pytest.raises(NonFiniteError):
        made.fit(BATCHES, epochs=3, optimizer=xpcnn.optim.SGD(1e30), verbose=0)
    assert all(np.isfinite(np.asarray(a)).all() for a in made.state_dict().values())


def test_a_plan_for_memory_holds_for_batches_of_the_first_ones_size():
    made, wide = make(), [(X[:5], Y[:5]), (X[:9], Y[:9])]
    made.fit(BATCHES, memory="50MB", verbose=0)
    with pytest.raises(ValueError, match="batch 2 has 9 samples.*memory=.*for 5"):
        made.fit(wide, memory="50MB", verbose=0)


def test_without_targets_the_inputs_may_stand_alone():
    class Small(xpcnn.losses.Loss):
        takes_target = False

        def _terms(self, xp, prediction, target):
            return prediction * prediction, prediction.shape[0], prediction

        def _gradient(self, xp, saved, scale):
            return 2 * saved * scale

    x = RNG.random((12, 4), dtype="float32")
    histories = []
    for given in (
        x,
        [(x[:6],), (x[6:],)],
        iter([x[:6], x[6:]]),
        iter([{"x": x[:6]}, {"x": x[6:]}]),
    ):
        made = xpcnn.Model([xpcnn.Linear(4, 2)], device="cpu", seed=0)
        made.compile("sgd", Small())
        options = {"batch_size": 6, "shuffle": False} if given is x else {}
        options |= {"steps_per_epoch": 2} if hasattr(given, "__next__") else {}
        histories.append(made.fit(given, verbose=0, **options).history)
    assert all(history == histories[0] for history in histories)


def test_the_bar_shows_how_many_batches_where_their_number_is_unknown():
    shown = []

    class Note(xpcnn.Callback):
        def on_train_begin(self, epochs, batches):
            shown.append(batches)

    make().fit(Again(), callbacks=[Note()], verbose=0)
    make().fit(Sequence(), callbacks=[Note()], verbose=0)
    make().fit(endless(), steps_per_epoch=2, callbacks=[Note()], verbose=0)
    assert shown == [None, 5, 2]


def test_several_inputs_and_outputs():
    a, b = RNG.random((10, 3), dtype="float32"), RNG.random((10, 4), dtype="float32")
    y, z = RNG.integers(0, 2, 10), RNG.random((10, 1), dtype="float32")
    rows = [slice(0, 4), slice(4, 8), slice(8, 10)]
    forms = {
        "tuples": [((a[r], b[r]), (y[r], z[r])) for r in rows],
        "dicts": [({"b": b[r], "a": a[r]}, {"two": z[r], "one": y[r]}) for r in rows],
    }

    def train(*data, **options):
        nodes = [("one", xpcnn.Linear(3, 2), "a"), ("two", xpcnn.Linear(4, 1), "b")]
        made = xpcnn.Model(xpcnn.Graph(["a", "b"], nodes, ["one", "two"]), device="cpu", seed=0)
        made.compile("adam", {"one": "cross_entropy", "two": "mse"})
        history = made.fit(*data, epochs=2, verbose=0, **options).history
        return history, made.predict(data[0], **{k: v for k, v in options.items() if v == 4})

    expected, outputs = train((a, b), (y, z), batch_size=4, shuffle=False)
    for batches in forms.values():
        history, found = train(batches)
        assert history == expected
        for one, other in zip(found, outputs, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"batch 1: x: expected one for each input, 'a', 'b'"):
        train([({"a": a, "c": b}, (y, z))])


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_validation_by_as_many_batches_as_x_and_y_are_arrays(count, form):
    """A list of two may be [x, y], or two batches, each with a tuple or dict of inputs."""
    a, b = RNG.random((10, 3), dtype="float32"), RNG.random((10, 3), dtype="float32")
    y, rows = RNG.integers(0, 3, 10), [slice(0, 4), slice(4, 8), slice(8, 10)][:count]
    batches = [((a[r], b[r]) if form == "tuple" else {"a": a[r], "b": b[r]}, y[r]) for r in rows]
    end = rows[-1].stop
    whole = ((a[:end], b[:end]), y[:end])
    found = []
    for validation in (batches, whole, list(whole)):
        graph = xpcnn.Graph(
            ["a", "b"], [("y", xpcnn.operations.Add(), ["a", "b"]), ("z", xpcnn.ReLU(), "y"),
                         ("w", xpcnn.Linear(3, 3), "z")], ["w"]
        )  # fmt: skip
        made = xpcnn.Model(graph, device="cpu", seed=0)
        made.compile("adam", "cross_entropy")
        found.append(made.fit((a, b), y, validation_data=validation, verbose=0).history)
    for history in found[1:]:
        assert history["val_loss"] == pytest.approx(found[0]["val_loss"], rel=1e-6)


def test_nested_lists_and_buffers_are_arrays():
    made = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu", seed=0)
    x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    expected = made.predict(x)
    for given in (x.tolist(), tuple(map(tuple, x.tolist())), list(x), [list(row) for row in x]):
        np.testing.assert_array_equal(made.predict(given), expected)
    np.testing.assert_array_equal(made.predict(memoryview(x)), expected)
    with pytest.raises(ValueError, match="differ in length"):
        made.predict([[[1.0, 2.0], [3.0]], [[1.0], [2.0]]])


def test_a_loader_lets_its_processes_go_when_training_ends():
    class Stop(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            raise ZeroDivisionError

    others, made, data = multiprocessing.active_children(), make(), loader(num_workers=1)
    with pytest.raises(ZeroDivisionError):
        made.fit(data, callbacks=[Stop()], verbose=0)
    assert [each for each in multiprocessing.active_children() if each not in others] == []


@pytest.mark.parametrize("kind", ["batches", "samples"])
def test_losses_that_wait_on_a_device_are_read_where_no_step_can_be_repeated(kind, monkeypatch):
    def train(x, y=None, **options):
        made = xpcnn.Model([xpcnn.Linear(36, 3)], device="cpu", seed=0)
        with pytest.raises(NonFiniteError) as found:
            made.fit(
                x, y, epochs=3, optimizer=xpcnn.optim.SGD(1.0), loss="mse", verbose=0, **options
            )
        return found.value.batch, made.step, made.state_dict()["0.weight"]

    flat = X.reshape(22, 36) * np.float32(1e3)
    y = np.zeros((22, 3), np.float32)
    ready = [(flat[rows], y[rows]) for rows in ROWS]
    batch, steps, weight = train(flat, y, batch_size=5, shuffle=False)
    monkeypatch.setattr(_xp, "on_host", lambda x: False)
    if kind == "batches":
        found = train(ready)
    else:
        found = train(list(zip(flat, y, strict=True)), batch_size=5, shuffle=False)
    assert steps > 1
    assert found[:2] == (batch, steps)
    np.testing.assert_array_equal(found[2], weight)
