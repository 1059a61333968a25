"""Fixtures and options that all tests share."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import sys
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

import xpcnn
from xpcnn import kernels
from xpcnn.device import Device, resolve

# A test that takes `device` runs once for each of these. "cpu" is NumPy with the generic kernels,
# "cpu+compiled" with the compiled ones in front, as users have them.
DEVICES = ("cpu", "cpu+compiled", "strict", "strict:1", "torch:cpu", "jax:cpu", "cuda")

pytest.register_assert_rewrite("tests.pytorch")

# On a GPU, JAX would take three quarters of the memory for itself.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

if importlib.util.find_spec("jax") is not None:
    import jax

    jax.config.update("jax_enable_x64", True)

if importlib.util.find_spec("torch") is not None:
    import torch

    # The tests' arrays are tiny; more threads only fight with those of the other libraries.
    torch.set_num_threads(1)

# The kernels would say that they compile, once, and so in whichever test needs a new one first.
os.environ.setdefault("XPCNN_QUIET", "1")

with warnings.catch_warnings():
    # A Numba that cannot be imported warns, once; the tests of its kernels are skipped.
    warnings.simplefilter("ignore")
    kernels.why_not_compiled(np)

if importlib.util.find_spec("hypothesis") is not None:
    import hypothesis

    # The same examples in every run, and no limit on time: a slow machine is not a defect.
    hypothesis.settings.register_profile("xpcnn", derandomize=True, deadline=None)
    hypothesis.settings.load_profile("xpcnn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu",
        action="store_true",
        help="fail, instead of skipping, the tests on 'cuda' if no GPU works",
    )
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes many seconds; runs with --run-slow or -m slow")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has what it starts in the background ignore Ctrl-C, which the tests press.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--run-slow") or "slow" in (config.getoption("markexpr") or ""):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """Every array library in turn; one that is missing is a skip that says why."""
    name = request.param.removesuffix("+compiled")
    if name != request.param and (reason := kernels.why_not_compiled(np)) is not None:
        pytest.skip(f"no compiled kernels: {reason}")
    try:
        found = resolve(name)
    except xpcnn.DeviceError as error:
        if name == "cuda" and request.config.getoption("--require-gpu"):
            pytest.fail(f"--require-gpu was given, but: {error}")
        pytest.skip(str(error))
    with kernels.force("generic" if request.param == "cpu" else None):
        yield found


@pytest.fixture(autouse=True, scope="module")
def seeded_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let all that a module's own fixtures draw follow from its name."""
    with seeded_by(request.node.nodeid):
        yield


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest, seeded_module: None) -> Iterator[None]:
    """Let all that a test draws follow from its name, whatever ran before it."""
    with seeded_by(request.node.nodeid):
        yield


@contextlib.contextmanager
def seeded_by(name: str) -> Iterator[None]:
    """Seed the generators of the process, and models and layers that are given no seed."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    fresh = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xpcnn.rng, "fresh_seed", lambda: fresh.getrandbits(32))
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a random generator with the same seed for every test."""
    return np.random.default_rng(20240607)
