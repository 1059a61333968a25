"""When a step fails: a model that goes on as if nothing had been tried.

Where memory has run out, there is one clear error besides.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

from xpcnn.errors import OutOfMemoryError, is_out_of_memory, one_line
from xpcnn.graph.steps import ConcatStep, Step, SumStep
from xpcnn.interrupts import deferred
from xpcnn.layers.layer import Layer
from xpcnn.losses.loss import Loss
from xpcnn.optim.optimizer import Optimizer
from xpcnn.training.state import Snapshot, TrainingState


class MemoryGuard:
    """Turns a library's error about memory into :class:`OutOfMemoryError`; use it with ``with``.

    Whatever the error is, the model goes back to the state before, if there is one.

    Parameters
    ----------
    state : TrainingState
    doing : str
        For the message: "a training step".
    batch_size : int
    before : Snapshot, optional
        For training: the state to go back to.
    """

    def __init__(
        self,
        state: TrainingState,
        doing: str,
        batch_size: int,
        before: Snapshot | None = None,
    ) -> None:
        self.state, self.doing = state, doing
        self.batch_size, self.before = batch_size, before

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        if isinstance(error, OutOfMemoryError) or not is_out_of_memory(error):
            self._go_back()
            return
        problem = self._clean_up(error)
        del error, trace  # this frame belongs to the new error, and would keep those of the step
        raise problem from None

    def _clean_up(self, error: BaseException) -> OutOfMemoryError:
        """Go back to the state before, and return the error to raise."""
        layer, cause = _running(error.__traceback__), one_line(error)
        use, release = self.state.device.memory_use()  # now, while the step still holds its arrays
        parts = [f"out of memory in {self.doing} with batch_size={self.batch_size}"]
        parts[0] += f", in {layer} ({cause})" if layer else f" ({cause})"
        if use:
            parts.append(use)
        if self._go_back():
            parts.append("the model is as it was before this step")
        parts.append("try a smaller batch_size")
        if release:
            parts[-1] += f", or delete arrays you do not need and call {release}"
        _drop_frames(error)
        return OutOfMemoryError("; ".join(parts), layer=layer, batch_size=self.batch_size)

    def no_way_back(self) -> None:
        """Forget the state before: what comes writes into its arrays."""
        self.before = None

    def _go_back(self) -> bool:
        """Go back to the state before, and say whether there is one."""
        if self.before is None:
            return False
        with deferred():
            self.before.restore()
            self.state.forget_step()
        return True


def _running(trace: TracebackType | None) -> str | None:
    """Name what was running: the innermost call of a method of something that has a name.

    Steps and layers call each other in many ways; only the traceback knows of all of them.
    """
    found = None
    for frame, _ in traceback.walk_tb(trace):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Layer):
            found = owner.who
        elif isinstance(owner, (Step, SumStep, ConcatStep)):
            found = " + ".join(layer.who for layer in owner.layers)
        elif isinstance(owner, (Loss, Optimizer)):
            found = type(owner).__name__
    return found


def _drop_frames(error: BaseException | None) -> None:
    """Free the arrays that a failed step has in its local variables.

    They would stay until the error is forgotten, in the way of whoever tries again at once.
    """
    waiting: Any = error
    while waiting is not None:
        traceback.clear_frames(waiting.__traceback__)
        waiting.__traceback__ = None
        waiting = waiting.__cause__ or waiting.__context__
