"""How much memory a training step needs, and how it is made to need less."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.graph.memory import Profile, Ranges
from xpcnn.kernels.workspace import get_workspace_limit, limited
from xpcnn.layers.parameter import Parameter
from xpcnn.training.state import Snapshot, TrainingState

PROBED = 4
"""Samples that are run through the network to see what its steps keep."""
LEAST_WORKSPACE = 2**20
"""Bytes below which chunks of scratch memory are not made smaller."""
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def as_bytes(memory: Any, who: str, argument: str = "memory") -> int:
    """Return a number of bytes that is given as such, or as text such as "500MB" or "1.5GiB".

    Raises
    ------
    ValueError, TypeError
    """
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b)\s*", memory.lower())
        if found is None or found[2] not in _UNITS:
            raise ValueError(
                f"{who}: {argument} must be a number with a unit, such as '500MB' or '1.5GiB', got "
                f"{memory!r}"
            )
        memory = int(float(found[1]) * _UNITS[found[2]])
    elif isinstance(memory, bool) or not isinstance(memory, (int, np.integer)):
        raise TypeError(
            f"{who}: {argument} must be a number of bytes, or text such as '500MB', got {memory!r}"
        )
    if memory < 1:
        raise ValueError(f"{who}: {argument} must be more than nothing, got {memory} bytes")
    return int(memory)


def written(n_bytes: float) -> str:
    """Write a number of bytes for people."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes:.0f} B"


class _Fixed(NamedTuple):
    """Bytes that do not depend on the number of samples."""

    frozen: float
    trained: float
    slots: float
    gradients: float
    copies: float
    update: float


