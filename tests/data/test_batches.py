"""Mini-batches: every sample once, in an order that can be repeated."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.data import batches


def test_in_order_by_hand():
    got = [b.tolist() for b in batches(7, 3, shuffle=False)]
    assert got == [[0, 1, 2], [3, 4, 5], [6]]


def test_drop_last_by_hand():
    got = [b.tolist() for b in batches(7, 3, shuffle=False, drop_last=True)]
    assert got == [[0, 1, 2], [3, 4, 5]]


def test_drop_last_keeps_full_batches():
    assert [len(b) for b in batches(6, 3, drop_last=True)] == [3, 3]


@pytest.mark.parametrize(("n", "size"), [(1, 1), (10, 3), (10, 10), (10, 99), (256, 32)])
def test_each_sample_comes_once(n, size):
    parts = list(batches(n, size, seed=3, epoch=2))
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert all(len(part) == size for part in parts[:-1])
    assert all(part.dtype == np.int64 for part in parts)


def order(seed: int, epoch: int) -> list[int]:
    return np.concatenate(list(batches(100, 7, seed=seed, epoch=epoch))).tolist()


def test_order_follows_from_seed_and_epoch():
    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != list(range(100))


def test_batch_size_does_not_change_the_order():
    small = np.concatenate(list(batches(100, 7, seed=5)))
    large = np.concatenate(list(batches(100, 64, seed=5)))
    assert small.tolist() == large.tolist()


def test_numpy_integers_are_integers():
    assert len(list(batches(np.int64(4), np.int32(2)))) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 1, 0, 0), ValueError, "n must be at least 1, got 0"),
        ((5, 0, 0, 0), ValueError, "batch_size must be at least 1, got 0"),
        ((5, -2, 0, 0), ValueError, "batch_size must be at least 1, got -2"),
        ((5, 1, -1, 0), ValueError, "seed must be at least 0, got -1"),
        ((5, 1, 0, -1), ValueError, "epoch must be at least 0, got -1"),
        ((5, 1.5, 0, 0), TypeError, "batch_size must be an integer, got 1.5"),
        ((5, True, 0, 0), TypeError, "batch_size must be an integer, got True"),
        ((5, None, 0, 0), TypeError, "batch_size must be an integer, got None"),
    ],
)
def test_bad_arguments_at_the_call(arguments, error, message):
    n, size, seed, epoch = arguments
    with pytest.raises(error, match=message):
        batches(n, size, seed=seed, epoch=epoch)
