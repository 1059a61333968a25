"""What a training step takes, said beforehand and kept below a limit."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp, kernels, optim
from xpcnn.training.memory import as_bytes

SHAPE = (32, 3, 32, 32)
SETS = ("generic", None)


def block(width):
    body = [xpcnn.Conv2d(width, width, 3, padding=1, bias=False), xpcnn.BatchNorm2d(width)]
    body += [xpcnn.ReLU(), xpcnn.Dropout(0.2), xpcnn.Conv2d(width, width, 3, padding=1)]
    return [xpcnn.Residual(xpcnn.Sequential(*body)), xpcnn.ReLU()]


def make(seed=0, device="cpu", **options):
    layers = [xpcnn.Conv2d(3, 12, 3, padding=1), xpcnn.BatchNorm2d(12), xpcnn.ReLU()]
    layers += [*block(12), *block(12), *block(12), xpcnn.MaxPool2d(2)]
    layers += [xpcnn.GlobalAvgPool2d(), xpcnn.Linear(12, 4)]
    model = xpcnn.Model(layers, device=device, seed=seed, **options)
    model.build((None, *SHAPE[1:]))
    model.compile("adam", "cross_entropy")
    return model


def data(steps=2):
    rng = np.random.default_rng(0)
    shape = (steps * SHAPE[0], *SHAPE[1:])
    return rng.standard_normal(shape, "float32"), rng.integers(0, 4, shape[0])


def measured(model, batch_size=SHAPE[0], **options):
    """Return the most memory of arrays while a model is trained, with what it had before."""
    x, y = (array[: 2 * batch_size] for array in data())  # no more: it is looked at before
    own = sum(tensor.value.nbytes for tensor in model.tensors)
    gc.collect()
    tracemalloc.start()
    try:
        model.fit(x, y, batch_size=batch_size, verbose=0, **options)
        return own + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(params=SETS)
def kernel_set(request):
    """Run on the generic kernels, and on those that are installed, which are compiled before."""
    with kernels.force(request.param):
        model, (x, y) = make(), data(1)
        model.train_on_batch(x, y)
        yield request.param


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (1000, 1000),
        (np.int64(7), 7),
        ("500MB", 500_000_000),
        (" 1.5 gib ", 3 * 2**29),
        ("64KiB", 65536),
        ("3 kB", 3000),
        ("12B", 12),
    ],
)
def test_numbers_of_bytes(given, wanted):
    assert as_bytes(given, "fit") == wanted


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("500", ValueError, "a number with a unit, such as '500MB'"),
        ("-1MB", ValueError, "a number with a unit"),
        ("1 iB", ValueError, "a number with a unit"),
        ("MB", ValueError, "a number with a unit"),
        (0, ValueError, "more than nothing"),
        ("0GB", ValueError, "more than nothing"),
        (-5, ValueError, "more than nothing"),
        (True, TypeError, "a number of bytes, or text"),
        (1e9, TypeError, "a number of bytes, or text"),
    ],
)
def test_wrong_numbers_of_bytes(given, error, message):
    model, (x, y) = make(), data()
    with pytest.raises(error, match=f"fit: memory must be {message}"):
        model.fit(x, y, memory=given, verbose=0)
    assert model.step == 0


def test_the_storage_of_views(device):
    x = device.zeros((4, 6), "float32")
    key, size = _xp.storage(x)
    assert size >= 96
    other = device.zeros((4, 6), "float32")
    assert _xp.storage(other)[0] != key
    if _xp.library(device.xp) in ("numpy", "torch"):
        view = device.xp.permute_dims(x[1:, ...], (1, 0))
        assert _xp.storage(view) == (key, size)


@pytest.mark.parametrize(
    ("optimizer", "count"),
    [
        (optim.SGD(), 0),
        (optim.SGD(momentum=0.9), 1),
        (optim.Adam(), 2),
        (optim.Adam(amsgrad=True), 3),
        (optim.RMSprop(), 1),
    ],
)
def test_slots(optimizer, count):
    assert optimizer.count_slots() == count
    assert optimizer.state_dict() == {"iterations": 0}


def test_what_is_said_of_a_linear_layer():
    """All by hand: weights of 10 x 1000, and 10 more."""
    model = xpcnn.Model([xpcnn.Linear(1000, 10)], device="cpu", seed=0)
    model.build((None, 1000))
    model.compile("adam", "cross_entropy")
    use = model.memory(batch_size=100)
    size = 4 * 10_010
    assert (use.parameters, use.gradients, use.optimizer) == (size, size, 2 * size)
    assert use.kept == 2 * 3 * size
    assert use.batch == 4 * 100 * 1000
    assert use.layers == (("Linear '0'", 0),)  # the input, which is the batch, and the weights
    # what is there before, after, and at the start of the epoch
    assert use.update >= 3 * 3 * size + size + use.batch
    assert use.total == max(use.forward, use.backward, use.update)


def test_what_steps_keep():
    """A hyperbolic tangent keeps its output, and dropout a mask; ReLU what the next layer keeps."""
    layers = [xpcnn.Tanh(), xpcnn.Dropout(0.5), xpcnn.ReLU(), xpcnn.Linear(1000, 10)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.build((None, 1000))
    model.compile("sgd", "cross_entropy")
    with kernels.force("generic"):
        use = model.memory(batch_size=50)
    size = 4 * 50 * 1000
    assert [name for name, _ in use.layers] == [
        "Tanh '0'", "Dropout '1'", "ReLU '2'", "Linear '3'"
    ]  # fmt: skip
    assert [kept for _, kept in use.layers] == [size, size // 4, size, size]
    # ReLU and Linear keep the same array, which counts once; and there are two batches of inputs,
    # three times the weights, and for a moment two arrays more
    least = 3.25 * size + 2 * size + 3 * 40_040
    assert least <= use.forward < least + 2.1 * size
    assert use.optimizer == 0
    text = str(use)
    assert "Tanh '0'" in text
    assert "200.0 kB" in text


def test_the_model_stays_as_it_is(device):
    model = make(device=device)
    x = device.asarray(data(1)[0])
    model.forward(x, training=True)
    before = {name: np.array(_xp.to_numpy(a)) for name, a in model.state_dict().items()}
    counts = model.forwards, [layer.step for layer in model.random_layers]
    model.memory(8)
    assert (model.forwards, [layer.step for layer in model.random_layers]) == counts
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(_xp.to_numpy(value), before[name])
    with pytest.raises(RuntimeError, match="needs a forward"):
        model.backward(device.zeros((32, 4), "float32"))


def test_gradients_stay():
    model = make()
    model.backward(model.forward(data(1)[0], training=True))
    before = [p.grad for p in model.parameters().values()]
    model.memory(4)
    assert all(p.grad is g for p, g in zip(model.parameters().values(), before, strict=True))


class Own(xpcnn.layers.Layer):
    """Somebody's own layer, which keeps its input in a place of its own, and counts."""

    def __init__(self):
        self._x, self._runs = None, 0

    def forward(self, x, *, training=False):
        self._x = x + 0.0
        self._runs += training
        return 2.0 * x

    def backward(self, dy, *, need_dx=True):
        return 2.0 * dy


