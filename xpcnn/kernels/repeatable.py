"""Functions that are run again without Python between their kernels.

For a single image, what Python does between two kernels takes as long as the kernels. But a
network without randomness, whose arrays and settings are those of the last run, launches the same
kernels with the same numbers, only the image is another. So its launches are recorded, with the
memory they work on, and done again.

What a function does besides launching kernels would be missed. A recording is therefore tried on
other numbers at once, and thrown away if it does not return the same bits as the function.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, Protocol

import numpy as np

from xpcnn import kernels
from xpcnn._xp import Array
from xpcnn.kernels import constant, precision, threads
from xpcnn.kernels.trace import is_active, trace

LARGEST = 1 << 22
"""Bytes of an input from which on the kernels take so long that Python does not matter."""

BEFORE = 2
"""Runs before the one that is recorded: weights are arranged for good in the second."""


class Function(Protocol):
    """A function of an array, and of attributes and arrays of its own."""

    def run(self, x: Array, /) -> Array:
        """Return the function's value."""

    def is_pure(self) -> bool:
        """Whether it does nothing besides, and depends on nothing else."""

    def changes(self) -> int:
        """Return a number; the same one as last time means that no attribute changed."""

    def attributes(self) -> list[Any]:
        """List objects; others than last time mean that the function changed."""

    def arrays(self) -> list[Array]:
        """List arrays; the function changes with their contents too."""


class _Recording(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    launches: kernels.Recording
    settings: tuple[Any, ...]
    attributes: list[Any]
    arrays: list[Array]

    def again(self, x: Array) -> np.ndarray:
        np.copyto(self.x, x)
        self.launches.repeat()
        return self.y.copy(order="K")


class Repeatable:
    """A function that is recorded when it is called with inputs of one shape again and again."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._shape: tuple[int, ...] = ()
        self._runs = 0
        self._epoch = self._changes = -1
        self._recordings: list[_Recording] = []
        """Empty while a thread uses the one there is: its memory serves one at a time."""

    def __reduce__(self) -> Any:
        return type(self), (self._function,)  # a copy has no memory in common

    def __call__(self, x: Array) -> Array:
        """Return what the function does."""
        if not _small(x) or is_active():
            return self._function.run(x)
        if x.shape != self._shape:
            self._shape, self._runs, self._recordings = x.shape, 0, []
        self._runs += 1
        if self._runs == BEFORE + 1 and (settings := self._settings()) is not None:
            return self._record(x, settings)
        found = self.again(x)
        return self._function.run(x) if found is None else found

    def again(self, x: Any) -> np.ndarray | None:
        """Return what the recording gives; ``None`` if there is none for such an array."""
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != np.float32:
            return None
        if is_active():
            return None
        try:
            recording = self._recordings.pop()
        except IndexError:
            return None
        if not self._is_valid(recording, x):
            self._runs = 0
            return None
        y = recording.again(x)
        self._recordings = [recording]
        return y

    def _settings(self) -> tuple[Any, ...] | None:
        """Return what the choice of kernels depends on; ``None`` if this cannot be recorded."""
        settings = _settings()
        if settings is None or not all(map(constant.is_promised, self._function.arrays())):
            self._runs = 0
            return None
        return settings if self._function.is_pure() else None

    def _record(self, x: np.ndarray, settings: tuple[Any, ...]) -> Array:
        function, epoch = self._function, constant.epoch()
        arrays = function.arrays()
        fixed = np.array(x)
        with trace() as decisions, kernels.record() as launches:
            y = function.run(fixed)
        recording = _Recording(fixed, y, launches, settings, function.attributes(), arrays)
        result = y.copy(order="K")
        if type(y) is not np.ndarray or any(d.kernel_set == "generic" for d in decisions):
            return result
        other = np.random.default_rng(0).standard_normal(x.shape, np.float32)
        expected = function.run(other)  # in the same memory, which is free until it is reserved
        if not launches.hold(y):  # another thread may have taken what was free for a moment
            self._runs = 0
            return result
        good = _same_bits(recording.again(other), expected)
        if epoch != constant.epoch():  # somebody changes arrays at this very moment
            self._runs = 0
        elif good:
            self._epoch, self._changes, self._recordings = epoch, -1, [recording]
        return result

    def _is_valid(self, recording: _Recording, x: np.ndarray) -> bool:
        """Whether the function would do the same again."""
        if recording.x.shape != x.shape or recording.settings != _settings():
            return False
        changes = self._function.changes()
        if self._changes != changes:
            if not identical(self._function.attributes(), recording.attributes):
                return False
            self._changes = changes
        epoch = constant.epoch()
        if self._epoch != epoch:
            arrays = self._function.arrays()
            if not (identical(arrays, recording.arrays) and all(map(constant.is_promised, arrays))):
                return False
            self._epoch = epoch
        return True


def _small(x: Array) -> bool:
    return type(x) is np.ndarray and x.dtype == np.float32 and 0 < x.nbytes < LARGEST


def _settings() -> tuple[Any, ...] | None:
    """Return what the choice of kernels depends on; ``None`` if they cannot be recorded."""
    if not kernels.can_record():
        return None
    return threads.get_num_threads(), precision.get_precision()


def identical(these: list[Any], those: list[Any]) -> bool:
    """Whether two lists hold the same objects."""
    return len(these) == len(those) and all(map(operator.is_, these, those))


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.strides == b.strides and a.tobytes() == b.tobytes()
