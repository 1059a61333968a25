"""What the arrays of a training pass take, step by step, and which steps had better run again.

A few samples are run forward once. What each step keeps for its backward is looked up then, rather
than worked out from shapes: it depends on the kernels that take it, and on layers of a user's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.graph.front import FrontStep
from xpcnn.graph.program import Program
from xpcnn.graph.segments import Line
from xpcnn.kernels import trace
from xpcnn.kernels.workspace import CACHE_SIZED
from xpcnn.layers.conv import Conv
from xpcnn.layers.layer import Layer, runs_again
from xpcnn.layers.parameter import Tensor

Ranges = tuple[tuple[int, int], ...]
"""Segments of a program; see :meth:`Program.run_again`."""
Pieces = dict[Any, float]
"""Pieces of memory, and their bytes."""

SCRATCH = {True: (2, 3), False: (1, 2)}
"""For generic kernels and for others: so many arrays like the largest one of a step are there for a
moment while it runs, forward and backward."""


class StepMemory(NamedTuple):
    """What one step has to do with memory, for so many samples as were run.

    Attributes
    ----------
    name : str
        Of the layers.
    inputs, outputs : tuple of int
        Numbers of values.
    kept : dict
        Pieces of memory that it keeps for its backward, and their bytes.
    parameters : int
        Bytes of the gradients of its parameters, which do not depend on the samples.
    columns : int
        Bytes of what a convolution gathers for one sample.
    weights : int
        Bytes of the weights of a convolution, of which its kernel makes copies.
    is_generic : bool
        Whether generic kernels run it.
    can_run_again : bool
    """

    name: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    last_uses: tuple[Any, ...]
    kept: Pieces
    parameters: int
    columns: int
    weights: int
    is_generic: bool
    can_run_again: bool


class Profile:
    """The memory of a forward and a backward, for any number of samples.

    Parameters
    ----------
    program : Program
    inputs : sequence of array
        Some samples, to be run forward. Running statistics stay as they are.

    Attributes
    ----------
    samples : int
        How many there were.
    steps : list of StepMemory
    values : dict
        For each value that a step gives: the piece of memory it lies in, and its bytes.
    gradients : dict
        For each value: the bytes of its gradient.
    folded : float
        Bytes of the weights that the frozen front of the network keeps besides its parameters.
    """

    def __init__(self, program: Program, inputs: Sequence[Array]) -> None:
        self.samples = int(inputs[0].shape[0])
        lines = program.lines(training=True)
        _forget(lines)
        always = [_kept_by(line.step) for line in lines]
        try:
            values, generic = _run(program, inputs)
            own = {key for a in (*inputs, *_own_arrays(program)) for key in _pieces(a)}
            self.steps = []
            folded: Pieces = {}
            for number, line in enumerate(lines):
                kept = _kept_by(line.step)
                if isinstance(line.step, FrontStep):  # weights that took normalisation over
                    folded |= {key: kept[key] for key in kept.keys() - own}
                    kept = {}
                self.steps.append(
                    StepMemory(
                        " + ".join(layer.who for layer in line.step.layers),
                        line.inputs,
                        line.outputs,
                        line.last_uses,
                        {key: kept[key] for key in kept.keys() - always[number].keys() - own},
                        _gradient_bytes(line.step.layers),
                        *_conv_bytes(line.step.layers, [values.get(name) for name in line.inputs]),
                        generic[number],
                        program.can_run_again(number),
                    )
                )
        finally:
            _forget(lines)
        self.folded = sum(folded.values())
        made = {n: a for n, a in values.items() if a is not None and n not in program.inputs}
        self.gradients = {name: _bytes(array) for name, array in made.items()}
        self.values = {name: _pieces(array) for name, array in made.items()}
        self.outputs = program.outputs

    def peaks(self, samples: int, workspace: int, segments: Ranges = ()) -> tuple[float, float]:
        """Return the most memory at one time in the forward, and in the backward, in bytes.

        That is of activations, gradients of these and of parameters, and scratch memory.

        Parameters
        ----------
        samples : int
        workspace : int
            The workspace limit.
        segments : sequence of (start, stop)
            Steps that run again.
        """
        walk = _Walk(self, samples / self.samples, workspace)
        return walk.forward(segments), walk.backward(segments)

    def scratch(self, step: StepMemory, factor: float, workspace: int) -> tuple[float, float]:
        """Return the bytes that a step needs for a moment, forward and backward.

        `factor` says how many times the samples are those that were run.
        """
        around = [self.gradients.get(name, 0.0) for name in (*step.inputs, *step.outputs)]
        largest = factor * max([*around, *step.kept.values()], default=0.0)
        if step.is_generic:
            work = step.weights
            if step.columns:
                work += max(step.columns, min(workspace, CACHE_SIZED))
        else:
            work = 4 * step.weights  # as many as Winograd's transform makes of 3x3
        forward, backward = SCRATCH[step.is_generic]
        return forward * largest + work, backward * largest + work

    def candidates(self) -> Iterator[Ranges]:
        """Yield ways to cut the first steps into segments, from fewer steps to more.

        It is the first steps that run again, since theirs is the last backward: when it comes, what
        the others have kept is gone.
        """
        count = len(self.steps)
        yield ()
        tried: set[Ranges] = set()
        for share in range(1, _SHARES + 1):
            end = -(-count * share // _SHARES)
            for pieces in _PIECES:
                ranges = self._cut(end, pieces)
                if ranges and ranges not in tried:
                    tried.add(ranges)
                    yield ranges

    def _cut(self, end: int, pieces: int) -> Ranges:
        """Cut the first steps into segments that keep about the same number of bytes."""
        sizes = [sum(step.kept.values()) for step in self.steps[:end]]
        most = sum(sizes) / pieces
        ranges: list[tuple[int, int]] = []
        start, held = 0, 0.0
        for number, (step, size) in enumerate(zip(self.steps[:end], sizes, strict=True)):
            if not step.can_run_again or (held and held + size > most):
                if start < number:
                    ranges.append((start, number))
                start, held = number + (not step.can_run_again), 0.0
            if step.can_run_again:
                held += size
        if start < end:
            ranges.append((start, end))
        return tuple(ranges)


_SHARES = 12
_PIECES = (1, 2, 3, 4, 6, 8, 12, 16, 24)


class _Walk:
    """A pass over the steps, and what is in memory at each moment."""

    def __init__(self, profile: Profile, factor: float, workspace: int) -> None:
        self._profile, self._factor, self._workspace = profile, factor, workspace
        self._holders: Counter[Any] = Counter()
        self._now = self._most = 0.0
        self._is_backward = False

    def _hold(self, pieces: Pieces) -> None:
        for key, size in pieces.items():
            if not self._holders[key]:
                self._now += self._factor * size
            self._holders[key] += 1

    def _drop(self, pieces: Pieces) -> None:
        for key, size in pieces.items():
            self._holders[key] -= 1
            if not self._holders[key]:
                self._now -= self._factor * size

    def _note(self, step: StepMemory) -> None:
        scratch = self._profile.scratch(step, self._factor, self._workspace)
        self._most = max(self._most, self._now + scratch[self._is_backward])

    def _value(self, name: Any) -> Pieces:
        return self._profile.values.get(name, {})

    def _gradient(self, name: Any) -> Pieces:
        size = self._profile.gradients.get(name)
        return {} if size is None else {("gradient", name): size}

    def _run(self, start: int, stop: int) -> None:
        """Run some steps forward."""
        for step in self._profile.steps[start:stop]:
            for name in step.outputs:
                self._hold(self._value(name))
            self._hold(step.kept)
            self._note(step)
            for name in step.last_uses:
                self._drop(self._value(name))

    def _taken(self, start: int, stop: int) -> set[Any]:
        """Return the values that some steps take from outside."""
        steps = self._profile.steps[start:stop]
        made = {name for step in steps for name in step.outputs}
        return {name for step in steps for name in step.inputs} - made

    def forward(self, segments: Ranges) -> float:
        """Run all steps forward, and return the most memory."""
        done = 0
        for start, stop in segments:
            self._run(done, start)
            for name in self._taken(start, stop):
                self._hold(self._value(name))
            self._run(start, stop)
            for step in self._profile.steps[start:stop]:
                self._drop(step.kept)
            done = stop
        self._run(done, len(self._profile.steps))
        return self._most

    def backward(self, segments: Ranges) -> float:
        """Run all steps backward, and return the most memory."""
        self._most, self._is_backward = 0.0, True
        ends = {stop: start for start, stop in segments}
        for name in self._profile.outputs:
            self._hold(self._gradient(name))
        present = set(self._profile.outputs)
        for number in reversed(range(len(self._profile.steps))):
            step = self._profile.steps[number]
            if number + 1 in ends:
                self._run_again(ends[number + 1], number + 1)
            for name in set(step.inputs) - present:
                self._hold(self._gradient(name))
            present.update(step.inputs)
            self._note(step)
            self._drop(step.kept)
            for name in step.outputs:
                if name in present:
                    self._drop(self._gradient(name))
            self._now += step.parameters
        return self._most

    def _run_again(self, start: int, stop: int) -> None:
        steps = self._profile.steps[start:stop]
        there = {name for step in steps for name in (*step.outputs, *step.inputs)}
        for step in steps:
            for name in step.outputs:
                self._hold(self._value(name))
            self._hold(step.kept)
            self._note(step)
            for name in there.intersection(step.last_uses):
                self._drop(self._value(name))
                there.discard(name)
        for name in there:
            self._drop(self._value(name))


def _run(program: Program, inputs: Sequence[Array]) -> tuple[dict[Any, Any], list[bool]]:
    """Run all steps forward; return all values, and which steps generic kernels have run."""
    values: dict[Any, Any] = dict(zip(program.inputs, inputs, strict=True))
    generic = []
    token = runs_again.set(True)
    try:
        for step, takes, gives, _, _ in program.lines(training=True):
            with trace() as decisions:
                y = step.forward(*map(values.get, takes), training=True)
            generic.append(any(d.kernel_set in (None, "generic") for d in decisions))
            values |= zip(gives, y if len(gives) != 1 else (y,), strict=True)
    finally:
        runs_again.reset(token)
    return values, generic


def _forget(lines: Iterable[Line]) -> None:
    for line in lines:
        line.step.forget()


# -- What is held ----------------------------------------------------------------------------------


def _kept_by(step: Any) -> Pieces:
    """Return the memory that a step and its layers hold, apart from parameters and buffers."""
    seen: set[int] = set()
    found: Pieces = {}
    inside = [inner for layer in step.layers for _, inner in layer.layers_within()]
    for owner in (step, *inside):
        for array in _arrays_in(vars(owner), seen):
            found |= _pieces(array)
    return found


def _arrays_in(value: Any, seen: set[int]) -> Iterator[Array]:
    """Yield the arrays that something refers to, other than through layers and their tensors."""
    if isinstance(value, _LEFT_OUT) or id(value) in seen:
        return
    seen.add(id(value))
    if _xp.is_array(value):
        yield value
        return
    inside: Iterable[Any] = ()
    if isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, (tuple, list, set)):
        inside = value
    elif hasattr(value, "__dict__"):
        inside = vars(value).values()
    for item in inside:
        yield from _arrays_in(item, seen)


_LEFT_OUT = (type(None), bool, int, float, str, type, FunctionType, ModuleType, Layer, Tensor)


def _pieces(array: Array) -> Pieces:
    key, size = _xp.storage(array)
    return {key: float(size)}


def _bytes(array: Array) -> float:
    """Return the bytes of the elements of an array that may have a gradient."""
    if not _xp.is_floating(array):
        return 0.0
    return float(prod(array.shape) * _xp.itemsize(array))


def _own_arrays(program: Program) -> Iterator[Array]:
    """Yield the arrays of parameters and buffers, and the copies that layers compute with."""
    for layer in program.layers_within():
        tensors = [vars(tensor) for tensor in vars(layer).values() if isinstance(tensor, Tensor)]
        yield from _arrays_in(tensors, set())


def _gradient_bytes(layers: Sequence[Layer]) -> int:
    parameters = [p for layer in layers for p in layer.parameters().values() if p.requires_grad]
    return sum(prod(p.value.shape) * _xp.itemsize(p.value) for p in parameters)


def _conv_bytes(layers: Sequence[Layer], inputs: Sequence[Array]) -> tuple[int, int]:
    """Return the bytes of what a convolution gathers for one sample, and of its weights."""
    conv = next((layer for layer in layers if isinstance(layer, Conv)), None)
    if conv is None or inputs[0] is None:
        return 0, 0
    weight, shape = conv.weight.value, tuple(inputs[0].shape)
    window = conv.geometry(shape)
    rows = shape[1] * window.taps + weight.shape[0]
    size = _xp.itemsize(weight)
    return rows * prod(window.output_shape(shape[2:])) * size, prod(weight.shape) * size
