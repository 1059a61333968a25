"""Arrays that nobody writes to any more, so that what was made of them once is good for ever.

Kernels arrange weights in a way of their own. For one image that takes longer than the rest, so
they keep the arranged weights; but an array that a user has got hold of may change at any time.
Who knows that an array does not, promises it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from xpcnn._xp import Array


class _Promised:
    __slots__ = ("forms", "reference")

    def __init__(self, array: np.ndarray) -> None:
        number = id(array)
        # Nothing here is Python code, in which a Ctrl-C could come: what a callback raises is lost.
        self.reference = weakref.ref(array, partial(_promised.pop, number))
        self.forms: dict[Any, Any] = {}


_promised: dict[int, _Promised] = {}
_moderate: dict[int, weakref.ref[np.ndarray]] = {}
_epoch = 0


def epoch() -> int:
    """Return a number that is another one after every promise given or taken back."""
    return _epoch


def promise(array: Array) -> None:
    """State that an array does not change while it is there; until :func:`withdraw`."""
    global _epoch
    _epoch += 1
    if isinstance(array, np.ndarray):
        _promised[id(array)] = _Promised(array)


def withdraw(array: Array) -> None:
    """Take a promise back: the array may change from now on."""
    global _epoch
    _epoch += 1
    _promised.pop(id(array), None)
    _moderate.pop(id(array), None)


def is_promised(array: Array) -> bool:
    """Tell whether an array is known not to change."""
    found = _promised.get(id(array))
    return found is not None and found.reference() is array


def derive(array: Array, key: Any, make: Callable[[], Any]) -> Any:
    """Return ``make()``, which is made of `array`, or what it returned before.

    It is kept when it is asked for a second time: in training, weights serve once.
    """
    found = _promised.get(id(array))
    if found is None or found.reference() is not array:
        return make()
    kept = found.forms.get(key)
    if kept is None:
        kept = make()
        found.forms[key] = kept if key in found.forms else None
    return kept


def note_moderate(arrays: Iterable[np.ndarray]) -> None:
    """State that all numbers of new arrays are finite, and so are products of any two of them.

    A kernel that makes the numbers sees it on its way, which spares a pass over them.
    """
    for array in arrays:
        number = id(array)
        _moderate[number] = weakref.ref(array, partial(_moderate.pop, number))


def is_moderate(array: Array) -> bool:
    """Tell whether that is known of an array, and nobody may have changed it since."""
    found = _moderate.get(id(array))
    return found is not None and found() is array and is_promised(array)
