"""What every operation keeps to: PyTorch's numbers and gradients, on every array library alike."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import xpcnn
from tests.operations.cases import CASES, as_tuple
from tests.operations.test_answers import ANSWERS
from tests.pytorch import torch
from xpcnn import _registry, _xp
from xpcnn import operations as op
from xpcnn.layers import Operation

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


# Tested by ONNX's own node tests, in files of their own here, and with the converter of modules.
ELSEWHERE = {"AdagradUpdate", "AdamUpdate", "MomentumUpdate", "Constant", "Weight", "MaskedDropout",
             "RepeatForBatch", "Weights"}  # fmt: skip


def test_every_operation_is_tested():
    tested = {type(case.make()).__name__ for case in CASES.values()}
    tested |= {type(operation).__name__ for operation, _, _ in ANSWERS.values()}
    public = {
        name for name in op.__all__
        if inspect.isclass(getattr(op, name)) and issubclass(getattr(op, name), Operation)
    }  # fmt: skip
    assert public == set(op.__all__)
    assert public - tested == ELSEWHERE
    assert not public & set(xpcnn.layers.__all__), "a model file knows classes by name"


@pytest.mark.parametrize("name", CASES)
def test_a_description_makes_the_same_operation(name):
    operation = CASES[name].make()
    known = {n: getattr(op, n) for n in op.__all__}
    again = _registry.from_config(_registry.to_config(operation), known, "operation")
    assert type(again) is type(operation)
    assert again.config() == operation.config()
    assert operation.__doc__


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients(name):
    case, rng = CASES[name], np.random.default_rng([*name.encode()])
    ours = case.make()
    leaves = [torch.from_numpy(x.copy()) for x in case.inputs]
    for leaf in leaves:
        leaf.requires_grad_(leaf.is_floating_point())
    expected = as_tuple(case.reference(*leaves))
    before = [x.copy() for x in case.inputs]
    got = as_tuple(ours.forward(*case.inputs, training=True))
    dys = [rng.normal(size=y.shape) for y in got]
    for own, right in zip(got, expected, strict=False):  # statistics have no counterpart
        np.testing.assert_allclose(own, right.detach().numpy(), rtol=1e-10, atol=1e-12)
    # of several outputs, those without a counterpart get no gradient
    given = [dy if i < len(expected) else None for i, dy in enumerate(dys)]
    gradients = as_tuple(ours.backward(*given))
    total = sum((y * torch.from_numpy(dy)).sum() for y, dy in zip(expected, dys, strict=False))
    total.backward()
    for own, leaf in zip(gradients, leaves, strict=True):
        if leaf.grad is not None:
            right = leaf.grad.numpy()
            own = np.zeros_like(right) if own is None else own  # None stands for zeros
            assert own.shape == right.shape
            np.testing.assert_allclose(own, right, rtol=1e-10, atol=1e-12)
    for x, old in zip(case.inputs, before, strict=True):
        np.testing.assert_array_equal(x, old)


@pytest.mark.parametrize("name", CASES)
def test_shapes_are_known_beforehand(name):
    case = CASES[name]
    ours = case.make()
    got = as_tuple(ours.forward(*case.inputs))
    try:
        shapes = ours.output_shapes(*(x.shape for x in case.inputs))
    except NotImplementedError:
        assert any(x.dtype == np.int64 for x in case.inputs[1:]), "only numbers may decide"
        return
    assert shapes == tuple(y.shape for y in got)


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
