"""Splitting data into a part to train on and a part to test with."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from xpcnn import _xp, rng
from xpcnn.window import as_flag, as_int


def train_test_split(
    x: Any, y: Any = None, *, test_size: float | int = 0.2, stratify: bool = True, seed: int = 0
) -> Any:
    """Split samples at random, by default with the same share of each class in both parts.

    Parameters
    ----------
    x : array (N, ...), tuple or dict of arrays, or data set
        Several arrays are the inputs of a network with several. A data set has ``len()``, gives
        sample i as ``x[i]``, and may have all labels as ``x.targets``: :class:`ImageFolder`, and
        those of PyTorch.
    y : array (N, ...), tuple or dict of arrays, optional
        Labels. A data set has its own.
    test_size : float or int
        Share of the samples to test with, between 0 and 1, rounded up; or their number.
    stratify : bool
        Whether both parts have each class in the same share, as far as whole numbers go. It needs
        classes: whole numbers, names or rows of 0 and 1. Without it, any samples may go anywhere.
    seed : int
        Another seed gives another split; the same one the same.

    Returns
    -------
    x_train, x_test, y_train, y_test
        As scikit-learn has them, shuffled. Without `y` the first two.

    Raises
    ------
    ValueError
        If a part would be empty or have fewer samples than there are classes, a class has one
        sample only, or the numbers of samples differ.
    TypeError
        If an argument is of another type.

    Notes
    -----
    A class of n of N samples has n * test_size of them among those to test with, rounded so that
    the total is right: those with the largest fractions get one more. Parts are copies, and what
    a file holds (h5py) is read whole; a data set stays where it is.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.data import train_test_split
    >>> x, y = np.arange(10), np.array([0] * 6 + [1] * 4)
    >>> x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.5)
    >>> np.bincount(y_train).tolist(), np.bincount(y_test).tolist()
    ([3, 2], [3, 2])
    """
    seed = as_int(seed, "train_test_split", "seed", 0)
    stratify = as_flag(stratify, "train_test_split", "stratify")
    if _is_data_set(x):
        return _split_data_set(x, y, test_size, stratify, seed)
    count = _count({"x": x} if y is None else {"x": x, "y": y})
    tested = _test_count(count, test_size)
    classes = _classes(y, "y") if stratify else None
    train, test = _indices(count, tested, classes, seed)
    parts = [_take(x, train), _take(x, test)]
    return parts if y is None else [*parts, _take(y, train), _take(y, test)]


class Subset:
    """Some samples of a data set, in an order of their own.

    Parameters
    ----------
    dataset : data set
        Has ``len()`` and gives sample i as ``dataset[i]``.
    indices : sequence of int

    Attributes
    ----------
    targets : numpy.ndarray
        The labels, if the data set has some. Likewise `class_names` and `image_reader`.

    Examples
    --------
    >>> from xpcnn.data import Subset
    >>> part = Subset([(0.5, 0), (1.5, 1), (2.5, 2)], [2, 0])
    >>> len(part), part[0]
    (2, (2.5, 2))
    """

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset = dataset
        self.indices = np.arange(len(dataset))[np.asarray(indices, dtype=np.int64)]
        if getattr(dataset, "targets", None) is not None:
            self.targets = np.asarray(dataset.targets)[self.indices]
        for name in ("class_names", "image_reader"):
            if getattr(dataset, name, None) is not None:
                setattr(self, name, getattr(dataset, name))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        """Return one sample."""
        return self.dataset[int(self.indices[operator.index(index)])]


def _is_data_set(x: Any) -> bool:
    """Whether something gives samples one by one, and is neither an array nor a sequence."""
    if isinstance(x, (list, tuple, Mapping, str)) or _is_array(x):
        return False
    return hasattr(x, "__len__") and hasattr(x, "__getitem__")


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and (_xp.is_array(x) or hasattr(x, "__array__"))


def _split_data_set(x: Any, y: Any, test_size: Any, stratify: bool, seed: int) -> list[Any]:
    if y is not None:
        raise ValueError("train_test_split: a data set has its own labels; leave y out")
    tested = _test_count(len(x), test_size)
    classes = None
    if stratify:
        if getattr(x, "targets", None) is None:
            raise ValueError(
                f"train_test_split: stratify=True needs the labels, and {type(x).__name__} has no "
                "targets; give them to it, or stratify=False"
            )
        targets = list(x.targets) if isinstance(x.targets, tuple) else x.targets
        classes = _classes(targets, "targets")
        if len(classes) != len(x):
            raise ValueError(
                f"train_test_split: the data set has {len(x)} samples and {len(classes)} targets"
            )
    take = x.subset if hasattr(x, "subset") else lambda indices: Subset(x, indices)
    return [take(indices) for indices in _indices(len(x), tested, classes, seed)]


def _parts(given: Any) -> list[Any]:
    if isinstance(given, Mapping):
        return list(given.values())
    return list(given) if isinstance(given, tuple) else [given]


def _count(given: Mapping[str, Any]) -> int:
    """Return the number of samples, which all arrays must have."""
    counts: dict[int, str] = {}
    for name, value in given.items():
        for part in _parts(value):
            count = _length(part)
            if not count:
                raise TypeError(
                    f"train_test_split: {name} must be an array of samples, or a tuple or dict of "
                    f"arrays, got {type(part).__name__}"
                )
            counts.setdefault(count, name)
    if len(counts) > 1:
        found = " and ".join(f"{count} in {name}" for count, name in counts.items())
        raise ValueError(f"train_test_split: the numbers of samples differ: {found}")
    return next(iter(counts), 0)


def _length(part: Any) -> int:
    """Return the number of samples of an array or a list, and 0 for what is neither."""
    if hasattr(part, "shape"):
        return int(part.shape[0]) if len(part.shape) else 0
    return len(part) if isinstance(part, (list, range)) else 0


def _test_count(count: int, test_size: Any) -> int:
    """Return the number of samples to test with."""
    if isinstance(test_size, bool) or not isinstance(test_size, (int, float, np.number)):
        raise TypeError(f"train_test_split: test_size must be a number, got {test_size!r}")
    whole = isinstance(test_size, (int, np.integer))
    tested = int(test_size) if whole else 0
    if not whole and 0.0 < test_size < 1.0:
        tested = math.ceil(test_size * count)
    if not 0 < tested < count:
        raise ValueError(
            f"train_test_split: test_size must be a share between 0 and 1, or a number from 1 to "
            f"{count - 1} of the {count} samples, got {test_size!r}"
        )
    return tested


def _classes(labels: Any, name: str) -> np.ndarray:
    """Return the number of the class of each sample."""
    if labels is None or isinstance(labels, (tuple, Mapping)):
        what = "labels" if labels is None else "one array of labels"
        raise ValueError(f"train_test_split: stratify=True needs {what}; or give stratify=False")
    host = _xp.to_numpy(labels) if _xp.is_array(labels) else np.asarray(labels)
    one_hot = host.ndim == 2 and bool(((host == 0) | (host == 1)).all())
    whole = host.dtype.kind in "iubUS" or (host.dtype.kind == "f" and bool((host % 1 == 0).all()))
    if not one_hot and not (whole and math.prod(host.shape[1:]) == 1):
        raise ValueError(
            f"train_test_split: stratify=True needs a class for each sample, whole numbers or "
            f"names, and {name} is of {host.dtype} and shape {host.shape}; give stratify=False"
        )
    rows = host.reshape(len(host), -1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _indices(
    count: int, tested: int, classes: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw which samples go into which part, in which order."""
    drawn = rng.generator(seed, "train_test_split")
    order = drawn.permutation(count)
    if classes is None:
        return order[tested:], order[:tested]
    sizes = np.bincount(classes)
    if sizes.min() < 2:
        alone = np.flatnonzero(classes == sizes.argmin())
        raise ValueError(
            f"train_test_split: a class needs two samples to be split, and that of sample "
            f"{alone[0]} has no other; give more, leave it out, or give stratify=False"
        )
    for part, size in (("train on", count - tested), ("test with", tested)):
        if size < len(sizes):
            raise ValueError(
                f"train_test_split: test_size leaves {size} samples to {part}, fewer than the "
                f"{len(sizes)} classes; choose another, or give stratify=False"
            )
    taken = _rounded(sizes * (tested / count), tested, drawn)
    places = np.empty(count, np.int64)  # of each sample among those of its class
    for label in range(len(sizes)):
        own = order[classes[order] == label]
        places[own] = np.arange(len(own))
    is_test = places[order] < taken[classes[order]]
    return order[~is_test], order[is_test]


def _rounded(shares: np.ndarray, total: int, drawn: np.random.Generator) -> np.ndarray:
    """Round numbers so that they add up to a total: the largest fractions up, others down."""
    found = np.floor(shares).astype(np.int64)
    order = drawn.permutation(len(shares))  # which of the same fraction come first
    fractions = np.round(shares - found, 9)[order]
    up = order[np.argsort(-fractions, kind="stable")[: total - int(found.sum())]]
    found[up] += 1
    return found


def _take(given: Any, indices: np.ndarray) -> Any:
    """Take samples of an array, or of each of several."""
    if isinstance(given, Mapping):
        return {name: _take(part, indices) for name, part in given.items()}
    if isinstance(given, tuple):
        return tuple(_take(part, indices) for part in given)
    if _xp.is_array(given) and not isinstance(given, np.ndarray):
        xp = _xp.namespace(given)
        return xp.take(given, xp.asarray(indices, device=_xp.device_of(given)), axis=0)
    return np.asarray(given)[indices]