def test_layers_of_others_are_counted_and_do_not_run_again():
    own = Own()
    tanhs = [xpcnn.Tanh() for _ in range(6)]
    layers = [*tanhs[:3], own, *tanhs[3:], xpcnn.Linear(20_000, 2)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.build((None, 20_000))
    model.compile("sgd", "cross_entropy")
    use = model.memory(50)
    assert dict(use.layers)["Own '3'"] == 4 * 50 * 20_000
    x, y = np.ones((50, 20_000), "float32"), np.arange(50) % 2
    runs = own._runs
    seen = []
    model.fit(x, y, batch_size=50, memory=int(0.85 * use.total), verbose=0, callbacks=[Seen(seen)])
    assert seen
    assert all(not start <= 3 < stop for start, stop in seen[0])
    assert own._runs == runs + 2  # the look at some samples, and the step


class Seen(xpcnn.Callback):
    """Notes the segments of each step."""

    def __init__(self, found):
        self.found = found

    def on_batch_end(self, batch, logs):
        self.found.append(self.model.segments)


def test_several_inputs_and_indices(device):
    graph = xpcnn.Graph(
        ["words", "x"],
        [
            ("vectors", xpcnn.Embedding(10, 4), "words"),
            ("flat", xpcnn.Flatten(), "vectors"),
            ("both", xpcnn.operations.Concat(1), ["flat", "x"]),
            ("y", xpcnn.Linear(out_features=2), "both"),
        ],
        "y",
    )
    model = xpcnn.Model(graph, device=device, seed=0)
    model.build([(None, 3), (None, 5)])
    model.compile("adam", "cross_entropy")
    use = model.memory(10)
    itemsize = 4 if device.name[:6] != "strict" else 8  # which does not tell
    assert use.batch == 10 * (3 * 8 + 5 * itemsize)
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 10, (20, 3)), rng.standard_normal((20, 5)).astype("float32"))
    model.fit(x, np.arange(20) % 2, batch_size=10, memory=use.total, verbose=0)
    assert model.step == 2


