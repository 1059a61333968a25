"""One description gives the same computation in every library."""

from __future__ import annotations

import math
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from xpcnn import kernels
from xpcnn.bench import own, program
from xpcnn.bench.baselines import jax, pytorch, runtimes
from xpcnn.bench.workloads import WORKLOADS

SMALL = {name: 1 for name in WORKLOADS if name.endswith("-predict")}
STEEP = {"resnet18", "mobilenet", "mobilenetv2", "vgg", "depthwise"}
NAMES = [
    *("simple", "deep", "oned", "mlp", "conv64-pair", "conv256-pair", "odd", *sorted(STEEP)),
    *("conv512-forward", "conv512-gradients", *SMALL),
]


def small(name):
    return WORKLOADS[name].with_batch(SMALL.get(name, 2))


def ours(workload):
    with kernels.force("generic"):
        made = own.make(workload)
        return arrays(made), arrays(made)


def arrays(made):
    """Everything one step gives, as NumPy arrays."""
    return {
        name: [np.asarray(each).copy() for each in (value if isinstance(value, list) else [value])]
        for name, value in made.arrays(made.step()).items()
    }


def close(own, other, names):
    for name in names:
        assert len(own[name]) == len(other[name])
        for a, b in zip(own[name], other[name], strict=True):
            assert a.shape == b.shape
            assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_as_in_pytorch(name, channels_last):
    pytest.importorskip("torch")
    workload = small(name)
    if channels_last and len(workload.shape) != 4:
        pytest.skip("no such layout")
    made = pytorch.make_torch(workload, 1, channels_last=channels_last)
    first, second = ours(workload)
    other = arrays(made)
    assert first.keys() == other.keys()
    if name not in STEEP:
        close(first, other, first)
        close(second, arrays(made), [each for each in first if each in ("loss", "y")])
        return
    # Batch normalisation of two images is steep: the gradients are compared as a whole, and those
    # of biases before it are rounding about zero.
    close(first, other, ["loss"])
    flat = [np.concatenate([g.ravel() for g in each["gradients"]]) for each in (first, other)]
    assert np.linalg.norm(flat[0] - flat[1]) <= 2e-2 * np.linalg.norm(flat[1])


@pytest.mark.parametrize("name", [name for name in NAMES if name in SMALL])
def test_as_in_onnxruntime(name, tmp_path):
    pytest.importorskip("onnxruntime")
    workload = small(name)
    own.write_onnx(workload, tmp_path / "file.onnx")
    made = runtimes.make_onnxruntime(workload, 1, tmp_path / "file.onnx")
    first, _ = ours(workload)
    other = arrays(made)
    assert first.keys() == other.keys()
    close(first, other, first)


def test_onnxruntime_gets_the_threads_of_the_run(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    made = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, options, **rest):
            made.append(options)
            super().__init__(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    own.write_onnx(small("simple-predict"), tmp_path / "file.onnx")
    runtimes.make_onnxruntime(small("simple-predict"), 3, tmp_path / "file.onnx")
    (options,) = made
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)


def test_openvino_is_asked_as_its_interface_has_it(monkeypatch, tmp_path):
    """OpenVINO itself is not at hand: what it is told, and that its answer comes back."""

    class Fake:
        def compile_model(self, path, device, settings):
            assert (path, device) == (tmp_path, "CPU")
            assert settings["INFERENCE_NUM_THREADS"] == 3
            assert settings["INFERENCE_PRECISION_HINT"] == "f32"
            return self

        def create_infer_request(self):
            return self

        def infer(self, inputs):
            return {0: 2 * inputs[0]}

    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=Fake))
    workload = small("simple-predict")
    found = arrays(runtimes.make_openvino(workload, 3, tmp_path))
    np.testing.assert_array_equal(found["y"][0], 2 * program.images(workload.shape))


