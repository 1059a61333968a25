"""Places for boxes and lines: layers of a network from top to bottom, in columns if there are many.

The usual four steps for layered drawings (Sugiyama, Tagawa and Toda, 1981): each box gets a row
below those it needs; a line that passes rows gets a place of its own in each (a lane), so that it
crosses no box; boxes of a row are ordered so that few lines cross; and places are chosen so that
lines are straight. Then the rows are cut into columns where just one value passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import ceil
from operator import add

ROW_GAP, LABEL_GAP, BOX_GAP, LANE = 18.0, 32.0, 26.0, 18.0
STUB = 18.0
"""How far a line with a text beside it goes straight down first."""
COLUMN_GAP, TALLEST = 64.0, 980.0
MOST_COLUMNS, WIDEST = 3, 1500.0
_SWEEPS = 8
_SPINE, _BOX, _LANE = 1e10, 1e5, 1.0
"""How much it weighs that a cell is where it wants to be."""


@dataclass
class Cell:
    """A box, or the place where a line passes a row.

    Attributes
    ----------
    key : int
        Number of the box; of the value that passes, if it is a lane.
    row : int
    width, height : float
    on_spine : bool
        Whether it is on the longest way through the network, which is drawn straight.
    x, y : float
        Middle and top.
    """

    key: int
    row: int
    width: float
    height: float
    is_lane: bool = False
    on_spine: bool = False
    x: float = 0.0
    y: float = 0.0
    above: list[Cell] = field(default_factory=list, repr=False)
    below: list[Cell] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Wire:
    """A line from the bottom of a cell to the top of one in the next row."""

    value: int
    start: Cell
    end: Cell


@dataclass
class Placed:
    """Where everything is: cells of boxes by number, wires, the size of the picture, columns."""

    boxes: list[Cell]
    rows: list[list[Cell]]
    wires: list[Wire]
    width: float
    height: float
    column_of: list[int]
    """For each row its column."""
    edges: list[tuple[float, float]]
    """Left and right end of each column."""


def place(
    sizes: Sequence[tuple[float, float]],
    makers: Mapping[int, int],
    takes: Sequence[Sequence[int]],
    labelled: set[int],
    tallest: float = TALLEST,
) -> Placed:
    """Find places.

    Parameters
    ----------
    sizes : sequence of (float, float)
        Width and height of each box; each box stands behind those whose values it takes.
    makers : mapping of int to int
        For each value the box that makes it.
    takes : sequence of sequences of int
        For each box the values that it takes.
    labelled : set of int
        Values beside whose line there is a text, which needs room.
    tallest : float
        What a column may measure before another is begun.
    """
    row_of = _rows(makers, takes)
    boxes = [Cell(n, row, w, h) for n, (row, (w, h)) in enumerate(zip(row_of, sizes, strict=True))]
    rows: list[list[Cell]] = [[] for _ in range(max(row_of, default=0) + 1)]
    for cell in boxes:
        rows[cell.row].append(cell)
    wires = _wires(boxes, rows, makers, takes)
    _find_spine(boxes, makers, takes)
    _order(rows)
    _place_across(rows)
    gaps = [ROW_GAP] * len(rows)
    for wire in wires:
        if wire.value in labelled and not wire.start.is_lane:
            gaps[wire.start.row] = LABEL_GAP
    for row, gap in enumerate(gaps[:-1]):
        bend = max((abs(w.start.x - w.end.x) for w in wires if w.start.row == row), default=0.0)
        gaps[row] = max(gap, min(44.0, 18.0 + bend / 12) + STUB * (gap == LABEL_GAP and bend > 0))
    column_of, height = _place_down(rows, wires, gaps, tallest)
    edges, width = _place_columns(rows, column_of)
    return Placed(boxes, rows, wires, width, height, column_of, edges)


def _rows(makers: Mapping[int, int], takes: Sequence[Sequence[int]]) -> list[int]:
    """Return the row of each box: below all it needs; what needs nothing, right above its user."""
    rows = [0] * len(takes)
    for number, values in enumerate(takes):
        rows[number] = max((rows[makers[value]] + 1 for value in values), default=0)
    for values in takes:
        for value in values:
            maker = makers[value]
            if not takes[maker]:
                made = {v for v, by in makers.items() if by == maker}
                rows[maker] = min(rows[n] for n, each in enumerate(takes) if made & {*each}) - 1
    return rows


def _wires(
    boxes: Sequence[Cell],
    rows: list[list[Cell]],
    makers: Mapping[int, int],
    takes: Sequence[Sequence[int]],
) -> list[Wire]:
    """Connect cells of neighbouring rows, by a lane for each value that passes rows."""
    last: dict[int, int] = {}
    for cell in boxes:
        for value in takes[cell.key]:
            last[value] = max(last.get(value, 0), cell.row)
    carriers: dict[tuple[int, int], Cell] = {}
    wires: list[Wire] = []
    for value, until in last.items():
        before = boxes[makers[value]]
        carriers[value, before.row] = before
        for row in range(before.row + 1, until):
            lane = Cell(value, row, LANE, 0.0, is_lane=True)
            rows[row].append(lane)
            wires.append(Wire(value, before, lane))
            carriers[value, row] = before = lane
    for cell in boxes:
        wires += [Wire(v, carriers[v, cell.row - 1], cell) for v in takes[cell.key]]
    for wire in wires:
        wire.start.below.append(wire.end)
        wire.end.above.append(wire.start)
    return wires


def _find_spine(
    boxes: Sequence[Cell], makers: Mapping[int, int], takes: Sequence[Sequence[int]]
) -> None:
    """Mark the longest way, from the lowest box up."""
    number = max(range(len(boxes)), key=lambda n: boxes[n].row, default=None)
    while number is not None:
        boxes[number].on_spine = True
        above = [makers[value] for value in takes[number]]
        number = max(above, key=lambda n: boxes[n].row, default=None)


def _order(rows: list[list[Cell]]) -> None:
    """Order each row by the places of its neighbours, and keep the order with fewest crossings."""
    for row in rows:
        row.sort(key=lambda cell: cell.is_lane)
    best, fewest = [list(row) for row in rows], _crossings(rows)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            _sort_by_neighbours(row, rows, down)
        count = _crossings(rows)
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    for row, ordered in zip(rows, best, strict=True):
        row[:] = ordered


def _sort_by_neighbours(row: list[Cell], rows: list[list[Cell]], down: bool) -> None:
    place: dict[int, float] = {}
    for other in rows:
        if other is not row:
            place |= {id(cell): n / max(len(other), 1) for n, cell in enumerate(other)}
    wanted = {}
    for number, cell in enumerate(row):
        near = cell.above if down else cell.below
        places = [place[id(other)] for other in near]
        wanted[id(cell)] = sum(places) / len(places) if places else number / len(row)
    row.sort(key=lambda cell: wanted[id(cell)])


def _crossings(rows: list[list[Cell]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        place = {id(cell): n for n, cell in enumerate(lower)}
        ends = [sorted(place[id(c)] for c in cell.below) for cell in upper]
        flat = [end for each in ends for end in each]
        total += sum(a > b for i, a in enumerate(flat) for b in flat[i + 1 :])
    return total


def _place_across(rows: list[list[Cell]]) -> None:
    """Choose the middle of each cell: near those it is connected to, boxes before lanes."""
    for row in rows:
        _spread(row, [0.0] * len(row))
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            _spread(row, [_wanted(cell) for cell in row])
    _straighten(rows)
    for row in rows:  # in case chains are in one another's way
        _spread(row, [cell.x for cell in row])


def _wanted(cell: Cell) -> float:
    if cell.on_spine:
        return 0.0
    near = [*cell.above, *cell.below]
    alike = [other for other in near if other.is_lane == cell.is_lane]
    places = [other.x for other in alike or near]
    return sum(places) / len(places) if places else cell.x


def _apart(left: Cell, right: Cell) -> float:
    gap = LANE / 2 if left.is_lane or right.is_lane else BOX_GAP
    return (left.width + right.width) / 2 + gap


def _spread(row: list[Cell], wanted: Sequence[float]) -> None:
    """Put cells as near to where they want to be as their order and widths allow.

    It minimises the weighted squares of the distances: neighbours that would be too near to one
    another form a group that moves as one (isotonic regression by pooling).
    """
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + _apart(left, right))
    groups: list[list[float]] = []  # weight, place, number of cells
    for cell, wish, offset in zip(row, wanted, offsets, strict=False):
        weight = _SPINE if cell.on_spine else _LANE if cell.is_lane else _BOX
        groups.append([weight, wish - offset, 1])
        while len(groups) > 1 and groups[-2][1] > groups[-1][1]:
            weight, at, number = groups.pop()
            both = weight + groups[-1][0]
            groups[-1][1] = (groups[-1][0] * groups[-1][1] + weight * at) / both
            groups[-1][0], groups[-1][2] = both, groups[-1][2] + number
    starts = [at for _, at, number in groups for _ in range(int(number))]
    for cell, start, offset in zip(row, starts, offsets, strict=True):
        cell.x = round(start + offset, 1)


def _follower(cell: Cell) -> Cell | None:
    """Return the cell below that is to stand exactly below: on with a lane, or in a chain."""
    for below in cell.below:
        goes_on = cell.is_lane and below.is_lane and below.key == cell.key
        if goes_on or len(cell.below) == len(below.above) == 1:
            return None if below.on_spine else below
    return None


def _straighten(rows: list[list[Cell]]) -> None:
    """Put chains straight, from the spine outwards: each as near to it as those within allow."""
    followers = {id(after) for row in rows for cell in row if (after := _follower(cell))}
    chains = []
    for cell in (cell for row in rows for cell in row):
        if not cell.on_spine and id(cell) not in followers:
            chains.append([cell])
            while (below := _follower(chains[-1][-1])) is not None:
                chains[-1].append(below)
    middles = {id(chain): sum(cell.x for cell in chain) / len(chain) for chain in chains}
    for chain in sorted(chains, key=lambda chain: abs(middles[id(chain)])):
        side = 1 if middles[id(chain)] > 0 else -1
        nearest = float("-inf")
        for cell in chain:
            row = rows[cell.row]
            inner = row[next(n for n, other in enumerate(row) if other is cell) - side]
            nearest = max(nearest, side * inner.x + _apart(inner, cell))
        wanted = chain[0].above[0].x if chain[0].is_lane else middles[id(chain)]
        for cell in chain:
            cell.x = side * max(side * wanted, nearest)


def _place_down(
    rows: list[list[Cell]], wires: Sequence[Wire], gaps: Sequence[float], tallest: float
) -> tuple[list[int], float]:
    """Set the top of every cell; return the column of each row, and the height of all."""
    crossing: list[set[int]] = [set() for _ in rows]
    for wire in wires:
        crossing[wire.start.row].add(wire.value)
    heights = [max((cell.height for cell in row), default=0.0) for row in rows]
    cells = [cell for row in rows for cell in row]
    width = max(c.x + c.width / 2 for c in cells) - min(c.x - c.width / 2 for c in cells)
    most = min(MOST_COLUMNS, max(1, int(WIDEST / (width + COLUMN_GAP))))
    cuts = _cuts(heights, gaps, [len(values) == 1 for values in crossing], tallest, most)
    column_of: list[int] = []
    column, top, deepest = 0, 0.0, 0.0
    for number, row in enumerate(rows):
        if number in cuts:
            column, top = column + 1, 0.0
        for cell in row:
            cell.y = top + (heights[number] - cell.height) / 2 if not cell.is_lane else top
            if cell.is_lane:
                cell.height = heights[number]
        column_of.append(column)
        deepest = max(deepest, top + heights[number])
        top += heights[number] + gaps[number]
    return column_of, deepest


def _cuts(
    heights: Sequence[float],
    gaps: Sequence[float],
    may_cut: Sequence[bool],
    tallest: float,
    most: int,
) -> set[int]:
    """Return the rows with which columns begin: where one value passes, near to equal heights."""
    tops = [0.0, *accumulate(map(add, heights, gaps))]
    columns = min(most, max(1, ceil(tops[-1] / tallest)))
    target = tops[-1] / columns
    allowed = [number + 1 for number, may in enumerate(may_cut[:-1]) if may]
    found = set()
    for column in range(1, columns):
        nearest = min(allowed, key=lambda n: abs(tops[n] - column * target), default=0)
        if abs(tops[nearest] - column * target) < 0.5 * target:
            found.add(nearest)
    return found


def _place_columns(
    rows: list[list[Cell]], column_of: Sequence[int]
) -> tuple[list[tuple[float, float]], float]:
    """Move the columns beside one another; return the ends of each, and the width of all."""
    edges: list[tuple[float, float]] = []
    left = 0.0
    for column in range(max(column_of, default=0) + 1):
        cells = [c for row, at in zip(rows, column_of, strict=True) if at == column for c in row]
        start = min(cell.x - cell.width / 2 for cell in cells)
        end = max(cell.x + cell.width / 2 for cell in cells)
        for cell in cells:
            cell.x += left - start
        edges.append((left, left + end - start))
        left += end - start + COLUMN_GAP
    return edges, left - COLUMN_GAP
