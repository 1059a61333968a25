"""What an operation is: a name and two functions, of which sets of kernels have faster ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from xpcnn._xp import namespace

Function = Callable[..., Any]


class OpPair(NamedTuple):
    """A forward function and the backward function that belongs to it."""

    forward: Function
    backward: Function


class Saved(NamedTuple):
    """What a forward run leaves for its backward. Calling it with the gradient runs that.

    Attributes
    ----------
    backward : callable
        ``backward(xp, dy, state, *settings, ...)``.
    state : object
        What the forward wrote down for its partner.
    kernel_set : str
    settings : tuple
        What the backward must be told again, such as the geometry.
    """

    backward: Function
    state: Any
    kernel_set: str
    settings: tuple[Any, ...] = ()

    def __call__(self, dy: Any, *more: Any) -> Any:
        """Return the gradients of the operands; `more` says which of them are needed."""
        return self.backward(namespace(dy), dy, self.state, *self.settings, *more)


OPS: dict[str, Op] = {}
"""All operations by name; the modules of :mod:`xpcnn.ops` fill it."""


class Op:
    """An operation by its definition in the Array API standard.

    Parameters
    ----------
    name : str
        As kernel sets and traces call it.
    forward : callable
        ``forward(xp, x, ...) -> (y, state)``.
    backward : callable
        ``backward(xp, dy, state, ...)``. Those of its parameters that `forward` has too are passed
        on by themselves; what stays is for the caller, such as `need_dx`.
    fused : bool
        Whether `forward` does nothing but run other operations one by one.
    """

    def __init__(
        self, name: str, forward: Function, backward: Function, *, fused: bool = False
    ) -> None:
        self.name, self.forward, self.backward, self.fused = name, forward, backward, fused
        given = list(inspect.signature(forward).parameters)[1:]
        taken = list(inspect.signature(backward).parameters)[3:]
        self._places = [given.index(setting) for setting in taken if setting in given]
        OPS[name] = self

    def settings(self, operands: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what backward must be told again, from the operands of the forward."""
        return tuple([operands[place] for place in self._places])

    def __iter__(self) -> Iterator[Function]:
        """Yield the two functions, as those of an :class:`OpPair`."""
        return iter((self.forward, self.backward))
