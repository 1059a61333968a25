"""What tests of random layers share."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import _xp

MANY = 10_000


def not_on_jax(device):
    """Skip what JAX would compile anew for every shape, which takes long."""
    if _xp.library(device.xp) == "jax":
        pytest.skip("the conformance test runs it on JAX")


def seeded(layer, seed=0, step=0):
    layer.seed, layer.step = seed, step
    return layer


def drawn(layer, shape):
    """Return what a layer draws for a batch of 10,000 samples."""
    return seeded(layer, 12345).draw((MANY, *shape))


def assert_mean(values, mean, deviation=None):
    """The mean lies within three of its standard errors of what it should be."""
    values = np.asarray(values, dtype=np.float64)
    deviation = values.std() if deviation is None else deviation
    assert abs(values.mean() - mean) <= 3 * deviation / np.sqrt(len(values)) + 1e-12


def assert_even(values, count):
    """Whole numbers from 0 to below a count come equally often: chi squared, at 0.3%."""
    found = np.bincount(values, minlength=count)
    assert len(found) == count
    expected = len(values) / count
    chi = np.sum((found - expected) ** 2 / expected)
    freedom = count - 1
    assert chi <= freedom + 3 * np.sqrt(2 * freedom) + 3


def images(shape=(4, 3, 6, 5), dtype="float64"):
    return np.random.default_rng(0).random(shape).astype(dtype)
