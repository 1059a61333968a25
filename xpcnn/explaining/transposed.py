"""Transposed convolutions: each element spreads over a window, and what overlaps is added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpcnn.explaining.common import (
    gradient_section,
    in_shape,
    lines,
    plain_input,
    plain_output,
    work,
)
from xpcnn.explaining.numbers import written
from xpcnn.explaining.parts import (
    Formula,
    Index,
    Lines,
    Part,
    Section,
    Text,
    array_tables,
    places,
    table,
)
from xpcnn.explaining.running import Run
from xpcnn.explaining.windows import Under, axis_name
from xpcnn.explaining.words import Words


def explain_transposed(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain ConvTranspose1d, ConvTranspose2d and ConvTranspose3d, forward and backward."""
    story = _Transposed(run, say, limit)
    return [
        plain_input(run, say, limit),
        story.size(),
        story.weights(),
        story.spread(),
        story.adding(),
        plain_output(run, say, limit),
        gradient_section(run, say, limit),
        *([story.bias_gradient()] if "bias" in run.params else []),
        story.gradient_columns(),
        story.weight_gradient(),
        story.input_gradient(),
    ]


class _Transposed:
    """The numbers of one transposed convolution, as the sections need them."""

    def __init__(self, run: Run, say: Words, limit: int) -> None:
        self.run, self.say, self.limit = run, say, limit
        layer: Any = run.layer
        self.layer: Any = layer
        spatial = run.x.values.shape[2:]
        window, out = layer.transposed_window(spatial)
        self.under = Under(window, out, spatial)  # the window slides over the output
        self.x = run.x.values.reshape(*run.x.values.shape[:2], -1)  # (N, C, positions)
        w = run.params["weight"].values
        self.w = w.reshape(*w.shape[:2], -1)  # (C, O / groups, taps)
        self.inputs = w.shape[0] // layer.groups
        self.outputs = w.shape[1]
        grouped = self.x.reshape(len(self.x), layer.groups, self.inputs, -1)
        weights = self.w.reshape(layer.groups, self.inputs, self.outputs, -1)
        col = np.einsum("ngcp,gcot->ngopt", grouped, weights)
        self.col = col.reshape(len(self.x), -1, *col.shape[3:])  # (N, O, positions, taps)
        self.dcol = self.under.columns(run.dy.values)

    def _inputs_of(self, output: int) -> range:
        """Input channels that an output channel sees."""
        group = output // self.outputs
        return range(group * self.inputs, (group + 1) * self.inputs)

    def _outputs_of(self, channel: int) -> range:
        """Output channels that an input channel spreads to."""
        group = channel // self.inputs
        return range(group * self.outputs, (group + 1) * self.outputs)

    def _lines(self, shape: Index, line: Callable[[Index], str], first: int | None = None) -> Lines:
        return lines(places(shape), line, self.limit, self.say, first)

    def _work(self, name: str, terms: Sequence[Sequence[float]], result: float) -> str:
        return work(name, terms, result, self.say)

    def _matrix(self, title: str, col: np.ndarray) -> Part:
        matrix = col.transpose(0, 2, 1, 3).reshape(col.shape[0] * col.shape[2], -1)
        positions, taps = range(col.shape[2]), range(col.shape[3])
        rows = [self.under.row_name(n, p) for n in range(len(col)) for p in positions]
        columns = [self.under.column_name(o, t, "o") for o in range(col.shape[1]) for t in taps]
        corner = self.say("columns_corner")
        return table(title, matrix, rows, columns, self.limit, corner=corner)

    def size(self) -> Section:
        layer, say = self.layer, self.say
        window = self.under.window
        rows = []
        for axis, n in enumerate(self.run.x.values.shape[2:]):
            before, after = window.padding[axis]
            k, d, s = window.kernel[axis], window.dilation[axis], window.stride[axis]
            extra, out = layer.output_padding[axis], self.under.spatial[axis]
            if layer.padding == "same":
                text = f"{n}·{s} = {out}"
            else:
                text = f"({n} - 1)·{s} + {d}·({k} - 1) + 1 + {extra} - {before} - {after} = {out}"
            rows.append(say("size_axis", axis=axis_name(axis, len(self.under.spatial)), text=text))
        same = layer.padding == "same"
        formula = "n·s" if same else "(n - 1)·s + d·(k - 1) + 1 + o - p₀ - p₁"
        parts: list[Part] = [Formula(formula), Text(say("transposed_size_text")), Lines(rows)]
        return Section(say("size_heading"), parts)

    def weights(self) -> Section:
        weight, say = self.run.params["weight"], self.say
        parts: list[Part] = [Text(say("shape", name=weight.name, shape=weight.shape))]
        parts += array_tables(weight, self.limit, say("tables_left_out"))
        if "bias" in self.run.params:
            values = self.run.params["bias"].values[: self.limit]
            parts.append(Text(say("bias_is", numbers=", ".join(map(written, values)))))
        else:
            parts.append(Text(say("no_bias")))
        return Section(say("spread_weights_heading"), parts)

    def _name(self, title: str, n: int, p: int, o: int, t: int) -> str:
        return f"{title}[{self.under.row_name(n, p)}; {self.under.column_name(o, t, 'o')}]"

    def spread(self) -> Section:
        def line(index: Index) -> str:
            n, p, o, t = index
            channels = list(self._inputs_of(o))
            pairs = zip(self.x[n, channels, p], self.w[channels, o % self.outputs, t], strict=True)
            return self._work(self._name("col", n, p, o, t), list(pairs), self.col[n, o, p, t])

        n, o, p, t = self.col.shape
        worked = self._lines((n, p, o, t), line, max(2, self.limit // 4))
        parts: list[Part] = [Text(self.say("spread_text")), Formula("col = x · W"), worked]
        parts.append(self._matrix("col", self.col))
        return Section(self.say("spread_heading"), parts)

    def adding(self) -> Section:
        y, bias = self.run.y, self.run.params.get("bias")

        def line(index: Index) -> str:
            n, o, *place = index
            entries = self.under.entries(int(np.ravel_multi_index(place, self.under.spatial)))
            terms = [(self.col[n, o, p, t],) for p, t in entries]
            terms += [(bias.values[o],)] if bias else []
            return self._work(y.at(*index), terms, y.values[index])

        worked = self._lines(y.values.shape, line)
        parts: list[Part] = [Text(self.say("spread_add_text")), worked]
        if self.under.window.is_padded:
            parts.append(Text(self.say("spread_padding")))
        return Section(self.say("spread_add_heading"), parts)

    def bias_gradient(self) -> Section:
        db, dy = self.run.grads["bias"], self.run.dy.values

        def line(index: Index) -> str:
            terms = [(v,) for v in dy[:, index[0]].ravel()]
            return self._work(db.at(*index), terms, db.values[index])

        worked = self._lines(db.values.shape, line)
        parts: list[Part] = [Text(self.say("db_text")), Formula("db[o] = Σ dy[n, o, p]"), worked]
        return Section(self.say("db_heading"), parts)

    def gradient_columns(self) -> Section:
        parts = [Text(self.say("spread_columns_text")), self._matrix("dcol", self.dcol)]
        return Section(self.say("spread_columns_heading"), parts)

    def weight_gradient(self) -> Section:
        dw = self.run.grads["weight"]

        def line(index: Index) -> str:
            c, o, *tap = index
            t, output = self.under.taps.index(tuple(tap)), self._outputs_of(c)[o]
            pairs = zip(self.x[:, c].ravel(), self.dcol[:, output, :, t].ravel(), strict=True)
            return self._work(dw.at(*index), list(pairs), dw.values[index])

        worked = self._lines(dw.values.shape, line)
        parts: list[Part] = [Text(self.say("dw_spread_text")), Formula("dW = xᵀ · dcol"), worked]
        parts += in_shape(dw, self.say, self.limit)
        return Section(self.say("dw_heading"), parts)

    def input_gradient(self) -> Section:
        dx = self.run.dx

        def line(index: Index) -> str:
            n, c, *place = index
            p, outputs = self.under.positions.index(tuple(place)), list(self._outputs_of(c))
            pairs = zip(self.dcol[n, outputs, p].ravel(), self.w[c].ravel(), strict=True)
            return self._work(dx.at(*index), list(pairs), dx.values[index])

        worked = self._lines(dx.values.shape, line)
        parts: list[Part] = [Text(self.say("dx_spread_text")), Formula("dx = dcol · Wᵀ"), worked]
        parts += in_shape(dx, self.say, self.limit)
        return Section(self.say("dx_heading"), parts)
