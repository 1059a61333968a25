"""Operations against PyTorch in float64: results and all gradients."""

from __future__ import annotations

import numpy as np
import pytest

from tests.operations.cases import CASES, SEED, as_tuple

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients(name):
    case = CASES[name]
    ours = case.make()
    leaves = [torch.from_numpy(x.copy()) for x in case.inputs]
    for leaf in leaves:
        leaf.requires_grad_(leaf.is_floating_point())
    expected = as_tuple(case.reference(*leaves))
    before = [x.copy() for x in case.inputs]
    got = as_tuple(ours.forward(*case.inputs, training=True))
    dys = [SEED.normal(size=y.shape) for y in got]
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
