"""NaN and infinity go where they go in PyTorch."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import xpcnn
from tests.layers.cases import CASES
from tests.pytorch import nn, torch
from xpcnn.layers.preprocessing import Preprocessing

# What PyTorch has not, and containers, are made of the others.
NOT_COMPARED = {"SeparableConv", "Global", "StochasticDepth", "Residual", "Graph", "Parallel"}
NOT_COMPARED |= {"Sequential", "Conv2d-inferred", "Conv2d-groups"}
NAMES = [
    name
    for name, case in CASES.items()
    if not name.startswith(tuple(NOT_COMPARED))
    and "Dropout" not in name
    and not isinstance(case.make(), Preprocessing)
]


def pair(name):
    """The same layer twice, with the same numbers."""
    ours = CASES[name].make()
    ours.build(CASES[name].shape, dtype="float64", rng=np.random.default_rng(0))
    cls = getattr(nn, type(ours).__name__)
    known = inspect.signature(cls).parameters  # average pooling has fewer there
    given = {key: value for key, value in ours.arguments().items() if key in known}
    if name == "LPPool1d":  # takes an integer only
        given["kernel_size"], given["stride"] = ours.kernel_size[0], ours.stride[0]
    theirs = cls(**given)
    state = {key: torch.from_numpy(np.array(v)) for key, v in ours.state_dict().items()}
    theirs.double().load_state_dict(state)
    return ours, theirs


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "minus-inf"])
@pytest.mark.parametrize("name", NAMES)
def test_as_in_torch(name, value, training):
    ours, theirs = pair(name)
    theirs.train(training)
    x = np.random.default_rng(1).normal(size=CASES[name].shape)
    x.flat[[0, x.size // 2, x.size - 1]] = value
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    y = ours.forward(x, training=training)
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["MaxPool1d", "MaxPool2d", "MaxPool3d", "ReLU"])
def test_nan_raises_no_warning_where_nothing_is_computed(name):
    x = np.full(CASES[name].shape, np.nan)
    assert np.isnan(CASES[name].make()(x)).all()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pools_pass_nan_on(rank):
    x = np.zeros((2, 2, *(3,) * rank))
    x[(0, 1, *(2,) * rank)] = np.nan
    for kind in ("Avg", "Max"):
        y = getattr(xpcnn, f"Global{kind}Pool{rank}d")()(x)
        np.testing.assert_array_equal(np.isnan(y), [[False, True], [False, False]])
