"""Convolution whose results are kept between two limits in the same pass."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import error, lay
from xpcnn import kernels
from xpcnn.ops.fused import CONV_AND
from xpcnn.window import Window

needs_compiled_kernels()

WAYS = {
    "direct": ((2, 5, 9, 12), (20, 5, 5, 3), 1),
    "few filters": ((2, 5, 9, 12), (3, 5, 3, 3), 1),
    "groups": ((2, 8, 9, 12), (24, 4, 3, 3), 2),
    "1x1": ((2, 40, 7, 7), (50, 40, 1, 1), 1),
    "depthwise": ((2, 11, 9, 12), (11, 1, 3, 3), 11),
    "Winograd": ((3, 64, 21, 22), (70, 64, 3, 3), 1),
    "line": ((2, 5, 40), (20, 5, 5), 1),
}


def draw(way):
    shape, filters, groups = WAYS[way]
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(size).astype(np.float32) for size in (shape, filters))
    w /= np.sqrt(w[0].size)
    b = rng.standard_normal(filters[0]).astype(np.float32)
    n = len(filters) - 2
    window = Window(filters[2:], (1,) * n, ((1, 1),) * n, (1,) * n)
    return x, w, b, window, groups


@pytest.mark.parametrize("how", range(7))
@pytest.mark.parametrize("limits", [(0.0, 6.0), (-0.5, 0.25), (0.0, 0.5), (-np.inf, 0.1)])
@pytest.mark.parametrize("way", WAYS)
def test_as_the_definition(way, limits, how):
    x, w, b, window, groups = draw(way)
    exact = [a.astype(np.float64) for a in (x, w, b)]
    with kernels.force("generic"):
        expected, back = CONV_AND["hardtanh"](*exact, window, groups, *limits)
        dy = np.random.default_rng(1).standard_normal(expected.shape).astype(np.float32)
        gradients = back(dy.astype(np.float64), True)
    with kernels.force("cpu"), kernels.trace() as decisions:
        y, back = CONV_AND["hardtanh"](lay(x, how), w, b, window, groups, *limits)
    assert [(d.op, d.kernel_set) for d in decisions] == [("conv_hardtanh", "cpu")]
    assert y.dtype == np.float32
    assert error(y, expected) < 1e-5
    # Where rounding decides on which side of a limit a result lies, no gradient is compared.
    near = np.minimum(abs(y - limits[0]), abs(y - limits[1])) < 1e-5
    beyond = (y == np.float32(limits[0])) | (y == np.float32(limits[1]))
    assert ((expected <= limits[0]) | (expected >= limits[1]))[beyond & ~near].all()
    for found, wanted in zip(back(dy, True), gradients, strict=True):
        assert error(found, wanted) < 1e-3


@pytest.mark.parametrize("way", WAYS)
def test_nan_goes_through(way):
    x, w, b, window, groups = draw(way)
    x[0, 0, 3] = np.nan
    y, _ = CONV_AND["hardtanh"](x, w, b, window, groups, 0.0, 6.0)
    plain, _ = xpcnn.ops.conv.CONV(x, w, b, window, groups)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(plain))
    assert np.isnan(y).any()
    good = ~np.isnan(plain)
    np.testing.assert_array_equal(y[good], np.clip(plain, 0.0, 6.0)[good])


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("activation", [xpcnn.ReLU6(), xpcnn.Hardtanh(-0.2, 0.3)])
def test_one_operation_without_training(activation, norm):
    layers = [xpcnn.Conv2d(3, 16, 3), *([xpcnn.BatchNorm2d(16)] if norm else []), activation]
    model = xpcnn.Model([*layers, xpcnn.Conv2d(16, 8, 1)], device="cpu", seed=0)
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    model.predict(x)
    with kernels.trace() as decisions:
        y = model.predict(x)
    assert [d.op for d in decisions if d.op.startswith("conv")] == ["conv_hardtanh", "conv"]
    assert not [d for d in decisions if d.op in ("hardtanh", "batch_norm")]
    with kernels.force("generic"):
        np.testing.assert_allclose(y, model.predict(x), rtol=1e-4, atol=1e-5)
