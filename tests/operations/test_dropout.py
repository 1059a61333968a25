"""Dropout that keeps its mask as a value."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import operations as op


def test_masked_dropout():
    x = np.ones((50, 50))
    layer = op.MaskedDropout(0.25)
    y, mask = layer.forward(x)
    np.testing.assert_array_equal(y, x)
    assert mask.all()
    layer.seed = 3
    y, mask = layer.forward(x, training=True)
    np.testing.assert_allclose(y, mask / 0.75)
    assert 0.2 < 1 - mask.mean() < 0.3
    np.testing.assert_allclose(layer.backward(x, None), mask / 0.75)
    y, mask = layer.forward(x, np.array(0.5), np.array(True))
    assert 0.45 < mask.mean() < 0.55
    assert layer.forward(x, np.array(0.5), np.array(False), training=True)[1].all()
    with pytest.raises(ValueError, match="probability"):
        layer.forward(x, np.array(1.5), np.array(True))
