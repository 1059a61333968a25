"""Pooling: the largest or the mean of each window, and where the gradient goes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from xpcnn.explaining.common import gradient_section, in_shape, lines, plain_output, work
from xpcnn.explaining.numbers import shares, written
from xpcnn.explaining.parts import Formula, Index, Made, Marks, Part, Section, Text, places, table
from xpcnn.explaining.running import Run
from xpcnn.explaining.windows import Under, input_section, size_section
from xpcnn.explaining.words import Words
from xpcnn.layers.pool import AvgPool, GlobalPool, MaxPool
from xpcnn.ops.pool import avg_pool_divisor
from xpcnn.window import Window


def explain_pooling(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain max, average and global pooling, forward and backward."""
    layer: Any = run.layer
    spatial = run.x.values.shape[2:]
    is_global = isinstance(layer, GlobalPool)
    if is_global:
        ones = (1,) * len(spatial)
        window = Window(spatial, ones, ((0, 0),) * len(spatial), ones)
    else:
        window = layer.geometry(run.x.values.shape)
    is_max = isinstance(layer, MaxPool) or "Max" in type(layer).__name__
    story = _Pooling(run, Under(window, spatial, window.output_shape(spatial)), is_max, say, limit)
    fill = -np.inf if is_max else 0.0
    return [
        input_section(run, story.under, fill, say, limit),
        *([] if is_global else [size_section(story.under, say)]),
        story.windows(),
        story.output(),
        gradient_section(run, say, limit),
        story.backward(),
    ]


class _Pooling:
    """The numbers of one pooling, as the sections need them."""

    def __init__(self, run: Run, under: Under, is_max: bool, say: Words, limit: int) -> None:
        self.run, self.under, self.is_max = run, under, is_max
        self.say, self.limit = say, limit
        fill = -np.inf if is_max else 0.0
        self.col = under.columns(run.x.values, fill)  # (N, C, positions, taps)
        nan_first = np.where(np.isnan(self.col), np.inf, self.col)
        self.winner = np.argmax(nan_first, axis=-1)
        shape = self.col.shape[:3]
        self.y = run.y.values.reshape(shape)
        self.dy = run.dy.values.reshape(shape)
        self.divisor = np.broadcast_to(self._divisor(), under.out).reshape(-1)
        self.order = places(shape)

    def _divisor(self) -> Any:
        layer = self.run.layer
        if not isinstance(layer, AvgPool):
            return float(prod(self.under.window.kernel))
        asked = layer.window_without_ceil(self.under.spatial).padding
        counts = layer.count_include_pad, layer.divisor_override
        return avg_pool_divisor(self.under.window, self.under.spatial, asked, *counts)

    def _index(self, n: int, c: int, p: int) -> Index:
        """Index of an output, which after a global pooling may have no positions."""
        return (n, c, *self.under.positions[p])[: self.run.y.values.ndim]

    def windows(self) -> Section:
        say = self.say
        rows = Made(len(self.order), lambda k: self.run.y.at(*self._index(*self.order[k])))
        taps = [self.under.column_name(0, t).split(" ", 1)[1] for t in range(len(self.under.taps))]
        matrix = self.col.reshape(len(rows), -1)
        marks: Marks = {}
        if self.is_max:
            marks = {(r, int(tap)): "max" for r, tap in enumerate(self.winner.ravel())}
        corner = say("pool_corner")
        shown = table("", matrix, rows, taps, self.limit, corner=corner, marks=marks)
        text = say("pool_max_text" if self.is_max else "pool_avg_text")
        worked = lines(self.order, self._line, self.limit, say)
        return Section(say("pool_heading"), [Text(text), shown, worked])

    def _line(self, index: Index) -> str:
        n, c, p = index
        name, values = self.run.y.at(*self._index(n, c, p)), self.col[index]
        result = float(self.y[index])
        if self.is_max:
            inside = ", ".join(_few([written(v) for v in values]))
            return f"{name} = max({inside}) = {written(result)}"
        terms = [(v,) for v in values]
        return work(name, terms, result, self.say, over=float(self.divisor[p]))

    def output(self) -> Section:
        marks = None
        if self.run.y.values.ndim > 2:
            lead = [(0, c) for c in range(self.col.shape[1])]
            marks = self.under.position_marks(lead)
        return plain_output(self.run, self.say, self.limit, marks)

    def backward(self) -> Section:
        dx, say = self.run.dx, self.say

        def line(index: Index) -> str:
            n, c, *place = index
            flat = int(np.ravel_multi_index(place, self.under.spatial))
            entries = self.under.entries(flat)
            if self.is_max:
                entries = [(p, t) for p, t in entries if self.winner[n, c, p] == t]
                terms = [(self.dy[n, c, p],) for p, _ in entries]
                name = dx.at(*index)
                if 0 < len(entries) <= 3:
                    origin = [self.run.dy.at(*self._index(n, c, p)) for p, _ in entries]
                    name += f" = {' + '.join(origin)}"
                return work(name, terms, dx.values[index], say)
            if not entries:
                return f"{dx.at(*index)} = {say('untouched')}"
            quotients = [(self.dy[n, c, p], self.divisor[p]) for p, _ in entries]
            more = say("terms_left_out")
            return shares(dx.at(*index), quotients, float(dx.values[index]), more)

        indices: Sequence[Index] = places(dx.values.shape)
        if self.is_max and dx.values.any():  # the zeros say nothing one by one
            found = np.argwhere(dx.values)
            indices = Made(len(found), lambda k: tuple(map(int, found[k])))
        parts: list[Part] = [Text(say("pool_max_back" if self.is_max else "pool_avg_back"))]
        if not self.is_max:
            parts.append(Formula("dx[i] = Σ dy[p] / k"))
        parts += [lines(indices, line, self.limit, say), *in_shape(dx, say, self.limit)]
        return Section(say("pool_back_heading"), parts)


def _few(values: list[str], most: int = 12) -> list[str]:
    """Return the first ones and the last of many."""
    if len(values) <= most:
        return values
    return [*values[: most - 1], "…", values[-1]]
