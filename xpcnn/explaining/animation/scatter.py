"""Frames of what adds through a window: col2im, with the running sums.

That is the backward of convolution and pooling, and the forward of a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from xpcnn.explaining.animation.gather import (
    MOST_CHANNELS,
    columns_note,
    left_out,
    padded_places,
    row_label,
    rows_of,
    tap_labels,
)
from xpcnn.explaining.animation.geometry import Place, Slide
from xpcnn.explaining.animation.matrix import Matrix
from xpcnn.explaining.animation.scene import (
    EMPTY,
    FILTER,
    PADDING,
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
    summed,
)
from xpcnn.explaining.numbers import factor, written


@dataclass(frozen=True)
class Scatter:
    """What is added where; arrays of one sample on the host.

    Attributes
    ----------
    source : array of shape (S, OH, OW)
        What is spread out: the gradient of the output, or the input of a transposed convolution.
    rows : array of shape (positions, taps)
        What is added at each position, as a row of the matrix: for one channel of the target.
    final : array of shape (H, W)
        What the operation returned: without padding, with the bias.
    w : array of shape (S, kH, kW), or None
        For each channel of the source, the filter that leads to the target.
    way : str
        Key of the caption of a step.
    last : str
        Key of the caption of a last step, or "" if there is nothing left to do.
    names : (str, str)
        Of source and target: "dy" and "dx".
    first : (int, int)
        Sample and channel of the target.
    source_first : int
        Number of the first channel of the source.
    """

    slide: Slide
    source: np.ndarray
    rows: np.ndarray
    final: np.ndarray
    w: np.ndarray | None
    b: float | None
    divisor: np.ndarray | None
    way: str
    last: str
    names: tuple[str, str]
    first: tuple[int, int]
    source_first: int


def scattered(
    s: Scatter, words: Mapping[str, str], most: int
) -> tuple[list[Grid], list[Frame], list[str]]:
    """Return the tables, the frames, and notes about what is left out."""
    pictures = _Pictures(s, words)
    frames = frames_of(pictures, most)
    notes = pictures.notes(len(frames))
    if s.last:
        frames.append(Frame(tuple(pictures.last_cells()), (), pictures.last_caption()))
    return pictures.grids(), frames, notes


class _Pictures:
    def __init__(self, s: Scatter, words: Mapping[str, str]) -> None:
        self.s, self.words, self.slide = s, words, s.slide
        self.positions = s.slide.positions(inside=False)
        self.numbers = [p * s.slide.out[1] + q for p, q in self.positions]
        self.channels = min(len(s.source), MOST_CHANNELS)
        self.sums = self._running()
        self.name = "dcol" if s.names[0] == "dy" else "col"
        heads = [] if s.w is None else [(self._w(c), s.w[c].reshape(-1)) for c in self._shown]
        self.matrix = Matrix(
            words["matrix_gradient"].format(name=self.name),
            tap_labels(s.slide, 1, 0),
            [row_label(s.slide, p) for p in self.positions],
            [s.rows[n] for n in self.numbers],
            heads,
        )
        last_row, last_column = (max(axis) for axis in zip(*self.positions, strict=True))
        self.out = (last_row + 1, last_column + 1)

    @property
    def _shown(self) -> range:
        return range(self.channels)

    def _running(self) -> list[np.ndarray]:
        """Return the padded target after each step; the first is all zeros."""
        sums = [np.zeros(self.slide.padded)]
        for position, number in zip(self.positions, self.numbers, strict=True):
            now = sums[-1].copy()
            for place, value in zip(self.slide.under(position), self.s.rows[number], strict=True):
                now[place] += value
            sums.append(now)
        return sums

    def _w(self, channel: int) -> str:
        own = self.s.source_first + channel, self.s.first[1]
        return f"w{index(*own)}" if len(self.s.source) > 1 else "w"

    def grids(self) -> list[Grid]:
        s = self.s
        rows, columns = self.out
        found = [
            Grid(
                f"{s.names[0]}{index(s.first[0], s.source_first + c)}", rows + 1, columns + 1, c > 0
            )
            for c in self._shown
        ]
        if s.w is not None:
            k = self.slide.window.kernel
            found += [Grid(self._w(c), k[0] + 1, k[1] + 1, c > 0) for c in self._shown]
        found.append(self.matrix.grid)
        name = f"{s.names[1]}{index(*s.first)}"
        rows, columns = self.slide.corner
        return [*found, Grid(self.words["running"].format(name=name), rows + 1, columns + 1)]

    def cells(self, step: int) -> Iterator[Cell]:
        position = self.positions[step]
        yield from self._source_cells(position)
        yield from self.matrix.cells(step, [WINDOW] * len(self.slide.taps()))
        under = set(self.slide.under(position))

        def look(place: Place) -> Cell:
            role = PADDING if self.slide.is_padding(*place) else PLAIN
            return Cell(written(self.sums[step + 1][place]), WINDOW if place in under else role)

        yield from image_cells(*padded_places(self.slide), look)

    def _source_cells(self, position: Place | None) -> Iterator[Cell]:
        rows, columns = map(places, self.out)
        for channel in self.s.source[: self.channels]:
            yield from image_cells(
                rows_of(self.slide, rows),
                columns,
                {
                    place: Cell(written(n), RESULT if place == position else PLAIN)
                    for place, n in np.ndenumerate(channel)
                }.__getitem__,
            )
        if self.s.w is not None:
            rows, columns = map(places, self.slide.window.kernel)
            for channel in self.s.w[: self.channels]:
                numbers = {place: Cell(written(n), FILTER) for place, n in np.ndenumerate(channel)}
                yield from image_cells(
                    rows_of(self.slide, rows),
                    columns,
                    numbers.__getitem__,
                )

    def last_cells(self) -> Iterator[Cell]:
        yield from self._source_cells(None)
        taps = len(self.slide.taps())
        yield from self.matrix.cells(len(self.positions) - 1, [PLAIN] * taps)
        (top, _), (left, _) = self.slide.window.padding

        def look(place: Place) -> Cell:
            if self.slide.is_padding(*place):
                return Cell("", EMPTY)
            return Cell(written(self.s.final[place[0] - top, place[1] - left]), RESULT)

        yield from image_cells(*padded_places(self.slide), look)

    def lines(self, step: int) -> tuple[str, ...]:
        s, position = self.s, self.positions[step]
        row = s.rows[self.numbers[step]]
        label = f"{self.name}{index(*self.slide.place(*position))} = "
        if s.w is not None:
            terms = [
                f"{factor(channel[position]) if n else written(channel[position])}·{_listed(w)}"
                for n, (channel, w) in enumerate(zip(s.source, s.w, strict=True))
            ]
            values = [channel[position] for channel in s.source]
            same = equals(*row, *values, *s.w.reshape(-1))
            made = f"{label}{summed(terms, self.words['more'])} {same} {_listed(row)}"
        else:
            made = f"{label}{_listed(row)}"
        before, after = self.sums[step], self.sums[step + 1]
        sums = [
            f"{written(before[place])} + {factor(value)} "
            f"{equals(before[place], value, after[place])} {written(after[place])}"
            for place, value in zip(self.slide.under(position), row, strict=True)
            if not self.slide.is_padding(*place) and (value or s.way != "scatter_max")
        ]
        return made, f"{s.names[1]}: {';  '.join(sums)}"

    def caption(self, step: int) -> str:
        s, position = self.s, self.positions[step]
        many = len(s.source) > 1
        place = self.slide.place(*position)
        at = (":",) if many else (str(s.source_first),)
        source = f"{s.names[0]}[{', '.join((str(s.first[0]), *at, *map(str, place)))}]"
        value = "" if many else f" = {written(s.source[0][position])}"
        return self.words[s.way].format(
            step=step + 1,
            total=len(self.positions),
            source=source + value,
            row=row_label(self.slide, position),
            target=f"{s.names[1]}{index(*s.first)}",
            divisor="" if s.divisor is None else written(s.divisor[position]),
        )

    def last_caption(self) -> str:
        s = self.s
        value = "" if s.b is None else written(s.b)
        return self.words[s.last].format(value=value, target=f"{s.names[1]}{index(*s.first)}")

    def notes(self, frames: int) -> list[str]:
        s = self.s
        found = left_out(self.slide, self.words, len(self.positions), frames)
        if self.channels < len(s.source):
            found.append(
                self.words["channels"].format(
                    shown=self.channels, total=len(s.source), name=s.names[0]
                )
            )
        return found + columns_note(self.matrix, self.words)


def _listed(numbers: np.ndarray) -> str:
    texts = [written(n) for n in numbers.reshape(-1)]
    return f"({', '.join(texts)})"
