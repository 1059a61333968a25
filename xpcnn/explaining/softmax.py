"""The softmax: scores to shares that add up to one."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.explaining.common import gradient_section, plain_input, plain_output
from xpcnn.explaining.parts import Formula, Part, Section, Text, table
from xpcnn.explaining.running import Run
from xpcnn.explaining.words import Words


def explain_softmax(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain Softmax along its axis, forward and backward."""
    layer: Any = run.layer
    axis = layer.dim % run.x.values.ndim

    def rows_of(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])

    others = [n for a, n in enumerate(run.x.values.shape) if a != axis]
    names = [_row_name(run, axis, index) for index in np.ndindex(*others)]
    parts: list[Part] = [Text(say("softmax_text")), Formula("y = exp(x - m) / Σ exp(x - m)")]
    parts += softmax_tables(rows_of(run.x.values), names, limit)
    y, dy, dx = (rows_of(a.values) for a in (run.y, run.dy, run.dx))
    columns = [str(k) for k in range(y.shape[1])]
    s = np.sum(dy * y, axis=1, keepdims=True)
    back: list[Part] = [Text(say("softmax_back")), Formula("dx = y·(dy - s)")]
    back.append(table("dy·y, s", np.hstack([dy * y, s]), names, [*columns, "s"], limit))
    back.append(table("dx", dx, names, columns, limit))
    return [
        plain_input(run, say, limit),
        Section(say("softmax_heading"), parts),
        plain_output(run, say, limit),
        gradient_section(run, say, limit),
        Section(say("dx_heading"), back),
    ]


def _row_name(run: Run, axis: int, index: tuple[int, ...]) -> str:
    own: list[Any] = list(index)
    own.insert(axis, ":")
    shown = ", ".join(str(own[a]) for a in run.x.axes)
    return f"x[{shown}]"


def softmax_tables(x: np.ndarray, names: list[str], limit: int, name: str = "x") -> list[Part]:
    """Show the steps of a softmax over each row: less the largest, exp, the sum, the shares."""
    largest = np.max(x, axis=1, keepdims=True)
    raised = np.exp(x - largest)
    total = np.sum(raised, axis=1, keepdims=True)
    columns = [str(k) for k in range(x.shape[1])]
    return [
        table(f"{name} - m", np.hstack([largest, x - largest]), names, ["m", *columns], limit),
        table(f"exp({name} - m), Σ", np.hstack([raised, total]), names, [*columns, "Σ"], limit),
        table("softmax", raised / total, names, columns, limit),
    ]
