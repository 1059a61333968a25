"""Small inputs are run again without going through the layers, and come out as if they had."""

from __future__ import annotations

import copy
import gc
import threading

import numpy as np
import pytest

import xpcnn
from xpcnn import kernels
from xpcnn.kernels import dispatch, repeatable
from xpcnn.kernels.dispatch import OpPair

pytestmark = pytest.mark.skipif(
    kernels.why_not_compiled(np) is not None, reason="only compiled kernels can be recorded"
)

L = xpcnn.layers


def small():
    body = [L.Conv2d(1, 30, 5), L.ReLU(), L.MaxPool2d(2), L.Flatten()]
    return [*body, L.Linear(None, 20), L.ReLU(), L.Dropout(0.5), L.Linear(None, 10)]


def residual():
    body = L.Sequential(
        L.Conv2d(24, 24, 3, padding=1, bias=False), L.BatchNorm2d(24), L.ReLU(),
        L.Conv2d(24, 24, 3, padding=1, groups=24), L.BatchNorm2d(24),
    )  # fmt: skip
    stem = [L.Conv2d(1, 24, 3, padding=1), L.BatchNorm2d(24), L.ReLU()]
    return [*stem, L.Residual(body), L.ReLU(), L.GlobalAvgPool2d(), L.Flatten(), L.Linear(24, 10)]


def unfused():
    return [
        L.Conv2d(1, 16, 3, stride=2, dilation=2), L.BatchNorm2d(16), L.AvgPool2d(2),
        L.Conv2d(16, 32, 1), L.MaxPool2d(2), L.Flatten(), L.Linear(None, 10), L.ReLU(),
    ]  # fmt: skip


def activations():
    return [
        L.Conv2d(1, 16, 3), L.Tanh(), L.Conv2d(16, 16, 3), L.PReLU(16), L.Conv2d(16, 16, 3),
        L.GELU(), L.MaxPool2d(4), L.Flatten(), L.Linear(None, 20), L.GLU(), L.Softmax(),
    ]  # fmt: skip


def normalised():
    return [
        L.InstanceNorm2d(1), L.Conv2d(1, 16, 3, stride=2), L.GroupNorm(4, 16), L.ReLU(),
        L.Upsample(scale_factor=2, mode="bilinear"), L.AdaptiveAvgPool2d(5), L.Flatten(),
        L.LayerNorm(400), L.Linear(None, 10),
    ]  # fmt: skip


def narrow():
    return [
        L.Conv2d(1, 6, 5), L.ReLU(), L.AvgPool2d(2), L.Conv2d(6, 5, 3), L.BatchNorm2d(5), L.ReLU(),
        L.MaxPool2d(2), L.Flatten(), L.Linear(None, 10),
    ]  # fmt: skip


def joined():
    nodes = [
        ("squeezed", L.Conv2d(24, 16, 1), "x"),
        ("wide", L.Conv2d(24, 30, 3, padding=1), "x"),
        ("both", xpcnn.operations.Concat(1), ["squeezed", "wide"]),
    ]
    body = L.Graph("x", nodes, "both")
    return [L.Conv2d(1, 24, 3), body, L.GlobalAvgPool2d(), L.Flatten(), L.Linear(46, 10)]


def make(layers, size=28):
    model = xpcnn.Model(layers(), device="cpu", seed=0)
    if not isinstance(model.layers[-1], L.Softmax):
        model.compile("adam", "cross_entropy")
    model.build((1, 1, size, size))
    return model


def images(count, size=28, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 1, 1, size, size), np.float32)


def expected(model, x):
    return model.program.forward(x, training=False)


def record(model, size=28):
    for x in images(repeatable.BEFORE + 1, size):
        model.forward(x)
    return model


@pytest.fixture
def through_layers(monkeypatch):
    """Count how often a plan really runs."""
    counts = []
    forward = xpcnn.graph.Program.forward

    def counted(self, x, *, training):
        counts.append(x.shape)
        return forward(self, x, training=training)

    monkeypatch.setattr(xpcnn.graph.Program, "forward", counted)
    return counts


@pytest.mark.parametrize(
    "layers", [small, residual, unfused, activations, normalised, narrow, joined]
)
def test_runs_after_the_first_bypass_the_layers_and_return_the_same_bits(layers, through_layers):
    model = make(layers)
    results = [model.forward(x) for x in images(repeatable.BEFORE + 1)]
    assert through_layers
    through_layers.clear()
    later = images(6, seed=1)
    results += [model.forward(x) for x in later]
    assert not through_layers
    for x, y in zip([*images(repeatable.BEFORE + 1), *later], results, strict=True):
        np.testing.assert_array_equal(y, expected(model, x))


