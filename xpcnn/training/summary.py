"""A table of what a model is made of and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Row:
    """What a table says of one layer.

    Attributes
    ----------
    name : str
    layer : Layer
    outputs : sequence of tuple of int
        Shapes.
    parameters, trained : int
        How many numbers its parameters hold that no row above has, and how many of them train.
    multiply_adds : int
    """

    name: str
    layer: Layer
    outputs: Sequence[Shape]
    parameters: int
    trained: int
    multiply_adds: int

    @property
    def state(self) -> str:
        """Say whether it is frozen; empty if it is not."""
        if self.trained == self.parameters:
            return ""
        return "partly frozen" if self.trained else "frozen"


def rows_of(network: Layer, input_shapes: Sequence[Shape]) -> list[Row]:
    """Return a row for each layer of a built network, in the order of running."""
    rows = []
    known: set[int] = set()  # a layer may stand at several places
    for name, layer, inputs, outputs in _walk(network, input_shapes):
        parameters = [p for p in layer.parameters().values() if id(p) not in known]
        known.update(map(id, parameters))
        count = sum(prod(p.value.shape) for p in parameters)
        trained = sum(prod(p.value.shape) for p in parameters if p.requires_grad)
        rows.append(Row(name, layer, outputs, count, trained, layer.multiply_adds(*inputs)))
    return rows


def summarize(
    network: Layer, input_shapes: Sequence[Shape], dtype: str, precision: str = "float32"
) -> str:
    """Write the table for a built network.

    The memory of a training step is that of the parameters, their gradients and two numbers of
    optimizer state each, the outputs of the layers behind the frozen front, and as much again for
    their gradients; scratch memory, up to the workspace limit, comes on top.
    """
    rows = rows_of(network, input_shapes)
    every, trainable = sum(row.parameters for row in rows), sum(row.trained for row in rows)
    size = _ITEMSIZE.get(dtype, 4)
    memory = size * (4 * trainable + (every - trainable))
    mixed, elements = precision in HALVES, _kept_elements(rows)
    # In mixed precision there is a copy of the parameters to compute with.
    memory += _ITEMSIZE[precision] * (2 * elements + every) if mixed else size * 2 * elements
    frozen = f", {every - trainable:,} frozen" if trainable < every else ""
    computed = "" if precision == "float32" else f", computed in {precision}"
    header, *lines = _in_columns(rows)
    rule = "-" * max(map(len, (header, *lines)))
    return "\n".join(
        [
            f"input {', '.join(map(str, input_shapes))}, {dtype}{computed}",
            rule,
            header,
            rule,
            *lines,
            rule,
            f"parameters: {every:,} ({trainable:,} trained{frozen})",
            f"multiply-adds of a forward pass: {sum(row.multiply_adds for row in rows):,}",
            f"memory of a training step: about {_size(memory)}, "
            f"and at most {_size(get_workspace_limit())} of workspace",
        ]
    )


def _kept_elements(rows: Sequence[Row]) -> int:
    """Count the numbers in the outputs that a training step keeps: those behind a frozen front."""
    elements = every = 0
    is_front = True  # no parameter that is trained was there yet
    for row in rows:
        every += row.parameters
        if row.trained and is_front:
            is_front = False
            if every > row.parameters:  # a front with parameters, which keeps nothing
                elements = 0
        elements += sum(map(prod, row.outputs))
    return elements


def _in_columns(rows: Sequence[Row]) -> list[str]:
    cells = [("layer", "output shape", "parameters", "multiply-adds")]
    for row in rows:
        state = f", {row.state}" if row.state else ""
        shown = ", ".join(map(str, row.outputs))
        name = f"{row.name} {type(row.layer).__name__}{state}"
        cells.append((name, shown, f"{row.parameters:,}", f"{row.multiply_adds:,}"))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    return [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
        for a, b, c, d in cells
    ]


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
