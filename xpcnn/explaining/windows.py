"""What lies under a sliding window, as integers, and the parts that all of them show."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from xpcnn.explaining.parts import (
    Formula,
    Index,
    Lines,
    Numbers,
    Part,
    Section,
    Text,
    array_tables,
    join_marks,
)
from xpcnn.explaining.running import Run
from xpcnn.explaining.words import Words
from xpcnn.window import Ints, Window

PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""Our names of the ways to pad, and NumPy's."""


class Under:
    """Which elements of an input lie under which tap at which position.

    Attributes
    ----------
    positions, taps : list of tuple of int
        Positions of the output, and places in the filter, the last axis fastest.
    padded : numpy.ndarray of shape (positions, taps)
        Flat index into the padded input.
    source : numpy.ndarray of shape (padded size,)
        Flat index into the input of what each padded element is copied from; -1 for none.
    """

    def __init__(self, window: Window, spatial: Ints, out: Ints, mode: str = "zeros") -> None:
        self.window, self.spatial, self.out, self.mode = window, spatial, out, mode
        self.positions = list(np.ndindex(*out))
        self.taps = list(np.ndindex(*window.kernel))
        self.shape = window.padded_shape(spatial)
        places = [
            s * np.asarray([p[axis] for p in self.positions])[:, None]
            + d * np.asarray([t[axis] for t in self.taps])
            for axis, (s, d) in enumerate(zip(window.stride, window.dilation, strict=True))
        ]
        self.padded = np.ravel_multi_index(places, self.shape)
        flat = np.arange(prod(spatial)).reshape(spatial)
        if mode == "zeros":
            self.source = np.pad(flat, window.padding, constant_values=-1).ravel()
        else:
            self.source = np.pad(flat, window.padding, mode=PADDING[mode]).ravel()  # type: ignore[call-overload]

    def columns(self, x: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Return what lies under the window: (N, C, positions, taps)."""
        return self.pad(x, fill).reshape(*x.shape[:2], -1)[:, :, self.padded]

    def pad(self, x: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Return the padded input, (N, C, *padded)."""
        flat = x.reshape(*x.shape[:2], -1)
        taken = np.where(self.source < 0, fill, flat[:, :, self.source])
        return taken.reshape(*x.shape[:2], *self.shape)

    def entries(self, place: int) -> list[tuple[int, int]]:
        """List the (position, tap) that see an element of the input, by its flat index."""
        hit = self.source[self.padded] == place
        return [(int(p), int(t)) for p, t in np.argwhere(hit)]

    def input_marks(self, channels: int) -> dict[Index, str]:
        """Mark what lies under the first window and the last, in all channels of sample 0."""
        under = [
            {
                (0, c, *map(int, np.unravel_index(flat, self.shape)))
                for c in range(channels)
                for flat in self.padded[p]
            }
            for p in (0, len(self.positions) - 1)
        ]
        marks = dict.fromkeys(self._padding_places(channels), "pad")
        return marks | join_marks(under[0], under[1] if len(self.positions) > 1 else set())

    def _padding_places(self, channels: int) -> list[Index]:
        flat = np.pad(np.ones(self.spatial), self.window.padding) == 0
        return [(0, c, *map(int, i)) for i in np.argwhere(flat) for c in range(channels)]

    def position_marks(self, lead: Sequence[Index]) -> dict[Index, str]:
        """Mark the first and the last position of an output, behind each of some indices."""
        first = {(*i, *self.positions[0]) for i in lead}
        last = {(*i, *self.positions[-1]) for i in lead} if len(self.positions) > 1 else set()
        return join_marks(first, last)

    def row_name(self, sample: int, position: int) -> str:
        """Name a row of the columns: sample and output position."""
        return f"n{sample} {_place(self.positions[position])}"

    def column_name(self, channel: int, tap: int, letter: str = "c") -> str:
        """Name a column: channel and tap."""
        return f"{letter}{channel} {_place(self.taps[tap])}"


def _place(index: Index) -> str:
    return f"({','.join(map(str, index))})" if len(index) > 1 else str(index[0])


def input_section(run: Run, under: Under, fill: float, say: Words, limit: int) -> Section:
    """Show the input with its padding, and what lies under the first window and the last."""
    parts: list[Part] = [Text(say("shape", name="x", shape=run.x.shape))]
    parts += [Text(say(note)) for note in run.subject.notes]
    if under.window.is_padded:
        mode = say("mode_infinity" if fill == -np.inf else f"mode_{under.mode}")
        size = " × ".join(map(str, under.spatial))
        parts.append(Text(say("padding_shown", size=size, mode=mode)))
    offsets = [-before for before, _ in under.window.padding]
    padded = Numbers("x", under.pad(run.x.values, fill), run.x.axes)
    marks = under.input_marks(padded.values.shape[1])
    left_out = say("tables_left_out")
    parts += array_tables(padded, limit, left_out, offsets=offsets, marks=marks)
    marked = "marks_two" if len(under.positions) > 1 else "marks_one"
    parts.append(Text(say(marked), say(f"{marked}_in_colour")))
    return Section(say("input"), parts)


def axis_name(axis: int, ndim: int) -> str:
    """Name a spatial axis as layouts do: L, or H and W."""
    return "L" if ndim == 1 else "DHW"[-ndim:][axis]


def size_section(under: Under, say: Words) -> Section:
    """Work the formula of the output's size with the numbers put in."""
    window = under.window
    parts: list[Part] = [
        Formula("⌊(n + p₀ + p₁ - d·(k - 1) - 1) / s⌋ + 1"),
        Text(say("size_text")),
    ]
    rows = []
    for axis, n in enumerate(under.spatial):
        before, after = window.padding[axis]
        k, d, s = window.kernel[axis], window.dilation[axis], window.stride[axis]
        text = f"⌊({n} + {before} + {after} - {d}·({k} - 1) - 1) / {s}⌋ + 1 = {under.out[axis]}"
        rows.append(say("size_axis", axis=axis_name(axis, len(under.spatial)), text=text))
    return Section(say("size_heading"), [*parts, Lines(rows)])
