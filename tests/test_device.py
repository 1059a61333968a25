"""Devices: spellings, what works where, and the errors of what does not."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp
from xpcnn.backends import cuda_search
from xpcnn.device import Device, resolve
from xpcnn.errors import is_out_of_memory
from xpcnn.training import data_adapter


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@pytest.fixture
def fresh_probe():
    """Forget what earlier tests found out about the GPU, before and after."""
    cuda_search.probe.cache_clear()
    yield
    cuda_search.probe.cache_clear()


class FakeCupy(types.ModuleType):
    """CuPy as it is on a machine without a driver: it imports, and most calls raise."""

    __version__ = "14.0.0"

    class CUDARuntimeError(RuntimeError):
        pass

    class ndarray:  # noqa: N801
        pass

    generic = ndarray

    def __init__(self):
        super().__init__("cupy")
        self.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(
                getDeviceCount=self._count, runtimeGetVersion=lambda: 13020
            )
        )

    def _count(self):
        raise self.CUDARuntimeError("cudaErrorInsufficientDriver: driver is insufficient")

    def is_available(self):
        return False


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(cuda_search, "cuda_of_driver", lambda: None)


@pytest.fixture
def cupy_without_driver(monkeypatch, fresh_probe, no_driver):
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy())


@pytest.fixture
def no_cupy(monkeypatch, fresh_probe):
    """CuPy is not installed, whatever the machine has."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "cupy" else find(n))
    monkeypatch.setattr(cuda_search, "cupy_packages", dict)


# -- Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling", ["gpu", "", "CPU", "tpu:0", "cpu:1", "numpy", "torch:tpu", "cuda:x", "strict:9"]
)
def test_unknown_spellings(spelling):
    with pytest.raises(xpcnn.DeviceError, match="unknown device"):
        resolve(spelling)


def test_unknown_spelling_lists_the_known_ones():
    with pytest.raises(xpcnn.DeviceError, match=r"'gpu'.*auto, cpu, cuda, cuda:N, torch:cpu") as e:
        resolve("gpu")
    assert isinstance(e.value, RuntimeError)


def test_not_a_spelling():
    for wrong in (None, 0, np.zeros(3)):
        with pytest.raises(TypeError, match="device must be a string such as 'cpu' or a Device"):
            resolve(wrong)


@pytest.mark.usefixtures("no_cupy", "no_driver")
def test_cuda_with_neither_cupy_nor_driver():
    with pytest.raises(xpcnn.DeviceError, match=r"'cuda': CuPy is not installed, and no") as e:
        resolve("cuda")
    assert "no NVIDIA driver is found" in str(e.value)
    assert "pip install \"xpcnn[cuda13]\"; or use device='cpu'" in str(e.value)
    auto = resolve("auto")
    assert auto.name == "cpu"
    assert auto.note.startswith("no working GPU: CuPy is not installed")
    assert "device=" not in auto.note


@pytest.mark.usefixtures("no_cupy")
@pytest.mark.parametrize(
    ("driver", "command"),
    [
        ((12, 4), 'CUDA 12.4, run: pip install "xpcnn[cuda12]"; or use'),
        ((13, 0), 'CUDA 13.0, run: pip install "xpcnn[cuda13]" (or "xpcnn[cuda12]" for a GPU'),
        ((14, 2), 'CUDA 14.2, run: pip install "xpcnn[cuda13]" (or'),
        ((11, 8), 'pip install "xpcnn[cuda13]" (after an update of the NVIDIA driver'),
    ],
)
def test_the_command_fits_the_driver(monkeypatch, driver, command):
    monkeypatch.setattr(cuda_search, "cuda_of_driver", lambda: driver)
    for spelling in ("cuda", "cuda:1"):
        with pytest.raises(xpcnn.DeviceError, match=f"'{spelling}': CuPy is not installed") as e:
            resolve(spelling)
        assert command in str(e.value)


