"""Ctrl-C, put off until what must not be cut in two is done."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any, Self

# The functions that Python's own call; those look up names for signals first, ten times as long.
_functions: Any = getattr(signal, "_signal", signal)
_set_handler, _get_handler = _functions.signal, _functions.getsignal
_SIGINT = int(signal.SIGINT)


class deferred:  # noqa: N801 - it reads as a function: with deferred(): ...
    """Hold Ctrl-C back during a ``with`` statement, and let it happen at the end.

    What stands in the statement runs as if nobody had pressed Ctrl-C; then whatever would have
    dealt with it does so, once, however often it was pressed: as a rule a `KeyboardInterrupt`.
    Inside another such statement, the outer one decides. In other threads than the main one,
    which Ctrl-C never reaches, nothing is done.

    It is for short work, such as a training step or an import. Anything else that can end the
    work early, such as an exception, still does.

    Examples
    --------
    >>> import signal
    >>> from xpcnn.interrupts import deferred
    >>> done = []
    >>> try:
    ...     with deferred():
    ...         signal.raise_signal(signal.SIGINT)  # Ctrl-C
    ...         done.append("all of it")
    ... except KeyboardInterrupt:
    ...     done.append("then the interrupt")
    >>> done
    ['all of it', 'then the interrupt']
    """

    __slots__ = ("_before", "_frame", "_has_come")

    def __enter__(self) -> Self:
        self._frame: FrameType | None = None  # of the statement, while this deals with Ctrl-C
        self._before: Any = None
        self._has_come = False
        frame = sys._getframe(1)
        before = _get_handler(_SIGINT)
        if before is None or (type(before) is deferred and before._is_within(frame)):
            return self  # what is not Python's could not be put back; or an outer statement decides
        try:
            self._before = before
            self._frame = frame
            _set_handler(_SIGINT, self)
        except ValueError:  # not the main thread
            self._frame = None
        return self

    def __exit__(self, *exception: object) -> None:
        if self._frame is not None:
            self._end()

    def check(self) -> None:
        """Let a Ctrl-C that was held back happen now: the work can be ended here.

        A second one is still held back, while what was begun is taken back.
        """
        if self._has_come and self._frame is not None and callable(self._before):
            self._has_come = False
            self._before(_SIGINT, sys._getframe(1))

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take note of Ctrl-C; Python calls this when it comes."""
        self._has_come = True
        if not self._is_within(frame):
            self._end()  # an exception at the worst moment has ended the statement, but not this

    def _is_within(self, frame: FrameType | None) -> bool:
        """Whether the statement is among those that led to a place in the program."""
        while frame is not None:
            if frame is self._frame:
                return True
            frame = frame.f_back
        return False

    def _end(self) -> None:
        """Let Ctrl-C be dealt with as before, and let happen what was held back."""
        current = _set_handler(_SIGINT, self._before)
        if current is not self:
            _set_handler(_SIGINT, current)  # somebody has chosen another way meanwhile
        self._frame = None  # it refers to all variables there
        if self._has_come:
            self._has_come = False
            signal.raise_signal(signal.SIGINT)
