"""The matrix of an animation: a row for each position of the window, a column for each tap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from xpcnn.explaining.animation.scene import EMPTY, FILTER, LABEL, PLAIN, Cell, Grid, shown

MOST_ROWS = 16
MOST_COLUMNS = 18
"""Rows that are shown at a time, and columns at all."""


class Matrix:
    """Rows of numbers that come one after the other; of many, those up to the last one are shown.

    Parameters
    ----------
    title : str
    columns : sequence of str
        What stands above the columns.
    labels : sequence of str
        What stands beside the rows.
    rows : sequence of arrays
    heads : sequence of (str, array)
        Rows that stand above, such as the filter, with their labels.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        labels: Sequence[str],
        rows: Sequence[Any],
        heads: Sequence[tuple[str, Any]],
    ) -> None:
        self.width = min(len(columns), MOST_COLUMNS)
        self.height = min(len(rows), MOST_ROWS)
        self.left_out = len(columns) - self.width
        self.columns, self.labels, self.rows, self.heads = columns, labels, rows, heads
        self.grid = Grid(title, 1 + len(heads) + self.height, 1 + self.width)

    def cells(self, current: int, roles: Sequence[str]) -> Iterable[Cell]:
        """Yield the cells when row `current` has come, whose numbers have these roles."""
        yield Cell("", LABEL)
        yield from (Cell(text, LABEL) for text in self.columns[: self.width])
        for label, numbers in self.heads:
            yield Cell(label, LABEL)
            yield from (Cell(shown(number), FILTER) for number in numbers[: self.width])
        start = max(0, current - self.height + 1)
        for row in range(start, start + self.height):
            yield Cell(self.labels[row], LABEL)
            for column in range(self.width):
                if row > current:
                    yield Cell("", EMPTY)
                else:
                    role = roles[column] if row == current else PLAIN
                    yield Cell(shown(self.rows[row][column]), role)
