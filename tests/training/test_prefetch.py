"""Batches that are fetched ahead: the same numbers in the same order, and nothing left behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp, kernels
from xpcnn.device import resolve
from xpcnn.errors import NonFiniteError, OutOfMemoryError
from xpcnn.training import sources
from xpcnn.training.callbacks import Callback
from xpcnn.training.dataset import Batch, Order
from xpcnn.training.sources.arrays import Samples


class FakeTransfer:
    """Carries rows to any library, and notes what was asked for."""

    def __init__(self, device, sources, fail=None):
        self.device, self.sources, self.fail = device, sources, fail
        self.log, self.main, self.closed = [], threading.get_ident(), False

    def note(self, what, indices, in_main):
        assert (threading.get_ident() == self.main) == in_main
        self.log.append((what, len(indices)))
        if self.fail is not None and self.fail[:2] == (what, len(self.log)):
            raise self.fail[2]

    def begin(self, indices):
        self.note("begin", indices, True)
        return {"indices": indices}

    def carry(self, ticket):
        self.note("carry", ticket["indices"], False)
        ticket["arrays"] = [self.device.asarray(a[ticket["indices"]]) for a in self.sources]

    def finish(self, ticket):
        self.note("finish", ticket["indices"], True)
        return ticket["arrays"]

    def close(self):
        self.closed = True


@pytest.fixture
def transfers(monkeypatch):
    """Let every device have a transfer; lists those that were opened."""
    opened = []

    def open_transfer(xp, physical, sources):
        device = next(d for d in open_transfer.devices if d.physical == physical and d.xp is xp)
        opened.append(FakeTransfer(device, sources, open_transfer.fail))
        return opened[-1]

    open_transfer.devices, open_transfer.fail = [], None
    opened_by = open_transfer
    monkeypatch.setattr(sources.arrays, "open_transfer", open_transfer)
    return opened, opened_by


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("xpcnn-prefetch")]


def data():
    rng = np.random.default_rng(3)
    return rng.random((11, 3), "float32"), rng.integers(0, 2, 11), rng.random(11)


def model(device, **options):
    layers = [xpcnn.Linear(3, 5), xpcnn.ReLU(), xpcnn.Dropout(0.3), xpcnn.Linear(5, 2)]
    made = xpcnn.Model(layers, device=device, seed=0, **options)
    made.compile("adam", "cross_entropy", ["accuracy"])
    return made


def train(device, x, y, weights):
    made = model(device)
    history = made.fit(
        x, y, epochs=2, batch_size=4, sample_weight=weights, validation_data=(x, y), verbose=0
    )
    figures = made.evaluate(x, y, batch_size=4)
    weights = [_xp.to_numpy(a) for a in made.state_dict().values()]
    return history.history, figures, [*weights, made.predict(x, batch_size=4)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("there", [False, True], ids=["x on the host", "x on the device"])
@pytest.mark.parametrize("spelling", ["cpu", "strict:1", "torch:cpu"])
def test_the_numbers_are_those_without_it(request, spelling, there, weighted):
    try:
        device = resolve(spelling)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    x, y, weights = data()
    x = device.asarray(x) if there else x
    weights = weights if weighted else None
    expected = train(device, x, y, weights)
    opened, by = request.getfixturevalue("transfers")
    by.devices.append(device)
    found = train(device, x, y, weights)
    assert found[:2] == expected[:2]
    for a, b in zip(found[2], expected[2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(opened) == 4  # training, validation, evaluate, predict
    assert all(transfer.closed for transfer in opened)
    assert threads() == []


def test_the_next_batch_is_on_its_way_before_a_step(transfers):
    opened, by = transfers
    by.devices.append(resolve("cpu"))
    x, y, _ = data()
    seen = []

    class Note(Callback):
        def on_batch_end(self, batch, logs):
            seen.append([entry for entry in opened[0].log if entry[0] != "carry"])

    model("cpu").fit(x, y, batch_size=4, callbacks=[Note()], verbose=0)
    assert [len(log) for log in seen] == [3, 5, 6]
    assert seen[-1] == [
        ("begin", 4), ("finish", 4), ("begin", 4), ("finish", 4), ("begin", 3), ("finish", 3),
    ]  # fmt: skip
    assert [entry for entry in opened[0].log if entry[0] == "carry"] == [
        ("carry", 4),
        ("carry", 4),
        ("carry", 3),
    ]


@pytest.mark.parametrize("device", ["cpu", "torch:cpu", "strict", "strict:1"])
def test_where_memory_is_the_hosts_nothing_is_fetched_ahead(monkeypatch, device):
    try:
        device = resolve(device)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    assert kernels.open_transfer(device.xp, device.physical, [np.ones(3)]) is None

    def fail(*_, **__):
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", fail)
    x, y, _ = data()
    made = model(device)
    made.fit(x, y, batch_size=4, verbose=0)
    made.evaluate(x, y)
    made.predict(x)


@pytest.mark.parametrize(
    ("what", "number"),
    [("begin", 1), ("carry", 2), ("finish", 3), ("begin", 4)],
)
def test_an_error_on_the_way(transfers, what, number):
    opened, by = transfers
    by.devices.append(resolve("cpu"))
    by.fail = (what, number, RuntimeError("lost"))
    x, y, _ = data()
    made = model("cpu")
    with pytest.raises(RuntimeError, match="lost"):
        made.fit(x, y, batch_size=4, verbose=0)
    assert opened[0].closed
    assert threads() == []
    by.fail = None
    made.fit(x, y, batch_size=4, verbose=0)
    assert len(opened) == 2


def test_no_memory_for_a_batch(transfers):
    _, by = transfers
    by.devices.append(resolve("cpu"))
    by.fail = ("begin", 4, MemoryError("full"))
    x, y, _ = data()
    made = model("cpu")
    made.build((None, 3))
    before = {name: np.array(a) for name, a in made.state_dict().items()}
    with pytest.raises(OutOfMemoryError, match="a training step with batch_size=4"):
        made.fit(x, y, batch_size=4, verbose=0)
    for name, array in made.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_in_the_middle_of_an_epoch(transfers, error):
    opened, by = transfers
    by.devices.append(resolve("cpu"))
    x, y, _ = data()

    class Stop(Callback):
        def on_batch_end(self, batch, logs):
            if batch == 2:
                raise error

    made = model("cpu")
    with pytest.raises(error):
        made.fit(x, y, batch_size=4, callbacks=[Stop()], verbose=0)
    assert opened[0].closed
    assert threads() == []
    # What was on its way is let go of in order: its memory may be used again.
    assert [entry[0] for entry in opened[0].log if entry[0] != "carry"][-1] == "finish"


def test_a_loss_that_is_not_finite(transfers):
    _, by = transfers
    by.devices.append(resolve("cpu"))
    x, y, _ = data()
    x[7] = 1e38
    made = model("cpu")
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(NonFiniteError):
        made.fit(x, y, epochs=2, batch_size=4, optimizer=xpcnn.optim.SGD(1e38), verbose=0)
    assert threads() == []


def test_batches_are_loaded_in_their_order(transfers):
    _, by = transfers
    by.devices.append(resolve("cpu"))
    x, y, _ = data()
    all_of_them = Batch((x,), y, None)
    samples = Samples(all_of_them, resolve("cpu"), ["float32"], "float32", Order(11, 3))
    loads = [turn.load for turn in samples.epoch(0)]
    loads[0]()
    with pytest.raises(AssertionError, match="in their order"):
        loads[2]()
    # An order that is given up is forgotten.
    samples.close()
    for turn, rows in zip(samples.epoch(0), (slice(3), slice(3, 6), slice(6, 9)), strict=False):
        np.testing.assert_array_equal(turn.load().inputs[0], x[rows])
    samples.close()
    assert threads() == []


def test_nothing_is_read_from_the_device_in_an_epoch(transfers, monkeypatch):
    """A step that reads a number makes the host wait; losses and metrics are read at the end."""
    strict = pytest.importorskip("array_api_strict")
    _, by = transfers
    by.devices.append(resolve("strict:1"))
    waits, kind = [], type(strict.zeros(1))

    def watch(name):
        usual = getattr(kind, name)

        def read(self):
            waits.append(name)
            return usual(self)

        monkeypatch.setattr(kind, name, read)

    for name in ("__bool__", "__int__", "__float__", "__index__"):
        watch(name)
    usual = _xp.to_numpy

    def to_numpy(x):
        waits.extend(["to_numpy"] * isinstance(x, kind))
        return usual(x)

    monkeypatch.setattr(_xp, "to_numpy", to_numpy)
    seen = []

    class Note(Callback):
        def on_epoch_begin(self, epoch):
            waits.clear()

        def on_batch_end(self, batch, logs):
            seen.append((list(waits), dict(logs)))

    rng = np.random.default_rng(0)
    x, y = rng.random((10, 2, 6, 6), "float32"), rng.integers(0, 3, 10)
    layers = [
        xpcnn.Conv2d(2, 4, 3), xpcnn.BatchNorm2d(4), xpcnn.ReLU(), xpcnn.MaxPool2d(2),
        xpcnn.Dropout(0.3), xpcnn.Flatten(), xpcnn.Linear(16, 3),
    ]  # fmt: skip
    made = xpcnn.Model(layers, device="strict:1", seed=0)
    made.compile(xpcnn.optim.Adam(clip_norm=1.0), "cross_entropy", ["accuracy"])
    made.build((None, 2, 6, 6))
    made.fit(x, y, epochs=2, batch_size=4, callbacks=[Note()], verbose=0)
    assert seen == [([], {})] * 6
    assert "__float__" in waits
