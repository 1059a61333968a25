"""Steps that run again for the backward give the same bits as steps that keep what it needs."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.training.test_plan import residual_network
from xpcnn import kernels, operations, zoo
from xpcnn._xp import to_numpy
from xpcnn.bench import networks
from xpcnn.graph import Program


def branches():
    """A graph in which values are used several times, inside a segment and behind it."""
    return xpcnn.Graph(
        "x",
        [
            ("a", xpcnn.Conv2d(3, 8, 3, padding=1), "x"),
            ("b", xpcnn.Conv2d(8, 8, 3, padding=1), "a"),
            ("c", xpcnn.ReLU(), "b"),
            ("d", operations.Add(), ["a", "c"]),
            ("e", xpcnn.Dropout(0.3), "d"),
            ("f", operations.Concat(1), ["a", "e", "c"]),
            ("g", xpcnn.BatchNorm2d(24), "f"),
            ("h", xpcnn.Conv2d(24, 8, 1), "g"),
            ("i", operations.Multiply(), ["h", "a"]),
            ("j", operations.Add(), ["i", "d"]),
            ("k", xpcnn.GlobalAvgPool2d(), "j"),
            ("l", xpcnn.Linear(8, 10), "k"),
        ],
        "l",
    )


def dropouts():
    return [
        xpcnn.Conv2d(3, 8, 3),
        xpcnn.Dropout2d(0.4),
        xpcnn.SELU(),
        xpcnn.AlphaDropout(0.2),
        xpcnn.Residual(xpcnn.Sequential(xpcnn.Conv2d(8, 8, 1), xpcnn.StochasticDepth(0.3))),
        xpcnn.Parallel([xpcnn.Sequential(xpcnn.Conv2d(8, 4, 1), xpcnn.Dropout(0.5)), xpcnn.SiLU()]),
        xpcnn.Flatten(),
        xpcnn.Dropout(0.5),
        xpcnn.Linear(out_features=10),
    ]


def norms():
    return [
        xpcnn.Conv2d(3, 8, 3),
        xpcnn.InstanceNorm2d(8, affine=True, track_running_stats=True),
        xpcnn.LeakyReLU(),
        xpcnn.BatchNorm2d(8, momentum=None),
        xpcnn.GroupNorm(2, 8),
        xpcnn.Tanh(),
        xpcnn.MaxPool2d(3, 2, 1),
        xpcnn.Flatten(),
        xpcnn.Linear(out_features=12),
        xpcnn.LayerNorm(12),
        xpcnn.GELU(),
        xpcnn.Linear(12, 10),
    ]


NETWORKS = {
    "simple": (lambda: networks.simple(xpcnn.layers), (2, 1, 28, 28)),
    "deep": (lambda: networks.deep(xpcnn.layers), (2, 1, 28, 28)),
    "mlp": (lambda: networks.mlp(xpcnn.layers), (4, 784)),
    "oned": (lambda: networks.oned(xpcnn.layers), (2, 1, 784)),
    "residual": (residual_network, (4, 2, 9, 8)),
    "branches": (branches, (4, 3, 8, 8)),
    "dropouts": (dropouts, (4, 3, 8, 8)),
    "norms": (norms, (4, 3, 8, 8)),
}
LARGE = {
    "mobilenet": (lambda: networks.mobilenet(xpcnn.layers), (2, 3, 32, 32)),
    "squeezenet": (zoo.squeezenet1_1, (2, 3, 64, 64)),
    "unet": (lambda: zoo.unet(2, 3), (2, 3, 32, 32)),
}


def cuts(count):
    """Ways to cut the steps of a program into segments."""
    middle = count // 2
    yield [(0, count)]
    yield [(0, middle), (middle, count)]
    yield [(n, min(n + 3, count)) for n in range(0, count, 3)]
    yield [(n, n + 1) for n in range(count)]
    yield [(1, middle + 1)]


def run(make, shape, device, segments, **options):
    """Make two training passes and return all that came of them."""
    model = xpcnn.Model(make(), device=device, seed=3, **options)
    model.build((None, *shape[1:]))
    if segments is not None:
        model.program.run_again(segments(len(model.program.steps)))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2):
        x = device.asarray(rng.standard_normal(shape), model.dtype)
        y = model.forward(x, training=True)
        dy = device.asarray(rng.standard_normal(tuple(y.shape)), model.dtype)
        found += [y, model.backward(dy, need_dx=True)]
    found += [p.grad for p in model.parameters().values()]
    found += model.state_dict().values()
    counts = [(layer.step, layer.seed) for layer in model.random_layers]
    return [np.array(to_numpy(a)) for a in found], (model.forwards, counts)


def check(make, shape, device, way, **options):
    def segments(count):
        return list(cuts(count))[way]

    wanted, counted = run(make, shape, device, None, **options)
    got, counts = run(make, shape, device, segments, **options)
    assert counts == counted
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("way", range(5))
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_bits(name, way, device):
    check(*NETWORKS[name], device, way)


@pytest.mark.parametrize("name", LARGE)
def test_the_same_bits_of_large_networks(name):
    device = xpcnn.device.resolve("cpu")
    check(*LARGE[name], device, 1)
    check(*LARGE[name], device, 2)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["residual", "norms", "dropouts"])
def test_the_same_bits_in_mixed_precision(name, precision, device):
    if device.name.startswith(("strict", "jax")):
        pytest.skip("has no half precision")
    if precision == "bfloat16" and not device.name.startswith("torch"):
        pytest.skip("takes bfloat16 from ml_dtypes")
    with np.errstate(over="ignore"):
        check(*NETWORKS[name], device, 2, precision=precision)


class Counting(xpcnn.layers.Layer):
    """Somebody's own layer, which does something else each time that it runs."""

    _runs = 0

    def _forward(self, xp, x, training):
        self._runs += 1
        return x * self._runs, self._runs

    def _backward(self, xp, dy, saved, need_dx):
        return dy * saved


