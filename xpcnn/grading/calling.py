"""Calls learners' code: warnings off, exceptions caught with their line, results as NumPy."""

from __future__ import annotations

import inspect
import linecache
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn import _xp

OWN = str(Path(__file__).parent)


class TheirError(Exception):
    """An exception out of a learner's code; the message has its type, text and line."""


class UnrecognisedError(Exception):
    """A class or function that cannot be called, and why."""


class NotOfferedError(Exception):
    """A setting that a learner's class does not take: there is nothing to test."""


def guarded(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call what a learner wrote."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # their code may raise anything, SystemExit too
        raise TheirError(f"{what}: {_told(error)}{_hint(function, error)}") from error


def _hint(function: Callable[..., Any], error: BaseException) -> str:
    """Say that a method was written without self, if that is why it could not be called."""
    code = getattr(getattr(function, "__func__", None), "__code__", None)
    if isinstance(error, TypeError) and "positional argument" in str(error) and code is not None:
        first = code.co_varnames[: code.co_argcount][:1]
        if first != ("self",) and not code.co_flags & inspect.CO_VARARGS:
            return f"; the first argument of a method is self: def {code.co_name}(self, ...)"
    return ""


def _told(error: BaseException) -> str:
    """Write an exception in one line, with the last line of code that is the learner's."""
    text = " ".join(str(error).split())
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(OWN)
    ]
    theirs = [f for f in frames if "site-packages" not in f.filename] or frames
    if not theirs:
        return told
    frame = theirs[-1]
    line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return f"{told} (in {frame.name}, line {frame.lineno}{': ' + line if line else ''})"


def to_host(value: Any) -> np.ndarray | None:
    """Make a NumPy array of an array of any library or of a number; None of anything else."""
    if value is None or isinstance(value, (str, bytes, dict)):
        return None
    if hasattr(value, "detach"):
        value = value.detach()
    try:
        array = _xp.to_numpy(value) if _xp.is_array(value) else np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "fiub" else None
