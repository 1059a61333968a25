"""Frames of what reads through a window: im2col, and what comes of each row.

That is the forward of convolution and pooling, and the backward of a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from xpcnn.explaining.animation.geometry import Place, Slide
from xpcnn.explaining.animation.matrix import Matrix
from xpcnn.explaining.animation.scene import (
    BEST,
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

MOST_CHANNELS = 3


@dataclass(frozen=True)
class Gather:
    """What is read, and what comes of it; arrays of one sample on the host.

    Attributes
    ----------
    source : array of shape (C, H, W)
        With its padding.
    target : array of shape (OH, OW)
        One channel of what the operation returned.
    w : array of shape (C, kH, kW), or None
        The filter of that channel.
    b : float or None
    divisor : array of shape (OH, OW), or None
        Of average pooling; without it and a filter the largest number is taken.
    names : (str, str)
        Of source and target: "x" and "y".
    first : (int, int)
        Sample and channel of the target.
    source_first : int
        Number of the first channel of the source.
    """

    slide: Slide
    source: np.ndarray
    target: np.ndarray
    w: np.ndarray | None
    b: float | None
    divisor: np.ndarray | None
    names: tuple[str, str]
    first: tuple[int, int]
    source_first: int

    def row(self, position: Place) -> np.ndarray:
        """Return a row of the im2col matrix: what the window sees at a position."""
        seen = self.slide.under(position)
        return np.array([float(channel[place]) for channel in self.source for place in seen])

    @property
    def filter_row(self) -> np.ndarray | None:
        return None if self.w is None else self.w.reshape(-1).astype("float64")

    @property
    def way(self) -> str:
        """How a row becomes a number: the key of its caption."""
        if self.w is not None:
            return "conv" if self.b is None else "conv_bias"
        return "max" if self.divisor is None else "mean"


def winner(row: np.ndarray) -> int:
    """Say which of the numbers under a window is the largest, as max pooling does.

    Of equal ones the first; NaN is larger than all, and of several the last.
    """
    if np.isnan(row).any():
        return int(np.flatnonzero(np.isnan(row))[-1])
    return int(np.argmax(row))


def gathered(
    g: Gather, words: Mapping[str, str], most: int
) -> tuple[list[Grid], list[Frame], list[str]]:
    """Return the tables, the frames, and notes about what is left out."""
    pictures = Pictures(g, words)
    frames = frames_of(pictures, most)
    return pictures.grids(), frames, pictures.notes(len(frames))


class Pictures:
    """The cells, formulas and captions of all steps."""

    def __init__(self, g: Gather, words: Mapping[str, str]) -> None:
        self.g, self.words, self.slide = g, words, g.slide
        self.positions = g.slide.positions(inside=True)
        self.rows = [g.row(p) for p in self.positions]
        self.channels = min(len(g.source), MOST_CHANNELS)
        filters = [] if g.filter_row is None else [("w", g.filter_row)]
        self.matrix = Matrix(
            words["matrix"],
            tap_labels(g.slide, len(g.source), g.source_first),
            [row_label(g.slide, p) for p in self.positions],
            self.rows,
            filters,
        )
        last_row, last_column = self.positions[-1]
        self.out = (last_row + 1, last_column + 1)

    def grids(self) -> list[Grid]:
        g, words = self.g, self.words
        rows, columns = self.slide.corner
        name = g.names[0]
        padded = words["padded"].format(name=f"{name}{{}}") if self.slide.window.is_padded else ""
        titles = [
            (padded or f"{name}{{}}").format(index(g.first[0], g.source_first + c))
            for c in range(self.channels)
        ]
        found = [Grid(t, rows + 1, columns + 1, c > 0) for c, t in enumerate(titles)]
        if g.w is not None:
            k = self.slide.window.kernel
            found += [
                Grid(f"w{self._filter(c)}", k[0] + 1, k[1] + 1, c > 0) for c in range(self.channels)
            ]
        found.append(Grid(f"{g.names[1]}{index(*g.first)}", self.out[0] + 1, self.out[1] + 1))
        return [*found, self.matrix.grid]

    def _filter(self, channel: int) -> str:
        own = (self.g.first[1], channel)
        return index(*(own if self.g.names[0] == "x" else own[::-1]))

    def cells(self, step: int) -> Iterator[Cell]:
        position = self.positions[step]
        row, seen = self.rows[step], self.slide.under(position)
        taps = len(seen)
        best = winner(row) if self.g.way == "max" else -1
        roles = [BEST if tap == best else WINDOW for tap in range(len(row))]
        for c in range(self.channels):
            under = dict(zip(seen, roles[c * taps : (c + 1) * taps], strict=True))
            yield from self._source_cells(c, under)
        yield from self._filter_cells()
        yield from self._target_cells(step)
        yield from self.matrix.cells(step, roles)

    def _source_cells(self, channel: int, under: Mapping[Place, str]) -> Iterable[Cell]:
        source = self.g.source[channel]

        def look(place: Place) -> Cell:
            role = PADDING if self.slide.is_padding(*place) else PLAIN
            return Cell(written(source[place]), under.get(place, role))

        return image_cells(*padded_places(self.slide), look)

    def _filter_cells(self) -> Iterator[Cell]:
        if self.g.w is None:
            return
        rows, columns = map(places, self.slide.window.kernel)
        for channel in self.g.w[: self.channels]:
            numbers = {(i, j): Cell(written(n), FILTER) for (i, j), n in np.ndenumerate(channel)}
            yield from image_cells(rows_of(self.slide, rows), columns, numbers.__getitem__)

    def _target_cells(self, step: int) -> Iterable[Cell]:
        done = set(self.positions[: step + 1])

        def look(place: Place) -> Cell:
            if place not in done:
                return Cell("", EMPTY)
            role = RESULT if place == self.positions[step] else PLAIN
            return Cell(written(self.g.target[place]), role)

        rows, columns = map(places, self.out)
        return image_cells(rows_of(self.slide, rows), columns, look)

    def lines(self, step: int) -> tuple[str, ...]:
        g, row = self.g, self.rows[step]
        value = written(g.target[self.positions[step]])
        exact = [*row, g.target[self.positions[step]]]
        if g.filter_row is not None:
            exact += [*g.filter_row, g.b or 0.0]
            terms = [
                f"{factor(a) if n else written(a)}·{factor(b)}"
                for n, (a, b) in enumerate(zip(row, g.filter_row, strict=True))
            ]
            work = summed(terms, self.words["more"])
            work += "" if g.b is None else f" + {factor(g.b)}"
        elif g.divisor is None:
            work = f"max({', '.join(map(written, row))})"
        else:
            terms = [factor(a) if n else written(a) for n, a in enumerate(row)]
            total = summed(terms, self.words["more"])
            work = f"({total}) / {written(g.divisor[self.positions[step]])}"
        return (f"{self._target(step)} = {work} {equals(*exact)} {value}",)

    def _target(self, step: int) -> str:
        return f"{self.g.names[1]}{index(*self.g.first, *self.slide.place(*self.positions[step]))}"

    def caption(self, step: int) -> str:
        g, position = self.g, self.positions[step]
        return self.words[g.way].format(
            step=step + 1,
            total=len(self.positions),
            row=row_label(self.slide, position),
            target=self._target(step),
            value=written(g.target[position]),
            divisor="" if g.divisor is None else written(g.divisor[position]),
        )

    def notes(self, frames: int) -> list[str]:
        g = self.g
        found = left_out(self.slide, self.words, len(self.positions), frames)
        if self.channels < len(g.source):
            found.append(
                self.words["channels"].format(
                    shown=self.channels, total=len(g.source), name=g.names[0]
                )
            )
        return found + columns_note(self.matrix, self.words)


# -- What both kinds of animation write ----------------------------------------------------------


def row_label(slide: Slide, position: Place) -> str:
    """Name a row of the matrix by the position of the window."""
    return ",".join(map(str, slide.place(*position)))


def tap_labels(slide: Slide, channels: int, first: int) -> list[str]:
    """Name the columns of the matrix by the tap, and by the channel where there are several."""
    taps = [row_label(slide, tap) for tap in slide.taps()]
    if channels == 1:
        return taps
    return [f"{first + c}:{tap}" for c in range(channels) for tap in taps]


def rows_of(slide: Slide, rows: tuple[str, ...]) -> tuple[str, ...]:
    """Number rows, but not the only one of a signal."""
    return ("",) * len(rows) if slide.flat else rows


def padded_places(slide: Slide) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Number the rows and columns of the part of the padded image that is shown."""
    (rows, columns), pairs = slide.padded, slide.window.padding
    down, across = (
        places(n, *pair)[:most]
        for n, pair, most in zip((rows, columns), pairs, slide.corner, strict=True)
    )
    return rows_of(slide, down), across


def left_out(slide: Slide, words: Mapping[str, str], windows: int, frames: int) -> list[str]:
    """Say which part of the image and which windows are shown, if not all."""
    found = []
    if slide.corner != slide.padded:
        key = "corner_1d" if slide.flat else "corner"
        (rows, columns), (all_rows, all_columns) = slide.corner, slide.padded
        sizes = {"rows": rows, "columns": columns}
        found.append(words[key].format(**sizes, all_rows=all_rows, all_columns=all_columns))
    if frames < windows:
        found.append(words["frames"].format(shown=frames, total=windows))
    return found


def columns_note(matrix: Matrix, words: Mapping[str, str]) -> list[str]:
    """Say how many columns of the matrix are shown, if not all."""
    if not matrix.left_out:
        return []
    return [words["columns"].format(shown=matrix.width, total=matrix.width + matrix.left_out)]
