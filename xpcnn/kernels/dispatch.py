"""Operations, and which set of kernels runs them.

An operation is defined by two functions in the Array API standard; a set of kernels for one array
library has faster ones for some. :meth:`Op.run` asks the sets one after the other.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from xpcnn._xp import dtype_name, is_numpy, namespace
from xpcnn.backends import backend_of
from xpcnn.interrupts import deferred
from xpcnn.kernels import threads
from xpcnn.kernels.half import in_float32, inside
from xpcnn.kernels.native import choice
from xpcnn.kernels.trace import Declined, active, log

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
    forward : callable, optional
        ``forward(xp, x, ...) -> (y, state)``. Left out, only kernel sets have the operation.
    backward : callable, optional
        ``backward(xp, dy, state, ...)``. Those of its parameters that `forward` has too are passed
        on by themselves; what stays is for the caller, such as `need_dx`.
    check : callable, optional
        ``check(who, x, ...)`` raises if the operands do not fit together.
    """

    parts: tuple[Op, ...] = ()
    """What a fused operation stands for; see :class:`Fused`."""

    def __init__(
        self,
        name: str,
        forward: Function | None = None,
        backward: Function | None = None,
        *,
        check: Function | None = None,
    ) -> None:
        self.name, self.forward, self.backward, self.check = name, forward, backward, check
        self.more = 0  # operands behind the first one
        self.kept: list[int] = []  # the places of those that the backward takes too
        if forward is not None and backward is not None:
            given = _positional(forward)[1:]
            self.more = len(given) - 1
            self.kept = [given.index(n) for n in _positional(backward)[3:] if n in given]
            OPS[name] = self

    def __iter__(self) -> Iterator[Any]:
        """Yield the two functions, as those of an :class:`OpPair`."""
        return iter((self.forward, self.backward))

    def __call__(self, *operands: Any, who: str | None = None) -> tuple[Any, Saved]:
        """Check the operands and run the forward.

        Returns
        -------
        y : array
        saved : Saved
            Its call is the backward.

        Raises
        ------
        ValueError, TypeError
            If the operands do not fit together; the message begins with `who`.
        """
        xp = namespace(operands[0], who=who or self.name)
        if self.check is not None:
            self.check(who or self.name, *operands)
        found: tuple[Any, Saved] = self.run(xp, *operands)
        return found

    def run(self, xp: ModuleType, *operands: Any, **options: Any) -> Any:
        """Run the forward of the first kernel set that takes these operands, unchecked.

        Returns
        -------
        (y, Saved) or None
            ``None`` if every set declined.
        """
        watched = active.get() is not None
        declined: list[tuple[str, Any]] = _absent(xp, self.name) if watched else []
        wanted = _forced.get()
        own = None if wanted == "generic" else _own_set(xp)
        for name, pair in _candidates(self.name, wanted, own):
            if name == "generic":
                if threads.held and not _among_compiled(xp, operands):
                    threads.release_blas()
                kind = getattr(getattr(operands[0], "dtype", None), "kind", "") if operands else ""
                if kind == "V" and _is_foreign(xp, operands[0]):
                    pair = OpPair(*in_float32(pair.forward, pair.backward))
            result = pair.forward(xp, *operands, **options)
            if result is NotImplemented or isinstance(result, Declined):
                declined.append((name, result))
                continue
            if watched:
                log(self.name, name, declined)
            y, state = result
            return y, Saved(pair.backward, state, name, tuple([operands[k] for k in self.kept]))
        if watched:
            log(self.name, None, declined)
        return None


def _positional(function: Function) -> list[str]:
    """Name the parameters of a function that need no name where it is called."""
    parameters = inspect.signature(inside(function)).parameters.values()
    return [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]


class SavedParts(NamedTuple):
    """What the parts of a fused operation leave; calling it with the gradient runs them back."""

    parts: list[Any]

    def __call__(self, dy: Any, *more: Any) -> Any:
        """Return the gradients of the operands; `more` is for the first part."""
        gradients: tuple[Any, ...] = ()
        for saved in reversed(self.parts[1:]):
            found = saved(dy)
            dy, *others = found if isinstance(found, tuple) else (found,)
            gradients = (*others, *gradients)
        found = self.parts[0](dy, *more)
        return (*found, *gradients) if gradients else found