@pytest.mark.usefixtures("no_cupy")
def test_one_of_two_cupy_packages_was_uninstalled(monkeypatch):
    """Which takes the files of the other along; pip believes that it is installed."""
    monkeypatch.setattr(cuda_search, "cuda_of_driver", lambda: (12, 4))
    monkeypatch.setattr(cuda_search, "cupy_packages", lambda: {"cupy-cuda12x": "14.2.0"})
    with pytest.raises(xpcnn.DeviceError, match="the files of cupy-cuda12x are missing;") as e:
        resolve("cuda")
    command = 'run: pip uninstall -y cupy-cuda12x, then: pip install "xpcnn[cuda12]"; or'
    assert command in str(e.value)


@pytest.mark.usefixtures("cupy_without_driver")
def test_cuda_without_driver():
    for spelling in ("cuda", "cuda:1"):
        with pytest.raises(xpcnn.DeviceError, match="no NVIDIA driver is found") as e:
            resolve(spelling)
        for part in (repr(spelling), "CuPy 14.0.0 is installed", "device='cpu'"):
            assert part in str(e.value)
        assert e.value.__suppress_context__


@pytest.mark.usefixtures("cupy_without_driver")
def test_auto_falls_back_without_driver():
    device = resolve("auto")
    assert device.name == "cpu"
    assert device.note.startswith("no working GPU: CuPy 14.0.0 is installed, but no NVIDIA driver")
    assert resolve().name == "cpu"
    assert "driver" in xpcnn.devices()["cuda"]


class FakeDriver:
    """A library of the NVIDIA driver, which answers with a version and an error code."""

    def __init__(self, version, code=0):
        self.version, self.code = version, code

    def cuDriverGetVersion(self, pointer):
        pointer._obj.value = self.version
        return self.code


@pytest.mark.parametrize(
    ("libraries", "expected"),
    [
        ({}, None),
        ({"libcuda.so.1": FakeDriver(12040)}, (12, 4)),
        ({"nvcuda.dll": FakeDriver(13010)}, (13, 1)),
        ({"libcuda.so.1": FakeDriver(13000, code=34)}, None),  # only a stub to link against
        ({"libcuda.so.1": object()}, None),
    ],
)
def test_the_version_of_the_driver(monkeypatch, libraries, expected):
    def load(name):
        if name not in libraries:
            raise OSError(f"{name}: cannot open shared object file")
        return libraries[name]

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert cuda_search.cuda_of_driver() == expected


