"""``xpcnn info --kernels``."""

from __future__ import annotations

import argparse
import json
from typing import Any, NamedTuple

import numpy as np

from xpcnn import kernels, networks
from xpcnn._xp import Array
from xpcnn.cli.common import load_model
from xpcnn.kernels import threads
from xpcnn.kernels.native import choice
from xpcnn.layers.layer import Layer
from xpcnn.training.model import Model

IMAGE = (1, 28, 28)
"""What the networks with a name are for."""


class Row(NamedTuple):
    """One step of a model's program, and the kernels it got in a training step."""

    layers: list[str]
    output_shape: tuple[int, ...]
    decisions: list[kernels.Decision]


def run(args: argparse.Namespace) -> None:
    """Print which kernel set each step of a model gets, and why others declined."""
    if args.model is not None:
        model = load_model(args.model, args.device)
        name = str(args.model)
    else:
        model = Model(networks.make(args.network), device=args.device, seed=0)
        name = args.network
    shape = (args.batch, *(IMAGE if model.input_shape is None else model.input_shape[1:]))
    rows = trace(model, shape)
    if args.json:
        print(json.dumps(_as_json(name, model, shape, rows), indent=2))
        return
    print(f"{name} on {model.device.name}, {model.dtype}, input {shape}")
    for line in _compiled_kernels(model):
        print(line)
    print()
    print_table(rows)


def trace(model: Model, shape: tuple[int, ...]) -> list[Row]:
    """Run the steps of a model forward, as in training, and record who computes."""
    host = np.random.default_rng(0).random(shape, dtype="float32")
    x = model.device.asarray(host, model.dtype)
    model.forward(x, training=True)  # builds it, and compiles what is not compiled
    steps = model.program.trace(x, training=True)
    return [_row(step.layers, step.outputs[0], step.decisions) for step in steps]


def _row(layers: list[Layer], y: Array, decisions: list[kernels.Decision]) -> Row:
    return Row([type(layer).__name__ for layer in layers], tuple(y.shape), decisions)


def print_table(rows: list[Row]) -> None:
    """Print a line for each step, and below it a line for each time a kernel set declined."""
    lines = [("layers", "output", "kernels")]
    for row in rows:
        taken = [_describe(decision) for decision in row.decisions if decision.kernel_set]
        lines.append((" + ".join(row.layers), str(row.output_shape), ", ".join(taken) or "-"))
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    for number, line in enumerate(lines):
        print(f"{line[0]:<{widths[0]}}  {line[1]:<{widths[1]}}  {line[2]}")
        for decision in rows[number - 1].decisions if number else []:
            for name, reason in decision.declined:
                print(f"    {decision.op}: not {name}: {reason}")


def _describe(decision: kernels.Decision) -> str:
    notes = f" ({', '.join(decision.notes)})" if decision.notes else ""
    return f"{decision.op}: {decision.kernel_set}{notes}"


def _compiled_kernels(model: Model) -> list[str]:
    """Say how the compiled kernels and BLAS are set up, where they matter."""
    reason = kernels.why_not_compiled(model.device.xp)
    if reason is not None:
        return [f"compiled kernels (cpu): no, {reason}"]
    return [
        f"compiled kernels (cpu): {choice.chosen().why}, {threads.get_num_threads()} threads",
        "BLAS of NumPy: held to one thread while they run",
    ]


def _as_json(name: str, model: Model, shape: tuple[int, ...], rows: list[Row]) -> dict[str, Any]:
    return {
        "model": name,
        "device": model.device.name,
        "dtype": model.dtype,
        "input_shape": shape,
        "threads": threads.get_num_threads(),
        "steps": [
            {
                "layers": row.layers,
                "output_shape": row.output_shape,
                "kernels": [
                    {
                        "op": d.op,
                        "set": d.kernel_set,
                        "notes": d.notes,
                        "declined": dict(d.declined),
                    }
                    for d in row.decisions
                ],
            }
            for row in rows
        ],
    }
