"""Predictions recorded ahead, for inputs of a shape that is known to come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xpcnn import kernels
from xpcnn._xp import Array
from xpcnn.graph import Program
from xpcnn.graph.flat import is_ours
from xpcnn.layers.layer import Shape


class CompiledPrediction(NamedTuple):
    """What :meth:`xpcnn.Model.compile_for` has done; true if the prediction was recorded.

    Attributes
    ----------
    input_shape : tuple of int
        Batch axis included.
    memory : int
        Bytes that are held for it.
    reasons : tuple of str
        Why it was not recorded: what each layer lacks, as far as layers are the reason.
    """

    input_shape: Shape
    memory: int
    reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        if self:
            return f"recorded for inputs of {self.input_shape}, {self.memory / 1e6:.1f} MB"
        return f"not recorded for inputs of {self.input_shape}: {'; '.join(self.reasons)}"


def record_prediction(program: Program, shape: Shape) -> CompiledPrediction:
    """Record what a program predicts for float32 NumPy arrays of some shape."""
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    why, memory = program.infer.prepare(x)
    if not why:
        return CompiledPrediction(shape, memory, ())
    layers = tuple(_what_layers_lack(program, x)) if kernels.can_record() else ()
    return CompiledPrediction(shape, 0, layers or (why,))


def _what_layers_lack(program: Program, x: Array) -> Iterator[str]:
    """Name the layers that compute without compiled kernels, and say why."""
    for layer in program.layers_within():
        if not is_ours(layer):
            yield f"{layer.who}: not a layer of xpcnn, or one whose methods were replaced"
    for ran in program.trace(x, training=False):
        if not all(map(is_ours, ran.layers)):
            continue
        who = " + ".join(layer.who for layer in ran.layers)
        generic = [d for d in ran.decisions if d.kernel_set == "generic"]
        for decision in generic:
            declined = ", ".join(reason for _, reason in decision.declined)
            yield f"{who}: {declined or 'no compiled kernel'}"
        arrays = [a for a in ran.inputs if isinstance(a, np.ndarray)]
        if not ran.decisions and not any(
            np.may_share_memory(a, b) for a in arrays for b in ran.outputs
        ):
            yield f"{who}: computed by NumPy"
