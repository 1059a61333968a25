"""Which kernel set took an operation, and why others did not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Declined:
    """What a kernel returns for arguments that it does not take.

    Parameters
    ----------
    reason : str
        Why, for a user to read: "float64 arrays", "padded pooling windows". Half a sentence that
        names what came.
    """

    reason: str


class Decision(NamedTuple):
    """One operation that was asked for while a :func:`trace` was active.

    Attributes
    ----------
    op : str
        The operation, such as "conv".
    kernel_set : str or None
        Who took it; ``None`` if nobody did, so that the caller runs its parts one by one.
    declined : tuple of (str, str)
        The kernel sets that were asked before or do not have the operation, and why they did not
        take it.
    notes : tuple of str
        What the kernel said of itself with :func:`note`.
    """

    op: str
    kernel_set: str | None
    declined: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


_NO_REASON = "does not take these arguments"


class _Trace(NamedTuple):
    decisions: list[Decision]
    notes: list[str]


active: ContextVar[_Trace | None] = ContextVar("xpcnn_kernel_trace", default=None)


@contextmanager
def trace() -> Iterator[list[Decision]]:
    """Record which kernel set takes each operation run in this context.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import functional as F, kernels
    >>> with kernels.force("generic"), kernels.trace() as decisions:
    ...     y = F.relu(np.ones(3))
    >>> decisions
    [Decision(op='relu', kernel_set='generic', declined=(), notes=())]
    """
    decisions: list[Decision] = []
    token = active.set(_Trace(decisions, []))
    try:
        yield decisions
    finally:
        active.reset(token)


def log(op: str, kernel_set: str | None, declined: list[tuple[str, Any]]) -> None:
    """Add a decision to the trace, if one is active."""
    found = active.get()
    if found is not None:
        reasons = tuple((name, _reason(answer)) for name, answer in declined)
        found.decisions.append(Decision(op, kernel_set, reasons, tuple(found.notes)))
        found.notes.clear()


def note(text: str) -> None:
    """Say, from within a kernel, which of several ways it takes: "Winograd"."""
    found = active.get()
    if found is not None:
        found.notes.append(text)


def is_active() -> bool:
    """Whether decisions are being recorded."""
    return active.get() is not None


def _reason(answer: Any) -> str:
    return answer.reason if isinstance(answer, Declined) else _NO_REASON
