"""What it is that somebody gives as samples, told by what it can do, not by who made it."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from xpcnn import _xp

Kind = Literal["arrays", "iterator", "iterable", "indexed"]
"""Arrays; batches that come once; batches that come again and again; what has numbers: samples, or
batches, which the first of them tells."""

MOST = 64
"""Inputs or outputs of a network, one of which may be something special."""


def kind_of(x: Any, y: Any, takes_target: bool, who: str) -> Kind:
    """Return of which kind some samples are; nothing is taken out of them.

    Parameters
    ----------
    x, y
        As users give them to ``fit``.
    takes_target : bool
        Whether samples must have targets, so that `x` has them where `y` is ``None``.
    who : str
        Name for messages.

    Raises
    ------
    TypeError
        If nobody can tell how many there are.
    """
    if is_array(x) or isinstance(x, (str, bytes, Mapping)):
        return "arrays"
    if isinstance(x, (list, tuple)):
        return "indexed" if _holds_batches(x, takes_target, y is not None) else "arrays"
    cls = type(x)
    if hasattr(cls, "__next__"):
        return "iterator"
    if hasattr(cls, "__getitem__") and length_of(x) is not None:
        return "indexed"
    if hasattr(cls, "__iter__"):
        return "iterable"
    if hasattr(cls, "__getitem__"):
        raise TypeError(
            f"{who}: {cls.__name__} has __getitem__, but nothing says where it ends; give it a "
            "method __len__ (number of its samples, or of its batches)"
        )
    return "arrays"


def is_array(x: Any) -> bool:
    """Whether something is an array, in memory or not."""
    arrays = isinstance(x, np.ndarray) or _xp.is_array(x)
    return arrays or hasattr(x, "__dlpack__") or hasattr(x, "__array__") or is_lazy(x)


def is_lazy(x: Any) -> bool:
    """Whether something has the rows of an array elsewhere than in memory, and gives any of them.

    Those are arrays in files that are mapped into memory, and what has shape, dtype and
    slices without being an array in memory, such as data sets of HDF5 and Zarr.
    """
    if isinstance(x, np.ndarray):
        return mapping_of(x) is not None
    if _xp.is_array(x) or hasattr(x, "iloc"):  # a table in memory, whose slices have labels
        return False
    wanted = ("shape", "dtype", "__getitem__")
    return all(hasattr(x, name) for name in wanted) and isinstance(x.shape, tuple) and bool(x.shape)


def holds_lazy(x: Any) -> bool:
    """Whether one of the inputs of a network is such an array."""
    if isinstance(x, Mapping):
        return any(map(is_lazy, x.values()))
    return any(map(is_lazy, x[:MOST])) if isinstance(x, (tuple, list)) else is_lazy(x)


def mapping_of(x: np.ndarray) -> mmap.mmap | None:
    """Return the file that an array lies in, where it is one that is mapped into memory."""
    base: Any = x
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None


def length_of(x: Any) -> int | None:
    """Return how much there is of something; ``None`` if it does not say."""
    try:
        return len(x)
    except (TypeError, NotImplementedError):
        return None


def _holds_batches(x: Sequence[Any], takes_target: bool, has_target: bool) -> bool:
    """Whether a list holds batches or samples, not the numbers of one array."""
    first = x[0] if isinstance(x, list) and x else None
    if not isinstance(first, (tuple, list)) or not 1 <= len(first) <= 3:
        return False
    if has_target:
        return isinstance(first, tuple) and bool(getattr(first[0], "shape", ()))
    ranks = [rank_of(part) for part in first]
    if takes_target:
        return ranks[0] != 0 or not all(rank == 0 for rank in ranks)
    # Without targets a list of lists of arrays is an array, where all are of one shape.
    is_pair = len({np.shape(part) for part in first}) > 1 if None not in ranks else True
    return (isinstance(first, tuple) and ranks[0] != 0) or is_pair


def rank_of(part: Any) -> int | None:
    """Return the number of axes of an array, or of nested lists; ``None`` of a dict or a tuple."""
    if isinstance(part, (Mapping, tuple)):
        return None
    if hasattr(part, "ndim"):
        return int(part.ndim)
    try:
        return np.ndim(part)
    except ValueError:  # lists that differ in length
        return 2
