"""Margins: labels of the classes."""

from __future__ import annotations

import numpy as np

from xpcnn import losses


def test_one_hot_rows_become_labels():
    prepared = losses.MultiMarginLoss().prepare_target((8, 3), np.eye(3)[[2, 0]], "float32")
    np.testing.assert_array_equal(prepared, [2, 0])
    assert prepared.dtype == np.int64
    flags = losses.MultiMarginLoss().prepare_target((8, 2), np.array([True, False]), "float32")
    np.testing.assert_array_equal(flags, [1, 0])
