"""Fused steps give the numbers of the single layers."""

import numpy as np
import pytest

import xpcnn
from xpcnn import networks
from xpcnn._xp import to_numpy
from xpcnn.graph import Program
from xpcnn.graph.steps import ConvBlockStep


def copies(make, shape, device):
    """Build the same network twice, from the same random numbers."""
    pair = []
    for _ in range(2):
        layers = make()
        seeds = np.random.default_rng(1)
        current = shape
        for layer in layers:
            current = layer.build(current, device=device, dtype="float64", rng=seeds)
        pair.append(layers)
    return pair


def test_a_folded_step_checks_what_is_first():
    """Also where an array was lent, so that nothing is folded."""
    cast = xpcnn.operations.Cast("float64")
    network = xpcnn.Sequential(cast, xpcnn.Conv2d(1, 2, 3), xpcnn.BatchNorm2d(2))
    network.build((1, 1, 5, 5))
    program, x = Program(network), np.ones((1, 1, 5, 5), "float32")
    for lend in (lambda: None, lambda: network.layers[1].weight.data):
        lend()
        with pytest.raises(TypeError, match="Conv2d: expected dtype float32, got float64"):
            program.forward(x, training=False)


def gradients(layers):
    return [to_numpy(p.grad) for layer in layers for p in layer.parameters().values()]


def test_plan_agrees_with_single_layers_everywhere(device, rng):
    check_plan("simple", device, rng)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_plan_agrees_with_single_layers(name, rng):
    check_plan(name, xpcnn.device.resolve("cpu"), rng)


