"""bfloat16 of ml_dtypes, which NumPy and CuPy take for a stranger: what comes out is bfloat16."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import kernels
from xpcnn.window import Window

bfloat16 = pytest.importorskip("ml_dtypes").bfloat16

LAYERS = {
    "ReLU": (), "ReLU6": (), "LeakyReLU": (), "ELU": (), "SELU": (), "CELU": (), "SiLU": (),
    "Mish": (), "Hardswish": (), "Hardsigmoid": (), "Hardtanh": (), "Tanh": (), "Sigmoid": (),
    "GELU": (), "Softplus": (), "Softsign": (), "LogSigmoid": (), "Softshrink": (),
    "Softmax": (), "LogSoftmax": (), "MaxPool2d": (2,), "AvgPool2d": (2,), "LPPool2d": (2, 2),
    "AdaptiveAvgPool2d": (3,), "AdaptiveMaxPool2d": (3,), "GlobalAvgPool2d": (),
    "GlobalMaxPool2d": (), "LocalResponseNorm": (3,), "InstanceNorm2d": (6,), "ZeroPad2d": (1,),
    "ReflectionPad2d": (1,),
}  # fmt: skip
"""Layers without parameters, and what they are made with."""


def both_ways(layer, x, ones):
    y = layer.forward(x, training=True)
    return y, layer.backward(ones.astype(x.dtype))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_in_float32_and_round_once(name, rng):
    def make():
        return getattr(xpcnn, name)(*LAYERS[name])

    x = rng.standard_normal((4, 6, 8, 8)).astype(bfloat16)
    with kernels.force("generic"):
        shape = make().forward(x.astype(np.float32)).shape
        ones = rng.integers(-2, 3, shape).astype(np.float32)
        found = both_ways(make(), x, ones)
        expected = both_ways(make(), x.astype(np.float32), ones)
    for actual, exact in zip(found, expected, strict=True):
        assert actual.dtype == bfloat16
        np.testing.assert_array_equal(
            actual.astype(np.float32), exact.astype(bfloat16).astype(np.float32)
        )


WINDOW = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))

# Operation, shapes of the operands, what comes between them and behind them, what backward takes.
PARAMETERS = {
    "conv": ([(4, 6, 8, 8), (3, 6, 3, 3), (3,)], (WINDOW, 1), (WINDOW, 1, True)),
    "linear": ([(4, 6), (3, 6), (3,)], (), (True,)),
    "batch_norm": ([(4, 6, 8, 8), (6,), (6,)], (1e-5, None), (True,)),
}


@pytest.mark.parametrize(
    ("op", "parameters"), [*((op, bfloat16) for op in PARAMETERS), ("batch_norm", np.float32)]
)
def test_gradients_have_the_dtypes_of_their_operands(op, parameters, rng):
    shapes, options, settings = PARAMETERS[op]
    dtypes = [bfloat16] + [parameters] * 2
    operands = [rng.standard_normal(s).astype(d) for s, d in zip(shapes, dtypes, strict=True)]

    def run(operands):
        y, saved = kernels.run(np, op, *operands, *options)
        y = y[0] if isinstance(y, tuple) else y
        dy = np.ones(y.shape, y.dtype)
        return y, saved.backward(np, dy, saved.state, *settings)

    with kernels.force("generic"):
        y, gradients = run(operands)
        exact_y, exact = run([a.astype(np.float32) for a in operands])
    assert y.dtype == bfloat16
    np.testing.assert_array_equal(y, exact_y.astype(bfloat16))
    for found, expected, dtype in zip(gradients, exact, dtypes, strict=True):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected.astype(dtype))
