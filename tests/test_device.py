"""Devices: spellings, what works where, and the errors of what does not."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp
from xpcnn import device as devices_module
from xpcnn.device import Device, resolve


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@pytest.fixture
def fresh_probe():
    """Forget what earlier tests found out about the GPU, before and after."""
    devices_module._probe_cuda.cache_clear()
    yield
    devices_module._probe_cuda.cache_clear()


class FakeCupy(types.ModuleType):
    """CuPy as it is on a machine without a driver: it imports, and most calls raise."""

    __version__ = "14.0.0"

    class CUDARuntimeError(RuntimeError):
        pass

    class ndarray:  # noqa: N801
        pass

    generic = ndarray

    def __init__(self, count=None, computes=True):
        super().__init__("cupy")
        self.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(getDeviceCount=self._count), Device=self._device
        )
        self._n, self._computes = count, computes

    def _count(self):
        if self._n is None:
            raise self.CUDARuntimeError("cudaErrorInsufficientDriver: driver is insufficient")
        return self._n

    def _device(self, number):
        raise self.CUDARuntimeError("cudaErrorNoKernelImageForDevice")

    def is_available(self):
        return bool(self._n)


@pytest.fixture
def cupy_without_driver(monkeypatch, fresh_probe):
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy())


@pytest.fixture
def cupy_with_broken_gpu(monkeypatch, fresh_probe):
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy(count=1))


@pytest.fixture
def no_cupy(monkeypatch, fresh_probe):
    """CuPy is not installed, whatever the machine has."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "cupy" else find(n))


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


@pytest.mark.usefixtures("no_cupy")
def test_cuda_without_cupy_says_what_to_install():
    with pytest.raises(xpcnn.DeviceError, match=r"'cuda' needs cupy, which is not installed") as e:
        resolve("cuda")
    assert 'pip install "xpcnn[cuda13]"' in str(e.value)
    assert "xpcnn[cuda12]" in str(e.value)
    auto = resolve("auto")
    assert auto.name == "cpu"
    assert "not installed" in auto.note


@pytest.mark.usefixtures("cupy_without_driver")
def test_cuda_without_driver():
    for spelling in ("cuda", "cuda:1"):
        with pytest.raises(xpcnn.DeviceError, match="finds no usable NVIDIA driver") as e:
            resolve(spelling)
        for part in (repr(spelling), "CuPy 14.0.0", "cudaErrorInsufficientDriver", "device='cpu'"):
            assert part in str(e.value)


@pytest.mark.usefixtures("cupy_without_driver")
def test_auto_falls_back_without_driver():
    device = resolve("auto")
    assert device.name == "cpu"
    assert "no working GPU" in device.note
    assert "driver" in device.note
    assert resolve().name == "cpu"
    assert "driver" in xpcnn.devices()["cuda"]


@pytest.mark.usefixtures("cupy_with_broken_gpu")
def test_a_gpu_that_does_not_compute():
    with pytest.raises(xpcnn.DeviceError, match="a test computation fails") as e:
        resolve("cuda")
    assert "cudaErrorNoKernelImageForDevice" in str(e.value)
    assert "pip install" in str(e.value)
    assert resolve("auto").name == "cpu"
    with pytest.raises(xpcnn.DeviceError, match=r"'cuda:3'.*has 1 CUDA device\(s\), numbered"):
        resolve("cuda:3")


def test_a_library_that_fails_to_import(monkeypatch, fresh_probe):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    def broken(name):
        raise OSError("libcudart.so is missing")

    monkeypatch.setattr(devices_module.importlib, "import_module", broken)
    with pytest.raises(xpcnn.DeviceError, match="installed but fails to import.*libcudart") as e:
        resolve("cuda")
    assert "reinstall it: pip install" in str(e.value)


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
