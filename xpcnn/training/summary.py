"""A table of what a model is made of and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from xpcnn.kernels.workspace import get_workspace_limit
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer, Shape
from xpcnn.training.scaling import HALVES

_ITEMSIZE = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


class Summary(str):
    """The text of a table that has been printed; at a prompt it is not shown again."""

    def __repr__(self) -> str:
        return f"<summary of {len(self.splitlines())} lines, printed above>"

    def _ipython_display_(self) -> None:
        """Show nothing, where IPython would show what a cell returns."""


def summarize(
    network: Layer, input_shapes: Sequence[Shape], dtype: str, precision: str = "float32"
) -> str:
    """Write the table for a built network.

    The memory of a training step is that of the parameters, their gradients and two numbers of
    optimizer state each, the outputs of the layers behind the frozen front, and as much again for
    their gradients; scratch memory, up to the workspace limit, comes on top.
    """
    header = ("layer", "output shape", "parameters", "multiply-adds")
    rows = [header]
    trainable = total_adds = elements = every = 0
    is_front = True  # no parameter that is trained was there yet
    known: set[int] = set()  # a layer may stand at several places
    for name, layer, inputs, outputs in _walk(network, input_shapes):
        parameters = [p for p in layer.parameters().values() if id(p) not in known]
        known.update(map(id, parameters))
        count = sum(prod(p.value.shape) for p in parameters)
        every += count
        trained = sum(prod(p.value.shape) for p in parameters if p.requires_grad)
        trainable += trained
        if trained and is_front:
            is_front = False
            if every > count:  # a front with parameters, which keeps nothing
                elements = 0
        adds = layer.multiply_adds(*inputs)
        elements += sum(map(prod, outputs))
        total_adds += adds
        shown = ", ".join(map(str, outputs))
        frozen = "" if trained == count else ", partly frozen" if trained else ", frozen"
        rows.append((f"{name} {type(layer).__name__}{frozen}", shown, f"{count:,}", f"{adds:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
        for a, b, c, d in rows
    ]
    rule = "-" * max(map(len, lines))
    size = _ITEMSIZE.get(dtype, 4)
    memory = size * (4 * trainable + (every - trainable))
    mixed = precision in HALVES
    # In mixed precision there is a copy of the parameters to compute with.
    memory += _ITEMSIZE[precision] * (2 * elements + every) if mixed else size * 2 * elements
    frozen = f", {every - trainable:,} frozen" if trainable < every else ""
    computed = "" if precision == "float32" else f", computed in {precision}"
    return "\n".join(
        [
            f"input {', '.join(map(str, input_shapes))}, {dtype}{computed}",
            rule,
            lines[0],
            rule,
            *lines[1:],
            rule,
            f"parameters: {every:,} ({trainable:,} trained{frozen})",
            f"multiply-adds of a forward pass: {total_adds:,}",
            f"memory of a training step: about {_size(memory)}, "
            f"and at most {_size(get_workspace_limit())} of workspace",
        ]
    )


def _walk(
    network: Layer, input_shapes: Sequence[Shape]
) -> Iterator[tuple[str, Layer, Sequence[Shape], Sequence[Shape]]]:
    """Yield name, layer, shapes of the inputs and of the outputs, in the order of running."""
    if isinstance(network, Graph):
        shapes = network.shapes(*input_shapes)
        for node in network.in_order:
            takes = [shapes.get(name) or () for name in node.inputs]
            yield node.name, node.layer, takes, [shapes[name] or () for name in node.outputs]
        return
    shape = input_shapes[0]
    for name, layer in network.children().items():
        behind = layer.output_shape(shape)
        yield name, layer, [shape], [behind]
        shape = behind


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