def test_installed_cupy_packages(monkeypatch, tmp_path):
    for name, version in (("cupy_cuda12x", "14.1.0"), ("cupy_cuda13x", "14.2.0")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        (folder / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = cuda_search.cupy_packages()
    assert (found["cupy-cuda12x"], found["cupy-cuda13x"]) == ("14.1.0", "14.2.0")
    uninstall = f"pip uninstall -y {' '.join(found)}, then: pip install"
    assert uninstall in cuda_search.install_command()


def test_a_library_that_fails_to_import(monkeypatch, fresh_probe):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    def broken(name):
        raise OSError("libcudart.so is missing")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(xpcnn.DeviceError, match="installed but fails to import.*libcudart") as e:
        resolve("cuda")
    assert "reinstall it: pip " in str(e.value)
    with pytest.raises(xpcnn.DeviceError, match="torch is installed but fails to import") as e:
        resolve("torch:cpu")
    assert 'reinstall it: pip install "xpcnn[torch]"' in str(e.value)


# -- A stand-in for CuPy, in a process of its own --------------------------------------------------

# What a working CuPy with one GPU of compute capability 9.0 does in the probe, by NumPy.
STAND_IN = """
import types
import numpy

__version__ = "14.2.0"

class CUDARuntimeError(RuntimeError):
    pass

class Array:
    def __init__(self, host):
        self.host = host
    def __matmul__(self, other):
        return Array(self.host @ other.host)
    def sum(self):
        return Array(self.host.sum())
    def get(self):
        return self.host

def ones(shape, dtype):
    return Array(numpy.ones(shape, dtype))

def ElementwiseKernel(inputs, outputs, source, name):
    return lambda x: Array(x.host + x.host)

class Device:
    compute_capability = "90"
    def __init__(self, number):
        self.id = number
    def __enter__(self):
        return self
    def __exit__(self, *error):
        pass

runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, runtimeGetVersion=lambda: 13020)
cuda = types.SimpleNamespace(runtime=runtime, Device=Device)

def fail(kind, text):
    raise kind(text)
"""
COUNT_FAILS = """
runtime.getDeviceCount = lambda: fail(CUDARuntimeError, "cudaErrorNoDevice: no device\\nand more")
"""
BANNER = """
try:
    raise ImportError("libcudart.so.13: cannot open shared object file")
except ImportError as error:
    raise ImportError("=====\\nFailed to import CuPy.\\n=====") from error
"""
WARNS = """
import warnings
warnings.warn("CuPy may not function correctly because multiple CuPy packages are installed")
"""

ASK = """
import sys, traceback, xpcnn
from xpcnn import device
from xpcnn.backends import cuda_search
spelling, driver, packages = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3])
cuda_search.cuda_of_driver = lambda: driver
cuda_search.cupy_packages = lambda: dict.fromkeys(packages, "14.2.0")
auto = device.resolve("auto")
print(auto.name, auto.note, sep="; ")
try:
    device.resolve(spelling)
except xpcnn.DeviceError as error:
    print(error)
    traceback.print_exc()
"""


def ask_stand_in(folder, source, spelling="cuda", driver=(13, 0), packages=("cupy-cuda13x",)):
    """Return what "auto" chose and why, the error of `spelling`, and the traceback a user sees."""
    (folder / "cupy").mkdir()
    (folder / "cupy" / "__init__.py").write_text(source)
    root = str(Path(xpcnn.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK, spelling, repr(driver), repr(packages)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), root])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    auto, error = done.stdout.splitlines()
    return auto, error, done.stderr


CASES = {
    "fails to import": (
        BANNER,
        {"packages": ("cupy-cuda12x", "cupy-cuda13x")},
        "CuPy is installed but fails to import (ImportError: libcudart.so.13: cannot open shared "
        "object file); reinstall it: pip uninstall -y cupy-cuda12x cupy-cuda13x, then: "
        'pip install "xpcnn[cuda13]"',
    ),
    "only an empty shell is left": (
        "",
        {"packages": ()},
        "CuPy is installed but fails to import (AttributeError: module 'cupy' has no attribute "
        "'__version__'); reinstall it: pip install \"xpcnn[cuda13]\"",
    ),
    "too old": (
        STAND_IN + "__version__ = '13.6.0'",
        {"driver": (12, 8), "packages": ("cupy-cuda12x",)},
        "CuPy 13.6.0 is too old, it must be 14 or newer; run: pip uninstall -y cupy-cuda12x, "
        'then: pip install "xpcnn[cuda12]"',
    ),
    "no driver": (
        STAND_IN + COUNT_FAILS,
        {"driver": None},
        "CuPy 14.2.0 is installed, but no NVIDIA driver is found; if there is an NVIDIA GPU, "
        "install its driver",
    ),
    "no driver, two packages": (
        STAND_IN + WARNS + COUNT_FAILS,
        {"driver": None, "packages": ("cupy-cuda12x", "cupy-cuda13x")},
        "CuPy 14.2.0 is installed, but no NVIDIA driver is found; if there is an NVIDIA GPU, "
        "install its driver; several CuPy packages overwrite each other, run: "
        'pip uninstall -y cupy-cuda12x cupy-cuda13x, then: pip install "xpcnn[cuda13]"',
    ),
    "old driver": (
        STAND_IN + COUNT_FAILS,
        {"driver": (12, 4)},
        "CuPy 14.2.0 is built for CUDA 13, but the NVIDIA driver is for CUDA 12.4; update the "
        'driver, or run: pip uninstall -y cupy-cuda13x, then: pip install "xpcnn[cuda12]"',
    ),
    "very old driver": (
        STAND_IN + COUNT_FAILS,
        {"driver": (11, 8)},
        "CuPy 14.2.0 is built for CUDA 13, but the NVIDIA driver is for CUDA 11.8; update the "
        "driver",
    ),
    "no device": (
        STAND_IN + COUNT_FAILS,
        {},
        "the NVIDIA driver, for CUDA 13.0, is there but shows no usable GPU (CUDARuntimeError: "
        "cudaErrorNoDevice: no device), and CUDA_VISIBLE_DEVICES is '3'; see whether nvidia-smi "
        "lists one",
    ),
    "zero devices": (
        STAND_IN + "runtime.getDeviceCount = lambda: 0",
        {},
        "the NVIDIA driver, for CUDA 13.0, is there but shows no usable GPU, and "
        "CUDA_VISIBLE_DEVICES is '3'; see whether nvidia-smi lists one",
    ),
    "GPU older than CUDA 13": (
        STAND_IN + "Device.compute_capability = '61'",
        {},
        "the GPU has compute capability 6.1, and CUDA 13, for which CuPy 14.2.0 is built here, "
        "needs 7.5 or newer; run: pip uninstall -y cupy-cuda13x, then: "
        'pip install "xpcnn[cuda12]"',
    ),
    "a part of CUDA is missing": (
        STAND_IN + "Array.__matmul__ = lambda x, y: fail(RuntimeError, 'no libcublas.so.13')",
        {},
        "CuPy 14.2.0 finds the GPU, but a test computation fails (RuntimeError: no "
        "libcublas.so.13); parts of CUDA are probably missing or of another version; "
        'run: pip install "xpcnn[cuda13]"',
    ),
    "its memory is full": (
        STAND_IN
        + "ones = lambda *_, **__: fail(MemoryError, 'Out of memory allocating 1,024 bytes')",
        {},
        "the GPU has no memory left for a test computation (MemoryError: Out of memory allocating "
        "1,024 bytes); nvidia-smi lists the processes that use it",
    ),
    "computes wrong numbers": (
        STAND_IN + "Array.sum = lambda x: Array(x.host.sum() + 1)",
        {},
        "the GPU computes wrong numbers (8193.0 in place of 8192.0); check its driver, its "
        "memory and its temperature",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_cupy_is_one_clear_error(tmp_path, monkeypatch, case):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    source, options, message = CASES[case]
    auto, error, shown = ask_stand_in(tmp_path, source, **options)
    assert auto == f"cpu; no working GPU: {message}"
    assert error == f"device 'cuda': {message}; or use device='cpu'"
    assert shown.count("Traceback") == 1
    assert str(tmp_path) not in shown, "a traceback into CuPy"


@pytest.mark.parametrize("packages", [("cupy-cuda13x",), ("cupy-cuda13x", "cupy-cuda12x")])
def test_a_gpu_that_works_is_taken(monkeypatch, fresh_probe, packages):
    """What is changed above is what fails there; several packages alone are only told of."""
    cupy = types.ModuleType("cupy")
    cupy.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    exec(STAND_IN, vars(cupy))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cuda_search, "cupy_packages", lambda: dict.fromkeys(packages, "14.2.0"))
    physical, note = cuda_search.probe(0)
    assert physical.id == 0
    if len(packages) == 1:
        assert note == ""
    else:
        assert note == "several CuPy packages are installed, keep one: cupy-cuda13x, cupy-cuda12x"


def test_a_gpu_that_is_not_there(tmp_path):
    source = STAND_IN + "runtime.getDeviceCount = lambda: 2\nones = None"
    _, error, shown = ask_stand_in(tmp_path, source, "cuda:7")
    assert error == (
        "device 'cuda:7': this machine has 2 CUDA device(s): cuda:0, cuda:1; or use device='cpu'"
    )
    assert shown.count("Traceback") == 1


@pytest.mark.parametrize(
    ("spelling", "module", "command"),
    [
        ("torch:cpu", "torch", 'pip install "xpcnn[torch]"'),
        ("jax:cpu", "jax", 'pip install "xpcnn[jax]"'),
        ("strict", "array_api_strict", "pip install array-api-strict"),
    ],
)
def test_libraries_that_are_not_installed(monkeypatch, spelling, module, command):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == module else find(n))
    with pytest.raises(xpcnn.DeviceError, match=f"needs {module}, which is not installed") as e:
        resolve(spelling)
    assert command in str(e.value)


def test_torch_cuda_without_gpu(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        xpcnn.DeviceError, match="'torch:cuda': PyTorch .* finds no working CUDA"
    ) as e:
        resolve("torch:cuda")
    assert "use 'torch:cpu'" in str(e.value)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(xpcnn.DeviceError, match="'torch:mps'.*no Apple GPU; use 'torch:cpu'"):
        resolve("torch:mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(xpcnn.DeviceError, match=r"'torch:cuda:5': this machine has 2 device"):
        resolve("torch:cuda:5")


@pytest.mark.skipif(not has("jax"), reason="jax is not installed")
def test_jax_platform_that_is_not_there():
    with pytest.raises(xpcnn.DeviceError, match="'jax:nonsense': JAX has no such platform"):
        resolve("jax:nonsense")


@pytest.mark.skipif(not has("jax"), reason="jax is not installed")
def test_jax_without_64_bits_says_how_to_switch_them_on():
    import jax

    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(xpcnn.DeviceError, match="jax_enable_x64"):
            resolve("jax:cpu").dtype("float64")
    finally:
        jax.config.update("jax_enable_x64", True)


def test_a_dtype_the_library_has_not():
    strict = pytest.importorskip("array_api_strict")
    assert not hasattr(strict, "float16")
    with pytest.raises(xpcnn.DeviceError, match="array_api_strict has no dtype 'float16'; use"):
        resolve("strict").dtype("float16")


def test_the_report_covers_every_kind():
    report = xpcnn.devices()
    assert list(report) == [
        "cpu",
        "cuda",
        "torch:cpu",
        "torch:cuda",
        "torch:mps",
        "jax:cpu",
        "strict",
    ]
    assert report["cpu"] == "works"
    for spelling, state in report.items():
        if state == "works":
            assert resolve(spelling).xp is not None
        else:
            assert "pip install" in state or "use 'torch:cpu'" in state or "install" in state


# -- What a device does ----------------------------------------------------------------------------


def test_resolving_again_gives_the_same(device):
    assert resolve(device) is device
    assert str(device) == device.name
    assert resolve(device.name) == device
    assert Device.of(device.asarray(np.ones(3, "float32"))).physical == device.physical
    again = resolve(Device.of(device.zeros((2,), "float32")).name)
    assert (again.xp, again.physical) == (device.xp, device.physical)


def test_numbers_in_and_out(device, rng):
    for host in (
        rng.normal(size=(2, 3)),
        rng.normal(size=(2, 3)).astype("float32"),
        np.arange(6)[::-2],
        np.moveaxis(rng.normal(size=(2, 3, 4)), 1, 2),
        np.array(3.0),
        np.zeros((0, 3), "float32"),
        np.array([True, False]),
    ):
        before = host.copy()
        x = device.asarray(host)
        assert _xp.namespace(x) is device.xp
        assert _xp.device_of(x) == device.physical
        assert _xp.dtype_name(x) == host.dtype.name
        np.testing.assert_array_equal(_xp.to_numpy(x), before)


def test_dtype_is_converted_when_asked(device):
    for values in ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]]), device.asarray(np.eye(2))):
        x = device.asarray(values, "float32")
        assert _xp.dtype_name(x) == "float32"
        assert x.shape == (2, 2)
    zeros = device.zeros((2, 3), "float64")
    assert (_xp.dtype_name(zeros), tuple(zeros.shape)) == ("float64", (2, 3))


