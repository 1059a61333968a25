"""The same samples in the same order give the same history, whatever they come from."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn.data import batches

RNG = np.random.default_rng(17)
X = RNG.random((37, 2, 6, 6), dtype="float32")
Y = RNG.integers(0, 3, 37)
EPOCHS = 3


def make():
    layers = [xpcnn.Conv2d(2, 4, 3), xpcnn.BatchNorm2d(4), xpcnn.ReLU(), xpcnn.Dropout(0.2)]
    layers += [xpcnn.Flatten(), xpcnn.Linear(out_features=3)]
    made = xpcnn.Model(layers, device="cpu", seed=5)
    made.compile("adam", "cross_entropy", ["accuracy"])
    return made


def orders():
    """Yield the batches of each epoch in the order of arrays, which follows from the seed."""
    for epoch in range(EPOCHS):
        yield from batches(len(X), 8, seed=5, epoch=epoch)


def generator():
    return ((X[rows], Y[rows]) for rows in orders())


def loader():
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    return data.DataLoader(
        data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        batch_sampler=[rows.tolist() for rows in orders()],
    )


class Samples:
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], Y[i]


def train(x, y=None, **options):
    made = make()
    history = made.fit(x, y, epochs=EPOCHS, validation_data=(X, Y), verbose=0, **options).history
    return history, [np.asarray(a) for a in made.state_dict().values()]


@pytest.mark.parametrize(
    "source", ["generator", "loader", "h5py", "memmap", "data set", "data set, 2 workers"]
)
def test_bit_for_bit(source, tmp_path):
    expected, arrays = train(X, Y, batch_size=8)
    if source in ("generator", "loader"):
        x = generator() if source == "generator" else loader()
        found, others = train(x, steps_per_epoch=5)
    elif source == "h5py":
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "data.h5", "w") as file:
            x, y = file.create_dataset("x", data=X, chunks=True), file.create_dataset("y", data=Y)
            found, others = train(x, y, batch_size=8)
    elif source == "memmap":
        np.save(tmp_path / "x.npy", X)
        found, others = train(np.load(tmp_path / "x.npy", mmap_mode="r"), Y, batch_size=8)
    else:
        found, others = train(Samples(), batch_size=8, workers=2 if "2" in source else 0)
    assert found == expected
    assert len(expected["val_loss"]) == EPOCHS
    for one, other in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_batch_of_which_nothing_counts_is_one_like_any_other():
    """In arrays nobody minds it, so in batches and samples it is no error either."""
    labels = np.where(np.arange(37) < 9, -100, Y)
    ready = [(X[start : start + 8], labels[start : start + 8]) for start in range(0, 37, 8)]
    samples = list(zip(X, labels, strict=True))
    options = {"epochs": 2, "verbose": 0}
    by_arrays = make().fit(X, labels, batch_size=8, shuffle=False, **options).history
    assert make().fit(ready, **options).history == by_arrays
    assert make().fit(samples, batch_size=8, shuffle=False, **options).history == by_arrays
    assert np.isfinite(by_arrays["loss"]).all()
    mine = make()
    for x, y in ready:
        mine.train_step(x, y)
    theirs = make()
    theirs.fit(ready, verbose=0)
    for one, other in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="all 37 labels are -100, the ignore_index"):
        make().fit(X, np.full(37, -100), **options)


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_an_epoch_of_some_steps_is_the_first_batches_of_its_order(workers):
    expected = make()
    for epoch in range(EPOCHS):
        for rows in list(batches(len(X), 8, seed=5, epoch=epoch))[:3]:
            expected.train_step(X[rows], Y[rows])
        expected.end_epoch()
    found = make()
    options = {"epochs": EPOCHS, "batch_size": 8, "steps_per_epoch": 3, "verbose": 0}
    if workers is None:
        found.fit(X, Y, **options)
    else:
        found.fit(Samples(), workers=workers, **options)
    assert found.step == 3 * EPOCHS
    for name, array in expected.state_dict().items():
        np.testing.assert_array_equal(found.state_dict()[name], array)


def test_some_steps_of_evaluation_and_prediction():
    made = make()
    made.fit(X, Y, verbose=0)
    expected = made.evaluate(X[:16], Y[:16])
    for given in ((X, Y), (Samples(),)):
        assert made.evaluate(*given, batch_size=8, steps=2) == pytest.approx(expected, rel=1e-6)
        found = made.predict(given[0], batch_size=8, steps=2)
        np.testing.assert_allclose(found, made.predict(X[:16]), rtol=1e-5, atol=1e-6)
    assert len(made.predict(X[:4], batch_size=2, steps=1)) == 2
    for _ in range(5):
        made.predict(X[:4])  # recorded by the end
    with pytest.raises(
        ValueError, match="predict: steps=2, but 4 samples in batches of 256 make 1"
    ):
        made.predict(X[:4], steps=2)
    with pytest.raises(ValueError, match="predict: workers are for data sets"):
        made.predict(X[:4], workers=2)
    with pytest.raises(ValueError, match="predict: steps=3, but 4 samples in batches of 2 make 2"):
        made.predict(X[:4], batch_size=2, steps=3)
    logs = made.fit(X, Y, batch_size=8, validation_data=(X, Y), validation_steps=2, verbose=0)
    assert logs.history["val_loss"][-1] == made.evaluate(X, Y, batch_size=8, steps=2)["loss"]
