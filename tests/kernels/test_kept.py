"""What a forward keeps for its backward is no more than that needs."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import _xp, kernels, rng
from xpcnn.ops.activation import LEAKY_RELU
from xpcnn.ops.dropout import DROPOUT
from xpcnn.ops.piecewise import HARDTANH
from xpcnn.ops.pool import AVG_POOL, MAX_POOL
from xpcnn.window import Window

X = np.random.default_rng(0).standard_normal((2, 3, 4, 4))


@pytest.mark.parametrize(
    ("op", "settings"), [(LEAKY_RELU, (0.1,)), (HARDTANH, (0.0, 6.0)), (HARDTANH, (-0.5, 0.5))]
)
def test_the_output_in_the_place_of_the_input(op, settings):
    """The layer behind keeps it too."""
    with kernels.force("generic"):
        y, saved = op.run(np, X, *settings)
    assert saved.state[0] is y


def test_a_slope_that_turns_signs_needs_the_input():
    """With a negative slope all outputs are positive."""
    with kernels.force("generic"):
        for slope in (-0.5, 0.0):
            _, saved = LEAKY_RELU.run(np, X, slope)
            np.testing.assert_array_equal(saved(np.ones_like(X)), np.where(X > 0, 1.0, slope))


def test_the_limits_themselves_are_closed():
    x = np.array([[-1.0, 0.0, 3.0, 6.0, 7.0, np.nan, np.inf, -np.inf]])
    with kernels.force("generic"):
        _, saved = HARDTANH.run(np, x, 0.0, 6.0)
        np.testing.assert_array_equal(saved(np.ones_like(x)), [[0, 0, 1, 0, 0, 0, 0, 0]])


def test_a_mask_of_dropout_takes_one_byte_for_each_element(device):
    x = device.asarray(X)
    with kernels.force("generic"):
        y, saved = DROPOUT.run(device.xp, x, X.shape, 0.25, rng.key(1, "dropout", 0))
        dx = _xp.to_numpy(saved(device.asarray(np.ones_like(X))))
    assert saved.state[0].dtype == device.xp.bool
    kept = _xp.to_numpy(y) != 0.0
    np.testing.assert_array_equal(dx, np.where(kept, 1.0 / 0.75, 0.0))


@pytest.mark.parametrize("op", [AVG_POOL, MAX_POOL])
def test_pooling_of_tensors_keeps_no_image(op):
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as xp

    window = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    more = (4.0,) if op is AVG_POOL else ()
    x = torch.asarray(X)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        y, saved = op.run(xp, given, window, *more)
        size = _xp.storage(saved.state[0])[1]
        assert size == (8 if given is x else 8 * X.size)
        dx = saved(torch.ones_like(y))
        leaf = given.clone().requires_grad_()
        name = "avg_pool2d" if op is AVG_POOL else "max_pool2d"
        getattr(torch.nn.functional, name)(leaf, 2).sum().backward()
        torch.testing.assert_close(dx, leaf.grad, rtol=0, atol=0)
