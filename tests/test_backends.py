"""A library that nothing here has heard of needs one record, and all layers work on it."""

from __future__ import annotations

import operator
import sys
import types

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp, kernels
from xpcnn.backends import BACKENDS, backend_of
from xpcnn.backends.base import Backend, Found, import_library
from xpcnn.device import Device, resolve

BINARY = "add sub mul truediv pow matmul eq ne lt le gt ge and or xor"


class Array:
    """An array of the library: it has what the standard asks for, and nothing else of NumPy."""

    device = "the only one"

    def __init__(self, host):
        self.host = host

    def __array_namespace__(self, api_version=None):
        return sys.modules["foreign"]

    def __getattr__(self, name):
        if name not in ("dtype", "shape", "ndim", "size", "T", "mT"):
            raise AttributeError(name)
        return wrap(getattr(self.host, name))

    def __getitem__(self, key):
        return wrap(self.host[unwrap(key)])

    def __setitem__(self, key, value):
        self.host[unwrap(key)] = unwrap(value)

    def __neg__(self):
        return wrap(-self.host)

    def __bool__(self):
        return bool(self.host)

    def __float__(self):
        return float(self.host)

    def __int__(self):
        return int(self.host)


def give_operator(name: str) -> None:
    """Give arrays an operator, and the one for an array on its right."""
    function = getattr(operator, f"__{name}__")
    setattr(Array, f"__{name}__", lambda a, b: wrap(function(a.host, unwrap(b))))
    setattr(Array, f"__r{name}__", lambda a, b: wrap(function(unwrap(b), a.host)))


for each in BINARY.split():
    give_operator(each)


def wrap(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return Array(np.asarray(value))
    return type(value)(map(wrap, value)) if type(value) in (tuple, list) else value


def unwrap(value):
    if isinstance(value, Array):
        return value.host
    return type(value)(map(unwrap, value)) if type(value) in (tuple, list) else value


class Namespace(types.ModuleType):
    """The library: NumPy's functions, for its own arrays alone."""

    def __getattr__(self, name):
        function = getattr(np, name)
        if isinstance(function, type) or not callable(function):
            return function

        def wrapped(*arguments, device=None, **options):
            assert device in (None, Array.device)
            assert not any(isinstance(a, np.ndarray) for a in arguments) or name == "asarray"
            options = {key: unwrap(value) for key, value in options.items()}
            return wrap(function(*map(unwrap, arguments), **options))

        return wrapped


class Foreign(Backend):
    """The record."""

    spellings = ("foreign",)

    def find(self, rest: str) -> Found | None:
        if rest:
            return None
        xp = import_library("foreign", "foreign", "pip install foreign")
        return Found("foreign", xp, Array.device)

    def device_name(self, physical: str) -> str:
        return "foreign"

    def to_numpy(self, x: Array) -> np.ndarray:
        return x.host


@pytest.fixture
def foreign(monkeypatch) -> Device:
    module = Namespace("foreign")
    module.__spec__ = types.SimpleNamespace(name="foreign")
    monkeypatch.setitem(sys.modules, "foreign", module)
    monkeypatch.setitem(BACKENDS, "foreign", Foreign("foreign"))
    monkeypatch.setattr(_xp, "_NAMESPACES", dict(_xp._NAMESPACES))
    return resolve("foreign")


def test_its_device_is_found(foreign):
    assert foreign.name == "foreign"
    assert isinstance(backend_of(foreign.xp), Foreign)
    x = foreign.asarray(np.arange(6.0).reshape(2, 3), "float32")
    assert (type(x), Device.of(x), _xp.describe(x).split()[1]) == (Array, foreign, "foreign")
    np.testing.assert_array_equal(_xp.to_numpy(x), np.arange(6.0).reshape(2, 3))
    with pytest.raises(xpcnn.DeviceError, match="unknown device 'foreign:1'"):
        resolve("foreign:1")


def test_it_trains_a_network_as_numpy_does(foreign):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 2, 8, 8)).astype("float32"), rng.integers(0, 3, 12)
    found = []
    for device in ("foreign", "cpu"):
        layers = [
            xpcnn.Conv2d(2, 4, 3),
            xpcnn.BatchNorm2d(4),
            xpcnn.ReLU(),
            xpcnn.MaxPool2d(2),
            xpcnn.Flatten(),
            xpcnn.Dropout(0.5),
            xpcnn.Linear(36, 3),
        ]
        model = xpcnn.Model(layers, device=device, seed=0)
        model.compile("adam", "cross_entropy", metrics=["accuracy"])
        with kernels.force("generic"):
            history = model.fit(x, y, epochs=2, batch_size=4, verbose=0)
            found.append((history.history, model.predict(x)))
    assert found[0][0].keys() == found[1][0].keys()
    np.testing.assert_allclose(found[0][0]["loss"], found[1][0]["loss"], rtol=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)


def test_a_library_without_a_record_works_as_the_standard_says():
    backend = backend_of(types.SimpleNamespace(__name__="array_api_compat.dask.array"))
    assert (type(backend), backend.library, backend.kernel_set) == (Backend, "dask", None)
    assert backend.device_name("cpu") == "dask:cpu"
    assert backend.memory_use("cpu") == ("", "")