def test_read_only_arrays_come_in(device):
    host = np.ones((2, 2), "float32")
    host.flags.writeable = False
    np.testing.assert_array_equal(_xp.to_numpy(device.asarray(host)), host)


def test_read_only_arrays_come_out(device):
    repeated = device.xp.broadcast_to(device.asarray(np.arange(2.0)), (3, 2))
    np.testing.assert_array_equal(_xp.to_numpy(repeated), [[0.0, 1.0]] * 3)


@pytest.mark.parametrize("source", ["strict", "strict:1", "torch:cpu", "jax:cpu"])
def test_arrays_of_other_libraries_come_in(device, source):
    try:
        x = resolve(source).asarray(np.arange(6.0).reshape(2, 3))
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    moved = device.asarray(x, "float32")
    assert _xp.namespace(moved) is device.xp
    assert _xp.device_of(moved) == device.physical
    np.testing.assert_array_equal(_xp.to_numpy(moved), np.arange(6.0).reshape(2, 3))


def test_what_is_there_already_is_not_copied(device):
    x = device.asarray(np.ones(3, "float32"))
    assert device.asarray(x) is x
    assert device.asarray(x, "float32") is x


class CurrentDevice:
    """A physical device of CuPy: allocations go to the one that was entered last."""

    entered: list[int]

    def __init__(self, number):
        self.id = number

    def __enter__(self):
        self.entered.append(self.id)
        return self

    def __exit__(self, *error):
        assert self.entered.pop() == self.id


