"""The graph of an ONNX file to a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpcnn import operations as op
from xpcnn.errors import ModelFileError, UnsupportedModelError
from xpcnn.interop.network import leading_to
from xpcnn.interop.onnx import proto
from xpcnn.interop.onnx.builder import Builder, Node, named_weights, run_nodes
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError, numpy_dtype
from xpcnn.interop.onnx.ops import OPERATORS, Operator
from xpcnn.interop.onnx.tensors import to_numpy
from xpcnn.interop.onnx.weights import weights_in_nodes
from xpcnn.layers.graph import Graph, sort_by_needs

OLDEST = 7
DOMAINS = ("", "ai.onnx.preview.training")
FLOATS = ("float16", "float32", "float64")

FOLD_LIMIT = 256
"""What is computed when a file is read is computed of short arrays only."""

MOST_SHOWN = 30


class Reader:
    """Turns the graph of a file into nodes, one operator after the other."""

    def __init__(self, model: proto.ModelProto, folder: Path | None) -> None:
        assert model.graph is not None
        self.graph = model.graph
        self.folder = folder
        self.producer = model.producer_name
        self.versions = {_domain(entry.domain): entry.version or 0 for entry in model.opset_import}
        self.functions = {(_domain(f.domain), f.name) for f in model.functions}
        version = self.versions.get("")
        if version is not None and version < OLDEST:
            raise ModelFileError(
                f"the model uses version {version} of ONNX's operators, and xpcnn reads {OLDEST} "
                "and newer; convert it with onnx.version_converter"
            )
        self.problems: list[tuple[str, str, str]] = []

    def read(self) -> tuple[Graph, str, list[tuple[int | None, ...] | None]]:
        """Return the network, its dtype and the shapes of its inputs."""
        arrays = self._initializers()
        inputs = [value for value in self.graph.input if value.name not in arrays]
        names = [value.name or "" for value in inputs]
        self._check_names(names, arrays)
        dtypes = {value.name or "": self._dtype(value) for value in inputs}
        # the network computes in that of the first floats
        every = [*dtypes.values(), *(a.dtype.name for a in arrays.values())]
        dtype = next((name for name in every if name in FLOATS), "float32")
        b = Builder(arrays, self._uses(), dtype)
        # our own files say what is a weight
        if self.producer != "xpcnn":
            b.weights_in_nodes = weights_in_nodes(self.graph, folder=self.folder)
        for name, array in b.initializers.items():
            # what is no weight is known: lengths, axes, single numbers
            b.shapes[name] = array.shape
            if array.dtype.name not in FLOATS or array.ndim == 0:
                b.constants[name] = array
        self._note_types(b)
        for number, node in self._in_order(names, arrays):
            self._take(b, node, number)
        if self.problems:
            raise _unsupported(self.problems)
        graph = self._finish(b, names, {n: d for n, d in dtypes.items() if d != dtype})
        return graph, dtype, [_shape(value) for value in inputs]

    def _initializers(self) -> dict[str, np.ndarray]:
        if self.graph.sparse_initializer:
            raise ModelFileError("the model holds sparse arrays, which are not supported")
        arrays: dict[str, np.ndarray] = {}
        for tensor in self.graph.initializer:
            if not tensor.name or tensor.name in arrays:
                raise ModelFileError(f"two arrays of the model are called {tensor.name!r}")
            arrays[tensor.name] = to_numpy(tensor, self.folder)
        return arrays

    def _check_names(self, inputs: Sequence[str], arrays: dict[str, np.ndarray]) -> None:
        """Refuse values without a name, and names that stand for two values."""
        given = [*inputs, *arrays]
        given += [name for node in self.graph.node for name in node.output if name]
        twice = [name for name, count in Counter(given).items() if count > 1 or not name]
        if twice:
            raise ModelFileError(
                f"the name {twice[0]!r} stands for more than one value of the model"
            )
        if not self.graph.output:
            raise ModelFileError("the model has no output")

    def _uses(self) -> Counter[str]:
        return Counter(name for node in self.graph.node for name in node.input)

    def _in_order(
        self, inputs: Sequence[str], arrays: dict[str, np.ndarray]
    ) -> list[tuple[int, proto.NodeProto]]:
        """Return the nodes, each behind those it needs; files have them so already.

        Raises
        ------
        ModelFileError
            If a node needs its own output, or a value that no node produces.
        """
        known = {"", *inputs, *arrays}
        nodes = self.graph.node
        makers = {name: number for number, node in enumerate(nodes) for name in node.output}
        needs: list[set[int]] = []
        for node in nodes:
            missing = [name for name in node.input if name not in known]
            for name in missing:
                if name not in makers:
                    raise ModelFileError(
                        f"node {node.name!r} ({node.op_type}) uses {name!r}, which no node produces"
                    )
            needs.append({makers[name] for name in missing})
        order, on_cycle = sort_by_needs(needs)
        if on_cycle is not None:
            node = nodes[on_cycle]
            raise ModelFileError(
                f"the model has a cycle through node {node.name!r} ({node.op_type}): its input "
                "depends on its output"
            )
        return [(number, nodes[number]) for number in order]

    # -- Types ---------------------------------------------------------------------------------

    def _dtype(self, value: proto.ValueInfoProto) -> str:
        if value.type is None or value.type.tensor_type is None:
            kind = "an input without a type" if value.type is None else "no array"
            self.problems.append((value.name or "", "graph input", f"it is {kind}"))
            return "float32"
        try:
            return numpy_dtype(value.type.tensor_type.elem_type)
        except UnsupportedError as problem:
            self.problems.append((value.name or "", "graph input", str(problem)))
            return "float32"

    def _note_types(self, b: Builder) -> None:
        """Take over what the file says about shapes and types of values."""
        for value in (*self.graph.input, *self.graph.value_info, *self.graph.output):
            shape = _shape(value)
            if shape is not None and value.name:
                b.ranks[value.name] = len(shape)
                b.shapes[value.name] = shape
            if value.type is not None and value.type.tensor_type is not None and value.name:
                try:
                    b.dtypes[value.name] = b.numpy_dtype(value.type.tensor_type.elem_type)
                except UnsupportedError:
                    continue

    # -- Nodes ---------------------------------------------------------------------------------

    def _take(self, b: Builder, message: proto.NodeProto, number: int) -> None:
        """Add a node to the network, or note why it cannot be."""
        domain = _domain(message.domain)
        node = OnnxNode(message, number, self.versions.get(domain, 0), self.folder)
        before = len(b.nodes)
        try:
            operator = self._operator(node, domain)
            if domain == "":
                operator.check(node)
            if not node.has_output(0) or not (node.inputs or node.op == "Constant"):
                raise ModelFileError(f"{node.who}: has no input, or no output")
            operator.read(b, node)
            if operator.folds:
                self._fold(b, node, before)
            _note_rank(b, node, operator.keeps)
            lengths = b.lengths.note(node, operator.keeps)
        except UnsupportedError as problem:
            self.problems.append((node.name or f"number {number}", node.op, str(problem)))
            return
        except ModelFileError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise ModelFileError(f"{node.who} contradicts itself: {error}") from error
        if lengths is not None and node.outputs[0] not in b.constants:
            b.take_back(before)
            b.constants[node.outputs[0]] = lengths

    def _operator(self, node: OnnxNode, domain: str) -> Operator:
        if domain not in DOMAINS:
            own = (domain, node.op) in self.functions
            raise UnsupportedError(
                "it is a function of the file" if own else f"operators of {domain!r} are unknown"
            )
        found = OPERATORS.get(node.op)
        if found is None or found.domain != domain:
            raise UnsupportedError("the operator is not supported")
        if domain == "" and "" not in self.versions:
            raise ModelFileError("the model does not say which version of ONNX's operators it uses")
        return found

    def _fold(self, b: Builder, node: OnnxNode, before: int) -> None:
        """Compute the outputs of a node at once, if all that it takes is known and short."""
        if not node.inputs:
            return
        given = [b.resolve(name) for name in node.inputs if name]
        known = all(name in b.constants and b.constants[name].size <= FOLD_LIMIT for name in given)
        if not known:
            return
        nodes = b.take_back(before)
        needed = {name for made in nodes for name in made.inputs}
        sources = [b.sources[name] for name in sorted(needed & b.sources.keys())]
        try:
            with np.errstate(all="ignore"):
                found = run_nodes([*sources, *nodes], node.outputs, b.dtype)
        except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
            raise ModelFileError(f"{node.who} cannot be computed: {error}") from error
        b.constants |= zip(node.outputs, found, strict=True)

    # -- The end -------------------------------------------------------------------------------

    def _named_outputs(self, b: Builder, inputs: list[str]) -> list[str]:
        """Give the outputs the names that the file has for them, also behind an Identity."""
        wanted = [value.name or "" for value in self.graph.output]
        names: dict[str, str] = {}  # what is renamed, by the name it had
        for name in wanted:
            made = b.bring(name)
            if made == name:
                continue
            if made in (*inputs, *wanted, *names, *b.sources):
                b.emit(op.Add(), [made], [name])  # a sum of one
            else:
                names[made] = name
        b.rename(names)
        return wanted

    def _finish(self, b: Builder, inputs: list[str], dtypes: dict[str, str]) -> Graph:
        """Leave out what leads nowhere, and make the graph."""
        outputs = self._named_outputs(b, inputs)
        kept: list[Node] = leading_to(outputs, b.nodes)
        made = {name for node in kept for name in node.outputs}
        for name in outputs:
            if name not in made and name not in inputs:
                raise ModelFileError(f"no node produces the output {name!r} of the model")
        if not inputs:
            raise UnsupportedModelError(
                "the model has no inputs: it always gives the same arrays, and xpcnn's networks "
                "take at least one",
                [],
            )
        try:
            return Graph(inputs, named_weights(kept), outputs, dtypes or None)
        except ValueError as error:
            raise ModelFileError(f"the model is inconsistent: {error}") from error


def _note_rank(b: Builder, node: OnnxNode, keeps: str) -> None:
    """Note how many axes the outputs have, where that follows from the inputs."""
    ranks = [b.rank(name) for name in node.inputs if name]
    if not keeps or not ranks:
        return
    rank = ranks[0]
    if keeps == "broadcast":
        rank = None if None in ranks else max(rank or 0 for rank in ranks)
    if rank is not None:
        for name in node.outputs:
            b.ranks.setdefault(name, rank)


def _domain(domain: str | None) -> str:
    return "" if domain in (None, "ai.onnx") else domain or ""


def _shape(value: proto.ValueInfoProto) -> tuple[int | None, ...] | None:
    """Return the shape that the file gives for a value, with None for open lengths."""
    kind = value.type.tensor_type if value.type is not None else None
    if kind is None or kind.shape is None:
        return None
    lengths = (dim.dim_value for dim in kind.shape.dim)
    return tuple(None if n is None or n < 0 else n for n in lengths)


def _unsupported(problems: list[tuple[str, str, str]]) -> UnsupportedModelError:
    shown = problems[:MOST_SHOWN]
    lines = "\n".join(f"  {name!r:.200} ({op:.100}): {reason:.500}" for name, op, reason in shown)
    if len(problems) > len(shown):
        lines += f"\n  ... and {len(problems) - len(shown)} more"
    count = f"{len(problems)} nodes" if len(problems) > 1 else "one node"
    return UnsupportedModelError(
        f"{count} of the ONNX model cannot be expressed in xpcnn:\n{lines}", problems
    )
