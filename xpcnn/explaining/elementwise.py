"""Activations, dropout and flatten: what happens to each element by itself, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.explaining.common import gradient_section, in_shape, plain_input, plain_output
from xpcnn.explaining.numbers import written
from xpcnn.explaining.parts import Formula, Made, Part, Section, Text, places, table
from xpcnn.explaining.running import Run
from xpcnn.explaining.words import Words

FORMULAS: dict[str, tuple[str, str]] = {
    "ReLU": ("y = max(x, 0)", "dy/dx = 1 if x > 0, else 0"),
    "LeakyReLU": ("y = x if x > 0, else {a}·x", "dy/dx = 1 if x > 0, else {a}"),
    "Sigmoid": ("y = 1 / (1 + exp(-x))", "dy/dx = y·(1 - y)"),
    "LogSigmoid": ("y = -log(1 + exp(-x))", "dy/dx = 1 / (1 + exp(x))"),
    "Tanh": ("y = tanh(x)", "dy/dx = 1 - y²"),
    "Tanhshrink": ("y = x - tanh(x)", "dy/dx = tanh(x)²"),
    "Softsign": ("y = x / (1 + |x|)", "dy/dx = 1 / (1 + |x|)²"),
    "ELU": ("y = x if x > 0, else {a}·(exp(x) - 1)", "dy/dx = 1 if x > 0, else {a}·exp(x)"),
    "SiLU": ("y = x·σ(x), σ(x) = 1 / (1 + exp(-x))", "dy/dx = σ(x)·(1 + x·(1 - σ(x)))"),
    "ReLU6": ("y = min(max(x, 0), 6)", "dy/dx = 1 if 0 < x < 6, else 0"),
    "Identity": ("y = x", "dy/dx = 1"),
}
"""The activations that are explained: the formula, and that of the slope."""


def explain_elements(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain an activation: the function and its slope at each element."""
    layer: Any = run.layer
    alpha = getattr(layer, "negative_slope", getattr(layer, "alpha", 0.0))
    forward, slope = (f.format(a=written(alpha)) for f in FORMULAS[type(layer).__name__])
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