class Fused(Op):
    """An operation that stands for several, of which each takes the output of the one before.

    A kernel set may have it in one go; else the parts run one by one.

    Parameters
    ----------
    name : str
    parts : sequence of Op
        The operands are those of the first part, and behind them what the others take besides the
        output of the one before. Where a part has several outputs, the first goes on, and the
        others are returned beside the last output.
    forward, backward : callable, optional
        A definition in one go, which is the same to rounding.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[Op],
        forward: Function | None = None,
        backward: Function | None = None,
    ) -> None:
        super().__init__(name, forward, backward)
        self.parts, self.more, self.kept = tuple(parts), 0, []
        for part in parts:
            self.kept += [self.more + place for place in part.kept]
            self.more += part.more
        OPS[name] = self

    def run(self, xp: ModuleType, *operands: Any, **options: Any) -> Any:
        """Run it in one go, or the largest parts of it that somebody has in one go."""
        y, *more = operands
        beside: list[Any] = []
        all_saved = []
        waiting: list[Op] = [self]
        while waiting:
            op = waiting.pop(0)
            found = Op.run(op, xp, y, *more[: op.more], **(options if op is self else {}))
            if found is None:
                waiting = [*op.parts, *waiting]
                continue
            y, saved = found
            if isinstance(y, tuple):
                y, *beside = y
            del more[: op.more]
            all_saved.append(saved)
        saved = all_saved[0] if len(all_saved) == 1 else SavedParts(all_saved)
        return ((y, *beside) if beside else y), saved


def run(xp: ModuleType, op: str, *operands: Any, **options: Any) -> Any:
    """Run an operation by its name; see :meth:`Op.run`."""
    return (_definitions().get(op) or Op(op)).run(xp, *operands, **options)


# -- Which sets of kernels there are --------------------------------------------------------------


_forced: ContextVar[str | None] = ContextVar("xpcnn_kernel_set", default=None)


@contextmanager
def force(kernel_set: str | None) -> Iterator[None]:
    """Use one kernel set only, whatever it declines (for tests and benchmarks)."""
    token = _forced.set(kernel_set)
    try:
        yield
    finally:
        _forced.reset(token)


def forced() -> str | None:
    """Return the kernel set that :func:`force` allows alone; ``None`` if there is none."""
    return _forced.get()


def select(xp: ModuleType, op: str) -> Sequence[tuple[str, Any]]:
    """List the kernel sets that have `op` for arrays of `xp`, the one to try first in front.

    An empty list means that no set has it; that happens only for fused operations, which the
    caller then runs one by one.
    """
    wanted = _forced.get()
    own = None if wanted == "generic" else _own_set(xp)
    return _candidates(op, wanted, own)


def _own_set(xp: ModuleType) -> str | None:
    """Name the kernel set written for arrays of `xp`, if there is one and it can run."""
    own = _set_for(xp)
    return None if own == "cpu" and why_not_compiled(xp) is not None else own


@cache
def _set_for(xp: ModuleType) -> str | None:
    return backend_of(xp).kernel_set


@cache
def _candidates(op: str, wanted: str | None, own: str | None) -> tuple[tuple[str, Any], ...]:
    found: list[tuple[str, Any]] = []
    definition = _definitions().get(op)
    if definition is not None and definition.forward is not None:
        found.append(("generic", definition))
    if own is not None:
        with deferred():
            pairs = importlib.import_module(f"xpcnn.kernels.{own}").PAIRS
        if op in pairs:
            found.insert(0, (own, pairs[op]))
        elif definition is not None and definition.parts:
            return ()  # the parts one by one, by this set, are faster than the definition
    return tuple((name, pair) for name, pair in found if wanted in (None, name))


@cache
def _definitions() -> dict[str, Op]:
    with deferred():
        importlib.import_module("xpcnn.ops")  # which fills OPS
    return OPS


def _is_foreign(xp: ModuleType, x: Any) -> bool:
    """Whether an array is of bfloat16, and its library does not know what that is."""
    return dtype_name(x) == "bfloat16" and not backend_of(xp).knows_bfloat16


def _among_compiled(xp: ModuleType, args: tuple[Any, ...]) -> bool:
    """Whether an operation of the generic kernels may have compiled ones around it.

    What works in float64 has not, and may use all threads of BLAS.
    """
    if _forced.get() == "generic" or not is_numpy(xp):
        return False
    return not args or getattr(args[0], "dtype", None) == xp.float32


def why_not_compiled(xp: ModuleType) -> str | None:
    """Say why the compiled kernels cannot run on arrays of `xp`; ``None`` if they can."""
    if not is_numpy(xp):
        return "for NumPy arrays only"
    found = choice.chosen()
    return found.why if found.target is None else None


def _absent(xp: ModuleType, op: str) -> list[tuple[str, Any]]:
    """List the kernel sets that are not even asked, with the reason."""
    own = _own_set(xp)
    if _forced.get() not in (None, own or "cpu"):
        return []
    if own is None:
        own, reason = "cpu", why_not_compiled(xp)
    else:
        has = any(name == own for name, _ in select(xp, op))
        reason = None if has else f"has no kernel for {op}"
    return [] if reason is None else [(own, Declined(reason))]
