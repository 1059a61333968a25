"""Frames of how the gradient of a filter comes about: each window adds what lay under it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from xpcnn.explaining.animation.gather import Gather, Pictures, row_label, rows_of
from xpcnn.explaining.animation.scene import (
    MOST_TERMS,
    PLAIN,
    RESULT,
    WINDOW,
    Cell,
    Frame,
    Grid,
    equals,
    frames_of,
    image_cells,
    index,
    places,
)
from xpcnn.explaining.numbers import factor, written


def summed_weights(
    g: Gather, samples: int, words: Mapping[str, str], most: int
) -> tuple[list[Grid], list[Frame], list[str]]:
    """Return the tables, the frames, and notes about what is left out.

    The target of `g` is the gradient of the output; what is added up are the rows times that.
    """
    pictures = _Pictures(g, words)
    frames = frames_of(pictures, most)
    notes = pictures.notes(len(frames))
    if samples > 1:
        notes.append(words["one_sample"].format(sample=g.first[0], n=samples))
    if len(pictures.positions) < g.target.size:
        total = g.target.size
        notes.append(words["some_windows"].format(shown=len(pictures.positions), total=total))
    return pictures.grids(), frames, notes


class _Pictures(Pictures):
    def __init__(self, g: Gather, words: Mapping[str, str]) -> None:
        super().__init__(g, words)
        added = [g.target[p] * row for p, row in zip(self.positions, self.rows, strict=True)]
        self.sums = [np.zeros_like(self.rows[0]), *np.cumsum(added, axis=0)]

    def grids(self) -> list[Grid]:
        *sources, _, matrix = super().grids()
        g, k = self.g, self.slide.window.kernel
        dy = Grid(f"dy{index(*g.first)}", self.out[0] + 1, self.out[1] + 1)
        sums = [
            Grid(
                self.words["running"].format(name=f"dW{index(g.first[1], c)}"),
                k[0] + 1, k[1] + 1, True,
            )
            for c in range(self.channels)
        ]  # fmt: skip
        return [*sources, dy, *sums, matrix]

    def cells(self, step: int) -> Iterator[Cell]:
        seen = dict.fromkeys(self.slide.under(self.positions[step]), WINDOW)
        for channel in range(self.channels):
            yield from self._source_cells(channel, seen)
        yield from self._gradient_cells(step)
        yield from self._sum_cells(step)
        yield from self.matrix.cells(step, [WINDOW] * len(self.rows[step]))

    def _gradient_cells(self, step: int) -> Iterator[Cell]:
        def look(place: tuple[int, int]) -> Cell:
            role = RESULT if place == self.positions[step] else PLAIN
            return Cell(written(self.g.target[place]), role)

        rows, columns = map(places, self.out)
        yield from image_cells(rows_of(self.slide, rows), columns, look)

    def _sum_cells(self, step: int) -> Iterator[Cell]:
        kernel = self.slide.window.kernel
        rows, columns = map(places, kernel)
        sums = self.sums[step + 1].reshape(-1, *kernel)
        for channel in sums[: self.channels]:
            numbers = {place: Cell(written(n), RESULT) for place, n in np.ndenumerate(channel)}
            yield from image_cells(rows_of(self.slide, rows), columns, numbers.__getitem__)

    def lines(self, step: int) -> tuple[str, ...]:
        row, value = self.rows[step], self.g.target[self.positions[step]]
        before, after = self.sums[step], self.sums[step + 1]
        product = value * row
        made = (
            f"{self._gradient(step)}·col = {written(value)}·{_listed(row)} "
            f"{equals(value, *row, *product)} {_listed(product)}"
        )
        terms = zip(before[:MOST_TERMS], product, after, strict=False)
        sums = [f"{written(a)} + {factor(b)} {equals(a, b, c)} {written(c)}" for a, b, c in terms]
        return made, "dW: " + ";  ".join([*sums, *["…"] * (len(row) > MOST_TERMS)])

    def _gradient(self, step: int) -> str:
        return f"dy{index(*self.g.first, *self.slide.place(*self.positions[step]))}"

    def caption(self, step: int) -> str:
        return self.words["weight_sums"].format(
            step=step + 1,
            total=len(self.positions),
            row=row_label(self.slide, self.positions[step]),
            source=self._gradient(step),
        )


def _listed(numbers: np.ndarray) -> str:
    texts = [written(n) for n in numbers[:MOST_TERMS]]
    return f"({', '.join([*texts, *['…'] * (len(numbers) > MOST_TERMS)])})"
