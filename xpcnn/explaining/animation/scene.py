"""What an animation shows, apart from how it is drawn: tables of cells, formulas, a caption.

A :class:`Scene` has tables that stay where they are, and frames, each of which says what is in all
cells. ``page.py`` and ``gif.py`` draw the same scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from xpcnn.explaining.numbers import written

LABEL, PLAIN, PADDING, WINDOW = "label", "plain", "padding", "window"
RESULT, FILTER, BEST, EMPTY = "result", "filter", "best", "empty"
ROLES = (LABEL, PLAIN, PADDING, WINDOW, RESULT, FILTER, BEST, EMPTY)
"""What a cell is: beside a table, a number, padding, under the window, just computed, a weight, the
largest number under the window, not there yet."""

MOST_TERMS = 27
"""Terms of a sum that are written out."""


class Cell(NamedTuple):
    """A text, and what it is: one of :data:`ROLES`."""

    text: str
    role: str = PLAIN


class Grid(NamedTuple):
    """A table of cells, labels included; with `below` it stands below the one before."""

    title: str
    rows: int
    columns: int
    below: bool = False


class Frame(NamedTuple):
    """What all cells hold, grid after grid and row after row, and what stands below them."""

    cells: tuple[Cell, ...]
    lines: tuple[str, ...]
    caption: str


class Scene(NamedTuple):
    """Tables, and what is in them at one moment after the other."""

    title: str
    notes: tuple[str, ...]
    grids: tuple[Grid, ...]
    frames: tuple[Frame, ...]


def equals(*values: float) -> str:
    """Return "=", or "≈" if some of the values are written with fewer digits than they have."""
    finite = (value for value in map(float, values) if math.isfinite(value))
    return "=" if all(float(written(value)) == value for value in finite) else "≈"


def summed(terms: Iterable[str], more: str) -> str:
    """Write a sum; `more` says how many terms are left out, as ``"… ({n} more)"``."""
    terms = list(terms)
    left_out = len(terms) - MOST_TERMS
    if left_out > 0:
        terms = [*terms[:MOST_TERMS], more.format(n=left_out)]
    return " + ".join(terms)


def index(*places: int) -> str:
    """Write a place: "[0, 2]"."""
    return f"[{', '.join(map(str, places))}]"


Look = Callable[[tuple[int, int]], Cell]
"""Says what is in a cell of an image, by its row and column."""


def image_cells(rows: Sequence[str], columns: Sequence[str], look: Look) -> Iterable[Cell]:
    """Yield the cells of an image with a line of labels above and, if there are any, beside it."""
    yield from (Cell(text, LABEL) for text in ("", *columns))
    for i, label in enumerate(rows):
        yield Cell(label, LABEL)
        yield from (look((i, j)) for j in range(len(columns)))


def places(n: int, before: int = 0, after: int = 0) -> tuple[str, ...]:
    """Number the places of an axis, with nothing beside its padding."""
    inside = n - before - after
    return ("",) * before + tuple(map(str, range(inside))) + ("",) * after


class Steps(Protocol):
    """What there is to see at each position of the window."""

    @property
    def positions(self) -> Sequence[tuple[int, int]]: ...

    def cells(self, step: int) -> Iterable[Cell]: ...

    def lines(self, step: int) -> tuple[str, ...]: ...

    def caption(self, step: int) -> str: ...


def frames_of(steps: Steps, most: int) -> list[Frame]:
    """Draw at most `most` of the steps."""
    return [
        Frame(tuple(steps.cells(step)), steps.lines(step), steps.caption(step))
        for step in evenly(len(steps.positions), most)
    ]


def evenly(total: int, most: int) -> list[int]:
    """Choose at most `most` of `total` steps, evenly, the first and the last among them."""
    return sorted({round(step) for step in np.linspace(0, total - 1, min(total, most))})
