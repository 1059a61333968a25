"""Which length of which value a number is, where a graph computes shapes on the way.

Exporters write ``x.view(x.size(0), -1)`` as a chain of Shape, Gather, Unsqueeze and Concat in
front of a Reshape. Followed through, such a chain says "the first length of x, then the rest",
which is an argument, and the shapes of the network are known before it runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.interop.onnx.known import KnownValues
from xpcnn.interop.onnx.node import OnnxNode

Length = int | tuple[str, int]
"""A known number, or (name of a value, axis)."""


class ShapeTracker:
    """Follows the lengths that a graph computes.

    Parameters
    ----------
    values : KnownValues

    Attributes
    ----------
    contents : dict of str to list
        Lengths that a value holds, in order.
    """

    def __init__(self, values: KnownValues) -> None:
        self._values = values
        self.contents: dict[str, list[Length]] = {}
        self._samples: dict[str, str] = {}

    def note(self, node: OnnxNode, keeps: str) -> np.ndarray | None:
        """Work out what a node's output holds, if it is lengths, and its number of samples.

        Parameters
        ----------
        node : OnnxNode
        keeps : str
            What its operator keeps; see ``Operator.keeps`` in table.py.

        Returns
        -------
        array or None
            The output, if all of the lengths are known.
        """
        self._note_samples(node, keeps)
        found = self._of(node)
        if found is None:
            return None
        if any(not isinstance(length, int) for length in found):
            self.contents[node.outputs[0]] = found
            return None
        picks_one = node.op == "Gather" and self._values.rank(node.input(1)) == 0
        is_number = picks_one or node.op == "Squeeze"
        return np.asarray(found[0] if is_number else found, np.int64)

    def _of(self, node: OnnxNode) -> list[Length] | None:
        if node.op == "Shape":
            return self._shape(node)
        given = [self._read(name) for name in node.inputs if name]
        if not any(self._values.resolve(name) in self.contents for name in node.inputs):
            return None
        if node.op in ("Cast", "Squeeze", "Unsqueeze"):
            return given[0]
        if node.op == "Gather" and given[0] is not None:
            picked = self._values.ints(node.input(1))
            inside = picked is not None and all(-len(given[0]) <= i < len(given[0]) for i in picked)
            return [given[0][i] for i in picked or ()] if inside else None
        if node.op == "Slice" and given[0] is not None and len(node.inputs) >= 3:
            limits = [self._values.ints(name) for name in node.inputs[1:]]
            if all(limit is not None and len(limit) == 1 for limit in limits):
                start, end, *more = (limit[0] for limit in limits if limit)
                step = more[1] if len(more) == 2 else 1
                return given[0][start:end:step] if step > 0 else None
        if node.op == "Concat" and all(part is not None for part in given):
            return [length for part in given for length in part or ()]
        return None

    def _shape(self, node: OnnxNode) -> list[Length] | None:
        name = self._values.resolve(node.input(0))
        rank = self._values.rank(name)
        if rank is None:
            return None
        known = self._values.shapes.get(name, (None,) * rank)
        lengths = [self._same(name, axis) if n is None else n for axis, n in enumerate(known)]
        return lengths[node.int("start", 0) : node.int("end")]

    def _same(self, name: str, axis: int) -> tuple[str, int]:
        """Return a length under the first name that it has."""
        return (self._samples.get(name, name), 0) if axis == 0 else (name, axis)

    def _read(self, name: str) -> list[Length] | None:
        name = self._values.resolve(name)
        if name in self.contents:
            return self.contents[name]
        array = self._values.array(name)
        if array is None or array.dtype.kind not in "iu" or array.size > 64:
            return None
        return [int(n) for n in array.reshape(-1)]

    def _note_samples(self, node: OnnxNode, keeps: str) -> None:
        if keeps == "samples":
            source: str | None = self._values.resolve(node.input(0))
        elif node.op == "Flatten" and node.int("axis", 1) == 1:
            source = self._values.resolve(node.input(0))
        elif keeps == "broadcast":
            source = self._one_source(node)
        else:
            return
        if source is not None:
            self._samples[node.outputs[0]] = self._samples.get(source, source)

    def _one_source(self, node: OnnxNode) -> str | None:
        """Return the value whose samples a sum of two has, if both or only one has any.

        One of fewer axes than the sum is broadcast: its first axis is not the first of the sum.
        """
        sources = set()
        rank = self._values.rank(node.outputs[0])
        for name in map(self._values.resolve, node.inputs):
            array = self._values.array(name)
            if array is None:
                if rank is None or self._values.rank(name) != rank:
                    return None
                sources.add(self._samples.get(name, name))
            elif array.ndim >= (rank or 1) and array.shape[0] != 1:
                return None
        return sources.pop() if len(sources) == 1 else None

    def new_shape(self, data: str, name: str) -> tuple[int, ...] | None:
        """Return the argument of a Reshape whose shape is computed, if there is one.

        There 0 stands for "as it was", and -1 for what is left.
        """
        lengths = self.contents.get(self._values.resolve(name))
        if lengths is None:
            return None
        data = self._values.resolve(data)
        shape: list[Any] = [
            0 if length == self._same(data, axis) else length for axis, length in enumerate(lengths)
        ]
        unknown = [axis for axis, length in enumerate(shape) if not isinstance(length, int)]
        if len(unknown) == 1 and -1 not in shape:
            shape[unknown[0]] = -1
            unknown = []
        return None if unknown else tuple(shape)
