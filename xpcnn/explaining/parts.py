"""What an explanation is made of, before it is text or HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpcnn.explaining.numbers import first_and_last, format_of

Index = tuple[int, ...]
Marks = dict[tuple[int, int], str]

MARKS = ("a", "b", "ab", "max", "pad")
"""Cells of the first window, the last, of both; the largest one; padding."""


class Made(Sequence):
    """A long sequence of which few items are looked at: they are made then."""

    def __init__(self, count: int, make: Callable[[int], Any]) -> None:
        self.length, self.make = count, make

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, slice):
            return [self.make(i) for i in range(*item.indices(self.length))]
        return self.make(item)


def places(shape: Index) -> Made:
    """Return the indices of all elements of an array, the last axis fastest."""
    return Made(math.prod(shape), lambda i: tuple(map(int, np.unravel_index(i, shape))))


@dataclass(frozen=True)
class Text:
    """A paragraph; `in_html` replaces it where there are colours."""

    text: str
    in_html: str = ""


@dataclass(frozen=True)
class Formula:
    """One line of algebra."""

    text: str


@dataclass(frozen=True)
class Lines:
    """Sums that were worked, one a line; "…" stands for those left out."""

    rows: list[str]


@dataclass(frozen=True)
class Table:
    """Numbers with labels, as strings; `corner` says what rows and columns are."""

    title: str
    corner: str
    columns: list[str]
    rows: list[str]
    cells: list[list[str]]
    marks: Marks = field(default_factory=dict)
    """(row, column) to one of :data:`MARKS`."""


Part = Text | Formula | Lines | Table


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    heading: str
    parts: list[Part]


def table(
    title: str,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    limit: int,
    *,
    corner: str = "",
    marks: Marks | None = None,
    by_column: bool = False,
) -> Table:
    """Make a table of a matrix; of more rows or columns than `limit`, the first and the last.

    With `by_column` the numbers of each column are written alike, otherwise all of them.
    """
    shown_rows = first_and_last(len(rows), limit)
    shown_columns = first_and_last(len(columns), limit)
    whole = [i for i in shown_rows if i is not None], [j for j in shown_columns if j is not None]
    seen = values[np.ix_(*whole)]
    one = format_of(seen)
    write = {j: format_of(seen[:, k]) if by_column else one for k, j in enumerate(whole[1])}
    cells = [
        ["…" if i is None or j is None else write[j](values[i, j]) for j in shown_columns]
        for i in shown_rows
    ]
    kept = {
        (r, c): marks[i, j]
        for r, i in enumerate(shown_rows)
        for c, j in enumerate(shown_columns)
        if marks and i is not None and j is not None and (i, j) in marks
    }
    return Table(
        title,
        corner,
        ["…" if j is None else columns[j] for j in shown_columns],
        ["…" if i is None else rows[i] for i in shown_rows],
        cells,
        kept,
    )


def join_marks(first: set[Index], last: set[Index]) -> dict[Index, str]:
    """Mark cells of the first and the last window, and those that lie in both."""
    found = dict.fromkeys(first, "a") | dict.fromkeys(last - first, "b")
    return found | dict.fromkeys(first & last, "ab")


@dataclass(frozen=True)
class Numbers:
    """An array in the library's layout, under the name and the indices that its owner uses.

    Attributes
    ----------
    name : str
    values : numpy.ndarray
    axes : tuple of int
        Which of the axes of `values` the owner's array has, in the owner's order.
    letters : str
        What the indices of the first two axes begin with where they label rows.
    """

    name: str
    values: np.ndarray
    axes: Index
    letters: str = "nc"

    def at(self, *index: int) -> str:
        """Name one element: ``x[0, 2]``."""
        return self._named(dict(enumerate(index)))

    def _named(self, index: dict[int, int]) -> str:
        own = ", ".join(str(index[a]) for a in self.axes if a in index)
        return f"{self.name}[{own}]" if own else self.name

    def slice_name(self, lead: Index) -> str:
        """Name what is left with the leading indices fixed: ``x[0, 2]`` or ``x``."""
        return self._named(dict(enumerate(lead)))

    def as_owned(self) -> Numbers:
        """Return the numbers with the axes that the owner has, in the owner's order."""
        values = self.values.transpose(self.axes)
        return Numbers(self.name, values, tuple(range(values.ndim)), "")

    def as_row(self) -> Numbers:
        """Return a vector as a matrix of one row, to be shown."""
        return Numbers(self.name, self.values[None], (1,))

    @property
    def shape(self) -> Index:
        """The owner's shape."""
        return tuple(self.values.shape[a] for a in self.axes)


def array_tables(
    numbers: Numbers,
    limit: int,
    left_out: str,
    *,
    offsets: Sequence[int] | None = None,
    marks: dict[Index, str] | None = None,
) -> list[Part]:
    """Show an array (N, C, *spatial): signals as rows of one table, images as a table each.

    Parameters
    ----------
    left_out : str
        What is said of tables that are left out, with ``{count}``.
    offsets : sequence of int, optional
        What the first position of each spatial axis is called; 0 unless it is padding.
    marks : dict of index to mark, optional
    """
    values = numbers.values
    if values.ndim == 1:
        numbers = numbers.as_row()
        values = numbers.values
    spatial = max(values.ndim - 2, 0)
    lead = values.shape[:spatial]
    offsets = offsets or (0,) * spatial
    row_start, column_start = (offsets[-2] if spatial > 1 else 0), (offsets[-1] if spatial else 0)
    # what the rows are, if they are not positions
    kind = numbers.letters[values.ndim - 2 : values.ndim - 1] if values.ndim in (2, 3) else ""
    has_rows = values.ndim - 2 in numbers.axes
    found: list[Part] = []
    most = max(2, limit // 4)
    chosen = list(np.ndindex(*lead))
    for index in chosen[:most]:
        here = values[index]
        rows = [f"{kind}{i + row_start}" if has_rows else "" for i in range(here.shape[0])]
        columns = [str(j + column_start) for j in range(here.shape[1])]
        inside = {
            (place[-2], place[-1]): mark
            for place, mark in (marks or {}).items()
            if place[:-2] == index
        }
        title = numbers.slice_name(_renamed(index, offsets))
        found.append(table(title, here, rows, columns, limit, marks=inside))
    if len(chosen) > most:
        found.append(Text(left_out.format(count=len(chosen) - most)))
    return found


def _renamed(lead: Index, offsets: Sequence[int]) -> Index:
    """Count leading spatial indices as the owner does, who does not see the padding."""
    return tuple(i if axis < 2 else i + offsets[axis - 2] for axis, i in enumerate(lead))
