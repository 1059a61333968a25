"""Steps that end with ReLU: what comes to a closed gate, be it infinite or NaN, goes nowhere."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import needs_compiled_kernels
from xpcnn import kernels
from xpcnn.window import Window

RNG = np.random.default_rng(5)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


X, W, B = draw(2, 8, 6, 6), draw(8, 8, 3, 3), draw(8)
DEPTHWISE = draw(8, 1, 3, 3)
ROWS, WEIGHTS = draw(5, 9), draw(11, 9)
GAMMA, BETA = draw(8), draw(8)
STATISTICS = draw(8), np.abs(draw(8)) + 1
WINDOW = Window((3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1))
POOL = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))

STEPS = {
    "relu": ((X,), ()),
    "add_relu": ((X, draw(*X.shape)), ()),
    "linear_relu": ((ROWS, WEIGHTS, draw(11)), (True,)),
    "conv_relu": ((X, W, B, WINDOW, 1), (True,)),
    "conv_relu of depthwise filters": ((X, DEPTHWISE, B, WINDOW, 8), (True,)),
    "conv_relu_max_pool": ((X, W, B, WINDOW, 1, POOL), (True,)),
    "batch_norm_relu": ((X, GAMMA, BETA, 1e-5, STATISTICS), (True,)),
    "batch_norm_relu of its own statistics": ((X, GAMMA, BETA, 1e-5, None), (True,)),
    "batch_norm_hardtanh": ((X, GAMMA, BETA, 1e-5, STATISTICS, 0.0, 6.0), (True,)),
    "batch_norm_add_relu": ((X, GAMMA, BETA, 1e-5, STATISTICS, draw(*X.shape)), (True,)),
}


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("kernel_set", ["generic", "cpu"])
@pytest.mark.parametrize("step", STEPS)
def test_what_comes_to_closed_gates_goes_nowhere(step, kernel_set, value):
    if kernel_set == "cpu":
        needs_compiled_kernels()
    arguments, more = STEPS[step]
    with kernels.force(kernel_set):
        result = kernels.run(np, step.split()[0], *arguments)
    if result is None:
        pytest.skip("this kernel set has no such step")
    y, saved = result
    y = y[0] if isinstance(y, tuple) else y
    closed = np.asarray(y) <= 0
    assert 0 < closed.sum() < closed.size
    dy = np.random.default_rng(6).normal(size=y.shape).astype(np.float32)
    found = []
    for there in (0.0, value):
        gradients = saved(np.where(closed, np.float32(there), dy), *more)
        found.append(gradients if isinstance(gradients, tuple) else (gradients,))
    for expected, actual in zip(*found, strict=True):
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(actual, expected)