def test_numbers_that_are_not_finite_take_the_same_way():
    model = record(make(small))
    x = images(1, seed=2)[0]
    x[0, 0, 3, 3], x[0, 0, 20, 20] = np.nan, -np.inf
    np.testing.assert_array_equal(model.forward(x), expected(model, x))
    x = images(1, seed=3)[0]
    np.testing.assert_array_equal(model.forward(x), expected(model, x))


def test_inputs_in_any_memory_order_are_read_and_left_alone():
    model = record(make(small))
    wide = np.random.default_rng(4).standard_normal((1, 1, 56, 56)).astype(np.float32)
    for x in (wide[:, :, ::2, ::2], wide[:, :, 28:, :28].swapaxes(2, 3)):
        before = x.copy()
        np.testing.assert_array_equal(model.forward(x), expected(model, np.ascontiguousarray(x)))
        np.testing.assert_array_equal(x, before)


def test_results_are_arrays_of_their_own():
    model = record(make(small))
    first, second = images(2, seed=5)
    y = model.forward(first)
    kept = y.copy()
    model.forward(second)
    np.testing.assert_array_equal(y, kept)
    y[...] = 0
    np.testing.assert_array_equal(model.forward(first), kept)


def write(model):
    model.parameters()["0.weight"].data[...] *= 2


def write_to_lent(model):
    lent = model.state_dict()["0.weight"]
    record(model)
    lent *= 2


def train(model):
    model.train_on_batch(images(2)[:, 0], np.array([1, 2]))


def load(model):
    model.load_state_dict({n: a * 2 for n, a in model.state_dict().items()}, strict=False)


def renew(model):
    parameter = model.parameters()["0.bias"]
    parameter.renew(parameter.value + 1)


def stride(model):
    model.layers[0].stride = (2, 2)
    model.layers[0].padding = (12, 12)


def replace_method(model):
    layer, forward = model.layers[-1], model.layers[-1].forward
    layer.forward = lambda x, training=False: 3 * forward(x, training=training)


def exact(model):
    xpcnn.set_precision("exact")


CHANGES = [write, write_to_lent, train, load, renew, replace_method, exact]


@pytest.mark.parametrize("layers", [small, residual])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_network_counts_at_once(layers, change):
    model, x = record(make(layers)), images(1, seed=6)[0]
    before = model.forward(x)
    try:
        change(model)
        for _ in range(repeatable.BEFORE + 3):
            np.testing.assert_array_equal(model.forward(x), expected(model, x))
        if change is not exact:
            assert np.any(before != model.forward(x))
    finally:
        xpcnn.set_precision("fast")


def test_running_statistics_count_too():
    model, x = record(make(residual)), images(1, seed=6)[0]
    before = model.forward(x)
    model.program.forward(images(4)[:, 0] * 3, training=True)
    after = model.forward(x)
    np.testing.assert_array_equal(after, expected(model, x))
    assert np.any(before != after)


def test_a_replaced_method_keeps_being_called():
    model, calls = make(small), []
    layer, forward = model.layers[-1], model.layers[-1].forward
    layer.forward = lambda x, training=False: calls.append(1) or forward(x, training=training)
    for x in images(6):
        model.forward(x)
    assert len(calls) == 6


def test_settings_count_at_once(through_layers):
    model, x = record(make(small)), images(1, seed=7)[0]
    through_layers.clear()
    with kernels.force("generic"), kernels.trace() as decisions:
        model.forward(x)
    assert all(decision.kernel_set != "cpu" for decision in decisions)
    with kernels.force("generic"):
        model.forward(x)
    assert len(through_layers) == 2
    record(model)
    with kernels.trace() as decisions:
        model.forward(x)
    assert any(decision.op == "linear" for decision in decisions)
    threads = xpcnn.get_num_threads()
    try:
        xpcnn.set_num_threads(1)
        through_layers.clear()
        y = model.forward(x)
        assert bool(through_layers) == (threads != 1)
        np.testing.assert_array_equal(y, expected(model, x))
    finally:
        xpcnn.set_num_threads(None)


class Doubled(L.Layer):
    """A layer of a user, which calls NumPy and may do anything."""

    calls = 0

    def _forward(self, xp, x, training):
        type(self).calls += 1
        return 2 * x, None