def test_layers_of_others_do_not_run_again():
    layers = [xpcnn.Linear(3, 4), Counting(), xpcnn.Linear(4, 2)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.build((None, 3))
    program = model.program
    assert [program.can_run_again(n) for n in range(3)] == [True, False, True]
    with pytest.raises(ValueError, match="step 1, Counting '1', holds a layer that is not of this"):
        program.run_again([(0, 3)])
    assert program.segments == ()
    program.run_again([(0, 1), (2, 3)])
    model.forward(np.ones((2, 3), "float32"), training=True)
    model.backward(np.ones((2, 2), "float32"))
    assert layers[1]._runs == 1


def test_a_replaced_method_does_not_run_again():
    layers = [xpcnn.Parallel([xpcnn.ReLU(), xpcnn.Tanh()], "sum"), xpcnn.ReLU()]
    inner = layers[0].branches[1]
    inner._forward = inner._forward
    program = Program(layers)
    assert not program.can_run_again(0)
    assert program.can_run_again(1)


@pytest.mark.parametrize("segments", [[(0, 0)], [(1, 3), (2, 4)], [(2, 3), (0, 1)], [(0, 9)]])
def test_wrong_segments(segments):
    program = Program(networks.mlp(xpcnn.layers))
    program.run_again([(0, 2)])
    with pytest.raises(ValueError, match=r"segments are ranges of the 3 steps.* got \("):
        program.run_again(segments)
    assert program.segments == ((0, 2),)


def keeping(program):
    """Count the steps that keep something."""
    return sum(step._saved is not None for step in program.steps)


def test_what_is_kept():
    program = Program(networks.mlp(xpcnn.layers))
    x = np.ones((2, 784), "float32")
    y = program.forward(x, training=True)
    assert keeping(program) == 3
    program.run_again([(0, 2)])
    program.forward(x, training=True)
    assert keeping(program) == 1
    program.backward(y, need_dx=False)
    assert keeping(program) == 0
    with pytest.raises(RuntimeError, match="needs a forward"):
        program.backward(y, need_dx=False)


def test_branches_inside_a_layer_keep_nothing_either(rng):
    parallel = xpcnn.Parallel([xpcnn.Tanh(), xpcnn.Sigmoid()], "sum")
    program = Program([parallel, xpcnn.ReLU()])
    program.run_again([(0, 2)])
    program.forward(rng.standard_normal((2, 3)), training=True)
    assert all(branch._saved is None for branch in parallel.branches)


def test_a_segment_whose_gradient_nobody_wants_does_not_run(monkeypatch):
    """A frozen part in front has nothing to compute."""
    graph = xpcnn.Graph("x", [("a", xpcnn.Tanh(), "x"), ("b", xpcnn.Tanh(), "a"),
                              ("c", xpcnn.Sigmoid(), "x")], ["b", "c"])  # fmt: skip
    graph.build((2, 3))
    program = Program(graph)
    program.run_again([(0, 2)])
    x = np.ones((2, 3), "float32")
    program.forward(x, training=True)
    ran = []
    monkeypatch.setattr(graph.nodes[0].layer, "_forward", lambda *a: ran.append(1))
    dx = program.backward(None, x, need_dx=True)
    assert not ran
    share = 1.0 / (1.0 + np.exp(-1.0))
    np.testing.assert_allclose(dx, np.full((2, 3), share * (1.0 - share)), rtol=1e-6)


def test_an_error_leaves_a_model_that_goes_on_in_segments(monkeypatch):
    layers = [xpcnn.Linear(3, 4), xpcnn.BatchNorm1d(4), xpcnn.Linear(4, 2)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.compile("adam", "cross_entropy")
    x, y = np.random.default_rng(0).random((6, 3), "float32"), np.array([0, 1, 1, 0, 1, 0])
    model.train_on_batch(x, y)
    model.program.run_again([(0, 2)])
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    with monkeypatch.context() as patch:
        patch.setattr(model.program.steps[0], "backward", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.train_on_batch(x, y)
    assert model.program.segments == ((0, 2),)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    model.train_on_batch(x, y)


@pytest.mark.parametrize("kernel_set", ["generic", None])
def test_training_is_the_same(kernel_set):
    """Weights after several steps of Adam, with dropout and batch normalisation."""
    results = []
    rng = np.random.default_rng(1)
    x, y = rng.random((24, 3, 8, 8), "float32"), rng.integers(0, 10, 24)
    for segments in ([], [(0, 3), (3, 7)]):
        layers = [*norms()[:7], xpcnn.Dropout(0.3), xpcnn.Flatten(), xpcnn.Linear(out_features=10)]
        model = xpcnn.Model(layers, device="cpu", seed=0)
        model.compile("adam", "cross_entropy")
        model.build((None, 3, 8, 8))
        model.program.run_again(segments)
        with kernels.force(kernel_set):
            model.fit(x, y, epochs=2, batch_size=8, verbose=0)
        assert model.program.segments == tuple(segments)
        results.append(model.state_dict())
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value)
