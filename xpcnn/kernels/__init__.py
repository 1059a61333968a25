"""The array work, as pairs of a forward and a backward function.

``forward(xp, ...) -> (y, saved)`` and ``backward(xp, dy, saved, ...)``; only the partner reads
`saved`. The generic pairs are the definition; a set written for one array library may replace any
of them, and returns :class:`Declined` with a reason, or ``NotImplemented``, for what it does not
take.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from xpcnn._xp import Array, dtype_name, is_numpy, library
from xpcnn.interrupts import deferred
from xpcnn.kernels import threads
from xpcnn.kernels.half import in_float32
from xpcnn.kernels.op import OPS, Op, OpPair, Saved
from xpcnn.kernels.trace import Decision, Declined, is_active, log, note, trace

__all__ = [
    "Capture",
    "Decision",
    "Declined",
    "Recording",
    "Saved",
    "Transfer",
    "can_record",
    "force",
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

    def hold(self, result: Array) -> bool:
        """Reserve the memory; ``False`` if something other than the result is kept in it."""

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
def _why_no_numba() -> str | None:
    """Say why Numba cannot be used here; ``None`` if it can.

    One that is installed need not work: it says so when it is imported with a NumPy that is newer
    than it knows. Then the generic kernels do the work, and that is said once.
    """
    if importlib.util.find_spec("numba") is None:
        return 'Numba is not installed; pip install "xpcnn[fast]"'
    try:
        with deferred():  # a module of which half was imported stays like that
            importlib.import_module("numba")
    except Exception as error:
        reason = f"Numba cannot be imported ({error}); install a version that fits your NumPy"
        warnings.warn(f"there are no compiled kernels: {reason}", RuntimeWarning, stacklevel=2)
        return reason
    return None


_threads_lost = False


def _after_fork() -> None:
    """Remember, in a forked process, that Numba's threads are not in it: calling them ends it."""
    global _threads_lost
    layer = getattr(sys.modules.get("numba"), "threading_layer", None)
    with suppress(ValueError):  # none were started
        _threads_lost = _threads_lost or (layer is not None and bool(layer()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_forced: ContextVar[str | None] = ContextVar("xpcnn_kernel_set", default=None)


@contextmanager
def force(kernel_set: str | None) -> Iterator[None]:
    """Use one kernel set only, whatever it declines (for tests and benchmarks)."""
    token = _forced.set(kernel_set)
    try:
        yield
    finally:
        _forced.reset(token)


def select(xp: ModuleType, op: str) -> list[tuple[str, OpPair | Op]]:
    """List the kernel sets that have `op` for arrays of `xp`, the one to try first in front.

    An empty list means that no set has it; that happens only for fused operations, which the
    caller then runs one by one.
    """
    wanted = _forced.get()
    own = None if wanted == "generic" else _own_set(xp)
    return list(_candidates(op, wanted, own))


def _own_set(xp: ModuleType) -> str | None:
    """Name the kernel set written for arrays of `xp`, if there is one and it can run."""
    if is_numpy(xp):
        return "cpu" if why_not_compiled(xp) is None else None
    return {"cupy": "cuda", "torch": "torch", "jax": "jax"}.get(library(xp))


@cache
def _candidates(
    op: str, wanted: str | None, own: str | None
) -> tuple[tuple[str, OpPair | Op], ...]:
    with deferred():
        importlib.import_module("xpcnn.ops")  # which fills OPS
    sets: list[tuple[str, Mapping[str, OpPair | Op]]] = [("generic", OPS)]
    if own is not None:
        with deferred():
            sets.insert(0, (own, importlib.import_module(f"xpcnn.kernels.{own}").PAIRS))
        if op == "conv_relu_max_pool" and op not in sets[0][1]:
            return ()  # one after the other is faster than the generic kernel in one go
    return tuple(
        (name, pairs[op]) for name, pairs in sets if op in pairs and wanted in (None, name)
    )


@cache
def _compiled_set() -> ModuleType:
    with deferred():
        from xpcnn.kernels import cpu

    return cpu


def run(xp: ModuleType, op: str, *args: Any, **options: Any) -> tuple[Array, Saved] | None:
    """Run the forward of the first kernel set that takes these arguments.

    Returns
    -------
    (y, Saved) or None
        ``None`` if every set declined.
    """
    declined: list[tuple[str, Any]] = _absent(xp, op) if is_active() else []
    for name, pair in select(xp, op):
        if name == "generic" and threads.blas_is_held() and not _among_compiled(xp, args):
            threads.release_blas()
        if name == "generic" and _has_foreign_bfloat16(xp, args):
            pair = OpPair(*in_float32(*pair))
        result = pair.forward(xp, *args, **options)
        if result is NotImplemented or isinstance(result, Declined):
            declined.append((name, result))
            continue
        log(op, name, declined)
        y, state = result
        settings = OPS[op].settings(args) if op in OPS else ()
        return y, Saved(pair.backward, state, name, settings)
    log(op, None, declined)
    return None


def _has_foreign_bfloat16(xp: ModuleType, args: tuple[Any, ...]) -> bool:
    """Whether an operand is of bfloat16, and the library does not know what that is.

    NumPy and CuPy have it from ml_dtypes: times a Python float it becomes float32, and some
    functions refuse it.
    """
    return library(xp) in ("numpy", "cupy") and any(
        hasattr(a, "dtype") and dtype_name(a) == "bfloat16" for a in args
    )


def can_record() -> bool:
    """Whether kernels for NumPy arrays are compiled ones, whose launches can be recorded."""
    return _forced.get() in (None, "cpu") and why_not_compiled(np) is None


def record() -> Recording:
    """Return what notes the launches of compiled kernels in this thread while it is entered."""
    recording: Recording = _compiled_set().threads.Recording()
    return recording


def open_transfer(xp: ModuleType, physical: Any, sources: Sequence[np.ndarray]) -> Transfer | None:
    """Return what brings rows of `sources` to a device; ``None`` where that gains nothing."""
    if library(xp) != "cupy":
        return None
    transfer: Transfer = importlib.import_module("xpcnn.kernels.cuda.transfer").Transfer(
        sources, physical
    )
    return transfer


def open_capture(xp: ModuleType, physical: Any) -> Capture | None:
    """Return what captures functions on a device; ``None`` where there is nothing of the kind."""
    if library(xp) != "cupy":
        return None
    capture: Capture = importlib.import_module("xpcnn.kernels.cuda.graph").Capture(physical)
    return capture


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
    if (reason := _why_no_numba()) is not None:
        return reason
    if _threads_lost:
        return "not in a process forked from one in which Numba's threads run"
    return None


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
