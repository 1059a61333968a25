"""Batch normalisation with an activation behind it, against the two by themselves in float64."""

import hashlib

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error32, lay
from tests.kernels.norms import LARGE, draw
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.graph import Program
from xpcnn.kernels.cpu import PAIRS, buffers

needs_compiled_kernels()

XP = numpy_namespace()
EPS = 1e-3
ACTIVATIONS = {
    "hardtanh": (-0.75, 0.5),
    "hardswish": (),
    "leaky_relu": (0.125,),
}
LAYERS = {
    "hardtanh": xpcnn.layers.Hardtanh,
    "relu6": xpcnn.layers.ReLU6,
    "hardswish": xpcnn.layers.Hardswish,
    "leaky_relu": xpcnn.layers.LeakyReLU,
    "relu": xpcnn.layers.ReLU,
}


def wide(value):
    if isinstance(value, tuple):
        return tuple(wide(part) for part in value)
    return value.astype("float64") if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("seed", [*range(30), LARGE])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_agrees_with_the_definition(name, seed):
    rng, x, *operands = draw(seed)
    dy = rng.standard_normal(x.shape).astype("float32")
    arguments = (*operands[:2], EPS, operands[2], *ACTIVATIONS[name])
    pair = PAIRS[f"batch_norm_{name}"]
    (y, *seen), saved = pair.forward(XP, lay(x, int(rng.integers(7))), *arguments)
    got = pair.backward(XP, lay(dy, int(rng.integers(7))), saved, True)
    with kernels.force("generic"):
        parts = kernels.run(np, f"batch_norm_{name}", wide(x), *wide(arguments))
        (wanted, *wanted_seen), wanted_saved = parts
        gradients = wanted_saved(wide(dy), True)
    for a, e in zip([y, *seen, *got], [wanted, *wanted_seen, *gradients], strict=True):
        assert error32(a, e) < 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_and_infinity_are_where_the_definition_has_them(name, own, value):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 4, 10, 5, 5)).astype("float32")
    x[1, 9, 2, 3], dy[0, 7, 1, 1] = value, value
    statistics = None if own else (x[0, :, 0, 0], np.ones(10, np.float32))
    arguments = (x, None, None, EPS, statistics, *ACTIVATIONS[name])
    results = []
    for kernel_set in ("cpu", "generic"):
        with kernels.force(kernel_set), np.errstate(all="ignore"):
            (y, *_), saved = kernels.run(np, f"batch_norm_{name}", *arguments)
            results.append((y, *saved(dy, True)))
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


def test_what_is_declined():
    forward, x = PAIRS["batch_norm_hardtanh"].forward, np.ones((2, 8, 2, 2), np.float32)
    assert forward(XP, x.astype("float64"), None, None, EPS, None, 0.0, 6.0).reason == (
        "float64 arrays"
    )
    assert forward(XP, x, None, None, EPS, None, 0.0, 1e39).reason == "settings beyond float32"


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, dy = (lay(a, 1) for a in rng.standard_normal((2, 40, 20, 40, 40)).astype("float32"))
    pair, digests = PAIRS["batch_norm_hardswish"], set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            out, saved = pair.forward(XP, x, None, None, EPS, None)
            digest = hashlib.sha256()
            for a in (*out, *pair.backward(XP, dy, saved, True)):
                digest.update(np.ascontiguousarray(a).tobytes())
            digests.add(digest.hexdigest())
    finally:
        xpcnn.set_num_threads(None)
    assert len(digests) == 1


@pytest.mark.parametrize("channels", [1, 8, 30, 33])
def test_nothing_is_written_outside(channels, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    x = np.random.default_rng(0).standard_normal((5, channels, 7, 9)).astype("float32")
    pair = PAIRS["batch_norm_hardtanh"]
    for how in range(7):
        a = lay(x, how)
        _, saved = pair.forward(XP, a, None, None, EPS, None, 0.0, 6.0)
        pair.backward(XP, a, saved, True)
    guards.assert_whole(11)


@pytest.mark.parametrize("name", LAYERS)
def test_a_network_has_one_step_for_both(name):
    layers = [xpcnn.BatchNorm2d(12), LAYERS[name]()]
    network = xpcnn.Sequential(layers)
    network.build((4, 12, 6, 6), rng=np.random.default_rng(0))
    rng, results = np.random.default_rng(1), []
    x, dy = rng.standard_normal((2, 4, 12, 6, 6)).astype("float32")
    for fuse in (True, False):
        program = Program(network, fuse=fuse)
        assert len(program.steps) == (1 if fuse else 2)
        network.zero_grad()
        with kernels.trace() as decisions:
            y = program.forward(x, training=True)
        assert len(decisions) == len(program.steps)
        dx = program.backward(dy, need_dx=True)
        results.append([y, dx, *(p.grad for p in network.parameters().values())])
    for a, e in zip(*results, strict=True):
        assert error32(a, e) < 1e-5
