"""The order in which axes lie in memory."""

import itertools

import numpy as np
import pytest

from xpcnn.kernels.cpu.order import in_order, inverse, is_dense, memory_order


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_of_a_transposed_array_and_back(order):
    dense = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    x = dense.transpose(inverse(order))
    assert memory_order(x) == order
    found = in_order(x, order)
    np.testing.assert_array_equal(found, dense)
    assert np.shares_memory(found, dense)
    np.testing.assert_array_equal(found.transpose(inverse(order)), x)


def test_what_is_not_dense_is_copied():
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    shifted = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(4, 6)
    for given in (x[:, ::2], x.astype(np.float64), x[::-1], shifted):
        assert not is_dense(given)
        found = in_order(given, (0, 1))
        assert is_dense(found)
        np.testing.assert_array_equal(found, given)
    x.flags.writeable = False
    assert is_dense(x)
