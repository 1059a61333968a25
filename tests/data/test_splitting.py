"""Splits have the same share of each class in both parts, as scikit-learn's have."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.data import Subset, train_test_split


def test_each_class_has_its_share_in_both_parts():
    y = np.repeat([3, 5, 9], [50, 30, 20])
    x = np.arange(100) * 2
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.1)
    assert np.bincount(y_test)[[3, 5, 9]].tolist() == [5, 3, 2]
    assert np.bincount(y_train)[[3, 5, 9]].tolist() == [45, 27, 18]
    assert sorted([*x_train, *x_test]) == x.tolist()
    assert (y[x_train // 2] == y_train).all()
    assert (y[x_test // 2] == y_test).all()


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_scikit_learn(seed):
    selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(seed)
    y = rng.integers(0, int(rng.integers(2, 7)), int(rng.integers(60, 200)))
    y = np.concatenate([y, np.arange(7), np.arange(7)])
    size = float(rng.uniform(0.15, 0.8)) if seed % 2 else int(rng.integers(10, 40))
    ours = train_test_split(y, y, test_size=size, seed=seed)
    theirs = selection.train_test_split(y, y, test_size=size, stratify=y, random_state=seed)
    for own, other in zip(ours, theirs, strict=True):
        counts = np.bincount(own, minlength=7), np.bincount(other, minlength=7)
        # which of several classes of one size gets the odd sample is drawn
        sizes = np.bincount(y)
        for total in np.unique(sizes):
            same = sizes == total
            assert sorted(counts[0][same]) == sorted(counts[1][same])


def test_the_largest_fractions_are_rounded_up():
    """Classes of 7, 7 and 6, of which 5 of 20 are drawn: 1.75, 1.75 and 1.5."""
    y = np.repeat([0, 1, 2], [7, 7, 6])
    for seed in range(8):
        *_, y_test = train_test_split(y, y, test_size=5, seed=seed)
        assert np.bincount(y_test).tolist() == [2, 2, 1]


def test_any_sample_may_be_drawn_and_the_order_is_shuffled():
    y = np.repeat([0, 1], 10)
    drawn = [set(train_test_split(np.arange(20), y, seed=seed)[1]) for seed in range(80)]
    assert set.union(*drawn) == set(range(20))
    # each is drawn with probability 0.2: 16 times of 80, give or take 4 standard deviations
    for sample in range(20):
        assert abs(sum(sample in chosen for chosen in drawn) - 16) <= 4 * np.sqrt(80 * 0.2 * 0.8)
    _, _, y_train, _ = train_test_split(np.arange(20), y)
    assert (np.diff(y_train) < 0).any()


def test_the_seed_decides():
    x = np.arange(50)
    a, b, c = (train_test_split(x, x % 2, seed=seed)[1].tolist() for seed in (1, 1, 2))
    assert a == b
    assert a != c


def test_without_labels():
    train, test = train_test_split(np.arange(11), stratify=False, test_size=0.25)
    assert (len(train), len(test)) == (8, 3)  # 2.75, rounded up
    assert sorted([*train, *test]) == list(range(11))
    y = np.linspace(0, 1, 11)
    x_train, x_test, y_train, _ = train_test_split(y * 2, y, stratify=False, test_size=4)
    assert len(x_test) == 4
    np.testing.assert_array_equal(x_train, 2 * y_train)


def test_several_inputs_and_outputs():
    x = (np.arange(10), np.arange(20).reshape(10, 2))
    y = {"a": np.arange(10), "b": np.arange(10) % 2}
    x_train, x_test, y_train, y_test = train_test_split(x, y, stratify=False)
    assert isinstance(x_train, tuple)
    np.testing.assert_array_equal(x_train[1][:, 0], 2 * x_train[0])
    np.testing.assert_array_equal(x_test[0], y_test["a"])
    np.testing.assert_array_equal(y_train["a"] % 2, y_train["b"])


@pytest.mark.parametrize(
    "labels",
    [
        ["cat"] * 6 + ["dog"] * 4,
        [0.0] * 6 + [1.0] * 4,
        [[0, 1]] * 6 + [[1, 0]] * 4,
        [True] * 6 + [False] * 4,
        [[1]] * 6 + [[0]] * 4,
    ],
)
def test_kinds_of_labels(labels):
    *_, y_train, y_test = train_test_split(list(range(10)), labels, test_size=0.5)
    for part in (y_train, y_test):
        rows = part.reshape(len(part), -1)
        assert sorted(np.unique(rows, axis=0, return_counts=True)[1]) == [2, 3]


def test_each_array_library(device):
    xp = device.xp
    x = xp.reshape(xp.arange(20, device=device.physical), (10, 2))
    y = xp.arange(10, device=device.physical) % 2
    x_train, _, y_train, y_test = train_test_split(x, y, test_size=0.4)
    assert type(x_train) is type(x)
    assert [int(n) for n in x_train[:, 0] // 2 % 2] == [int(n) for n in y_train]
    assert sorted(int(n) for n in y_test) == [0, 0, 1, 1]


class Samples:
    """A data set as PyTorch's are."""

    class_names = ("a", "b")

    def __init__(self):
        self.targets = [0] * 6 + [1] * 4

    def __len__(self):
        return 10

    def __getitem__(self, i):
        if not 0 <= i < 10:
            raise IndexError(i)
        return np.full(3, i), self.targets[i]


