"""Sums of a million terms by the generic kernels, compared with float64 for any memory order."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import kernels
from xpcnn._xp import to_numpy
from xpcnn.ops.sums import mean, product, total

LIMIT = 1e-6
# A layer and an input with about a million values for each of its parameters.
LAYERS = {
    "Linear": (lambda: xpcnn.Linear(2, 3), (1_000_000, 2)),
    "Bilinear": (lambda: xpcnn.Bilinear(2, 2, 2), (500_000, 2)),
    "Conv1d": (lambda: xpcnn.Conv1d(2, 2, 3, padding=1), (10, 2, 100_000)),
    "Conv2d": (lambda: xpcnn.Conv2d(2, 2, 3, padding=1), (4, 2, 512, 512)),
    "Conv3d": (lambda: xpcnn.Conv3d(1, 2, 1), (1, 1, 100, 100, 100)),
    "ConvTranspose2d": (lambda: xpcnn.ConvTranspose2d(2, 2, 2, 2), (4, 2, 256, 256)),
    "PReLU": (lambda: xpcnn.PReLU(2), (4, 2, 512, 512)),
    "BatchNorm2d": (lambda: xpcnn.BatchNorm2d(2), (4, 2, 512, 512)),
    "InstanceNorm2d": (lambda: xpcnn.InstanceNorm2d(2, affine=True), (4, 2, 512, 512)),
    "GroupNorm": (lambda: xpcnn.GroupNorm(2, 2), (4, 2, 512, 512)),
    "LayerNorm": (lambda: xpcnn.LayerNorm(2), (1_000_000, 2)),
    "RMSNorm": (lambda: xpcnn.RMSNorm(2), (1_000_000, 2)),
}


def lay_out(x, order):
    """Copy an array so that its elements lie in another order in memory."""
    axes = {
        "C": range(x.ndim),
        "F": range(x.ndim)[::-1],
        "channels last": (0, *range(2, x.ndim), 1),
    }[order]
    axes = tuple(axes)
    return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))


def gradients(make, inputs, dy, order):
    layer = make()
    layer.build(*(x.shape for x in inputs), dtype=str(dy.dtype), rng=np.random.default_rng(0))
    layer.forward(*(lay_out(x, order) for x in inputs), training=True)
    layer.backward(lay_out(dy, order))
    return {name: to_numpy(p.grad) for name, p in layer.parameters().items()}


@pytest.mark.parametrize("order", ["C", "F", "channels last"])
@pytest.mark.parametrize("name", LAYERS)
def test_parameter_gradients_of_a_million_terms(name, order):
    """All terms of one sign, which is where a plain sum loses most; and almost all alike."""
    make, shape = LAYERS[name]
    rng = np.random.default_rng(7)
    with kernels.force("generic"):
        count = 2 if name == "Bilinear" else 1
        inputs = [rng.uniform(0.5, 1.0, shape).astype(np.float32) for _ in range(count)]
        if name == "PReLU":
            inputs = [-x for x in inputs]
        probe = make()
        out = probe.output_shape(*[shape] * count)
        dy = np.full(out, 1.0 / np.prod(out), np.float32)
        if "Norm" in name:  # so that the terms of the weight's gradient have one sign too
            centered = inputs[0] - (0.75 if name != "RMSNorm" else 0.0)
            dy = (dy * (1.0 + np.sign(centered) * 0.5)).astype(np.float32)
        single = gradients(make, inputs, dy, order)
        exact = gradients(make, [x.astype(np.float64) for x in inputs], dy.astype(np.float64), "C")
    for key, right in exact.items():
        assert single[key].dtype == np.float32
        error = np.abs(single[key] - right).max() / np.abs(right).max()
        assert error < LIMIT, f"{key}: {error:.1e}"


@pytest.mark.parametrize("order", ["C", "F", "channels last"])
def test_total_and_mean(device, order):
    x = np.random.default_rng(1).uniform(0.5, 1.0, (4, 2, 256, 256)).astype(np.float32)
    own = device.asarray(lay_out(x, order))
    axes = (0, 2, 3)
    for function, right in ((total, x.sum(axes, np.float64)), (mean, x.mean(axes, np.float64))):
        found = function(device.xp, own, axes)
        assert found.dtype == own.dtype
        assert tuple(found.shape) == (2,)
        np.testing.assert_allclose(to_numpy(found), right, rtol=1e-7)
    assert tuple(total(device.xp, own).shape) == ()
    assert tuple(mean(device.xp, own, 1, keepdims=True).shape) == (4, 1, 256, 256)


def test_mean_of_nothing(device):
    x = device.zeros((0, 2), "float32")
    assert np.isnan(to_numpy(mean(device.xp, x, 0))).all()
    np.testing.assert_array_equal(to_numpy(total(device.xp, x, 0)), [0.0, 0.0])


def test_product_of_long_rows(device):
    rng = np.random.default_rng(2)
    a, b = (rng.uniform(0.5, 1.0, (2, n, 30_000)).astype(np.float32) for n in (3, 4))
    right = np.einsum("gik,gjk->gij", a.astype(float), b.astype(float))
    found = product(device.xp, device.asarray(a), device.asarray(b))
    assert found.dtype == device.dtype("float32")
    # cuBLAS adds the terms of a piece up one after the other: 6e-7 on an H200.
    rtol = 1e-6 if "cuda" in device.name else 3e-7
    np.testing.assert_allclose(to_numpy(found), right, rtol=rtol)


@pytest.mark.parametrize("mean_of_all", [100.0, 1000.0])
def test_batch_norm_of_numbers_far_from_zero(mean_of_all):
    """The error is that of the mean's last digit, half of which float32 cannot say."""
    x = mean_of_all + np.random.default_rng(0).normal(size=(8, 8, 8, 8))
    x = x.astype(np.float32)
    with kernels.force("generic"):
        y = xpcnn.BatchNorm2d(8).forward(x, training=True)
    wide = x.astype(np.float64)
    axes = (0, 2, 3)
    right = wide - wide.mean(axes, keepdims=True)
    right /= np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    assert np.abs(y - right).max() < 1.2 * np.spacing(np.float32(mean_of_all)) / 2 + 1e-6


def test_batch_norm_of_a_constant_channel():
    x = np.full((8, 1, 7, 9), 12345.678, np.float32)
    layer = xpcnn.BatchNorm2d(1)
    with kernels.force("generic"):
        y = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, 0.0)
    np.testing.assert_allclose(layer.running_var.data, 0.9)
