"""Where everything stands in a picture, in pixels: the same for HTML and for GIF."""

from __future__ import annotations

from typing import NamedTuple

from xpcnn._columns import columns_of
from xpcnn.explaining.animation.scene import LABEL, Grid, Scene
from xpcnn.explaining.text import wrapped

WIDTH = 920
"""What tables side by side take at most, unless one alone takes more."""

MARGIN, GAP, TITLE = 14, 26, 20
LINE = 20
"""Height of a line of text."""

CELL_HEIGHT, LEAST_CELL = 22, 30
SIGN = 7.3
"""Width of a letter of the fixed-width font in cells, at :data:`FONT` pixels."""

FONT, TEXT_FONT = 12, 14


class Box(NamedTuple):
    """A rectangle: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


class Text(NamedTuple):
    """A line of text, by where it begins and its base line; `kind` is how it is written."""

    x: int
    y: int
    text: str
    kind: str


class Layout(NamedTuple):
    """Sizes and places of a scene."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    """Of the cells of a frame, in their order."""
    texts: tuple[Text, ...]
    """What never changes: title, notes, titles of tables."""
    lines: tuple[int, ...]
    """Base lines of the formulas."""
    captions: tuple[int, ...]
    """Base lines of the caption."""


def lay_out(scene: Scene) -> Layout:
    """Find a place for everything."""
    top = MARGIN + TITLE
    texts = []
    for number, line in enumerate(wrapped(scene.title)):
        top += LINE * (number > 0)
        texts.append(Text(MARGIN, top - 5, line, "title"))
    for line in (line for note in scene.notes for line in wrapped(note)):
        top += LINE
        texts.append(Text(MARGIN, top - 5, line, "note"))
    boxes, titles, right, bottom = _tables(scene, top + 8)
    lines, bottom = _base_lines(bottom + 6, _most(scene, "lines"))
    captions, bottom = _base_lines(bottom + 4, _most(scene, "caption"))
    below = [line for frame in scene.frames for line in lines_of((*frame.lines, frame.caption))]
    widest = max(8 * columns_of(line) for line in below)
    widest = max(widest, *(round(9.6 * columns_of(text.text)) for text in texts))
    width = max(right, MARGIN + widest) + MARGIN
    return Layout(width, bottom + MARGIN, boxes, (*texts, *titles), lines, captions)


def lines_of(lines: tuple[str, ...] | str) -> list[str]:
    """Return formulas or a caption as lines."""
    lines = (lines,) if isinstance(lines, str) else lines
    return [part for line in lines for part in wrapped(line)]


def _most(scene: Scene, field: str) -> int:
    return max(len(lines_of(getattr(frame, field))) for frame in scene.frames)


def _base_lines(top: int, count: int) -> tuple[tuple[int, ...], int]:
    return tuple(top + LINE * (n + 1) - 5 for n in range(count)), top + LINE * count


def _tables(scene: Scene, top: int) -> tuple[tuple[Box, ...], list[Text], int, int]:
    """Place tables side by side, and go on below where there is no more room."""
    boxes: list[Box] = []
    titles: list[Text] = []
    left, right, bottom, row_top, start = MARGIN, MARGIN, top, top, 0
    for stack in _stacks(scene.grids):
        widths = []
        first = start
        for grid in stack:
            widths.append(_widths(scene, grid, first))
            first += grid.rows * grid.columns
        wide = max(max(sum(w), _title_width(g)) for w, g in zip(widths, stack, strict=True))
        if left > MARGIN and left + wide > WIDTH:
            left, row_top = MARGIN, bottom + 12
        y = row_top
        for grid, columns in zip(stack, widths, strict=True):
            titles.append(Text(left, y + 14, grid.title, "name"))
            y += TITLE
            boxes += _boxes(grid, columns, left, y)
            y += grid.rows * CELL_HEIGHT + 6
        right, bottom = max(right, left + wide), max(bottom, y)
        left += wide + GAP
        start = first
    return tuple(boxes), titles, right, bottom


def _stacks(grids: tuple[Grid, ...]) -> list[list[Grid]]:
    stacks: list[list[Grid]] = []
    for grid in grids:
        if grid.below:
            stacks[-1].append(grid)
        else:
            stacks.append([grid])
    return stacks


def _title_width(grid: Grid) -> int:
    return round(columns_of(grid.title) * 7.6)


def _widths(scene: Scene, grid: Grid, first: int) -> list[int]:
    """Return the width of each column: one for the labels beside, one for all the others."""
    texts: list[int] = [0] * grid.columns
    for frame in scene.frames:
        for n, cell in enumerate(frame.cells[first : first + grid.rows * grid.columns]):
            texts[n % grid.columns] = max(texts[n % grid.columns], columns_of(cell.text))
    beside = round(texts[0] * SIGN) + 8 if texts[0] else 0
    return [beside] + [max(LEAST_CELL, round(max(texts[1:]) * SIGN) + 10)] * (grid.columns - 1)


def _boxes(grid: Grid, widths: list[int], left: int, top: int) -> list[Box]:
    return [
        Box(left + sum(widths[:j]), top + i * CELL_HEIGHT, widths[j], CELL_HEIGHT)
        for i in range(grid.rows)
        for j in range(grid.columns)
    ]


def is_drawn(role: str, box: Box) -> bool:
    """Whether a cell has a frame: labels have none."""
    return role != LABEL and box.width > 0