@pytest.fixture
def second_gpu():
    """A device "cuda:1" whose arrays are NumPy's; allocating elsewhere than on it fails."""
    CurrentDevice.entered = []

    def zeros(shape, dtype, device):
        assert CurrentDevice.entered == [1]
        return np.zeros(shape, dtype)

    def asarray(x, dtype=None, device=None):
        assert CurrentDevice.entered == [1]
        return np.asarray(x, dtype)

    xp = types.SimpleNamespace(
        __name__="array_api_compat.cupy", zeros=zeros, asarray=asarray, float32=np.float32
    )
    yield Device("cuda:1", xp, CurrentDevice(1))
    assert CurrentDevice.entered == []


def test_cupy_allocates_on_the_current_device(second_gpu):
    second_gpu.zeros((2,), "float32")
    second_gpu.asarray(np.ones(3, "float32"))
    with second_gpu.active(), second_gpu.active():
        assert CurrentDevice.entered == [1, 1]


def test_the_current_device_is_left_when_something_fails(second_gpu):
    with pytest.raises(xpcnn.DeviceError, match="no dtype 'float99'"):
        second_gpu.zeros((2,), "float99")
    assert CurrentDevice.entered == []


def test_a_model_works_with_its_device_as_the_current_one(monkeypatch):
    depth = 0
    seen = []

    @contextmanager
    def active(self):
        nonlocal depth
        depth += 1
        yield
        depth -= 1

    class Watched(xpcnn.Linear):
        def forward(self, x, *, training=False):
            seen.append(("forward", depth))
            return super().forward(x, training=training)

        def backward(self, dy, *, need_dx=True):
            seen.append(("backward", depth))
            return super().backward(dy, need_dx=need_dx)

    as_features = data_adapter.as_features

    def watched_as_features(*args, **options):
        seen.append(("data", depth))
        return as_features(*args, **options)

    monkeypatch.setattr(Device, "active", active)
    monkeypatch.setattr(data_adapter, "as_features", watched_as_features)
    x, y = np.ones((4, 2), "float32"), np.array([0, 1, 0, 1])
    model = xpcnn.Model([Watched(2, 2)], device="cpu", seed=0)
    model.compile("adam", "cross_entropy")
    calls = {
        "forward": lambda: model.forward(x, training=True),
        "backward": lambda: model.backward(x),
        "call": lambda: model(x),
        "fit": lambda: model.fit(x, y, verbose=0),
        "train_on_batch": lambda: model.train_on_batch(x, y),
        "evaluate": lambda: model.evaluate(x, y),
        "predict": lambda: model.predict(x),
    }
    for name, call in calls.items():
        seen.clear()
        call()
        assert seen, name
        assert all(inside > 0 for _, inside in seen), name
        assert depth == 0


