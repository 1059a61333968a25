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

KEPT = 4
"""Shapes whose recordings are kept."""

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
    settings: tuple[Any, ...] | None
    attributes: list[Any]
    arrays: list[Array]

    @property
    def memory(self) -> int:
        """Bytes that are held for it."""
        return self.x.nbytes + self.launches.memory

    def again(self, x: Array) -> np.ndarray:
        np.copyto(self.x, x)
        self.launches.repeat()
        return self.y.copy(order="K")


class _Shape:
    """What is known of inputs of one shape.

    Attributes
    ----------
    runs : int
        How often one came.
    recordings : list
        The one there is; empty while a thread uses it: its memory serves one at a time.
    epoch, changes : int
        When it was last found to be valid.
    used : int
        When one last came.
    """

    __slots__ = ("changes", "epoch", "recordings", "runs", "used")

    def __init__(self) -> None:
        self.runs = self.used = 0
        self.epoch = self.changes = -1
        self.recordings: list[_Recording] = []


class Repeatable:
    """A function that is recorded when it is called with inputs of one shape again and again.

    The recordings of the last :data:`KEPT` shapes are kept, with the memory that they work on.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._shapes: dict[tuple[int, ...], _Shape] = {}
        self._calls = 0

    def __reduce__(self) -> Any:
        return type(self), (self._function,)  # a copy has no memory in common

    def __call__(self, x: Array) -> Array:
        """Return what the function does."""
        if is_active():
            return self._function.run(x)
        found = self.again(x)
        if found is not None:
            return found
        if not _small(x):
            return self._function.run(x)
        shape = self._shape_of(x)
        shape.runs += 1
        if shape.runs == BEFORE + 1 and self._why_not(shape) == "":
            return self._record(x, shape)[0]
        return self._function.run(x)

    def again(self, x: Any) -> np.ndarray | None:
        """Return what the recording gives; ``None`` if there is none for such an array."""
        if type(x) is not np.ndarray or x.dtype != np.float32:
            return None
        shape = self._shapes.get(x.shape)
        if shape is None or is_active():
            return None
        try:
            recording = shape.recordings.pop()
        except IndexError:
            return None
        if not self._is_valid(recording, x, shape):
            shape.runs = 0
            return None
        self._calls += 1
        shape.used = self._calls
        y = recording.again(x)
        shape.recordings = [recording]
        return y

    def prepare(self, x: np.ndarray) -> tuple[str, int]:
        """Record what the function does for arrays like x, of any size, now.

        Returns
        -------
        why : str
            Why it cannot be recorded, for a user to read; empty if it is.
        memory : int
            Bytes that the recording holds.
        """
        if self.again(x) is None:
            shape = self._shape_of(x)
            for _ in range(BEFORE):
                self._function.run(x)
            why = self._why_not(shape) or self._record(x, shape)[1]
            if why:
                return why, 0
        recordings = self._shapes[x.shape].recordings
        return "", sum(recording.memory for recording in recordings)

    def _shape_of(self, x: np.ndarray) -> _Shape:
        """Return what is known of a shape, and forget the one that came least lately for it."""
        found = self._shapes.get(x.shape)
        if found is None:
            found = self._shapes[x.shape] = _Shape()
        self._calls += 1
        found.used = self._calls
        while len(self._shapes) > KEPT:
            shapes = list(self._shapes.items())
            self._shapes.pop(min(shapes, key=lambda item: item[1].used)[0], None)
        return found

    def _why_not(self, shape: _Shape) -> str:
        """Say why nothing can be recorded now; "" if it can."""
        if not kernels.can_record():
            shape.runs = 0
            return "there are no compiled kernels, or they are not to be used"
        if not all(map(constant.is_promised, self._function.arrays())):
            shape.runs = 0
            return "somebody holds an array of the network, and may change it"
        return "" if self._function.is_pure() else "a layer is not of this package"

    def _record(self, x: np.ndarray, shape: _Shape) -> tuple[Array, str]:
        """Return the value, and why there is no recording, if so."""
        function, epoch, settings = self._function, constant.epoch(), _settings()
        arrays = function.arrays()
        fixed = np.array(x)
        with trace() as decisions, kernels.record() as launches:
            y = function.run(fixed)
        result, attributes = y.copy(order="K"), function.attributes()
        if type(y) is not np.ndarray or any(d.kernel_set == "generic" for d in decisions):
            return result, "an operation has no compiled kernel for what it gets"
        other = np.random.default_rng(0).standard_normal(x.shape, np.float32)
        if np.array_equal(other, fixed):
            other *= 2.0  # on the same numbers nothing would be found out
        expected = function.run(other)
        y = launches.settle(y)
        recording = _Recording(fixed, y, launches, settings, attributes, arrays)
        if not _same_bits(recording.again(other), expected):
            return result, "something besides compiled kernels computes"
        if epoch != constant.epoch():
            shape.runs = 0
            return result, "an array of the network was changed meanwhile"
        shape.epoch, shape.changes, shape.recordings = epoch, -1, [recording]
        return result, ""

    def _is_valid(self, recording: _Recording, x: np.ndarray, shape: _Shape) -> bool:
        """Whether the function would do the same again."""
        if recording.settings != _settings():
            return False
        changes = self._function.changes()
        if shape.changes != changes:
            if not identical(self._function.attributes(), recording.attributes):
                return False
            shape.changes = changes
        epoch = constant.epoch()
        if shape.epoch != epoch:
            arrays = self._function.arrays()
            if not (identical(arrays, recording.arrays) and all(map(constant.is_promised, arrays))):
                return False
            shape.epoch = epoch
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
