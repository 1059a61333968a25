"""Images of bytes: as they are in host memory, floats where layers see them."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp

BYTES = np.random.default_rng(5).integers(0, 256, (14, 3, 6, 6), dtype=np.uint8)
FLOATS = BYTES.astype("float32")
Y = np.random.default_rng(6).integers(0, 3, 14)


def make(device, *first, dtype="float32"):
    first = first or (xpcnn.Rescale(1 / 255),)
    layers = [*first, xpcnn.Conv2d(3, 4, 3), xpcnn.ReLU(), xpcnn.Flatten()]
    made = xpcnn.Model([*layers, xpcnn.Linear(out_features=3)], device=device, seed=0, dtype=dtype)
    made.compile("adam", "cross_entropy", ["accuracy"])
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_train_as_the_same_floats_do(device, dtype):
    by_bytes, by_floats = make(device, dtype=dtype), make(device, dtype=dtype)
    floats = BYTES.astype(dtype)
    options = {"epochs": 2, "batch_size": 4, "verbose": 0}
    expected = by_floats.fit(floats, Y, validation_data=(floats, Y), **options).history
    assert by_bytes.fit(BYTES, Y, validation_data=(BYTES, Y), **options).history == expected
    assert by_bytes.evaluate(BYTES, Y) == by_floats.evaluate(floats, Y)
    for size in (4, 256):
        found = by_bytes.predict(BYTES, batch_size=size)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, by_floats.predict(floats, batch_size=size))
    np.testing.assert_array_equal(_xp.to_numpy(by_bytes(BYTES)), _xp.to_numpy(by_floats(floats)))
    assert by_bytes.train_on_batch(BYTES, Y) == by_floats.train_on_batch(floats, Y)


def test_bytes_that_lie_on_the_device(device):
    there = device.asarray(BYTES)
    expected = make(device).fit(FLOATS, Y, batch_size=4, verbose=0).history
    assert make(device).fit(there, Y, batch_size=4, verbose=0).history == expected


def test_batches_and_samples_of_bytes():
    expected = make("cpu").fit(FLOATS, Y, batch_size=7, shuffle=False, verbose=0).history
    batches = [(BYTES[:7], Y[:7]), (BYTES[7:], Y[7:])]
    assert make("cpu").fit(batches, verbose=0).history == expected
    samples = list(zip(BYTES, Y, strict=True))
    for workers in (0, 1):
        found = make("cpu").fit(samples, batch_size=7, shuffle=False, workers=workers, verbose=0)
        assert found.history == expected


def test_they_stay_bytes_until_their_turn(monkeypatch):
    from xpcnn.training.sources.arrays import Samples

    seen, bring = [], Samples._bring

    def note(self, rows, dtype=None):
        seen.append(rows.dtype.name)
        return bring(self, rows, dtype)

    monkeypatch.setattr(Samples, "_bring", note)
    make("cpu").fit(BYTES, Y, batch_size=7, verbose=0)
    assert seen == ["uint8", "int64"] * 2


def test_without_a_layer_that_scales_they_are_refused():
    made = make("cpu", xpcnn.Identity())
    for call in (
        lambda: made.fit(BYTES, Y),
        lambda: made.evaluate(BYTES, Y),
        lambda: made.predict(BYTES),
        lambda: made.fit([(BYTES, Y)]),
    ):
        with pytest.raises(TypeError, match=r"got uint8; .*begin with xpcnn.Rescale\(1/255\)"):
            call()


def test_one_input_of_two():
    nodes = [
        ("scaled", xpcnn.Rescale(1 / 255), "image"),
        ("flat", xpcnn.Flatten(), "scaled"),
        ("both", xpcnn.operations.Concat(dim=1), ["flat", "more"]),
        ("out", xpcnn.Linear(out_features=3), "both"),
    ]
    made = xpcnn.Model(xpcnn.Graph(["image", "more"], nodes, ["out"]), device="cpu", seed=0)
    made.compile("adam", "cross_entropy")
    more = np.ones((14, 2), np.float32)
    expected = made.predict(FLOATS, more)
    np.testing.assert_array_equal(made.predict(BYTES, more), expected)
    with pytest.raises(TypeError, match=r"predict\['more'\]: expected dtype float32, got uint8"):
        made.predict(BYTES, more.astype("uint8"))