def own_layer():
    return [L.Conv2d(1, 16, 3), L.ReLU(), Doubled(), L.Flatten(), L.Linear(None, 10)]


def numpy_inside():
    return [L.Conv2d(1, 16, 3), L.LocalResponseNorm(3, beta=0.5), L.Flatten(), L.Linear(None, 10)]


def numpy_at_the_end():
    return [L.Conv2d(1, 16, 3), L.BatchNorm2d(16), L.LocalResponseNorm(3, beta=0.5)]


def numpy_in_a_kernel():
    return [L.Conv2d(1, 16, 3), L.Softsign(), L.Flatten(), L.Linear(None, 10)]


@pytest.fixture
def softsign_by_numpy(monkeypatch):
    """Have a compiled kernel that does something besides launching: NumPy computes."""
    own = (("cpu", OpPair(lambda xp, x: (x / (1 + abs(x)), None), lambda *_: None)),)
    real = dispatch._candidates
    monkeypatch.setattr(
        dispatch, "_candidates", lambda op, *rest: own if op == "softsign" else real(op, *rest)
    )


@pytest.mark.parametrize("layers", [own_layer, numpy_inside, numpy_at_the_end, numpy_in_a_kernel])
def test_networks_that_need_more_than_compiled_kernels_always_run(
    layers, through_layers, softsign_by_numpy
):
    model = make(layers, 12)
    record(model, 12)
    through_layers.clear()
    Doubled.calls = 0
    for x in images(4, 12, seed=8):
        np.testing.assert_array_equal(model.forward(x), expected(model, x))
    assert len(through_layers) >= 8
    assert Doubled.calls == (8 if layers is own_layer else 0)


def test_a_recording_is_never_tried_on_the_numbers_it_was_made_with(through_layers):
    model = make(lambda: [L.Conv2d(1, 16, 3), xpcnn.operations.Sin(), L.Flatten()], 12)
    same = np.random.default_rng(0).standard_normal((1, 1, 12, 12), np.float32)
    for _ in range(repeatable.BEFORE + 1):
        model.forward(same)
    for x in images(3, 12, seed=8):
        np.testing.assert_array_equal(model.forward(x), expected(model, x))


def test_large_inputs_always_run(through_layers):
    model = make(small)
    many = np.zeros((repeatable.LARGEST // (4 * 28 * 28) + 1, 1, 28, 28), np.float32)
    for _ in range(5):
        model.forward(many)
    assert len(through_layers) == 5


def test_the_shape_of_the_last_runs_is_the_recorded_one(through_layers):
    model = record(make(residual))
    for _ in range(2):
        for size in (28, 20):
            x = images(1, size)[0]
            np.testing.assert_array_equal(model.forward(x), expected(model, x))
    record(model, 20)
    through_layers.clear()
    model.forward(images(1, 20)[0])
    assert not through_layers


def test_copies_have_memory_of_their_own(through_layers):
    model, x = record(make(small)), images(1, seed=9)[0]
    y = model.forward(x)
    other = copy.deepcopy(model)
    del model
    gc.collect()
    kept = [np.full(100_000, np.nan, np.float32) for _ in range(20)]
    for _ in range(repeatable.BEFORE + 3):
        np.testing.assert_array_equal(other.forward(x), y)
    through_layers.clear()
    other.forward(x)
    assert not through_layers
    write(other)
    assert np.any(other.forward(x) != y)
    del kept


def test_errors_are_those_of_the_layers():
    model = record(make(residual))
    for _ in range(repeatable.BEFORE + 2):
        with pytest.raises(ValueError, match="channels"):
            model.forward(np.zeros((1, 2, 28, 28), np.float32))
    x = images(1)[0]
    np.testing.assert_array_equal(model.forward(x), expected(model, x))


def test_threads_do_not_disturb_each_other():
    model = record(make(small))
    sizes = {0: 28, 1: 28, 2: 28}
    inputs = {i: images(30, size, seed=10 + i) for i, size in sizes.items()}
    right = {i: [expected(model, x) for x in row] for i, row in inputs.items()}
    wrong = []

    def work(i):
        for _ in range(5):
            for x, y in zip(inputs[i], right[i], strict=True):
                if not np.array_equal(model.forward(x), y):
                    wrong.append(i)

    running = [threading.Thread(target=work, args=(i,)) for i in sizes]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong
