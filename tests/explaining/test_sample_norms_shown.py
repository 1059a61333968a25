"""Normalisation of each sample by itself: by hand, and every number as in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.explaining.lines import line_of, table_of
from tests.pytorch import nn, torch


def _cells(shown, title):
    return np.array([[float(v) for v in row] for row in table_of(shown, title).cells])


def test_two_groups_by_hand():
    shown = xpcnn.explain(xpcnn.GroupNorm(2, eps=0.0), [[1, 3, 10, 50]], dy=[[1, 0, 0, 2]])
    assert line_of(shown, "μ[n0 g1]") == "μ[n0 g1] = (10 + 50) / 2 = 30"
    assert line_of(shown, "v[n0 g1]") == "v[n0 g1] = ((-20)² + 20²) / 2 = 400"
    assert _cells(shown, "x̂").tolist() == [[-1, 1], [-1, 1]]
    assert _cells(shown, "dweight").tolist() == [[-1, 0, 0, 2]]
    # of two numbers nothing is left: h - mean = ±½, and the other term the same
    assert _cells(shown, "dx").tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (xpcnn.GroupNorm(2, 4), lambda: nn.GroupNorm(2, 4), (2, 4, 3)),
        (xpcnn.LayerNorm((3, 2)), lambda: nn.LayerNorm((3, 2)), (4, 3, 2)),
        (
            xpcnn.InstanceNorm1d(3, affine=True),
            lambda: nn.InstanceNorm1d(3, affine=True),
            (2, 3, 4),
        ),
        (xpcnn.InstanceNorm2d(3), lambda: nn.InstanceNorm2d(3), (2, 3, 2, 2)),
    ],
)
def test_pytorch_has_the_same_numbers(ours, theirs, shape, rng):
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    module = theirs().double()
    ours.build(shape, dtype="float64")
    state = {name: rng.normal(size=p.shape) for name, p in module.named_parameters()}
    module.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    if state:
        ours.load_state_dict(state)
    given = torch.tensor(x, requires_grad=True)
    module(given).backward(torch.tensor(dy))
    shown = xpcnn.explain(ours, x, dy=dy, limit=64)
    rows = _cells(shown, "dx")
    assert np.allclose(rows, given.grad.numpy().reshape(rows.shape), atol=2e-3)
    for name, parameter in module.named_parameters():
        found = _cells(shown, f"d{name}")
        assert np.allclose(found, parameter.grad.numpy().reshape(found.shape), atol=5e-3)


def test_running_statistics_are_refused():
    layer = xpcnn.InstanceNorm1d(2, track_running_stats=True)
    with pytest.raises(ValueError, match="without running statistics; give one with track_"):
        xpcnn.explain(layer, np.ones((1, 2, 3)))