# -- Memory ----------------------------------------------------------------------------------------


def test_the_use_of_memory_is_told(second_gpu, monkeypatch):
    class Pool:
        def total_bytes(self):
            return 3 * 2**30

        def used_bytes(self):
            assert CurrentDevice.entered == [1], "each GPU has a pool of its own"
            return 5 * 2**19

    cupy = FakeCupy()
    cupy.get_default_memory_pool = Pool
    cupy.cuda.runtime.memGetInfo = lambda: (2**28, 2**33)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert second_gpu.memory_use() == (
        "CuPy's memory pool holds 3.00 GiB, of which 2.5 MiB are in use, and 256.0 MiB of the "
        "GPU's 8.00 GiB are free",
        "cupy.get_default_memory_pool().free_all_blocks()",
    )
    del cupy.cuda.runtime.memGetInfo
    assert second_gpu.memory_use() == ("", "")


def test_without_a_pool_of_gpu_memory_nothing_is_told(device):
    if device.name.startswith("cuda"):
        text, release = device.memory_use()
        assert text.startswith("CuPy's memory pool holds ")
        assert release.startswith("cupy.")
    else:
        assert device.memory_use() == ("", "")


def test_errors_that_mean_out_of_memory():
    class OutOfMemoryError(RuntimeError):
        pass

    with pytest.raises(MemoryError) as numpy_error:
        np.empty(1 << 55)
    for error in (
        MemoryError(),
        numpy_error.value,
        OutOfMemoryError("as PyTorch's"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
        FakeCupy.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ):
        assert is_out_of_memory(error), error
    for error in (
        ValueError("out of memory"),
        RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED"),
        FakeCupy.CUDARuntimeError("cudaErrorLaunchOutOfResources: too many resources requested"),
        KeyboardInterrupt(),
    ):
        assert not is_out_of_memory(error), error


@pytest.mark.parametrize("library", ["torch:cpu", "jax:cpu"])
def test_real_errors_of_libraries_without_memory(library):
    try:
        device = resolve(library)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    with pytest.raises(RuntimeError) as error:
        device.zeros((1 << 46,), "float32")
    assert is_out_of_memory(error.value), error.value


# -- Namespaces ------------------------------------------------------------------------------------


def test_mixed_libraries_are_named():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match=r"conv: the arrays come from different libraries") as e:
        _xp.namespace(np.ones(2, "float32"), strict.ones(3), who="conv")
    for part in (
        "numpy array of shape (2,), dtype float32",
        "array_api_strict array of shape (3,)",
    ):
        assert part in str(e.value)
    assert _xp.namespace(None, np.ones(2)) is _xp.namespace(np.ones(2))