def test_what_is_missing():
    with pytest.raises(RuntimeError, match="not built yet"):
        xpcnn.Model([xpcnn.Linear(out_features=1)], device="cpu").memory()
    model = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu")
    model.build((None, 2))
    with pytest.raises(RuntimeError, match="not compiled yet"):
        model.memory()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="batch_size"):
        model.memory(0)


def test_what_is_said_is_what_is_measured(kernel_set):
    model = make()
    said = model.memory(SHAPE[0]).total
    peak = measured(model, memory=said)
    assert 0.6 * said < peak <= said


@pytest.mark.parametrize("share", [0.9, 0.65])
def test_fit_stays_below_a_limit(share, kernel_set):
    free, held = make(), make()
    limit = int(share * held.memory(SHAPE[0]).total)
    x, y = data()
    # other chunks would add up gradients in another order
    with kernels.workspace.limited(2**20, limit):
        free.fit(x, y, batch_size=SHAPE[0], verbose=0)
        assert measured(held, memory=limit) <= limit
    for name, value in free.state_dict().items():
        np.testing.assert_array_equal(held.state_dict()[name], value)


def test_segments_are_for_one_fit(kernel_set):
    seen = []
    look = Seen(seen)
    model, (x, y) = make(), data()
    limit, before = int(0.65 * model.memory(SHAPE[0]).total), xpcnn.get_workspace_limit()
    model.fit(x, y, batch_size=SHAPE[0], memory=limit, verbose=0, callbacks=[look])
    assert len(seen) == 2
    assert all(seen)
    assert model.segments == ()
    assert kernels.workspace.idle_limit() is None
    assert xpcnn.get_workspace_limit() == before
    seen.clear()
    model.fit(x, y, batch_size=SHAPE[0], verbose=0, callbacks=[look])
    assert seen == [(), ()]


def test_too_little(kernel_set):
    model, (x, y) = make(), data()
    limit = int(0.2 * model.memory(SHAPE[0]).total)
    before = xpcnn.get_workspace_limit()
    with pytest.raises(ValueError, match="is not enough: a step with batch_size=32 needs") as error:
        model.fit(x, y, batch_size=SHAPE[0], memory=limit, verbose=0)
    assert model.step == model.epoch == model.forwards == 0
    assert xpcnn.get_workspace_limit() == before
    size = int(str(error.value).split("; with batch_size=")[1].split()[0])
    assert 1 <= size < 32
    assert measured(model, size, memory=limit) <= limit
    with pytest.raises(ValueError, match=f"with batch_size={size} it is"):
        model.fit(x, y, batch_size=size + 1, memory=limit, verbose=0)


def test_much_too_little():
    model, (x, y) = make(), data()
    with pytest.raises(ValueError, match="and with batch_size=1 .*Allow more, or take"):
        model.fit(x, y, memory="10 kB", verbose=0)


def test_captured_steps_are_not_limited():
    model, (x, y) = make(), data()
    with pytest.raises(ValueError, match="leave out capture or memory"):
        model.fit(x, y, memory="1GB", capture=True, verbose=0)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_limit_in_mixed_precision(precision):
    pytest.importorskip("torch")
    x, y = data()
    results = []
    for share in (None, 0.65):
        model = make(device="torch:cpu", precision=precision)
        limit = None if share is None else int(share * model.memory(SHAPE[0]).total)
        model.fit(x[:32], y[:32], batch_size=SHAPE[0], memory=limit, verbose=0)
        results.append({n: _xp.to_numpy(a) for n, a in model.state_dict().items()})
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value)
