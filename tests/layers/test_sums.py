"""Sums over a million terms: gradients of parameters, and statistics, in float32.

Each is compared with the same layer in float64, and may be off by a millionth of the sum of the
terms' sizes, wherever the terms lie in memory.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import numpy as np
import pytest

import xpcnn as xc
from tests.compiled import needs_compiled_kernels
from tests.layers.cases import CASES
from xpcnn import kernels

TERMS = 1_000_000
ROWS, IMAGES, ONE, VOLUME = (TERMS, 8), (4, 8, 500, 500), (1, 8, 1000, 1000), (1, 4, 100, 100, 100)

LAYERS = {
    "Linear": (lambda: xc.Linear(8, 8), ROWS),
    "Conv1d": (lambda: xc.Conv1d(8, 8, 3, padding=1), (10, 8, 100_000)),
    "Conv2d": (lambda: xc.Conv2d(8, 8, 3, padding=1), IMAGES),
    "Conv2d-5x5": (lambda: xc.Conv2d(4, 8, 5, padding=2), (4, 4, 500, 500)),
    "Conv2d-depthwise": (lambda: xc.Conv2d(8, 8, 3, padding=1, groups=8), IMAGES),
    "Conv2d-few": (lambda: xc.Conv2d(8, 3, 3, padding=1), IMAGES),
    "Conv2d-16": (lambda: xc.Conv2d(16, 16, 3, padding=1), (64, 16, 125, 125)),
    "Conv3d": (lambda: xc.Conv3d(4, 3, 2, padding="same"), VOLUME),
    "ConvTranspose1d": (lambda: xc.ConvTranspose1d(8, 3, 2, 2), (10, 8, 50_000)),
    "ConvTranspose2d": (lambda: xc.ConvTranspose2d(8, 3, 2, 2), (4, 8, 250, 250)),
    "ConvTranspose2d-8": (lambda: xc.ConvTranspose2d(8, 8, 3, padding=1), IMAGES),
    "ConvTranspose3d": (lambda: xc.ConvTranspose3d(4, 3, 1), VOLUME),
    "SeparableConv1d": (lambda: xc.SeparableConv1d(8, 8, 3, padding=1), (10, 8, 100_000)),
    "SeparableConv2d": (lambda: xc.SeparableConv2d(8, 8, 3, padding=1), IMAGES),
    "BatchNorm1d": (lambda: xc.BatchNorm1d(8), ROWS),
    "BatchNorm2d": (lambda: xc.BatchNorm2d(8), IMAGES),
    "BatchNorm3d": (lambda: xc.BatchNorm3d(4), VOLUME),
    "GroupNorm": (lambda: xc.GroupNorm(2, 8), IMAGES),
    "InstanceNorm1d": (lambda: xc.InstanceNorm1d(8, affine=True), (1, 8, TERMS)),
    "InstanceNorm2d": (lambda: xc.InstanceNorm2d(8, affine=True), ONE),
    "InstanceNorm3d": (lambda: xc.InstanceNorm3d(4, affine=True), VOLUME),
    "LayerNorm": (lambda: xc.LayerNorm(8), ROWS),
    "RMSNorm": (lambda: xc.RMSNorm(8), ROWS),
    "PReLU": (lambda: xc.PReLU(8), IMAGES),
    "PReLU-one": (lambda: xc.PReLU(), (4, 2, 354, 354)),
}
# What they add up is added up by the layers above, or row by row of a table.
NOT_ALONE = {"Bilinear", "Embedding", "Residual", "Sequential", "Parallel", "Graph"}


def in_order(x):
    return np.ascontiguousarray(x)


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def run(name, dtype, lay=in_order):
    """Return gradients and statistics after a forward and a backward with a constant gradient."""
    make, shape = LAYERS[name]
    layer = make()
    layer.build(shape, dtype=dtype, rng=np.random.default_rng(1))
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    y = layer.forward(lay(x.astype(dtype)), training=True)
    layer.backward(lay(np.full(y.shape, np.float32(1 / TERMS), dtype)))
    found = {n: np.asarray(p.grad, np.float64) for n, p in layer.parameters().items()}
    running = {n: a for n, a in layer.state_dict().items() if "running" in n}
    return found | {n: np.asarray(a, np.float64) for n, a in running.items()}


@cache
def exact(name):
    with kernels.force("generic"):
        return run(name, "float64")


@pytest.mark.parametrize("kernel_set", ["generic", "cpu"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_million_terms(name, kernel_set):
    if kernel_set == "cpu":
        needs_compiled_kernels()
    expected = exact(name)
    for lay in (in_order, channels_last) if len(LAYERS[name][1]) > 2 else (in_order,):
        with kernels.force("generic" if kernel_set == "generic" else None):
            found = run(name, "float32", lay)
        for key, value in expected.items():
            # Gradients that cancel are small beside their terms, which add up to about one half.
            scale = max(np.abs(value).max(), 0.5)
            error = np.abs(found[key] - value).max() / scale
            assert error < 1e-6, (key, lay.__name__, error)


def test_no_layer_with_parameters_is_left_out():
    with_parameters = set()
    for name, case in CASES.items():
        layer = case.make()
        layer.build(case.shape)
        if layer.parameters():
            with_parameters.add(name.partition("-")[0])
    assert with_parameters - {n.partition("-")[0] for n in LAYERS} <= NOT_ALONE


NORMS = {
    "batch": (lambda: xc.BatchNorm2d(8, eps=1e-5), (8, 8, 8, 8)),
    "wide": (lambda: xc.BatchNorm2d(40, eps=1e-5), (16, 40, 12, 12)),
    "rows": (lambda: xc.BatchNorm1d(8, eps=1e-5), (600, 8)),
}


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba")
@pytest.mark.parametrize("name", NORMS)
def test_a_constant_channel_has_no_variance(name):
    make, shape = NORMS[name]
    layer = make()
    layer.build(shape)
    x = np.full(shape, 12345.678, np.float32)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y, 0.0, atol=1e-4)
    state = layer.state_dict()
    np.testing.assert_allclose(state["running_mean"], 0.1 * 12345.678, rtol=1e-6)
    np.testing.assert_allclose(state["running_var"], 0.9, rtol=1e-6)


@pytest.mark.parametrize("mean", [100.0, 1000.0])
@pytest.mark.parametrize("name", NORMS)
def test_numbers_far_from_zero_are_normalised(name, mean):
    """What is lost is what float32 loses of the numbers and of their mean: an ulp of it each."""
    make, shape = NORMS[name]
    layer = make()
    layer.build(shape)
    x = (mean + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    y = layer.forward(x, training=True)
    wide, axes = x.astype(np.float64), (0, *range(2, x.ndim))
    center = wide.mean(axis=axes, keepdims=True)
    std, ulp = (
        np.sqrt(wide.var(axis=axes, keepdims=True) + 1e-5),
        float(np.spacing(np.float32(mean))),
    )
    np.testing.assert_allclose(y, (wide - center) / std, atol=2 * ulp)
    dy = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    layer.backward(dy)
    expected = (dy * (wide - center) / std).sum(axis=axes)
    lost = ulp * np.abs(dy.sum(axis=axes, dtype=np.float64)).max()
    np.testing.assert_allclose(layer.weight.grad, expected, atol=2 * lost + 1e-4)
