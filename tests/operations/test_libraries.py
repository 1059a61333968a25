"""Every operation on every array library: the numbers of NumPy, on the same device and dtype."""

from __future__ import annotations

import numpy as np
import pytest

from tests.operations.cases import CASES, as_tuple
from xpcnn import _xp

# Each case takes JAX a second or more, since it compiles anew: one for each way of working.
JAX = {
    "Add",
    "Clip",
    "Convolution",
    "Expand",
    "Gather",
    "MatMul of stacks",
    "MaxPooling",
    "NegativeLogLikelihood",
    "Pad constant",
    "Power",
    "Slice backwards",
    "Split",
    "Where",
    "reduce max (0, 2)",
}


@pytest.mark.parametrize("name", CASES)
def test_every_library_gives_the_same(name, device):
    assert set(CASES) >= JAX
    case = CASES[name]
    if device.name.startswith("jax") and name not in JAX:
        pytest.skip("another case that works like this one runs on JAX")

    def run(arrays, put):
        ours = case.make()
        ys = as_tuple(ours.forward(*arrays, training=True))
        ones = [put(np.ones(tuple(y.shape), dtype=str(y.dtype).rsplit(".", 1)[-1])) for y in ys]
        return ys, as_tuple(ours.backward(*ones))

    narrow = [x.astype(np.float32) if x.dtype == np.float64 else x for x in case.inputs]
    if name.startswith("Cast"):
        narrow = case.inputs
    expected, gradients = run(narrow, lambda x: x)
    arrays = [device.asarray(x) for x in narrow]
    got, own = run(arrays, device.asarray)
    for a, b in zip((*got, *own), (*expected, *gradients), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert _xp.device_of(a) == _xp.device_of(arrays[0])
            assert str(a.dtype).rsplit(".", 1)[-1] == str(b.dtype)
            np.testing.assert_allclose(_xp.to_numpy(a), b, rtol=2e-5, atol=2e-5)