def test_what_is_not_an_array():
    for wrong in ([1.0], 3.0, "x", object()):
        with pytest.raises(TypeError, match=r"conv: expected an array of NumPy.*numpy.asarray"):
            _xp.namespace(wrong, who="conv")
    with pytest.raises(TypeError, match="at least one array"):
        _xp.namespace(None, None)


def test_indexed_updates(device):
    x = device.asarray(np.zeros((3, 4)))
    x = _xp.set_at(x, (slice(None), slice(1, 4, 2)), 2.0)
    x = _xp.add_at(x, (slice(0, 2), slice(None)), device.asarray(np.ones((2, 4))))
    expected = [[1, 3, 1, 3], [1, 3, 1, 3], [0, 2, 0, 2]]
    np.testing.assert_array_equal(_xp.to_numpy(x), expected)


def test_bfloat16_of_cupy_comes_from_ml_dtypes(monkeypatch):
    gpu = Device("cuda:0", types.SimpleNamespace(__name__="array_api_compat.cupy"), None)
    stand_in = types.SimpleNamespace(bfloat16=np.float16)
    monkeypatch.setitem(sys.modules, "ml_dtypes", stand_in)
    assert gpu.dtype("bfloat16") == np.dtype(np.float16)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(xpcnn.DeviceError, match="run: pip install ml_dtypes"):
        gpu.dtype("bfloat16")
