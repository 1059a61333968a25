"""Convolutions: windows to rows of a matrix, the product, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xpcnn.explaining.common import gradient_section, in_shape, lines, plain_output, row_marks, work
from xpcnn.explaining.numbers import first_and_last, written
from xpcnn.explaining.parts import (
    Formula,
    Index,
    Lines,
    Numbers,
    Part,
    Section,
    Text,
    places,
    table,
)
from xpcnn.explaining.running import Run
from xpcnn.explaining.windows import Under, input_section, size_section
from xpcnn.explaining.words import Words


def explain_convolution(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain Conv1d, Conv2d and Conv3d, forward and backward."""
    layer: object = run.layer
    spatial = run.x.values.shape[2:]
    window = layer.geometry(run.x.values.shape)  # type: ignore[attr-defined]
    mode = layer.padding_mode  # type: ignore[attr-defined]
    under = Under(window, spatial, run.y.values.shape[2:], mode)
    story = _Convolution(run, under, say, limit)
    return [
        input_section(run, under, 0.0, say, limit),
        size_section(under, say),
        story.columns(),
        story.weights(),
        story.product(),
        story.output(),
        gradient_section(run, say, limit),
        *([story.bias_gradient()] if "bias" in run.params else []),
        story.weight_gradient(),
        story.column_gradient(),
        story.input_gradient(),
    ]


