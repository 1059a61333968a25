"""Settings and layers that are changed after a prediction: what was kept is made anew."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import operations
from xpcnn._xp import to_numpy

# Layers in front, the layer that is changed, the setting, its new value.
CASES = {
    "BatchNorm2d.eps": (["conv"], lambda: xpcnn.BatchNorm2d(4), "eps", 10.0),
    "Conv2d.padding": ([], lambda: xpcnn.Conv2d(3, 4, 3), "padding", 1),
    "Conv2d.stride": ([], lambda: xpcnn.Conv2d(3, 4, 3), "stride", 2),
    "Conv2d.dilation": ([], lambda: xpcnn.Conv2d(3, 4, 3), "dilation", 2),
    "Conv2d.padding_mode": (
        [], lambda: xpcnn.Conv2d(3, 4, 3, padding=1), "padding_mode", "reflect",
    ),
    "LeakyReLU.negative_slope": ([], lambda: xpcnn.LeakyReLU(), "negative_slope", -0.7),
    "ELU.alpha": ([], lambda: xpcnn.ELU(), "alpha", -3.0),
    "GELU.approximate": ([], lambda: xpcnn.GELU(), "approximate", "tanh"),
    "Softplus.beta": ([], lambda: xpcnn.Softplus(), "beta", 3.0),
    "Hardtanh.max_val": ([], lambda: xpcnn.Hardtanh(), "max_val", 0.1),
    "Softmax.dim": ([], lambda: xpcnn.Softmax(1), "dim", 2),
    "MaxPool2d.stride": (["conv"], lambda: xpcnn.MaxPool2d(2), "stride", 1),
    "MaxPool2d.ceil_mode": ([], lambda: xpcnn.MaxPool2d(3), "ceil_mode", True),
    "AvgPool2d.kernel_size": ([], lambda: xpcnn.AvgPool2d(2, 1), "kernel_size", 3),
    "AvgPool2d.divisor_override": ([], lambda: xpcnn.AvgPool2d(2), "divisor_override", 7),
    "GroupNorm.num_groups": (["conv"], lambda: xpcnn.GroupNorm(2, 4), "num_groups", 4),
    "LayerNorm.eps": ([], lambda: xpcnn.LayerNorm(10), "eps", 5.0),
    "InstanceNorm2d.eps": ([], lambda: xpcnn.InstanceNorm2d(3), "eps", 5.0),
    "LocalResponseNorm.alpha": ([], lambda: xpcnn.LocalResponseNorm(3), "alpha", 9.0),
    "Upsample.mode": ([], lambda: xpcnn.Upsample(scale_factor=2.5), "mode", "bilinear"),
    "ZeroPad2d.padding": ([], lambda: xpcnn.ZeroPad2d(1), "padding", (1, 2, 3, 4)),
    "ConstantPad2d.value": ([], lambda: xpcnn.ConstantPad2d(1, 1.0), "value", 5.0),
}  # fmt: skip
PLACES = {
    "a chain": lambda front, layer: [*front, layer, xpcnn.ReLU()],
    "Sequential": lambda front, layer: [xpcnn.Sequential(*front, layer, xpcnn.ReLU())],
    "Parallel": lambda front, layer: [xpcnn.Parallel([xpcnn.Sequential(*front, layer)])],
    "Graph": lambda front, layer: xpcnn.Graph(
        "x",
        [*((f"front{i}", f, "x" if i == 0 else f"front{i - 1}") for i, f in enumerate(front)),
         ("layer", layer, f"front{len(front) - 1}" if front else "x"),
         ("relu", xpcnn.ReLU(), "layer")],
        "relu",
    ),
}  # fmt: skip


def make(case, place, changed):
    kinds, layer, name, value = CASES[case]
    layer = layer()
    if changed:
        setattr(layer, name, value)
    front = [xpcnn.Conv2d(3, 4, 3, padding=1) for _ in kinds]
    model = xpcnn.Model(PLACES[place](front, layer), device="cpu", seed=0)
    model.build((2, 3, 10, 10))
    for _, buffer in model.network.buffers().items():
        if buffer.shape:  # not the same everywhere, so that the statistics count
            buffer.data = np.linspace(0.5, 2.0, buffer.shape[0], dtype=np.float32)
    return model, layer


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", CASES)
def test_a_changed_setting_shows_at_once(case, place):
    """A model that has predicted often, and then one made with the new setting from the start."""
    *_, name, value = CASES[case]
    x = np.random.default_rng(0).normal(size=(2, 3, 10, 10)).astype(np.float32)
    model, layer = make(case, place, changed=False)
    for _ in range(5):
        before = model.predict(x)
    setattr(layer, name, value)
    expected = make(case, place, changed=True)[0].predict(x)
    assert before.shape != expected.shape or np.abs(before - expected).max() > 1e-4
    for _ in range(5):
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
    dy = np.ones(expected.shape, np.float32)
    np.testing.assert_allclose(model.forward(x, training=False), expected, rtol=1e-5, atol=1e-6)
    model.forward(x, training=True)
    model.backward(dy)  # a step of the new plan has what it needs


def test_eps_of_a_normalisation_in_a_residual_block():
    body = xpcnn.Sequential(xpcnn.Conv2d(3, 3, 3, padding=1, bias=False), xpcnn.BatchNorm2d(3))
    model = xpcnn.Model([xpcnn.Residual(body), xpcnn.ReLU()], device="cpu", seed=0)
    x = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
    for _ in range(5):
        before = model.predict(x)
    body[1].eps = 3.0
    change = (before - x)[before > 0]
    after = model.predict(x)
    # with statistics 0 and 1 the body gives conv(x) / sqrt(1 + eps)
    ratio = np.sqrt(1 + 1e-5) / 2.0
    both = (before > 0) & (after > 0)
    np.testing.assert_allclose((after - x)[both], (before - x)[both] * ratio, rtol=1e-3, atol=1e-5)
    assert change.size


def test_a_replaced_method_is_called():
    """Also where the layer would have been one kernel with its neighbours."""
    relu = xpcnn.ReLU()
    model = xpcnn.Model([xpcnn.Conv2d(1, 2, 3), relu], device="cpu", seed=0)
    x = np.random.default_rng(0).normal(size=(1, 1, 5, 5)).astype(np.float32)
    for _ in range(5):
        model.predict(x)
    relu.forward = lambda x, training=False: x * 0 + 7
    np.testing.assert_array_equal(model.predict(x), 7.0)


@pytest.mark.parametrize("what", ["layers", "body", "weight", "bias"])
def test_a_layer_or_parameter_put_in_place_of_another_is_used_and_trained(what):
    inner = xpcnn.Sequential(xpcnn.Linear(4, 4), xpcnn.ReLU())
    outer = xpcnn.Residual(inner)
    model = xpcnn.Model([outer, xpcnn.Linear(4, 2)], device="cpu", seed=0)
    model.compile(xpcnn.optim.SGD(0.1), "mse")
    x, y = np.ones((8, 4), np.float32), np.ones((8, 2), np.float32)
    model.fit(x, y, epochs=1, verbose=0)
    for _ in range(5):
        model.predict(x)
    new = xpcnn.Linear(4, 4)
    new.build((None, 4), rng=np.random.default_rng(5))
    if what == "layers":
        inner.layers = [new]
    elif what == "body":
        outer.body = new
    else:
        setattr(inner[0], what, getattr(new, what))
        new = inner[0]
    parameter = new.bias if what == "bias" else new.weight
    assert any(p is parameter for p in model.parameters().values())
    old = to_numpy(parameter.data).copy()
    middle = x @ new.weight.data.T + new.bias.data
    middle = middle if what in ("layers", "body") else np.maximum(middle, 0)
    last = model.layers[1]
    expected = (x + middle) @ last.weight.data.T + last.bias.data
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5)
    model.fit(x, y, epochs=1, verbose=0)
    assert np.abs(to_numpy(parameter.data) - old).max() > 0


def test_layers_of_a_model_cannot_be_changed_behind_its_back():
    model = xpcnn.Model([xpcnn.Linear(4, 2), xpcnn.ReLU()], device="cpu")
    with pytest.raises(AttributeError, match="pop"):
        model.layers.pop()
    with pytest.raises(TypeError, match="item assignment"):
        model.layers[-1] = xpcnn.Tanh()
    with pytest.raises(AttributeError, match=r"Model.layers cannot be set; add a layer by model"):
        model.layers = []
    graph = xpcnn.Graph("x", [("sum", operations.Add(), ["x", "x"])], "sum")
    with pytest.raises(AttributeError):
        graph.nodes.append(("relu", xpcnn.ReLU(), "sum"))


def test_the_program_is_that_of_the_network_as_it_is():
    model = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu", seed=0)
    with pytest.raises(RuntimeError, match="not built yet"):
        _ = model.program
    model.build((None, 3))
    before = model.program
    assert model.program is before
    model.network.layers = (xpcnn.Linear(3, 4),)
    with pytest.raises(RuntimeError, match="not built yet"):
        _ = model.program  # that of the layer that is gone
