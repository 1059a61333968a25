"""Arrays in files: each batch reads its rows, and the numbers are those of arrays in memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import xpcnn
from xpcnn.training.sources import kinds, lazy
from xpcnn.training.sources.lazy import Rows

RNG = np.random.default_rng(13)
X = RNG.random((40, 1, 6, 6), dtype="float32")
Y = RNG.integers(0, 3, 40)


class Slices:
    """What can be sliced, and nothing else: indices in decreasing order are refused."""

    def __init__(self, array, chunks=None):
        self.array, self.chunks, self.read = array, chunks, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index):
        assert isinstance(index, slice)
        assert index.step is None
        assert 0 <= index.start < index.stop <= len(self.array)
        self.read.append((index.start, index.stop))
        return self.array[index].copy()


def stored_by(library, array, folder, **options):
    """Return an array in a file, by the library that reads it."""
    if library == "memmap":
        np.save(folder / "x.npy", array)
        return np.load(folder / "x.npy", mmap_mode="r")
    if library == "slices":
        return Slices(array)
    module = pytest.importorskip(library)
    if library == "h5py":
        file = module.File(folder / "x.h5", "w")
        chunks = (min(7, len(array)), *array.shape[1:]) if len(array) else None
        return file.create_dataset("x", data=array, chunks=chunks)
    made = module.create_array(
        store=str(folder / "x.zarr"), shape=array.shape, dtype=array.dtype,
        chunks=(min(7, len(array)) or 1, *array.shape[1:]),
    )  # fmt: skip
    made[:] = array
    return made


@pytest.fixture(params=["memmap", "h5py", "zarr", "slices"])
def stored(request, tmp_path):
    made = []

    def store(array, name="data"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(stored_by(request.param, array, folder))
        return made[-1]

    yield store
    for each in made:
        if hasattr(each, "file"):
            each.file.close()


def make(device="cpu"):
    layers = [xpcnn.Conv2d(1, 3, 3), xpcnn.BatchNorm2d(3), xpcnn.ReLU(), xpcnn.Flatten()]
    made = xpcnn.Model([*layers, xpcnn.Linear(out_features=3)], device=device, seed=0)
    made.compile("adam", "cross_entropy", ["accuracy"])
    return made


@pytest.mark.parametrize("spelling", ["cpu", "strict", "torch:cpu"])
def test_the_history_is_that_of_arrays_bit_for_bit(stored, spelling):
    try:
        device = xpcnn.device.resolve(spelling)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    x = stored(X)
    by_arrays, by_files = make(device), make(device)
    options = {"epochs": 2, "batch_size": 9, "verbose": 0, "validation_split": 0.3}
    expected = by_arrays.fit(X, Y, **options, class_weight={0: 1, 1: 2, 2: 3})
    found = by_files.fit(x, Y, **options, class_weight={0: 1, 1: 2, 2: 3})
    assert found.history == expected.history
    assert by_files.evaluate(x, Y, batch_size=9) == by_arrays.evaluate(X, Y, batch_size=9)
    np.testing.assert_array_equal(
        by_files.predict(x, batch_size=9), by_arrays.predict(X, batch_size=9)
    )


def test_labels_may_lie_in_a_file_too(stored, monkeypatch):
    x, y = stored(X), stored(X * 2, "labels")
    weights = RNG.random(40)

    def train(*data):
        made = xpcnn.Model([xpcnn.Conv2d(1, 1, 3, padding=1)], device="cpu", seed=0)
        made.compile("adam", "mse")
        options = {"batch_size": 9, "sample_weight": weights, "verbose": 0}
        return made.fit(*data, epochs=2, validation_split=0.2, **options).history

    expected = train(X, X * 2)
    assert train(x, y) == expected
    monkeypatch.setattr(lazy, "SMALL", 100)  # as if they took much memory
    assert train(x, y) == expected
    assert train(X, y) == expected


def test_rows_come_as_they_are_asked_for(stored):
    rows = Rows(stored(X))
    for wanted in ([3], [0, 1, 2], [39, 0, 17, 16, 18], [5, 4, 3], list(range(40))[::-1]):
        np.testing.assert_array_equal(rows.take(np.array(wanted)), X[wanted])
    some = rows[slice(10, 30), ...]
    assert some.shape == (20, 1, 6, 6)
    np.testing.assert_array_equal(some.take(np.array([19, 0, 4])), X[[29, 10, 14]])


def test_neighbours_and_rows_of_one_chunk_are_read_together():
    x = Slices(X)
    Rows(x).take(np.array([7, 3, 4, 5, 20]))
    assert x.read == [(3, 6), (7, 8), (20, 21)]
    x = Slices(X, chunks=(10, 1, 6, 6))
    Rows(x).take(np.array([19, 3, 7, 12, 35]))
    assert x.read == [(3, 8), (12, 20), (35, 36)]


def test_a_chunk_read_with_gaps_is_not_taken_for_the_batch():
    """Rows 0 and 2 of a chunk span as many rows as the batch has, but one lies elsewhere."""
    for wanted in ([0, 2, 9], [0, 3, 25, 38], [1, 2, 4, 39]):
        rows = Rows(Slices(X, chunks=(7, 1, 6, 6)))
        np.testing.assert_array_equal(rows.take(np.array(wanted)), X[wanted])


def test_chunks_that_take_much_memory_are_not_read_as_a_whole(monkeypatch):
    monkeypatch.setattr(lazy, "SMALL", 4 * X[0].nbytes)
    x = Slices(X, chunks=(40, 1, 6, 6))
    Rows(x).take(np.array([1, 3, 30, 31, 32, 33, 34, 35]))
    assert x.read == [(1, 4), (30, 36)]


def test_what_is_mapped_is_known_by_its_memory(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for array in (mapped, np.asarray(mapped)[3:], mapped.reshape(40, 36)):
        assert kinds.is_lazy(array)
    for array in (X, X[2:], np.array(mapped), [1.0], "text", None):
        assert not kinds.is_lazy(array)


def test_what_was_changed_in_memory_alone_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "SMALL", 1)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped[5] = 9.0
    rows = Rows(mapped)
    for _ in range(3):
        assert (rows.take(np.array([5, 6]))[0] == 9.0).all()


def test_tables_in_memory_are_arrays():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([0.5, 1.5, 2.5, 3.5], index=[7, 5, 3, 1], dtype="float32")
    assert not kinds.is_lazy(series)
    made = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    frame = series.to_frame()
    np.testing.assert_array_equal(made.predict(frame), made.predict(frame.to_numpy()))


@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict"])
def test_an_error_names_the_sample_that_is_not_finite(stored, verb):
    x = X.copy()
    x[33, 0, 4, 5] = np.inf
    labels = {} if verb == "predict" else {"y": Y}
    with pytest.raises(ValueError, match=r"1 of .*first in sample 33, at index \(0, 4, 5\) of it"):
        getattr(make(), verb)(stored(x), **labels, batch_size=4)


def test_what_is_wrong_is_an_error_before_the_first_step(stored):
    x = stored(X)
    for given, error, message in (
        ((stored(X.astype("float64"), "wide"), Y), TypeError, "x: expected dtype float32"),
        ((x, Y[:5]), ValueError, "one label for each of the 40 samples"),
        ((x, Y + 5), ValueError, "label"),
        ((stored(X[:0], "nothing"), Y[:0]), ValueError, "empty array of shape"),
        ((stored(X[:, 0], "flat"), Y), ValueError, "expected 4 dimensions"),
        ((x,), ValueError, "y is missing"),
    ):
        made = make()
        with pytest.raises(error, match=message):
            made.fit(*given, verbose=0)
        assert made.step == 0
        assert made.input_shape is None
    for option, message in (
        ({"steps_per_epoch": 3}, "steps_per_epoch=3, but 40 samples in batches of 32 make 2;"),
        ({"workers": 2}, "workers are for data sets"),
    ):
        with pytest.raises(ValueError, match=message):
            make().fit(x, Y, verbose=0, **option)


def test_bytes_in_files(stored):
    x = (X * 255).astype("uint8")
    made = [
        xpcnn.Model([xpcnn.Rescale(1 / 255), xpcnn.Flatten(), xpcnn.Linear(36, 3)], seed=0)
        for _ in range(2)
    ]
    histories = []
    for model, data in zip(made, (stored(x), x.astype("float32")), strict=True):
        model.compile("adam", "cross_entropy")
        histories.append(model.fit(data, Y, epochs=2, batch_size=9, verbose=0).history)
    assert histories[0] == histories[1]


def test_a_file_and_an_array_are_two_inputs(stored):
    nodes = [
        ("flat", xpcnn.Flatten(), "a"),
        ("both", xpcnn.operations.Concat(dim=1), ["flat", "b"]),
        ("out", xpcnn.Linear(39, 3), "both"),
    ]
    b = RNG.random((40, 3), dtype="float32")
    made = xpcnn.Model(xpcnn.Graph(["a", "b"], nodes, ["out"]), device="cpu", seed=0)
    made.compile("adam", "cross_entropy")
    expected = made.evaluate((X, b), Y)
    assert made.evaluate((stored(X), b), Y) == expected
    with pytest.raises(ValueError, match="the inputs differ in the number of samples"):
        made.evaluate({"a": stored(X, "again"), "b": b[:7]}, Y)


def test_looking_for_what_is_not_finite_takes_no_mask_of_all():
    """One that is as large as the data would be a quarter of 512 MB here."""
    import tracemalloc

    from xpcnn.training.data_adapter import check_finite

    x = np.lib.stride_tricks.as_strided(np.ones(1, np.float32), (1000, 128, 1024), (0, 0, 0))
    tracemalloc.start()
    try:
        check_finite(x, "x")
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


LIMITED = """
import resource, sys
import numpy as np
limit = 700 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
import xpcnn
kind, path = sys.argv[1:]
shape = (10_500, 1, 224, 224)
if kind == "memmap":
    x = np.memmap(path, np.float32, "w+", shape=shape)
else:
    import h5py
    x = h5py.File(path, "w").create_dataset("x", shape, "float32", chunks=(16, 1, 224, 224))
y = np.arange(len(x)) % 3
assert np.prod(shape) * 4 > 2e9
layers = [xpcnn.AvgPool2d(16), xpcnn.Flatten(), xpcnn.Linear(196, 3)]
model = xpcnn.Model(layers, device="cpu", seed=0)
model.compile("adam", "cross_entropy")
model.fit(x, y, batch_size=64, verbose=0)
assert model.predict(x, batch_size=64).shape == (10_500, 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memmap", "h5py"])
def test_two_gigabytes_in_a_process_that_may_have_700_megabytes(kind, tmp_path):
    """The files have holes where nothing was written, so that they take no room on the disk."""
    pytest.importorskip("resource")
    if kind == "h5py":
        pytest.importorskip(kind)
    command = [sys.executable, "-c", LIMITED, kind, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 700