def test_data_sets_become_subsets():
    train, test = train_test_split(Samples(), test_size=0.5)
    assert isinstance(train, Subset)
    assert (len(train), len(test)) == (5, 5)
    assert train.class_names == ("a", "b")
    for part in (train, test):
        assert np.bincount(part.targets).tolist() == [3, 2]
        assert [label for _, label in part] == part.targets.tolist()
        assert [int(x[0]) for x, _ in part] == part.indices.tolist()
    assert sorted([*train.indices, *test.indices]) == list(range(10))
    again = Subset(train, [4, -5])
    assert [int(x[0]) for x, _ in again] == [train.indices[4], train.indices[0]]
    with pytest.raises(IndexError):
        train[5]
    bare = Subset([(1, 2)], [0])
    assert not hasattr(bare, "targets")
    assert not hasattr(bare, "class_names")


@pytest.mark.parametrize(
    ("x", "y", "settings", "message"),
    [
        (range(10), None, {}, "stratify=True needs labels"),
        (list(range(10)), np.linspace(0, 1, 10), {}, "y is of float64 and shape (10,)"),
        (list(range(10)), [0] * 9 + [1], {}, "that of sample 9 has no other"),
        (list(range(10)), [0, 1, 2, 3, 4] * 2, {"test_size": 3}, "3 samples to test with, fewer"),
        (list(range(10)), [0, 1, 2, 3, 4] * 2, {"test_size": 7}, "3 samples to train on, fewer"),
        (list(range(10)), [0, 1] * 4, {}, "numbers of samples differ: 10 in x and 8 in y"),
        (list(range(10)), [0, 1] * 5, {"test_size": 0}, "from 1 to 9 of the 10 samples, got 0"),
        (list(range(10)), [0, 1] * 5, {"test_size": 1.0}, "share between 0 and 1"),
        (list(range(10)), [0, 1] * 5, {"test_size": 10}, "from 1 to 9 of the 10 samples"),
        (list(range(10)), [0, 1] * 5, {"test_size": float("nan")}, "got nan"),
        (list(range(10)), [0, 1] * 5, {"test_size": "0.2"}, "test_size must be a number, got"),
        (list(range(10)), [0, 1] * 5, {"test_size": True}, "test_size must be a number"),
        (list(range(10)), [0, 1] * 5, {"seed": -1}, "seed must be at least 0"),
        (list(range(10)), [0, 1] * 5, {"stratify": [0, 1] * 5}, "stratify must be True or False"),
        (list(range(10)), ([0, 1] * 5, [0] * 10), {}, "one array of labels"),
        (3, [1, 2], {}, "x must be an array of samples"),
        ("word", [1, 2, 1, 2], {}, "x must be an array of samples"),
        (Samples(), [1], {}, "a data set has its own labels; leave y out"),
        ({"a": [1, 2], "b": [1]}, None, {"stratify": False}, "2 in x and 1 in x"),
    ],
)
def test_wrong_use(x, y, settings, message):
    x = list(x) if isinstance(x, range) else x
    with pytest.raises((ValueError, TypeError)) as caught:
        train_test_split(x, y, **settings)
    assert message in str(caught.value)
    assert str(caught.value).startswith("train_test_split: ")


def test_a_data_set_without_labels():
    class Bare:
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return i

    with pytest.raises(ValueError, match="Bare has no targets; give them to it, or stratify=False"):
        train_test_split(Bare())
    train, test = train_test_split(Bare(), stratify=False)
    assert (len(train), len(test)) == (8, 2)
