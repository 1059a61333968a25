"""What an animation shows, apart from how it is drawn: tables of cells, formulas, a caption.

A :class:`Scene` has tables that stay where they are, and frames, each of which says what is in all
cells. ``page.py`` and ``gif.py`` draw the same scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

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


def shown(value: float) -> str:
    """Write a number: integers as such, others with four digits, after the point or in all."""
    value = float(value)
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    if math.isnan(value):
        return "NaN"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4f}".rstrip("0") if 0.001 <= abs(value) < 1 else f"{value:.4g}"


def factor(value: float) -> str:
    """Write a number behind a sign: what is negative in brackets."""
    text = shown(value)
    return f"({text})" if text.startswith("-") else text


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


def evenly(total: int, most: int) -> list[int]:
    """Choose at most `most` of `total` steps, evenly, the first and the last among them."""
    return sorted({round(step) for step in np.linspace(0, total - 1, min(total, most))})
