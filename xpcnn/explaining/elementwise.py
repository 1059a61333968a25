"""Activations, dropout and flatten: what happens to each element by itself, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.explaining.common import gradient_section, in_shape, plain_input, plain_output
from xpcnn.explaining.numbers import factor, written
from xpcnn.explaining.parts import Formula, Made, Part, Section, Text, array_tables, places, table
from xpcnn.explaining.running import Run
from xpcnn.explaining.words import Words
from xpcnn.layers.layer import Layer

FORMULAS: dict[str, tuple[str, ...]] = {
    "ReLU": ("y = max(x, 0)", "dy/dx = 1 if x > 0, else 0"),
    "LeakyReLU": (
        "y = x if x > 0, else {negative_slope}·x",
        "dy/dx = 1 if x > 0, else {negative_slope}",
    ),
    "Sigmoid": ("y = 1 / (1 + exp(-x))", "dy/dx = y·(1 - y)"),
    "LogSigmoid": ("y = -log(1 + exp(-x))", "dy/dx = 1 / (1 + exp(x))"),
    "Tanh": ("y = tanh(x)", "dy/dx = 1 - y²"),
    "Tanhshrink": ("y = x - tanh(x)", "dy/dx = tanh(x)²"),
    "Softsign": ("y = x / (1 + |x|)", "dy/dx = 1 / (1 + |x|)²"),
    "ELU": (
        "y = x if x > 0, else {alpha}·(exp(x) - 1)",
        "dy/dx = 1 if x > 0, else {alpha}·exp(x)",
    ),
    "SELU": (
        "y = 1.051·x if x > 0, else 1.051·1.673·(exp(x) - 1)",
        "dy/dx = 1.051 if x > 0, else 1.051·1.673·exp(x)",
    ),
    "CELU": (
        "y = x if x > 0, else {alpha}·(exp(x / {alpha}) - 1)",
        "dy/dx = 1 if x > 0, else exp(x / {alpha})",
    ),
    "SiLU": ("y = x·σ(x), σ(x) = 1 / (1 + exp(-x))", "dy/dx = σ(x)·(1 + x·(1 - σ(x)))"),
    "GELU": (
        "y = x·Φ(x), Φ(x) = (1 + erf(x / √2)) / 2",
        "dy/dx = Φ(x) + x·φ(x), φ(x) = exp(-x² / 2) / √(2π)",
    ),
    "Mish": (
        "y = x·tanh(s), s = log(1 + exp(x))",
        "dy/dx = tanh(s) + x·(1 - tanh(s)²)·σ(x), σ(x) = 1 / (1 + exp(-x))",
    ),
    "Softplus": (
        "y = log(1 + exp({beta}·x)) / {beta}; y = x if {beta}·x > {threshold}",
        "dy/dx = 1 / (1 + exp(-{beta}·x)); 1 if {beta}·x > {threshold}",
    ),
    "ReLU6": ("y = min(max(x, 0), 6)", "dy/dx = 1 if 0 < x < 6, else 0"),
    "Hardtanh": (
        "y = min(max(x, {min_val}), {max_val})",
        "dy/dx = 1 if {min_val} < x < {max_val}, else 0",
    ),
    "Hardsigmoid": ("y = min(max(x + 3, 0), 6) / 6", "dy/dx = 1/6 if -3 < x < 3, else 0"),
    "Hardswish": (
        "y = x·min(max(x + 3, 0), 6) / 6",
        "dy/dx = 0 if x ≤ -3, 1 if x ≥ 3, else (2·x + 3) / 6",
    ),
    "Softshrink": (
        "y = x - {lambd} if x > {lambd}, x + {lambd} if x < -{lambd}, else 0",
        "dy/dx = 1 if |x| > {lambd}, else 0",
    ),
    "Hardshrink": ("y = x if |x| > {lambd}, else 0", "dy/dx = 1 if |x| > {lambd}, else 0"),
    "Threshold": (
        "y = x if x > {threshold}, else {value}",
        "dy/dx = 1 if x > {threshold}, else 0",
    ),
    "PReLU": (
        "y = x if x > 0, else a·x",
        "dy/dx = 1 if x > 0, else a",
        "da = Σ g·x over the x ≤ 0",
    ),
    "Identity": ("y = x", "dy/dx = 1"),
}
"""The activations that are explained: the formula, and that of the slope, with their arguments."""

OF_TANH = (
    "y = x·(1 + tanh(u)) / 2, u = √(2/π)·(x + 0.044715·x³)",
    "dy/dx = (1 + tanh(u)) / 2 + x·(1 - tanh(u)²)·√(2/π)·(1 + 0.134145·x²) / 2",
)
"""GELU with ``approximate="tanh"``."""


def _formulas(layer: Layer) -> list[str]:
    """Return the formulas of an activation with its arguments put in."""
    found = FORMULAS[type(layer).__name__]
    if getattr(layer, "approximate", "") == "tanh":
        found = OF_TANH
    numbers = {
        name: factor(value) for name, value in layer.arguments().items() if _is_number(value)
    }
    return [formula.format(**numbers) for formula in found]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def explain_elements(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain an activation: the function and its slope at each element."""
    layer: Any = run.layer
    forward, slope, *more = _formulas(layer)
    layer.forward(run.x.values, training=True)
    slopes = np.asarray(layer.backward(np.ones(run.y.values.shape)))
    arrays = [run.x.values, run.y.values, slopes, run.dy.values, run.dx.values]
    shown = _elements(run, arrays, ["x", "y", "dy/dx", "g", "dx"], say, limit)
    parts: list[Part] = [
        Text(say("elements_text")),
        Formula(forward),
        Formula(slope),
        Formula("dx = dy/dx · g"),
        shown,
    ]
    if run.params:  # of PReLU
        weight = run.params["weight"]
        parts += [Text(say("learned_slope", name=weight.name))]
        parts += array_tables(weight, limit, say("tables_left_out"))
        parts += [Formula(formula) for formula in more]
        parts += array_tables(run.grads["weight"], limit, say("tables_left_out"))
    return [
        plain_input(run, say, limit),
        Section(say("elements_heading"), parts),
        plain_output(run, say, limit),
        gradient_section(run, say, limit),
        Section(say("dx_heading"), in_shape(run.dx, say, limit)),
    ]


