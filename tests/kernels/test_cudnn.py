"""Convolution on the GPU without one: the graphs given to cuDNN, and what stands around them.

cuDNN plans for a GPU that is not there if it is described to it. That needs the packages of the
extra "cuda13" alone, and happens in a process of its own: this file, run as a program. The glue is
run on NumPy arrays, with naive loops in the place of cuDNN.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import xpcnn
from tests import reference
from xpcnn import kernels
from xpcnn.kernels import precision, workspace
from xpcnn.kernels.cuda import conv, cudnn, linear, source
from xpcnn.kernels.cuda.cudnn import B, Problem, Settings, W, X, Y
from xpcnn.kernels.dispatch import OPS
from xpcnn.kernels.trace import log
from xpcnn.window import Window

# -- Plans for a GPU that is described -----------------------------------------------------------

# Compute capability, multiprocessors, and shared memory that a block may have.
GPUS = {"T4": (750, 40, 65536), "A100": (800, 108, 166912), "H100": (900, 132, 232448)}

SQUARE = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
CUBE = Window((3,) * 3, (1,) * 3, ((1, 1),) * 3, (1,) * 3)
UNEVEN = Window((2, 1, 3), (1, 1, 2), ((1, 0),) * 3, (1,) * 3)
CASES = {
    "plain": ((8, 64, 28, 28), (64, 64, 3, 3), SQUARE),
    "line": ((8, 16, 1, 100), (30, 16, 1, 5), Window((1, 5), (1, 2), ((0, 0), (2, 2)), (1, 1))),
    "cube": ((2, 8, 6, 10, 10), (16, 8, 3, 3, 3), CUBE),
    "one channel": ((10, 1, 28, 28), (30, 1, 5, 5), Window((5, 5), (1, 1), ((0, 0),) * 2, (1, 1))),
    "groups": ((4, 32, 14, 14), (32, 8, 3, 3), SQUARE),
    "depthwise": ((4, 32, 14, 14), (32, 1, 3, 3), SQUARE),
    "strided": ((4, 16, 15, 15), (32, 16, 3, 3), Window((3, 3), (2, 2), ((1, 1),) * 2, (1, 1))),
    "dilated": ((4, 16, 15, 15), (32, 16, 3, 3), Window((3, 3), (1, 1), ((2, 2),) * 2, (2, 2))),
    "linear": ((20, 784, 1, 1), (100, 784, 1, 1), Window((1, 1), (1, 1), ((0, 0),) * 2, (1, 1))),
    "narrow linear": ((7, 33, 1, 1), (3, 33, 1, 1), Window((1, 1), (1, 1), ((0, 0),) * 2, (1, 1))),
    "odd": ((3, 7, 9, 11), (5, 7, 2, 3), Window((2, 3), (1, 1), ((0, 1), (1, 2)), (1, 1))),
}  # fmt: skip


SMALL = 1 << 20


def problem(case, product, dtype, bias=False, relu=False, **settings):
    x, w, window = CASES[case]
    return Problem(product, x, w, window, dtype, bias, relu, Settings(**settings))


def description(name):
    """Describe a GPU to cuDNN."""
    version, processors, shared = GPUS[name]
    return {
        "deviceName": name, "cudaDeviceId": 0, "deviceVer": version, "driverVer": 13000,
        "multiProcessorCount": processors, "smCountOrigin": 0, "totalGlobalMem": 1 << 34,
        "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": shared,
        "oversizedSharedMemoryPerBlock": 0, "reservedSharedMemoryPerBlock": 1024,
        "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
        "regsPerBlock": 65536, "maxRegistersPerSM": 65536, "maxCtasPerSM": 16, "warpSize": 32,
        "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 1024, "pciDeviceId": 0, "isTccDriver": 0,
        "supportCoopLaunch": 1, "smClockRateKHz": 1500000, "memClockRateKHz": 2000000,
        "memoryBusWidth": 256, "l2CacheSize": 4 << 20,
    }  # fmt: skip


def wanted():
    """List what is planned: GPU, case and problem."""
    found = []
    for gpu in GPUS:
        for dtype in cudnn.DTYPES:
            for case in CASES:
                for product in ("y", "dx", "dw"):
                    found.append((gpu, case, product, dtype, {}))
                found.append((gpu, case, "y", dtype, {"bias": True}))
                found.append((gpu, case, "y", dtype, {"bias": True, "relu": True}))
        for settings in (
            {"float32": "tf32"},
            {"deterministic": True},
            {"exact": True},
            {"workspace": SMALL},
        ):
            for product in ("y", "dx", "dw"):
                found.append((gpu, "plain", product, "float32", settings))
    return found


def plan_all():
    """Plan everything, and print what came of it; a program of its own."""
    library = cudnn._load()
    if isinstance(library, str):
        print(json.dumps({"skip": library}))
        return
    properties = {
        name: library.create_device_properties(json.dumps(description(name))) for name in GPUS
    }
    results = []
    for gpu, case, product, dtype, options in wanted():
        asked = problem(case, product, dtype, **options)
        try:
            graph = cudnn.describe(library, asked, device_property=properties[gpu])
            cudnn.list_plans(library, graph, asked)
            graph.build_plans()
            answer = {"workspace": graph.get_workspace_size()}
            if (case, product) == ("groups", "dx"):
                inferred = graph.query_tensor_attributes_of_uid(X)
                answer |= {"shape": inferred.get_dim(), "strides": inferred.get_stride()}
        except library.cudnnGraphNotSupportedError as error:
            answer = {"refused": str(error)[:200]}
        results.append([gpu, case, product, dtype, options, answer])
    half = problem("plain", "y", "float16", bias=True, relu=True)
    graph = cudnn.describe(library, half, device_property=properties["H100"])
    cudnn.list_plans(library, graph, half)
    built = 0
    for number in range(graph.get_execution_plan_count()):
        try:
            graph.build_plan_at_index(number)
            graph.get_workspace_size_plan_at_index(number)
            built += 1
        except (library.cudnnGraphNotSupportedError, RuntimeError):
            pass
    # There is no GPU to execute it: all that can be missing is the handle.
    pointers = dict.fromkeys((X, W, B, Y), 1 << 20)
    executions = []
    for plan in (cudnn.Plan(graph, 0), cudnn.Plan(graph, 0, number=0)):
        for given in (pointers, {X: 1 << 20}):
            try:
                plan.execute(given, 1 << 21, None)
            except Exception as error:
                executions.append(str(error))
    found = {"results": results, "built": built, "executions": executions}
    print(json.dumps(found))


DRIVER = """
int cuGetErrorString(void) { return 100; }
int cuModuleGetFunction(void) { return 100; }
int cuModuleLoadData(void) { return 100; }
int cuModuleUnload(void) { return 100; }
int cuTensorMapEncodeIm2col(void) { return 100; }
int cuTensorMapEncodeTiled(void) { return 100; }
"""


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """What cuDNN plans, from a process in which there is a driver, or what passes for one."""
    if importlib.util.find_spec("cudnn") is None:
        pytest.skip("nvidia-cudnn-frontend is not installed")
    environment = os.environ | {"PYTHONPATH": str(Path(xpcnn.__file__).parents[1])}
    environment["CUDNN_LOGDEST_DBG"] = os.devnull
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        # cuDNN links to the driver. To plan it needs nothing of it but the names.
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("there is neither a driver nor a C compiler to make one up")
        folder = tmp_path_factory.mktemp("driver")
        (folder / "driver.c").write_text(DRIVER)
        library = folder / "libcuda.so.1"
        command = [compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
        subprocess.run([*command, "-o", library, folder / "driver.c"], check=True)
        paths = [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in paths if path)
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    if "skip" in found:
        pytest.skip(found["skip"])
    return found


def test_cudnn_has_a_plan_for_every_convolution(plans):
    refused = [
        (gpu, case, product, dtype, options)
        for gpu, case, product, dtype, options, answer in plans["results"]
        if "refused" in answer and (gpu, dtype) != ("T4", "bfloat16")  # which that GPU has not
    ]
    assert refused == []
    assert len(plans["results"]) == len(wanted())


def test_plans_stay_within_the_workspace(plans):
    def largest(**options):
        return max(
            answer["workspace"]
            for _, case, _, dtype, given, answer in plans["results"]
            if case == "plain" and dtype == "float32" and given == options
        )

    assert largest() > SMALL
    assert largest(workspace=SMALL) <= SMALL


def test_strict_float32_has_other_plans_than_tf32(plans):
    def workspaces(**options):
        return [
            answer["workspace"]
            for gpu, case, _, dtype, given, answer in plans["results"]
            if gpu in ("A100", "H100") and case == "plain" and dtype == "float32"
            and given == options
        ]  # fmt: skip

    strict, tensor_cores = workspaces(), workspaces(float32="tf32")
    assert len(strict) == len(tensor_cores) == 6
    assert all(a != b for a, b in zip(strict, tensor_cores, strict=True))


def test_groups_do_not_lose_channels(plans):
    found = [
        (answer["shape"], answer["strides"]) for *_, answer in plans["results"] if "shape" in answer
    ]
    assert len(found) >= 2 * len(GPUS)
    assert all(each == ([4, 32, 14, 14], [32 * 14 * 14, 1, 32 * 14, 32]) for each in found)


def test_plans_can_be_built_one_by_one(plans):
    assert plans["built"] > 1


def test_nothing_but_a_handle_is_missing_to_execute(plans):
    assert len(plans["executions"]) == 4
    for complete, incomplete in zip(
        plans["executions"][::2], plans["executions"][1::2], strict=True
    ):
        assert "handle" in complete
        assert f"uid {W}" in incomplete.lower()


# -- The glue, on NumPy arrays -------------------------------------------------------------------

GEOMETRIES = {
    "1d": ((3, 2, 11), (4, 2, 3), Window((3,), (2,), ((1, 0),), (1,)), 1),
    "2d": ((2, 3, 6, 5), (4, 3, 3, 2), Window((3, 2), (1, 2), ((1, 1), (0, 1)), (1, 1)), 1),
    "3d": ((2, 2, 4, 3, 5), (2, 2, 2, 1, 3), UNEVEN, 1),
    "groups": ((2, 4, 5, 5), (6, 2, 2, 2), Window((2, 2), (1, 1), ((0, 0),) * 2, (2, 1)), 2),
    "depthwise": ((2, 3, 5, 5), (6, 1, 3, 3), Window((3, 3), (2, 2), ((1, 1),) * 2, (1, 1)), 3),
    "one channel": ((2, 1, 6, 6), (3, 1, 3, 3), Window((3, 3), (1, 1), ((0, 0),) * 2, (1, 1)), 1),
    "one pixel": ((2, 3, 1, 1), (2, 3, 3, 3), Window((3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), 1),
}  # fmt: skip

# What the stand-in for cuDNN takes, and who says that it convolved.
WAYS = {
    "all": (lambda asked: True, "cuDNN"),
    "no fusion": (lambda asked: not (asked.bias or asked.relu), "cuDNN"),
    "forward alone": (lambda asked: asked.product == "y", "cuDNN"),
    "no input gradient": (lambda asked: asked.product != "dx", "cuDNN"),
    "nothing": (lambda asked: False, "im2col and cuBLAS"),
}


def is_channels_last(x):
    """Whether the memory of an array is what a graph says of it."""
    expected = cudnn.channels_last_strides(x.shape)
    return all(
        n == 1 or step == x.itemsize * want
        for n, step, want in zip(x.shape, x.strides, expected, strict=True)
    )


def execute_in_loops(asked, arrays):
    """Do what cuDNN is asked to do."""
    for number, x in arrays.items():
        assert x.ctypes.data % cudnn.ALIGNMENT == 0
        assert x.flags.c_contiguous if number == B else is_channels_last(x)
    assert (arrays[X].shape, arrays[W].shape, arrays[Y].shape) == (asked.x, asked.w, asked.y)
    assert (B in arrays) == asked.bias
    window = asked.window
    y, dx, dw, _ = reference.conv(
        arrays[X] if asked.product != "dx" else np.zeros(asked.x),
        arrays[W] if asked.product != "dw" else np.zeros(asked.w),
        arrays.get(B),
        np.zeros(asked.y) if asked.product == "y" else arrays[Y],
        stride=window.stride,
        padding=window.padding,
        dilation=window.dilation,
        groups=asked.x[1] // asked.w[1],
    )
    target, value = {"y": (Y, y), "dx": (X, dx), "dw": (W, dw)}[asked.product]
    arrays[target][...] = np.maximum(value, 0.0) if asked.relu else value


def gather(xp, x, window):
    """im2col, slowly."""
    out = window.output_shape(x.shape[2:])
    padded = np.pad(x, [(0, 0), (0, 0), *window.padding])
    seen = [padded[window.tap(offset, out)] for offset in window.offsets()]
    return np.moveaxis(np.stack(seen, axis=1), 2, -1).reshape(
        x.shape[0], window.taps, -1, x.shape[1]
    ).transpose(0, 2, 1, 3).reshape(-1, window.taps * x.shape[1])  # fmt: skip


def spread(xp, columns, shape, window):
    """col2im, element by element: what im2col makes of one, times the columns."""
    dx = np.zeros(shape)
    for index in np.ndindex(*shape):
        one = np.zeros(shape)
        one[index] = 1.0
        dx[index] = np.sum(gather(xp, one, window) * columns)
    return dx


def apply(xp, kernel, x, *others):
    """The two elementwise kernels, on channels-last memory as theirs."""
    assert is_channels_last(x)
    y = np.maximum(x, 0.0) if kernel == "relu_forward" else x * (others[0] > 0)
    return y if is_channels_last(y) else np.moveaxis(np.moveaxis(y, 1, -1).copy(), -1, 1)


@pytest.fixture
def on_numpy(monkeypatch):
    """Let the glue run on NumPy arrays; returns the list of what cuDNN was asked, and a setter."""
    asked, takes = [], [WAYS["all"][0]]

    def execute(problem, arrays):
        asked.append(problem)
        if not takes[0](problem):
            return False
        execute_in_loops(problem, arrays)
        return True

    monkeypatch.setattr(conv, "_on_device_of", lambda x: nullcontext())
    monkeypatch.setattr(cudnn, "address", lambda x: x.ctypes.data)
    monkeypatch.setattr(cudnn, "execute", execute)
    monkeypatch.setattr(cudnn, "set_compute_type", lambda: None)
    monkeypatch.setattr(conv.columns, "im2col", gather)
    monkeypatch.setattr(conv.columns, "col2im", spread)
    monkeypatch.setattr(conv.elementwise, "apply", apply)
    monkeypatch.setattr(workspace, "_limit", 4096)  # several chunks
    return asked, lambda way: takes.__setitem__(0, way)


def gradients_of(geometry, bias, relu, rng):
    """Return arrays for a geometry, and what loops say of them."""
    x_shape, w_shape, window, groups = geometry
    x, w = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
    b = rng.standard_normal(w_shape[0]) if bias else None
    options = {
        "stride": window.stride, "padding": window.padding, "dilation": window.dilation,
        "groups": groups,
    }  # fmt: skip
    dy = rng.standard_normal((x_shape[0], w_shape[0], *window.output_shape(x_shape[2:])))
    y, *_ = reference.conv(x, w, b, dy, **options)
    gate = y > 0 if relu else np.ones(y.shape)
    _, dx, dw, db = reference.conv(x, w, b, dy * gate, **options)
    return (x, w, b, dy), (y * gate, dx, dw, db)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_way_computes_the_same(on_numpy, geometry, way, relu, rng):
    _, choose = on_numpy
    takes, note = WAYS[way]
    choose(takes)
    *_, window, groups = GEOMETRIES[geometry]
    (x, w, b, dy), expected = gradients_of(GEOMETRIES[geometry], True, relu, rng)
    before = [a.copy() for a in (x, w, b, dy)]
    forward = conv.conv_relu_forward if relu else conv.conv_forward
    with kernels.trace() as decisions:
        y, saved = forward(np, x, w, b, window, groups)
        log("conv", "cuda", [])
    found = (y, *conv.conv_backward(np, dy, saved, window, groups, True))
    for actual, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-12, atol=1e-12)
        assert actual.dtype == np.float64
    assert decisions[0].notes == (note,)
    assert found[2].flags.c_contiguous
    for a, old in zip((x, w, b, dy), before, strict=True):
        np.testing.assert_array_equal(a, old)


@pytest.mark.parametrize("need_dx", [False, True])
@pytest.mark.parametrize("way", ["all", "no input gradient", "forward alone", "nothing"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_transposed_convolution_takes_the_products_in_other_places(
    on_numpy, geometry, way, need_dx, rng
):
    """Its output is the convolution's gradient of the input; the gradients are loops' as well."""
    asked, choose = on_numpy
    *_, window, groups = GEOMETRIES[geometry]
    (image, w, _, x), (_, dx, _, _) = gradients_of(GEOMETRIES[geometry], False, False, rng)
    out, b = image.shape[2:], rng.standard_normal(image.shape[1])
    choose(WAYS["all"][0] if way != "nothing" else WAYS["nothing"][0])
    result = conv.conv_transpose_forward(np, x, w, b, window, out, groups)
    if way == "nothing":
        assert isinstance(result, kernels.Declined)
        return
    y, saved = result
    expected = dx + b.reshape(-1, *(1,) * len(out))
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    assert asked.pop().product == "dx"
    choose(WAYS[way][0])
    options = {
        "stride": window.stride, "padding": window.padding, "dilation": window.dilation,
        "groups": groups,
    }  # fmt: skip
    back, _, dw, _ = reference.conv(image, w, None, x, **options)  # `image` is the gradient here
    found = conv.conv_transpose_backward(np, image, saved, window, groups, need_dx)
    assert (found[0] is not None) == need_dx
    if need_dx:
        np.testing.assert_allclose(found[0], back, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found[1], dw, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found[2], image.sum(axis=(0, *range(2, image.ndim))))
    assert found[1].flags.c_contiguous
    wanted = ["dw", "y"] if need_dx and way != "forward alone" else ["dw"]
    assert [each.product for each in asked] == wanted


def test_transposed_convolution_declines_room_for_another_window(on_numpy):
    window = Window((2,), (1,), ((0, 0),), (3,))
    x, w = np.ones((1, 2, 4)), np.ones((2, 3, 2))
    assert conv.conv_transpose_forward(np, x, w, None, window, (7,), 1)[0].shape == (1, 3, 7)
    answer = conv.conv_transpose_forward(np, x, w, None, window, (8,), 1)
    assert "another window" in answer.reason


def test_what_is_not_asked_for_is_not_computed(on_numpy, rng):
    asked, _ = on_numpy
    (x, w, _, dy), expected = gradients_of(GEOMETRIES["2d"], False, False, rng)
    window = GEOMETRIES["2d"][2]
    y, saved = conv.conv_forward(np, x, w, None, window, 1)
    dx, dw, db = conv.conv_backward(np, dy, saved, window, 1, False)
    np.testing.assert_allclose(y, expected[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dw, expected[2], rtol=1e-12, atol=1e-12)
    assert dx is None
    assert db is None
    assert [(each.product, each.bias, each.relu) for each in asked] == [
        ("y", False, False),
        ("dw", False, False),
    ]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (5,)])
def test_linear_for_a_capture(on_numpy, rng, shape, bias):
    """Matrix products are convolutions of single pixels there, and left to cuBLAS elsewhere."""
    asked, _ = on_numpy
    x, w, b = rng.standard_normal(shape), rng.standard_normal((4, 5)), rng.standard_normal(4)
    b = b if bias else None
    linear.linear_forward(np, x, w, b)
    assert not asked
    with source.as_for_capture():
        y, saved = linear.linear_forward(np, x, w, b)
    expected, expected_saved = OPS["linear"].forward(np, x, w, b)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    dy = rng.standard_normal(y.shape)
    found = linear.linear_backward(np, dy, saved, True)
    for a, e in zip(found, OPS["linear"].backward(np, dy, expected_saved, True), strict=True):
        if e is None:
            assert a is None
        else:
            assert a.shape == e.shape
            np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-14)
    assert linear.linear_backward(np, dy, saved, False)[0] is None
    assert {p.product for p in asked} == {"y", "dx", "dw"}


def test_any_memory_is_taken(on_numpy, rng):
    (x, w, b, dy), expected = gradients_of(GEOMETRIES["2d"], True, False, rng)
    window = GEOMETRIES["2d"][2]
    room = np.zeros(x.size + 1)
    start = 1 if room.ctypes.data % cudnn.ALIGNMENT == 0 else 0
    beside = room[start : start + x.size].reshape(2, 6, 5, 3)  # not on a multiple of 16 bytes
    beside[...] = np.moveaxis(x, 1, -1)
    for image in (np.moveaxis(beside, -1, 1), x[:, :, ::-1].copy()[:, :, ::-1]):
        y, saved = conv.conv_forward(np, image, w[::-1].copy()[::-1], b, window, 1)
        dx, dw, _ = conv.conv_backward(np, np.asfortranarray(dy), saved, window, 1, True)
        np.testing.assert_allclose(y, expected[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(dx, expected[1], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(dw, expected[2], rtol=1e-12, atol=1e-12)


def test_nan_goes_through_relu(on_numpy):
    _, choose = on_numpy
    choose(WAYS["nothing"][0])
    window = Window((1,), (1,), ((0, 0),), (1,))
    x = np.array([[[-1.0, np.nan, 2.0]]])
    y, saved = conv.conv_relu_forward(np, x, np.ones((1, 1, 1)), None, window, 1)
    np.testing.assert_array_equal(y, [[[0.0, np.nan, 2.0]]])
    dx, _, _ = conv.conv_backward(np, np.ones((1, 1, 3)), saved, window, 1, True)
    np.testing.assert_array_equal(dx, [[[0.0, 0.0, 1.0]]])


def test_without_cudnn_and_compiler_the_generic_kernels_run(on_numpy, monkeypatch, rng, caplog):
    def fail(*_):
        raise ImportError("no compiler")

    _, choose = on_numpy
    monkeypatch.setattr(conv.columns, "im2col", fail)
    monkeypatch.setattr(cudnn, "_said", set())
    choose(WAYS["nothing"][0])
    window = GEOMETRIES["2d"][2]
    (x, w, b, dy), expected = gradients_of(GEOMETRIES["2d"], True, False, rng)
    answer = conv.conv_forward(np, x, w, b, window, 1)
    assert isinstance(answer, kernels.Declined)
    assert "no compiler" in answer.reason
    choose(WAYS["forward alone"][0])
    _, saved = conv.conv_forward(np, x, w, b, window, 1)
    found = conv.conv_backward(np, dy, saved, window, 1, True)
    for actual, value in zip(found, expected[1:], strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-12, atol=1e-12)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


@pytest.mark.parametrize("shape", [(0, 3, 6, 5), (2, 3, 6, 5, 4, 3)])
def test_what_is_declined(on_numpy, shape):
    ndim = len(shape) - 2
    window = Window((1,) * ndim, (1,) * ndim, ((0, 0),) * ndim, (1,) * ndim)
    w = np.ones((4, 3, *(1,) * ndim))
    assert isinstance(conv.conv_forward(np, np.ones(shape), w, None, window, 1), kernels.Declined)
    whole = np.ones((2, 3, 4), int)
    assert isinstance(conv.conv_forward(np, whole, whole, None, window, 1), kernels.Declined)


# -- Handles, plans and settings -----------------------------------------------------------------


class RefusedError(Exception):
    """In the place of cudnnGraphNotSupportedError."""


class Graph:
    """A graph whose plans take so many milliseconds each; ``None`` cannot be built."""

    def __init__(self, times=(1.0,)):
        self.times = times
        self.executed = []

    def check_support(self):
        if not self.times:
            raise RefusedError("no engine\nand many details")
        if isinstance(self.times, Exception):
            raise self.times

    def build_plans(self):
        pass

    def get_workspace_size(self):
        return 100

    def get_execution_plan_count(self):
        return len(self.times)

    def build_plan_at_index(self, number):
        if self.times[number] is None:
            raise RefusedError

    def get_workspace_size_plan_at_index(self, number):
        return 10 * number

    def execute(self, pointers, workspace, handle):
        self.executed.append((pointers, workspace, handle))

    def execute_plan_at_index(self, pointers, workspace, number, handle):
        self.executed.append((pointers, workspace, handle))
        Event.now += self.times[number]


class Event:
    """A clock that stands still while nothing is executed."""

    now = 0.0

    def record(self):
        self.at = Event.now

    def synchronize(self):
        pass


class Library(SimpleNamespace):
    """What of cuDNN and CuPy keeping plans touches."""

    def __init__(self, monkeypatch):
        super().__init__(handles=0, streams=[], stream=7, device=0, graphs=[], times=(1.0,))
        self.cudnnGraphNotSupportedError = RefusedError
        cuda = SimpleNamespace(
            get_current_stream=lambda: SimpleNamespace(ptr=self.stream),
            runtime=SimpleNamespace(getDevice=lambda: self.device),
            alloc=lambda size: SimpleNamespace(ptr=1000 + size),
            Event=Event,
            get_elapsed_time=lambda began, ended: ended.at - began.at,
        )
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
        monkeypatch.setattr(cudnn, "_load", lambda: self)
        monkeypatch.setattr(cudnn, "_kept", threading.local())
        monkeypatch.setattr(cudnn, "_broken", None)
        monkeypatch.setattr(cudnn, "_said", set())
        monkeypatch.setattr(cudnn, "describe", self.describe)
        monkeypatch.setattr(cudnn, "list_plans", lambda *_: None)
        monkeypatch.setattr(cudnn, "address", lambda number: number)

    def create_handle(self):
        self.handles += 1
        return f"handle {self.handles}"

    def set_stream(self, handle, stream):
        self.streams.append((handle, stream))

    def describe(self, library, asked, handle):
        self.graphs.append(Graph(self.times))
        return self.graphs[-1]


@pytest.fixture
def library(monkeypatch):
    return Library(monkeypatch)


ASKED = problem("plain", "y", "float32")
POINTERS = {X: 16, W: 32, Y: 48}


def test_a_plan_is_built_once_and_runs_in_the_current_stream(library):
    assert cudnn.execute(ASKED, POINTERS)
    assert cudnn.execute(ASKED, POINTERS)
    library.stream = 8
    assert cudnn.execute(ASKED, POINTERS)
    # The handle is told of a stream only when it is another one.
    assert library.streams == [("handle 1", 7), ("handle 1", 8)]
    (graph,) = library.graphs
    assert graph.executed == [(POINTERS, 1100, "handle 1")] * 3


def test_what_differs_has_a_plan_of_its_own(library):
    others = [
        problem("plain", "dx", "float32"),
        problem("plain", "y", "float16"),
        problem("odd", "y", "float32"),
        problem("plain", "y", "float32", bias=True),
        problem("plain", "y", "float32", float32="tf32"),
    ]
    for each in [ASKED, *others, ASKED]:
        cudnn.execute(each, POINTERS)
    assert len(library.graphs) == 1 + len(others)


@pytest.mark.parametrize("product", ["y", "dx", "dw"])
def test_float64_is_not_asked_for(library, product):
    """On a GPU such plans executed, and wrote the result times 5e-315."""
    assert not cudnn.execute(problem("plain", product, "float64"), POINTERS)
    assert library.graphs == []
    assert cudnn.execute(problem("plain", product, "float32"), POINTERS)


def test_devices_and_threads_have_handles_of_their_own(library):
    cudnn.execute(ASKED, POINTERS)
    library.device = 1
    cudnn.execute(ASKED, POINTERS)
    thread = threading.Thread(target=cudnn.execute, args=(ASKED, POINTERS))
    thread.start()
    thread.join()
    assert library.handles == len(library.graphs) == 3


def test_what_cudnn_refuses_is_remembered_and_said_once(library, caplog):
    library.times = ()
    assert not cudnn.execute(ASKED, POINTERS)
    assert not cudnn.execute(ASKED, POINTERS)
    assert not cudnn.execute(problem("odd", "y", "float32"), POINTERS)
    assert len(library.graphs) == 2
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "no engine" in said
    assert "(8, 64, 28, 28)" in said
    assert "details" not in said


@pytest.mark.parametrize("kind", [ValueError, NotImplementedError, RuntimeError, RefusedError])
def test_every_error_of_the_frontend_means_that_there_is_no_plan(library, kind):
    library.times = kind("dimensions")
    assert not cudnn.execute(ASKED, POINTERS)
    library.times = (1.0,)
    assert not cudnn.execute(ASKED, POINTERS)
    assert len(library.graphs) == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
        RefusedError("cuDNN: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError("out of memory"),
    ],
)
def test_a_lack_of_memory_is_not_remembered(library, error):
    library.times = error
    assert not cudnn.execute(ASKED, POINTERS)
    library.times = (1.0,)
    assert cudnn.execute(ASKED, POINTERS)


def test_an_interrupt_while_a_plan_is_built_goes_through(library, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cudnn, "list_plans", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cudnn.execute(ASKED, POINTERS)
    assert cudnn.execute(ASKED, POINTERS)


def test_what_is_tried_in_parts_next_is_not_warned_of(library, caplog):
    library.times = ()
    assert not cudnn.execute(problem("plain", "y", "float32", relu=True), POINTERS)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_cudnn_that_does_not_start_is_not_asked_again(library, caplog):
    def fail():
        library.handles += 1
        raise RuntimeError("no driver")

    library.create_handle = fail
    assert not cudnn.execute(ASKED, POINTERS)
    assert not cudnn.execute(ASKED, POINTERS)
    assert library.handles == 1
    assert "no driver" in cudnn.unavailable()
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def test_autotune_takes_the_fastest_plan_that_can_be_built(library):
    library.times = (3.0, None, 1.0, 2.0)
    asked = problem("plain", "y", "float32", autotune=True)
    assert cudnn.execute(asked, POINTERS)
    graph = library.graphs[0]
    del graph.executed[:]
    before = Event.now
    assert cudnn.execute(asked, POINTERS)
    assert Event.now - before == 1.0
    assert graph.executed == [(POINTERS, 1020, "handle 1")]


def test_settings_are_part_of_every_problem(monkeypatch):
    monkeypatch.setattr(cudnn, "_chosen", Settings())
    monkeypatch.setattr(precision, "_deterministic", False)
    assert cudnn.get_settings() == Settings()
    xpcnn.set_deterministic(True)
    cudnn.set_autotune(True)
    monkeypatch.setattr(cudnn, "get_precision", lambda: "exact")
    monkeypatch.setattr(workspace, "_limit", 1000)
    with precision.products("tf32"):
        assert cudnn.get_settings() == Settings("tf32", True, True, True, 16000)
    assert cudnn.get_settings() == Settings("float32", True, True, True, 16000)


class MatrixProducts:
    """Stands in for CuPy where it says how matrices are multiplied."""

    COMPUTE_TYPE_TF32, COMPUTE_TYPE_DEFAULT = "tf32", "default"

    def __init__(self, capability):
        self.now, self.told, self.device = "default", [], 0
        device = SimpleNamespace(compute_capability=capability)
        runtime = SimpleNamespace(getDevice=lambda: self.device)
        self.cuda = SimpleNamespace(Device=lambda: device, runtime=runtime)

    def set_compute_type(self, dtype, kind):
        assert dtype == "float32"
        self.now = kind
        self.told.append(kind)


def pretend(monkeypatch, capability="80"):
    cupy = MatrixProducts(capability)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", cupy)
    monkeypatch.setattr(cudnn, "_compute_type", None)
    return cupy


def test_cupy_is_told_how_to_multiply_when_that_changes(monkeypatch):
    cupy = pretend(monkeypatch)
    cudnn.set_compute_type()
    cudnn.set_compute_type()
    assert cupy.told == ["default"]
    with precision.products("tf32"):
        cudnn.set_compute_type()
        cupy.device = 1
        cudnn.set_compute_type()
    cudnn.set_compute_type()
    assert cupy.told == ["default", "tf32", "tf32", "default"]


def test_gpus_without_tf32_are_not_asked_for_it(monkeypatch):
    cupy = pretend(monkeypatch, capability="75")
    with precision.products("tf32"):
        cudnn.set_compute_type()
    assert cupy.told == ["default"]


def test_linear_layers_tell_cupy_before_they_multiply(monkeypatch, rng):
    cupy = pretend(monkeypatch)
    x, w, b, dy = (rng.random(shape) for shape in ((3, 4), (5, 4), (5,), (3, 5)))
    with precision.products("tf32"):
        y, saved = linear.linear_forward(np, x, w, b)
    assert cupy.now == "tf32"
    np.testing.assert_allclose(y, x @ w.T + b)
    dx, dw, db = linear.linear_backward(np, dy, saved, True)
    assert cupy.now == "default"
    np.testing.assert_allclose(dx, dy @ w)
    np.testing.assert_allclose(dw, dy.T @ x)
    np.testing.assert_allclose(db, dy.sum(axis=0))


@pytest.mark.parametrize(
    ("missing", "named"), [("cudnn", "nvidia-cudnn-frontend"), ("cuda.pathfinder", "cuda-path")]
)
def test_missing_packages_are_named(monkeypatch, missing, named):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else name)
    assert named in cudnn._load.__wrapped__()


def test_importing_the_kernels_needs_no_cupy():
    code = "import sys, xpcnn.kernels.cuda.conv; print({'cupy', 'cudnn'} & sys.modules.keys())"
    environment = os.environ | {"PYTHONPATH": str(Path(xpcnn.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.stdout.strip() == "set()", done.stderr


if __name__ == "__main__":
    plan_all()