@dataclass(frozen=True)
class MemoryUse:
    """What a training step of ``fit`` needs, in bytes; as text it is a table.

    Attributes
    ----------
    batch_size : int
    parameters : int
        Parameters and buffers, once.
    optimizer : int
        What the optimizer keeps for the parameters, once.
    kept : int
        Copies of both: those from before the step, and from before the epoch, to go back to.
    gradients : int
        Of the parameters.
    batch : int
        Inputs of one batch.
    layers : tuple of (str, int)
        Names of the layers of each step, and what they keep for the backward.
    forward, backward, update : int
        The most at one time in each of the three parts of a step, scratch memory included.
    """

    batch_size: int
    parameters: int
    optimizer: int
    kept: int
    gradients: int
    batch: int
    layers: tuple[tuple[str, int], ...]
    forward: int
    backward: int
    update: int

    @property
    def total(self) -> int:
        """The most at one time."""
        return max(self.forward, self.backward, self.update)

    def __str__(self) -> str:
        rows = [(name, written(size)) for name, size in self.layers]
        rows += [
            ("parameters", written(self.parameters)),
            ("their gradients", written(self.gradients)),
            ("optimizer", written(self.optimizer)),
            ("copies to go back to", written(self.kept)),
            ("inputs", written(self.batch)),
            ("most in the forward", written(self.forward)),
            ("most in the backward", written(self.backward)),
            ("most in the update", written(self.update)),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {size:>9}" for name, size in rows]
        rule = "-" * len(lines[0])
        count = len(self.layers)
        head = f"a training step with batch_size={self.batch_size} keeps for the backward"
        return "\n".join([head, rule, *lines[:count], rule, *lines[count:], rule])


class StepMemory:
    """What a training step of a model needs, for any batch size.

    Parameters
    ----------
    model : TrainingState
        Built, with an optimizer.
    inputs : sequence of array
        A few samples on its device, which are run forward once. The model stays as it is, but
        that a forward before it has no backward any more.
    """

    def __init__(self, model: TrainingState, inputs: Sequence[Array]) -> None:
        self._model = model
        self._profile = _profile(model, inputs)
        self._sample = sum(map(_bytes, inputs)) / inputs[0].shape[0]
        self._fixed = _fixed(model)

    def use(
        self, batch_size: int, segments: Ranges = (), workspace: int | None = None
    ) -> MemoryUse:
        """Return what a step takes at most, as a table of its parts."""
        fixed, profile = self._fixed, self._profile
        workspace = get_workspace_limit() if workspace is None else workspace
        forward, backward = profile.peaks(batch_size, workspace, segments)
        batch = 2 * self._sample * batch_size  # that of the step before is still there
        always = fixed.frozen + fixed.copies + batch + profile.folded
        once = fixed.trained + fixed.slots
        factor = batch_size / profile.samples
        return MemoryUse(
            batch_size,
            int(fixed.frozen + fixed.trained + fixed.copies),
            int(fixed.slots),
            int(2 * once),
            int(fixed.gradients),
            int(self._sample * batch_size),
            tuple((step.name, int(factor * sum(step.kept.values()))) for step in profile.steps),
            int(always + 3 * once + forward),
            int(always + 2 * once + backward),
            int(always + 3 * once + fixed.gradients + fixed.update),
        )

    def plan(self, limit: int, batch_size: int) -> Plan:
        """Choose how a step stays below a limit.

        Smaller chunks of scratch memory come first, since they cost the least, then steps that run
        again.

        Raises
        ------
        ValueError
            If it cannot; it says what is the least, and which batch size would do.
        """
        plan = self._plan(limit, batch_size)
        if plan is not None:
            return plan
        where = (
            f"fit: memory={written(limit)} is not enough: a step with batch_size={batch_size} "
            f"needs {written(self._least(batch_size))} at least"
        )
        fits, too_many = 0, batch_size
        while too_many - fits > 1:
            size = (fits + too_many) // 2
            if self._least(size) <= limit:
                fits = size
            else:
                too_many = size
        if fits:
            raise ValueError(f"{where}; with batch_size={fits} it is enough")
        raise ValueError(
            f"{where}, and with batch_size=1 {written(self._least(1))}; the update of the "
            f"parameters alone takes {written(self.use(1).update)}. Allow more, or take an "
            "optimizer that keeps less, such as SGD, or a smaller network"
        )

    def _plan(self, limit: int, batch_size: int) -> Plan | None:
        for chunk in _chunks():
            total = self.use(batch_size, (), chunk).total
            if total <= limit:
                return Plan(chunk, limit - total, ())
        for segments in self._profile.candidates():
            total = self.use(batch_size, segments, _chunks()[-1]).total
            if total <= limit:
                return Plan(_chunks()[-1], limit - total, segments)
        return None

    def _least(self, batch_size: int) -> int:
        """Return the bytes of a step that does all that can be done."""
        ways = self._profile.candidates()
        return min(self.use(batch_size, segments, _chunks()[-1]).total for segments in ways)


def _chunks() -> list[int]:
    """Return the workspace limits to try, the one that holds first."""
    found = [get_workspace_limit()]
    while found[-1] >= 4 * LEAST_WORKSPACE:
        found.append(found[-1] // 4)
    return found


class Plan(NamedTuple):
    """How the steps of a call of ``fit`` stay below a limit of memory.

    Attributes
    ----------
    workspace : int
        The workspace limit.
    idle : int
        The most bytes that kernels may keep without using them.
    segments : sequence of (start, stop)
        Steps that run again for the backward.
    """

    workspace: int
    idle: int
    segments: Ranges

    @contextmanager
    def followed(self, model: TrainingState) -> Iterator[None]:
        """Let a model's training steps follow it, in a ``with``."""
        before = model.segments
        model.run_again(self.segments)
        try:
            with limited(self.workspace, self.idle):
                yield
        finally:
            # segments of a network with other parameters frozen are none of this one
            model.run_again(before if model.segments == self.segments else ())


def _profile(model: TrainingState, inputs: Sequence[Array]) -> Profile:
    """Run a few samples forward; the model stays as it is."""
    now = Snapshot(model)
    counts = [(layer, layer.step) for layer in model.random_layers]
    for layer, _ in counts:
        layer.step = 1  # what runs again takes the mask before
    try:
        with limited(_chunks()[-1], 0):
            return Profile(model.program, model.narrow(inputs))
    finally:
        for layer, count in counts:
            layer.step = count
        now.restore()


def _fixed(model: TrainingState) -> _Fixed:
    assert model.optimizer is not None
    frozen = trained = gradients = copies = largest = 0
    for tensor in model.tensors:
        size = _bytes(tensor.value)
        if isinstance(tensor, Parameter):
            if tensor.operand is not tensor.value:
                copies += _bytes(tensor.operand)
            largest = max(largest, size)
        if isinstance(tensor, Parameter) and tensor.requires_grad:
            trained += size
            gradients += size
        else:
            frozen += size
    slots = trained * model.optimizer.count_slots()
    # An update by one operation on all parameters may have copies of all of them.
    update = 3 * trained if not _xp.on_host(model.tensors[0].value) else 4 * largest
    if model.optimizer.clip_norm is not None or model.optimizer.clip_value is not None:
        update += 2 * gradients
    if model.scaling is not None:
        update += gradients
    return _Fixed(frozen, trained, slots, gradients, copies, update)


def _bytes(array: Array) -> int:
    return prod(array.shape) * _xp.itemsize(array)