def explain_dropout(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain Dropout with the mask of the next training forward, or in inference."""
    layer: Any = run.layer
    x, dy = run.x.values, run.dy.values
    if not run.training:
        arrays, names = [x, run.y.values, dy, dy], ["x", "y", "dy", "dx"]
        parts: list[Part] = [Text(say("dropout_inference"))]
    else:
        layer.step -= 1  # the mask once more
        layer.forward(np.ones(x.shape), training=True)
        factors = np.asarray(layer.backward(np.ones(x.shape)))
        kept = 1.0 - layer.p
        arrays = [x, (factors != 0).astype(float), run.y.values, dy, run.dx.values]
        names = ["x", "m", "y", "dy", "dx"]
        share = written(kept)
        parts = [Text(say("dropout_text", kept=share))]
        parts += [Formula(f"y = x·m / {share}"), Formula(f"dx = dy·m / {share}")]
    parts.append(_elements(run, arrays, names, say, limit))
    return [
        plain_input(run, say, limit),
        Section(say("elements_heading"), parts),
        plain_output(run, say, limit),
    ]


def explain_flatten(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain Flatten: the same numbers in another shape."""
    text = Text(say("flatten_text", before=run.x.shape, after=run.y.shape))
    return [
        plain_input(run, say, limit),
        Section(say("output"), [text, *plain_output(run, say, limit).parts[1:]]),
        gradient_section(run, say, limit),
        Section(say("dx_heading"), in_shape(run.dx, say, limit)),
    ]


def _elements(run: Run, arrays: list[np.ndarray], names: list[str], say: Words, limit: int) -> Part:
    """Show arrays of one shape as the columns of a table, an element a row."""
    matrix = np.stack([a.reshape(-1) for a in arrays], axis=1)
    order = places(run.x.values.shape)
    rows = Made(len(order), lambda k: run.x.at(*order[k]))
    corner = say("elements_corner")
    return table("", matrix, rows, names, limit, corner=corner, by_column=True)
