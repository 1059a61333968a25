"""A table of what a model is made of and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xpcnn.kernels.workspace import get_workspace_limit
from xpcnn.layers.layer import Layer, Shape

_ITEMSIZE = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def summarize(layers: Sequence[Layer], input_shape: Shape, dtype: str) -> str:
    """Write the table for built layers.

    The memory of a training step is that of the parameters, their gradients and two numbers of
    optimizer state each, the outputs of all layers and as much again for their gradients; scratch
    memory, up to the workspace limit, comes on top.
    """
    header = ("layer", "output shape", "parameters", "multiply-adds")
    rows = [header]
    shape = tuple(input_shape)
    trainable = total_adds = elements = 0
    every = sum(prod(p.value.shape) for layer in layers for p in layer.parameters().values())
    for position, layer in enumerate(layers):
        parameters = layer.parameters().values()
        count = sum(prod(p.value.shape) for p in parameters)
        trainable += sum(prod(p.value.shape) for p in parameters if p.requires_grad)
        adds = layer.multiply_adds(shape)
        shape = layer.output_shape(shape)
        elements += prod(shape)
        total_adds += adds
        name = f"{layer.name or position} {type(layer).__name__}"
        rows.append((name, str(shape), f"{count:,}", f"{adds:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
        for a, b, c, d in rows
    ]
    rule = "-" * max(map(len, lines))
    memory = _ITEMSIZE.get(dtype, 4) * (4 * trainable + (every - trainable) + 2 * elements)
    return "\n".join(
        [
            f"input {tuple(input_shape)}, {dtype}",
            rule,
            lines[0],
            rule,
            *lines[1:],
            rule,
            f"parameters: {every:,} ({trainable:,} trained)",
            f"multiply-adds of a forward pass: {total_adds:,}",
            f"memory of a training step: about {_size(memory)}, "
            f"and at most {_size(get_workspace_limit())} of workspace",
        ]
    )


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