@pytest.mark.parametrize("name", [name for name in NAMES if WORKLOADS[name].basic])
def test_as_in_jax(name):
    pytest.importorskip("jax")
    workload = small(name)
    made = jax.make_jax(workload, os.cpu_count() or 1)
    first, second = ours(workload)
    other = arrays(made)
    assert other.keys() == first.keys() - {"gradients"}
    close(first, other, other)
    close(second, arrays(made), [each for each in other if each in ("loss", "y")])


def test_fused_adam_is_the_same_adam():
    torch = pytest.importorskip("torch")
    workload = small("mlp")
    network = pytorch.torch_network(workload)
    adam = torch.optim.Adam(network.parameters(), foreach=False, fused=False)
    x = torch.from_numpy(program.images(workload.shape))
    y = torch.from_numpy(program.labels(len(x)))
    expected = []
    for _ in range(3):
        adam.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x), y)
        loss.backward()
        adam.step()
        expected.append(float(loss.detach()))
    made = pytorch.make_torch(workload, 1)
    losses = [arrays(made)["loss"][0] for _ in range(3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[2] < losses[0]


@pytest.mark.parametrize("name", ["mlp", "conv512-gradients", "simple-predict"])
def test_compiled_pytorch_computes_the_same(name, monkeypatch):
    torch = pytest.importorskip("torch")
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    compile_to = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compile_to(network, backend=keep))
    workload = small(name)
    first, second = ours(workload)
    made = pytorch.make_torch(workload, 1, compiled=True)
    other = arrays(made)
    assert len(graphs) == 1  # the whole network, and it went that way at all
    close(first, other, first)
    close(second, arrays(made), [each for each in first if each in ("loss", "y")])


def test_first_values_depend_on_the_name_alone():
    scale = program.first_value("3.weight", (50,))
    shift = program.first_value("3.bias", (50,))
    assert 0.9 <= scale.min() <= scale.max() <= 1.1
    assert -0.1 <= shift.min() <= shift.max() <= 0.1
    filters = program.first_value("3.weight", (64, 50, 3, 3))
    assert filters.dtype == np.float32
    assert np.std(filters) == pytest.approx(math.sqrt(2 / 450), rel=0.02)
    np.testing.assert_array_equal(filters, program.first_value("3.weight", (64, 50, 3, 3)))
    assert (filters != program.first_value("4.weight", (64, 50, 3, 3))).all()


def test_channels_last_keeps_the_numbers():
    x = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5)
    y = program.channels_last(x)
    np.testing.assert_array_equal(x, y)
    assert y.strides == (4 * 5 * 3 * 4, 4, 5 * 3 * 4, 3 * 4)


def test_a_digest_does_not_depend_on_the_memory_layout(rng):
    x = rng.random((4, 8, 9, 10))
    found = program.digest({"a": x, "b": 2.5, "c": [np.zeros((2, 2)), np.ones(3)]})
    assert found == program.digest({"a": program.channels_last(x), "b": 2.5, "c": found["c"]})
    assert len(found["a"]) == len(set(found["a"])) == program.SAMPLES
    assert set(found["a"]) <= set(x.ravel())
    assert found["b"] == [2.5]
    assert found["c"] == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def test_differences_by_hand():
    ours, theirs = {"y": [3.0, 4.5], "more": [1.0]}, {"y": [3.0, 4.0]}
    assert program.difference(ours, theirs) == {"y": pytest.approx(0.1)}
    assert program.difference(theirs, theirs) == {"y": 0.0}
    assert program.difference({"y": [0.0]}, {"y": [0.0]}) == {"y": 0.0}


@pytest.mark.parametrize("own", [{}, {"y": [1.0]}, {"y": [1.0, math.nan]}, {"y": [1.0, math.inf]}])
def test_what_cannot_be_compared_is_infinitely_far(own):
    assert program.difference(own, {"y": [1.0, 2.0]}) == {"y": math.inf}
    assert program.difference({"y": [1.0, 2.0]}, {"y": [1.0, math.nan]}) == {"y": math.inf}