def check_plan(name, device, rng):
    fused, single = copies(lambda: networks.make(name), (3, 1, 28, 28), device)
    x = device.asarray(rng.standard_normal((3, 1, 28, 28)))
    dy = device.asarray(rng.standard_normal((3, 10)))
    plans = Program(fused), Program(single, fuse=False)
    outputs = [to_numpy(plan.forward(x, training=True)) for plan in plans]
    inputs = [to_numpy(plan.backward(dy, need_dx=True)) for plan in plans]
    np.testing.assert_allclose(*outputs, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(*inputs, rtol=1e-10, atol=1e-12)
    for a, b in zip(gradients(fused), gradients(single), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


def test_plan_fuses_convolution_relu_and_pooling():
    plan = Program(networks.make("simple"))
    assert isinstance(plan.steps[0], ConvBlockStep)
    assert [len(step.layers) for step in plan.steps] == [3, 1, 2, 1]


def residual_network():
    """Blocks as in residual networks, with and without ReLU or a shortcut of their own."""

    def body(inner, outer, stride):
        return xpcnn.Sequential(
            xpcnn.Conv2d(inner, outer, 3, stride, padding=1, bias=False),
            xpcnn.BatchNorm2d(outer),
            xpcnn.ReLU(),
            xpcnn.Conv2d(outer, outer, 3, padding=1, bias=False),
            xpcnn.BatchNorm2d(outer),
        )

    shortcut = xpcnn.Sequential(xpcnn.Conv2d(8, 16, 1, 2, bias=False), xpcnn.BatchNorm2d(16))
    return [
        xpcnn.Conv2d(2, 8, 3, padding=1, bias=False),
        xpcnn.BatchNorm2d(8),
        xpcnn.ReLU(),
        xpcnn.Residual(body(8, 8, 1)),
        xpcnn.ReLU(),
        xpcnn.Residual(body(8, 16, 2), shortcut),
        xpcnn.ReLU(),
        xpcnn.Residual(xpcnn.Conv2d(16, 16, 3, padding=1)),
        xpcnn.ReLU(),
        xpcnn.Residual(body(16, 16, 1)),
        xpcnn.GlobalAvgPool2d(),
        xpcnn.Linear(16, 9),
        xpcnn.ReLU(),
        xpcnn.Linear(9, 3),
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_residual_network_agrees_with_single_layers(dtype, training, device, rng):
    """In float32 the fused steps run on the compiled kernels where they are installed."""
    fused, single = copies(residual_network, (4, 2, 9, 8), device)
    for layer in fused:
        for _, inner in layer.layers_within():
            for _, tensor in inner._own_tensors():
                tensor.move(device, dtype)
    x, dy = rng.standard_normal((4, 2, 9, 8)), rng.standard_normal((4, 3))
    plans = Program(fused), Program(single, fuse=False)
    results = []
    for plan, layers, kind in zip(plans, (fused, single), (dtype, "float64"), strict=True):
        # Two passes, so that the running statistics have moved before they are used.
        plan.forward(device.asarray(x + 1.0, kind), training=True)
        found = [plan.forward(device.asarray(x, kind), training=training)]
        if training:
            found.append(plan.backward(device.asarray(dy, kind), need_dx=True))
            found += [p.grad for layer in layers for p in layer.parameters().values()]
        found += [b.data for layer in layers for b in layer.buffers().values()]
        results.append([to_numpy(a).astype("float64") for a in found])
    tolerance = 1e-10 if dtype == "float64" else 2e-5
    for a, b in zip(*results, strict=True):
        assert np.linalg.norm(a - b) <= tolerance * max(1.0, np.linalg.norm(b))


def test_what_is_fused_in_a_residual_network():
    def lengths(training):
        lines = Program(residual_network()).lines(training=training)
        return [len(line.step.layers) for line in lines]

    # In training each block ends with its sum, which takes a normalisation and ReLU along.
    front, end = [1, 2], [1, 2, 1]
    blocks = [1, 2, 1, 3], [1, 1, 1, 2, 1, 3], [1, 2], [1, 2, 1, 1, 1]
    assert lengths(True) == [*front, *blocks[0], *blocks[1], *blocks[2], *blocks[3], *end]
    # Without, the convolutions take the normalisations over, and the sums with what is behind.
    blocks = [3, 4], [2, 3, 4], [3], [3, 3]
    assert lengths(False) == [3, *blocks[0], *blocks[1], *blocks[2], *blocks[3], *end]


def norm_network(dtype="float32"):
    layers = [xpcnn.Conv2d(3, 16, 3, padding=1), xpcnn.BatchNorm2d(16), xpcnn.ReLU()]
    model = xpcnn.Model([*layers, xpcnn.Conv2d(16, 8, 1), xpcnn.BatchNorm2d(8)], device="cpu",
                        seed=0, dtype=dtype)  # fmt: skip
    x = np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(dtype)
    for _ in range(3):
        model.forward(2.0 * x + 1.0, training=True)
    return model, x


def single(model, x):
    """Run the layers one by one."""
    for layer in model.layers:
        x = layer.forward(x)
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalisation_is_folded_into_the_convolution(dtype, monkeypatch):
    model, x = norm_network(dtype)
    wanted = single(model, x)
    for layer in model.layers:
        for tensor in vars(layer).values():
            if isinstance(tensor, xpcnn.layers.Parameter):
                tensor.renew(tensor.value)  # the values above are nobody's any more
    norm = model.layers[1]
    monkeypatch.setattr(type(norm), "_forward", lambda *a: pytest.fail("it was not folded"))
    for _ in range(3):  # arranged weights are kept from the second time on
        np.testing.assert_allclose(model.forward(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.layers[0].weight.data.__setitem__(0, 0.5),
        lambda m: m.layers[1].running_mean.data.__imul__(3.0),
        lambda m: setattr(m.layers[1].bias, "data", np.full(16, 2.0, "float32")),
        lambda m: m.load_state_dict({k: v * 0.5 for k, v in m.state_dict().items()}),
        lambda m: m.forward(np.ones((2, 3, 5, 5), "float32"), training=True),
        lambda m: m.train_on_batch(np.ones((8, 3, 5, 5), "float32"), np.ones((8, 8, 5, 5), "f4")),
    ],
)
def test_a_change_of_an_array_is_seen_after_predicting(change):
    """Whatever way it changes, and also through an array that was taken before."""
    model, x = norm_network()
    model.compile("sgd", "mse")
    for _ in range(3):
        before = model.forward(x)
    change(model)
    got = model.forward(x)
    assert not np.allclose(got, before, atol=1e-3)
    np.testing.assert_allclose(got, single(model, x), rtol=1e-4, atol=1e-5)


def test_an_array_taken_before_predicting_may_be_written_to():
    model, x = norm_network()
    weight = model.layers[0].weight.data
    for _ in range(3):
        before = model.forward(x)
    weight *= 2.0
    got = model.forward(x)
    assert not np.allclose(got, before, atol=1e-3)
    np.testing.assert_allclose(got, single(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", ["conv", "norm", "residual", "linear", "pool"])
def test_a_layer_that_computes_otherwise_is_left_as_it_is(place, rng):
    """A subclass with a forward of its own is not taken for its parent."""
    kinds = {
        "conv": xpcnn.Conv2d,
        "norm": xpcnn.BatchNorm2d,
        "residual": xpcnn.Residual,
        "linear": xpcnn.Linear,
        "pool": xpcnn.MaxPool2d,
    }
    parent = kinds[place]

    class Doubled(parent):
        def _forward(self, xp, x, training):
            y, saved = super()._forward(xp, x, training)
            return y * 2.0, saved

    kinds[place] = Doubled
    conv, norm, residual, linear, pool = kinds.values()
    layers = [
        conv(2, 8, 3, padding=1),
        norm(8),
        xpcnn.ReLU(),
        residual(xpcnn.Sequential(conv(8, 8, 3, padding=1), norm(8))),
        xpcnn.ReLU(),
        conv(8, 8, 1),
        xpcnn.ReLU(),
        pool(2),
        xpcnn.Flatten(),
        linear(8 * 9, 4),
        xpcnn.ReLU(),
    ]
    x = rng.random((3, 2, 6, 6), dtype="float32")
    for training in (True, False):
        got = Program(layers).forward(x, training=training)
        wanted = Program(layers, fuse=False).forward(x, training=training)
        np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=1e-5)


def test_residual_step_refuses_a_body_that_changes_the_shape(rng):
    plan = Program([xpcnn.Residual(xpcnn.Conv2d(2, 8, 3)), xpcnn.ReLU()])
    with pytest.raises(ValueError, match="give a shortcut that fits"):
        plan.forward(rng.random((1, 2, 5, 5), dtype="float32"), training=True)
    with pytest.raises(RuntimeError, match="needs a forward"):
        plan.backward(rng.random((1, 2, 5, 5), dtype="float32"), need_dx=True)


def test_fused_step_really_ran(monkeypatch, rng):
    """The single layers are not touched when the fused kernel takes the arguments."""
    conv, pool = xpcnn.Conv2d(1, 2, 3), xpcnn.MaxPool2d(2)
    plan = Program([conv, xpcnn.ReLU(), pool])
    monkeypatch.setattr(pool, "_forward", lambda *a: pytest.fail("the layers ran one by one"))
    plan.forward(rng.random((1, 1, 8, 8), dtype="float32"), training=True)


def test_declined_fusion_falls_back_to_the_layers(rng):
    """Overlapping pooling has no fused kernel."""
    layers = [xpcnn.Conv2d(1, 2, 3), xpcnn.ReLU(), xpcnn.MaxPool2d(3, stride=1)]
    plan = Program(layers)
    x = rng.random((2, 1, 8, 8))
    y = plan.forward(x, training=True)
    for layer in layers:
        x = layer(x)
    np.testing.assert_array_equal(y, x)
    dx = plan.backward(np.ones_like(y), need_dx=True)
    assert dx.shape == (2, 1, 8, 8)


def test_nested_sequential_is_unrolled():
    inner = xpcnn.Sequential(xpcnn.Conv2d(1, 2, 3), xpcnn.Sequential(xpcnn.ReLU()))
    plan = Program([inner, xpcnn.MaxPool2d(2)])
    assert [len(step.layers) for step in plan.steps] == [3]


def test_a_step_serves_one_backward(rng):
    plan = Program([xpcnn.Conv2d(1, 2, 3), xpcnn.ReLU(), xpcnn.MaxPool2d(2)])
    y = plan.forward(rng.random((1, 1, 8, 8)), training=True)
    plan.backward(y, need_dx=False)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        plan.backward(y, need_dx=False)


@pytest.mark.parametrize(
    "layers",
    [
        [xpcnn.Conv2d(1, 30, 5), xpcnn.ReLU(), xpcnn.MaxPool2d(2)],
        [xpcnn.Conv2d(1, 30, 5)],
    ],
    ids=["fused", "conv"],
)
def test_memory_of_a_step_is_bounded_by_the_workspace(layers):
    """The columns of this batch would take 25 taps * 40,000 positions * 32 images * 4 bytes."""
    import tracemalloc

    before = xpcnn.get_workspace_limit()
    x = np.ones((32, 1, 204, 204), dtype="float32")
    all_columns = 25 * 200 * 200 * 32 * 4
    outputs = 30 * 200 * 200 * 32 * 4 // (4 if len(layers) == 3 else 1)
    limit = 8 * 2**20
    try:
        xpcnn.set_workspace_limit(limit)
        plan = Program(layers)
        plan.forward(x[:1], training=False)
        tracemalloc.start()
        y = plan.forward(x, training=True)
        plan.backward(np.ones_like(y), need_dx=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        xpcnn.set_workspace_limit(before)
    # The output, its gradient, a copy of each while chunks are joined, and the workspace.
    assert peak < 4 * outputs + 2 * limit
    assert len(layers) < 3 or peak < 2 * all_columns


@pytest.mark.parametrize(
    ("dy", "error", "message"),
    [
        (np.ones((1, 2, 3, 3), "float32"), ValueError, r"the output's shape \(1, 2, 2, 2\)"),
        (np.ones((1, 2, 2, 2), "float64"), TypeError, "dtype float32.*dtype float64"),
    ],
)
def test_a_fused_step_checks_the_gradient_as_a_layer_does(dy, error, message):
    layers = [xpcnn.Conv2d(1, 2, 3), xpcnn.ReLU(), xpcnn.MaxPool2d(2)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.forward(np.ones((1, 1, 6, 6), "float32"), training=True)
    with pytest.raises(error, match=message):
        model.backward(dy)
    model.backward(np.ones((1, 2, 2, 2), "float32"))  # the forward still has its one backward
    assert model.parameters()["0.weight"].grad.dtype == np.float32
