"""Predictions that are recorded ahead, for several shapes at a time."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from xpcnn import kernels
from xpcnn.kernels import repeatable

needs_compiled_kernels()

L = xpcnn.layers


def network():
    body = L.Sequential(L.Conv2d(16, 16, 3, padding=1), L.BatchNorm2d(16), L.SiLU())
    stem = [L.Conv2d(3, 16, 3, padding=1), L.BatchNorm2d(16), L.ReLU(), L.Residual(body)]
    return [*stem, L.GlobalAvgPool2d(), L.Flatten(), L.Linear(16, 5)]


def make(layers=None, **settings):
    return xpcnn.Model(layers or network(), device="cpu", seed=0, **settings)


def draw(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.fixture
def through_layers(monkeypatch):
    """Count how often a program really runs."""
    counts = []
    forward = xpcnn.graph.Program.forward

    def counted(self, x, *, training):
        counts.append(x.shape)
        return forward(self, x, training=training)

    monkeypatch.setattr(xpcnn.graph.Program, "forward", counted)
    return counts


def test_the_first_prediction_bypasses_the_layers(through_layers):
    model, x = make(), draw((2, 3, 12, 12))
    found = model.compile_for((2, 3, 12, 12))
    assert found
    assert found.input_shape == (2, 3, 12, 12)
    assert found.reasons == ()
    assert found.memory >= 4 * 2 * 16 * 12 * 12  # at least the output of a convolution
    assert "recorded" in str(found)
    through_layers.clear()
    y = model.predict(x)
    assert not through_layers
    np.testing.assert_array_equal(y, model.program.forward(x, training=False))


def test_asking_again_records_nothing_anew(through_layers):
    model = make()
    first = model.compile_for((1, 3, 12, 12))
    through_layers.clear()
    assert model.compile_for((1, 3, 12, 12)) == first
    assert not through_layers


def test_inputs_of_any_size(monkeypatch, through_layers):
    monkeypatch.setattr(repeatable, "LARGEST", 1000)
    model, x = make(), draw((1, 3, 30, 30))
    for _ in range(5):
        model.predict(x)
    assert len(through_layers) == 5
    assert model.compile_for(x.shape)
    through_layers.clear()
    y = model.predict(x)
    assert not through_layers
    np.testing.assert_array_equal(y, model.program.forward(x, training=False))


def test_several_shapes_are_kept_and_the_one_unused_for_longest_is_dropped(through_layers):
    model = make()
    shapes = [(1, 3, size, size) for size in range(10, 10 + repeatable.KEPT)]
    for shape in shapes:
        assert model.compile_for(shape)
    through_layers.clear()
    for seed in range(3):
        for shape in shapes:
            x = draw(shape, seed)
            y = model.predict(x)
            assert y.shape == (1, 5)
    assert not through_layers
    model.predict(draw(shapes[0]))
    assert model.compile_for((1, 3, 9, 9))
    through_layers.clear()
    for shape in (shapes[0], *shapes[2:], (1, 3, 9, 9)):
        x = draw(shape)
        y = model.predict(x)
        assert not through_layers
        np.testing.assert_array_equal(y, model.program.forward(x, training=False))
        through_layers.clear()
    model.predict(draw(shapes[1]))
    assert through_layers


def test_shapes_that_come_in_turn_are_all_recorded(through_layers):
    model = make()
    shapes = [(1, 3, 10, 10), (2, 3, 10, 10), (1, 3, 12, 9)]
    for seed in range(repeatable.BEFORE + 1):
        for shape in shapes:
            model.predict(draw(shape, seed))
    through_layers.clear()
    results = [model.predict(draw(shape, 9)) for shape in shapes]
    assert not through_layers
    for y, shape in zip(results, shapes, strict=True):
        np.testing.assert_array_equal(y, model.program.forward(draw(shape, 9), training=False))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.layers[0].weight.data.__setitem__(0, 0.5),
        lambda m: setattr(m.layers[1], "eps", 0.3),
        lambda m: m.load_state_dict({k: v * 0.5 for k, v in m.state_dict().items()}),
        lambda m: m.train_on_batch(draw((4, 3, 12, 12)), np.arange(4)),
    ],
)
def test_every_shape_notices_a_change(change):
    model = make()
    model.compile("adam", "cross_entropy")
    inputs = [draw((1, 3, 12, 12)), draw((2, 3, 10, 10))]
    assert all(model.compile_for(x.shape) for x in inputs)
    before = [model.predict(x) for x in inputs]
    change(model)
    for x, old in zip(inputs, before, strict=True):
        y = model.predict(x)
        assert not np.array_equal(y, old)
        with kernels.force("generic"):
            np.testing.assert_allclose(y, model.predict(x), rtol=1e-4, atol=1e-5)


def test_the_memory_is_given_back_with_the_model():
    model = make()
    assert model.compile_for((1, 3, 64, 64))
    recording = next(iter(model.program.infer._shapes.values())).recordings[0]
    assert recording.launches._memory.nbytes + recording.x.nbytes == recording.memory
    assert recording.memory == model.compile_for((1, 3, 64, 64)).memory


class Own(L.Layer):
    def _forward(self, xp, x, training):
        return x + 1, None

    def _backward(self, xp, dy, saved, need_dx):
        return dy


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([L.Conv2d(3, 8, 3), Own()], "Own '1': not a layer of xpcnn"),
        ([L.Conv2d(3, 8, 3), L.LocalResponseNorm(3, beta=0.5)], "LocalResponseNorm '1': beta=0.5"),
        ([L.Conv2d(3, 8, 3), xpcnn.operations.Sin()], "Sin '1': computed by NumPy"),
    ],
)
def test_it_says_which_layer_is_in_the_way(layers, reason):
    model = make(layers)
    found = model.compile_for((1, 3, 8, 8))
    assert not found
    assert found.memory == 0
    assert len(found.reasons) == 1, found.reasons
    assert found.reasons[0].startswith(reason)
    assert reason in str(found)
    x = draw((1, 3, 8, 8))
    np.testing.assert_array_equal(model.predict(x), model.program.forward(x, training=False))


def test_it_says_what_else_is_in_the_way():
    held = make()
    held.build((1, 3, 8, 8))
    weight = held.layers[0].weight.data
    assert "holds an array" in held.compile_for((1, 3, 8, 8)).reasons[0]
    del weight
    assert "float64" in make(dtype="float64").compile_for((1, 3, 8, 8)).reasons[0]
    two = L.Graph(["a", "b"], [("s", xpcnn.operations.Add(), ["a", "b"])], "s")
    assert "2 inputs" in xpcnn.Model(two, device="cpu").compile_for((1, 3)).reasons[0]
    with kernels.force("generic"):
        assert "compiled kernels" in make().compile_for((1, 3, 8, 8)).reasons[0]


def test_shapes_that_are_none_are_refused():
    model = make()
    with pytest.raises(TypeError, match="input_shape must be an integer"):
        model.compile_for((None, 3, 8, 8))
    with pytest.raises(ValueError, match="at least 1"):
        model.compile_for((0, 3, 8, 8))
    with pytest.raises(ValueError, match="channels"):
        model.compile_for((1, 4, 8, 8))