class _Convolution:
    """The numbers of one convolution, as the sections need them."""

    def __init__(self, run: Run, under: Under, say: Words, limit: int) -> None:
        self.run, self.under, self.say, self.limit = run, under, say, limit
        self.groups: int = run.layer.groups  # type: ignore[attr-defined]
        self.w = run.params["weight"].values
        self.w = self.w.reshape(*self.w.shape[:2], -1)  # (O, C / groups, taps)
        self.dy = run.dy.values.reshape(*run.dy.values.shape[:2], -1)  # (N, O, positions)
        self.col = under.columns(run.x.values)  # (N, C, positions, taps)
        self.filters, self.width = self.w.shape[0] // self.groups, self.w.shape[1]

    # -- by groups

    def _channels(self, group: int) -> range:
        return range(group * self.width, (group + 1) * self.width)

    def _filters(self, group: int) -> range:
        return range(group * self.filters, (group + 1) * self.filters)

    def _each_group(self, show: Callable[[int], list[Part]]) -> list[Part]:
        if self.groups == 1:
            return show(0)
        parts: list[Part] = []
        most = max(2, self.limit // 4)
        for group in range(min(self.groups, most)):
            texts = [
                f"{r[0]}" if len(r) == 1 else f"{r[0]}-{r[-1]}"
                for r in (self._channels(group), self._filters(group))
            ]
            text = self.say(
                "group", group=group, groups=self.groups, channels=texts[0], filters=texts[1]
            )
            parts += [Text(text), *show(group)]
        if self.groups > most:
            parts.append(Text(self.say("tables_left_out").format(count=self.groups - most)))
        return parts

    def _rows(self) -> list[str]:
        samples, positions = range(self.col.shape[0]), range(len(self.under.positions))
        return [self.under.row_name(n, p) for n in samples for p in positions]

    def _taps(self, group: int) -> list[str]:
        taps = range(len(self.under.taps))
        return [self.under.column_name(c, t) for c in self._channels(group) for t in taps]

    def _matrix(self, name: str, col: np.ndarray, group: int) -> Part:
        """Show columns (N, C, positions, taps) of a group as a matrix, a row for each window."""
        part = col[:, list(self._channels(group))].transpose(0, 2, 1, 3)
        matrix = part.reshape(part.shape[0] * part.shape[1], -1)
        last = len(self.under.positions) - 1
        marks = row_marks(0, matrix.shape[1], "a")
        if last:
            marks |= row_marks(last, matrix.shape[1], "b")
        rows, taps = self._rows(), self._taps(group)
        corner = self.say("columns_corner")
        return table(name, matrix, rows, taps, self.limit, corner=corner, marks=marks)

    # -- forward

    def columns(self) -> Section:
        parts = self._each_group(lambda group: [self._matrix("col", self.col, group)])
        return Section(self.say("windows_as_columns"), [Text(self.say("columns_text")), *parts])

    def weights(self) -> Section:
        weight = self.run.params["weight"]

        def show(group: int) -> list[Part]:
            filters = self._filters(group)
            matrix = self.w[list(filters)].reshape(len(filters), -1).T
            labels = [f"o{o}" for o in filters]
            corner = self.say("weights_corner")
            return [table("W", matrix, self._taps(group), labels, self.limit, corner=corner)]

        text = self.say("weights_text", name=weight.name, shape=weight.shape)
        parts = [Text(text), *self._each_group(show)]
        if "bias" in self.run.params:
            shown = first_and_last(self.w.shape[0], self.limit)
            values = self.run.params["bias"].values
            numbers = ", ".join("…" if o is None else written(values[o]) for o in shown)
            parts.append(Text(self.say("bias_is", numbers=numbers)))
        else:
            parts.append(Text(self.say("no_bias")))
        return Section(self.say("weights_heading"), parts)

    def product(self) -> Section:
        y, bias = self.run.y, self.run.params.get("bias")

        def line(index: Index) -> str:
            n, o, *place = index
            p = self.under.positions.index(tuple(place))
            channels = list(self._channels(o // self.filters))
            pairs = zip(self.col[n, channels, p].ravel(), self.w[o].ravel(), strict=True)
            terms = [*pairs, *([(bias.values[o],)] if bias else [])]
            return self._work(y.at(*index), terms, y.values[index])

        formula = "y = col · W + b" if bias else "y = col · W"
        text = self.say("product_text" if bias else "product_no_bias")
        lines = self._lines(y.values.shape, line)
        return Section(self.say("product_heading"), [Text(text), Formula(formula), lines])

    def output(self) -> Section:
        lead = [(0, o) for o in range(self.w.shape[0])]
        return plain_output(self.run, self.say, self.limit, self.under.position_marks(lead))

    # -- backward

    def bias_gradient(self) -> Section:
        db = self.run.grads["bias"]

        def line(index: Index) -> str:
            terms = [(v,) for v in self.dy[:, index[0]].ravel()]
            return self._work(db.at(*index), terms, db.values[index])

        lines = self._lines(db.values.shape, line)
        parts: list[Part] = [Text(self.say("db_text")), Formula("db[o] = Σ dy[n, o, p]"), lines]
        return Section(self.say("db_heading"), parts)

    def weight_gradient(self) -> Section:
        dw = self.run.grads["weight"]

        def line(index: Index) -> str:
            o, c, *tap = index
            t = self.under.taps.index(tuple(tap))
            channel = c + self._channels(o // self.filters)[0]
            pairs = zip(self.col[:, channel, :, t].ravel(), self.dy[:, o].ravel(), strict=True)
            return self._work(dw.at(*index), list(pairs), dw.values[index])

        lines = self._lines(dw.values.shape, line)
        parts: list[Part] = [Text(self.say("dw_text")), Formula("dW = colᵀ · dy"), lines]
        parts += in_shape(dw, self.say, self.limit)
        return Section(self.say("dw_heading"), parts)

    def _dcol(self) -> np.ndarray:
        n, positions = self.dy.shape[0], self.dy.shape[2]
        dy = self.dy.reshape(n, self.groups, self.filters, positions)
        w = self.w.reshape(self.groups, self.filters, self.width, -1)
        return np.einsum("ngop,goct->ngcpt", dy, w).reshape(self.col.shape)

    def column_gradient(self) -> Section:
        dcol = self._dcol()

        def line(index: Index) -> str:
            n, p, c, t = index
            filters = list(self._filters(c // self.width))
            weights = self.w[filters, c % self.width, t]
            pairs = zip(self.dy[n, filters, p], weights, strict=True)
            name = f"dcol[{self.under.row_name(n, p)}; {self.under.column_name(c, t)}]"
            return self._work(name, list(pairs), dcol[n, c, p, t])

        n, c, positions, taps = self.col.shape
        parts: list[Part] = [Text(self.say("dcol_text")), Formula("dcol = dy · Wᵀ")]
        parts.append(self._lines((n, positions, c, taps), line, max(2, self.limit // 4)))
        parts += self._each_group(lambda group: [self._matrix("dcol", dcol, group)])
        return Section(self.say("dcol_heading"), parts)

    def input_gradient(self) -> Section:
        dx, dcol = self.run.dx, self._dcol()
        spatial = dx.values.shape[2:]

        def line(index: Index) -> str:
            flat = int(np.ravel_multi_index(index[2:], spatial))
            return self._input_line(dx, dcol, index, self.under.entries(flat))

        lines = self._lines(dx.values.shape, line)
        parts: list[Part] = [Text(self.say("col2im_text"))]
        if self.under.window.is_padded and self.under.mode == "zeros":
            parts.append(Text(self.say("col2im_padding")))
        parts += [lines, *in_shape(dx, self.say, self.limit)]
        return Section(self.say("col2im_heading"), parts)

    def _input_line(
        self,
        dx: Numbers,
        dcol: np.ndarray,
        index: Index,
        entries: list[tuple[int, int]],
    ) -> str:
        n, c = index[:2]
        if not entries:
            return f"{dx.at(*index)} = {self.say('untouched')}"
        if self.filters == 1:
            o = self._filters(c // self.width)[0]
            pairs = [(self.dy[n, o, p], self.w[o, c % self.width, t]) for p, t in entries]
            return self._work(dx.at(*index), pairs, dx.values[index])
        terms = [(dcol[n, c, p, t],) for p, t in entries]
        return self._work(dx.at(*index), terms, dx.values[index])

    def _work(self, name: str, terms: Sequence[Sequence[float]], result: float) -> str:
        return work(name, terms, result, self.say)

    def _lines(self, shape: Index, line: Callable[[Index], str], first: int | None = None) -> Lines:
        return lines(places(shape), line, self.limit, self.say, first)
