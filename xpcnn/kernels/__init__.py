"""The array work, as pairs of a forward and a backward function.

``forward(xp, ...) -> (y, saved)`` and ``backward(xp, dy, saved, ...)``; only the partner reads
`saved`. The generic pairs are the definition; a set written for one array library may replace any
of them, and returns :class:`Declined` with a reason, or ``NotImplemented``, for what it does not
take.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from xpcnn._xp import Array
from xpcnn.backends import backend_of
from xpcnn.interrupts import deferred
from xpcnn.kernels.dispatch import Op, OpPair, Saved, force, forced, run, select, why_not_compiled
from xpcnn.kernels.trace import Decision, Declined, note, trace
from xpcnn.kernels.workspace import idle_limit

__all__ = [
    "Capture",
    "Decision",
    "Declined",
    "Op",
    "OpPair",
    "Recording",
    "Saved",
    "Transfer",
    "can_record",
    "force",
    "give_up_idle",
    "note",
    "open_capture",
    "open_transfer",
    "record",
    "run",
    "select",
    "trace",
    "why_not_compiled",
]


class Recording(Protocol):
    """Launches of compiled kernels, to be done again."""

    def __enter__(self) -> Any:
        """Begin to note launches."""

    def __exit__(self, *_: object) -> None:
        """End it."""

    def settle(self, result: Array) -> Array:
        """Give them memory of their own; return where they will leave the result."""

    @property
    def memory(self) -> int:
        """Bytes of that memory."""

    def repeat(self) -> None:
        """Launch the same again."""


class Transfer(Protocol):
    """Brings rows of host arrays to a device, without that either waits for the other."""

    def begin(self, indices: np.ndarray) -> Any:
        """Take memory on the device for the rows; called by the thread that computes."""

    def carry(self, ticket: Any) -> None:
        """Set off the copy of what :meth:`begin` returned; by another thread, in the same order."""

    def finish(self, ticket: Any) -> list[Array]:
        """Return the arrays, one for each source; by the thread that computes."""

    def close(self) -> None:
        """Wait for all copies."""


class Capture(Protocol):
    """Writes down what functions launch on a device, to be launched again in one go.

    Launches keep the arrays that they had, and every number that came from the host.
    """

    def rehearse(self, function: Callable[[], Any]) -> Any:
        """Run a function for real, in the way in which it will be captured."""

    def capture(self, function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Run a function without computing; return its result, and what computes it each time."""

    def close(self) -> None:
        """Wait for all that was launched."""


@cache
def _compiled_threads() -> ModuleType:
    with deferred():
        from xpcnn.kernels.cpu import threads

    return threads


def can_record() -> bool:
    """Whether kernels for NumPy arrays are compiled ones, whose launches can be recorded."""
    return forced() in (None, "cpu") and why_not_compiled(np) is None


def give_up_idle() -> None:
    """Give up memory that compiled kernels keep to use it again, if that is limited."""
    if idle_limit() is not None and can_record():
        _compiled_threads().buffers.clear()


def record() -> Recording:
    """Return what notes the launches of compiled kernels in this thread while it is entered."""
    recording: Recording = _compiled_threads().Recording()
    return recording


def open_transfer(xp: ModuleType, physical: Any, sources: Sequence[np.ndarray]) -> Transfer | None:
    """Return what brings rows of `sources` to a device; ``None`` where that gains nothing."""
    if backend_of(xp).kernel_set != "cuda":
        return None
    transfer: Transfer = importlib.import_module("xpcnn.kernels.cuda.transfer").Transfer(
        sources, physical
    )
    return transfer


def open_capture(xp: ModuleType, physical: Any) -> Capture | None:
    """Return what captures functions on a device; ``None`` where there is nothing of the kind."""
    if backend_of(xp).kernel_set != "cuda":
        return None
    capture: Capture = importlib.import_module("xpcnn.kernels.cuda.graph").Capture(physical)
    return capture
