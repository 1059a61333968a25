"""Which length of which value a number is, where a graph computes shapes on the way.

Exporters write ``x.view(x.size(0), -1)`` as a chain of Shape, Gather, Unsqueeze and Concat in
front of a Reshape. Followed through, such a chain says "the first length of x, then the rest",
which is an argument, and the shapes of the network are known before it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xpcnn.interop.onnx.builder import Builder, Call

Length = int | tuple[str, int]
"""A known number, or (name of a value, axis)."""

# Operators whose output has as many samples as the first input, whatever their attributes.
_KEEP_SAMPLES = {
    "AveragePool", "BatchNormalization", "Cast", "Celu", "Clip", "Conv", "ConvTranspose",
    "DepthToSpace", "Dropout", "Elu", "Erf", "Exp", "Gelu", "GlobalAveragePool", "GlobalMaxPool",
    "GroupNormalization", "HardSigmoid", "HardSwish", "InstanceNormalization", "LRN",
    "LayerNormalization", "LeakyRelu", "LogSoftmax", "LpPool", "MaxPool", "Mish", "Neg", "PRelu",
    "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Sqrt", "Tanh",
}  # fmt: skip
_BROADCAST = {"Add", "Div", "Mul", "Sub"}


class Sizes:
    """What is known of values that hold lengths.

    Attributes
    ----------
    contents : dict of str to list
        Lengths that a value holds, in order.
    """

    def __init__(self) -> None:
        self.contents: dict[str, list[Length]] = {}
        self._samples: dict[str, str] = {}

    def note(self, b: Builder, call: Call) -> np.ndarray | None:
        """Work out what a node's output holds, if it is lengths, and its number of samples.

        Returns
        -------
        array or None
            The output, if all of the lengths are known.
        """
        self._note_samples(b, call)
        found = self._of(b, call)
        if found is None:
            return None
        if any(not isinstance(length, int) for length in found):
            self.contents[call.outputs[0]] = found
            return None
        is_number = call.op == "Squeeze" or (call.op == "Gather" and b.rank(call.input(1)) == 0)
        return np.asarray(found[0] if is_number else found, np.int64)

    def _of(self, b: Builder, call: Call) -> list[Length] | None:
        if call.op == "Shape":
            return self._shape(b, call)
        given = [self._read(b, name) for name in call.inputs if name]
        if not any(b.resolve(name) in self.contents for name in call.inputs):
            return None
        if call.op in ("Cast", "Squeeze", "Unsqueeze"):
            return given[0]
        if call.op == "Gather" and given[0] is not None:
            picked = b.ints(call.input(1))
            inside = picked is not None and all(-len(given[0]) <= i < len(given[0]) for i in picked)
            return [given[0][i] for i in picked or ()] if inside else None
        if call.op == "Slice" and given[0] is not None and len(call.inputs) >= 3:
            limits = [b.ints(name) for name in call.inputs[1:]]
            if all(limit is not None and len(limit) == 1 for limit in limits):
                start, end, *more = (limit[0] for limit in limits if limit)
                step = more[1] if len(more) == 2 else 1
                return given[0][start:end:step] if step > 0 else None
        if call.op == "Concat" and all(part is not None for part in given):
            return [length for part in given for length in part or ()]
        return None

    def _shape(self, b: Builder, call: Call) -> list[Length] | None:
        name = b.resolve(call.input(0))
        rank = b.rank(name)
        if rank is None:
            return None
        known = b.shapes.get(name, (None,) * rank)
        lengths = [self._same(name, axis) if n is None else n for axis, n in enumerate(known)]
        return lengths[call.int("start", 0) : call.int("end")]

    def _same(self, name: str, axis: int) -> tuple[str, int]:
        """Return a length under the first name that it has."""
        return (self._samples.get(name, name), 0) if axis == 0 else (name, axis)

    def _read(self, b: Builder, name: str) -> list[Length] | None:
        name = b.resolve(name)
        if name in self.contents:
            return self.contents[name]
        array = b.array(name)
        if array is None or array.dtype.kind not in "iu" or array.size > 64:
            return None
        return [int(n) for n in array.reshape(-1)]

    def _note_samples(self, b: Builder, call: Call) -> None:
        if call.op in _KEEP_SAMPLES:
            source: str | None = b.resolve(call.input(0))
        elif call.op == "Flatten" and call.int("axis", 1) == 1:
            source = b.resolve(call.input(0))
        elif call.op in _BROADCAST:
            source = self._one_source(b, call)
        else:
            return
        if source is not None:
            self._samples[call.outputs[0]] = self._samples.get(source, source)

    def _one_source(self, b: Builder, call: Call) -> str | None:
        """Return the value whose samples a sum of two has, if both or only one has any."""
        sources = set()
        for name in map(b.resolve, call.inputs):
            array = b.array(name)
            if array is None:
                sources.add(self._samples.get(name, name))
            elif array.ndim >= max(b.rank(call.outputs[0]) or 0, 1) and array.shape[0] != 1:
                return None
        return sources.pop() if len(sources) == 1 else None

    def new_shape(self, b: Builder, data: str, name: str) -> tuple[int, ...] | None:
        """Return the argument of a Reshape whose shape is computed, if there is one.

        There 0 stands for "as it was", and -1 for what is left.
        """
        lengths = self.contents.get(b.resolve(name))
        if lengths is None:
            return None
        data = b.resolve(data)
        shape: list[Any] = [
            0 if length == self._same(data, axis) else length for axis, length in enumerate(lengths)
        ]
        unknown = [axis for axis, length in enumerate(shape) if not isinstance(length, int)]
        if len(unknown) == 1 and -1 not in shape:
            shape[unknown[0]] = -1
            unknown = []
        return None if unknown else tuple(shape)
