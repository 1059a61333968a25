"""The register tiles that convolution and linear layers are made of.

They gather one operand from anywhere, so that an image is read in place, whatever the rank,
stride, dilation and padding: nothing is copied into columns.

    times   y[p, o]  = bias[o] + sum over r, t of x[p + runs[r] + t] * w[r, t, o]
    outer   g[k, o]  = sum over p of x[rows[p] + taps[k]] * d[cells[p] + o]
    dot     y[p, o]  = base[p, o] + sum over k of x[p, k] * w[o, k], eight at a time

A tile of some rows and columns stays in registers. With AVX2 it is 6 rows of 16 columns: twelve
sums, two vectors of weights and one number in all places are fifteen of sixteen registers. With
AVX-512 it is 12 rows of 32. Columns come in blocks of 16 for either, so that what is kept in memory
does not depend on the processor, and each result is the sum of the same terms in the same order.
Sums along rows ("dot") have eight lanes for either: with AVX-512 a register holds those of two
rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn.kernels.cpu.jobs import inner
from xpcnn.kernels.cpu.vector import (
    WIDE,
    add_half,
    call,
    load_eight,
    load_limit,
    load_number,
    loop,
    lower_of,
    nothing,
    operation,
    pointer_at,
    register,
    select_within,
    side_by_side,
    sums_of_eights,
    to_all,
    whole,
    write_half,
)
from xpcnn.kernels.native import choice

_TARGET = choice.chosen().target
ROWS = 6 if _TARGET is None else _TARGET.rows
"""Rows of a tile."""
FEW = ROWS // 2
"""Rows of the tile that does what is left, if it is no more than these."""
EIGHT = 8
"""Lanes of a sum along a row."""
DOT_COLUMNS = 4
"""Columns of a tile of sums along rows."""
DOT_ROWS = 3 if WIDE == 8 else 8
"""Its rows: twelve sums, or sixteen for two rows each."""
OUTER_ROWS = min(ROWS, 8)
"""Rows of a tile of outer products: of 12, LLVM reads all numbers first and lacks registers."""
COLUMNS = 16
"""Columns of a block."""
TOGETHER = 2 * WIDE // COLUMNS
"""Blocks of columns in a tile."""
BLOCK = 96
"""Rows worked on before the next columns: their inputs stay in the first-level cache."""


class _Sums:
    """The results of a tile while it is worked on, in registers.

    Parameters
    ----------
    rows, blocks : int
        Its size, in rows and in blocks of columns.
    """

    def __init__(self, builder: Any, rows: int, blocks: int) -> None:
        self.builder, self.rows = builder, rows
        per_block = COLUMNS // WIDE
        self.vectors = [(b, v * WIDE) for b in range(blocks) for v in range(per_block)]
        self.cells = [[register(builder) for _ in self.vectors] for _ in range(rows)]

    def places(self, start: Any, apart: Any) -> list[Any]:
        """Return where the vectors of a row are, of which blocks lie `apart`."""
        builder = self.builder
        found = []
        for block, column in self.vectors:
            place = builder.add(start, builder.mul(apart, whole(block))) if block else start
            found.append(builder.add(place, whole(column)) if column else place)
        return found

    def load(self, array: Any, start: Any, apart: Any) -> list[Any]:
        """Read the vectors of a row."""
        kind = self.cells[0][0].type.pointee
        return [
            self.builder.load(pointer_at(self.builder, array, place, kind), align=4)
            for place in self.places(start, apart)
        ]

    def fill(self, values: list[Any] | None) -> None:
        """Begin all rows with the same values; ``None`` for zeros."""
        kind = self.cells[0][0].type.pointee
        for row in self.cells:
            for cell, value in zip(row, values or [nothing(kind)] * len(row), strict=True):
                self.builder.store(value, cell)

    def add_products(self, lines: list[Any], place: Any, vectors: list[Any]) -> None:
        """Add to each row the number at some place of its line, times the vectors.

        A number is read right before it is used, since all at once need too many registers.
        """
        builder = self.builder
        for row, line in zip(self.cells, lines, strict=True):
            factor = to_all(builder, builder.load(builder.gep(line, [place])), WIDE)
            for cell, vector in zip(row, vectors, strict=True):
                name = f"llvm.fmuladd.v{WIDE}f32"
                total = call(builder, name, vector.type, factor, vector, builder.load(cell))
                builder.store(total, cell)

    def change(self, row: int, values: list[Any]) -> None:
        """Add values to a row."""
        for cell, value in zip(self.cells[row], values, strict=True):
            self.builder.store(self.builder.fadd(self.builder.load(cell), value), cell)

    def write(self, row: int, array: Any, start: Any, apart: Any) -> None:
        """Write a row to memory."""
        builder = self.builder
        for cell, place in zip(self.cells[row], self.places(start, apart), strict=True):
            value = builder.load(cell)
            builder.store(value, pointer_at(builder, array, place, value.type), align=4)


def _rows_from(builder: Any, first: Any, end: Any, rows: int) -> list[Any]:
    """Number the rows of a tile; the last of all again where they would reach the end."""
    last = builder.sub(end, whole(1))
    return [lower_of(builder, builder.add(first, whole(i)), last) for i in range(rows)]


def _times(rows: int, blocks: int) -> Callable[..., None]:
    @operation(
        "nothing", "array", "int", "array", "int", "int", "array", "int", "int", "array", "int",
        "int", "array", "int", "int", "array", "array", "int", "array",
    )  # fmt: skip
    def times(
        builder: Any, x: Any, base: Any, table: Any, p: Any, end: Any, runs: Any, count: Any,
        length: Any, w: Any, k: Any, apart: Any, bias: Any, column: Any, clamps: Any,
        limits: Any, y: Any, to: Any, cells: Any,
    ) -> None:  # fmt: skip
        """Write one tile of :func:`times_rows`."""
        sums = _Sums(builder, rows, blocks)
        places = _rows_from(builder, p, end, rows)
        starts = [builder.add(base, load_number(builder, table, place)) for place in places]
        sums.fill(sums.load(bias, column, whole(COLUMNS)))
        with loop(builder, count) as r:
            run = load_number(builder, runs, r)
            lines = [builder.gep(x, [builder.add(start, run)]) for start in starts]
            weights = builder.add(k, builder.mul(builder.mul(r, length), whole(COLUMNS)))
            with loop(builder, length) as t:
                row = builder.add(weights, builder.mul(t, whole(COLUMNS)))
                sums.add_products(lines, t, sums.load(w, row, apart))
        with builder.if_then(builder.icmp_signed("!=", clamps, whole(0))):
            low, high = (load_limit(builder, limits, place, WIDE) for place in (0, 1))
            for cell in (c for row in sums.cells for c in row):
                builder.store(select_within(builder, builder.load(cell), low, high), cell)
        for i, place in enumerate(places):
            start = builder.add(to, load_number(builder, cells, place))
            sums.write(i, y, start, whole(COLUMNS))

    return times


def _outer(rows: int, blocks: int) -> Callable[..., None]:
    @operation(
        "nothing", "array", "int", "array", "array", "int", "int", "array", "int", "int", "array",
        "int", "int", "int", "array", "int", "int", "int",
    )  # fmt: skip
    def outer(
        builder: Any, x: Any, base: Any, table: Any, taps: Any, t: Any, end: Any, d: Any,
        d_base: Any, d_apart: Any, cells: Any, first: Any, last: Any, fresh: Any, g: Any, to: Any,
        row: Any, apart: Any,
    ) -> None:  # fmt: skip
        """Write one tile of :func:`outer_rows`."""
        sums = _Sums(builder, rows, blocks)
        places = _rows_from(builder, t, end, rows)
        lines = [
            builder.gep(x, [builder.add(base, load_number(builder, taps, place))])
            for place in places
        ]
        # Each block of rows is summed by itself: a sum that goes on for ever loses digits.
        sums.fill(None)
        with loop(builder, builder.sub(last, first)) as i:
            p = builder.add(first, i)
            q = load_number(builder, table, p)
            c = builder.add(d_base, load_number(builder, cells, p))
            sums.add_products(lines, q, sums.load(d, c, d_apart))
        starts = [builder.add(to, builder.mul(place, row)) for place in places]
        with builder.if_then(builder.icmp_signed("==", fresh, whole(0))):
            # First all are read: a tile that is not full writes one result several times.
            for i, start in enumerate(starts):
                sums.change(i, sums.load(g, start, apart))
        for i, start in enumerate(starts):
            sums.write(i, g, start, apart)

    return outer


def _plain(rows: int, blocks: int) -> Callable[..., None]:
    @operation(
        "nothing", "array", "int", "int", "int", "int", "int", "int", "int", "array", "int", "int",
        "array", "int", "int",
    )  # fmt: skip
    def plain(
        builder: Any, x: Any, base: Any, first: Any, end: Any, row: Any, block: Any, length: Any,
        across: Any, w: Any, k: Any, apart: Any, y: Any, to: Any, y_apart: Any,
    ) -> None:  # fmt: skip
        """Write one tile of :func:`plain_rows`."""
        sums = _Sums(builder, rows, blocks)
        lines = []
        for place in _rows_from(builder, first, end, rows):
            within = builder.mul(builder.and_(place, whole(COLUMNS - 1)), row)
            beyond = builder.mul(builder.ashr(place, whole(4)), block)
            start = builder.add(base, builder.add(within, beyond))
            lines.append(builder.gep(x, [start]))
        sums.fill(None)
        with loop(builder, length) as t:
            q = builder.mul(t, across)
            here = builder.add(k, builder.mul(t, whole(COLUMNS)))
            sums.add_products(lines, q, sums.load(w, here, apart))
        for i in range(rows):
            start = builder.add(to, builder.mul(builder.add(first, whole(i)), whole(COLUMNS)))
            sums.write(i, y, start, y_apart)

    return plain


def _dot(rows: int) -> Callable[..., None]:
    @operation(
        "nothing", "array", "int", "int", "int", "int", "array", "int", "int", "int", "int", "int",
        "array", "int", "int", "float", "array", "int", "int",
    )  # fmt: skip
    def dot(
        builder: Any, x: Any, x_base: Any, x_row: Any, p: Any, end: Any, w: Any, w_base: Any,
        w_row: Any, o: Any, o_end: Any, count: Any, base: Any, base_at: Any, base_row: Any,
        floor: Any, y: Any, to: Any, y_row: Any,
    ) -> None:  # fmt: skip
        """Write one tile of :func:`dot_rows`."""
        places = _rows_from(builder, p, end, rows)
        starts = [builder.add(x_base, builder.mul(place, x_row)) for place in places]
        columns = [
            builder.add(w_base, builder.mul(column, w_row))
            for column in _rows_from(builder, o, o_end, DOT_COLUMNS)
        ]
        together = WIDE // EIGHT
        cells = [[register(builder) for _ in columns] for _ in range(0, rows, together)]
        for cell in (c for row in cells for c in row):
            builder.store(nothing(cell.type.pointee), cell)
        with loop(builder, builder.ashr(count, whole(3))) as eighth:
            k = builder.mul(eighth, whole(EIGHT))
            numbers = [load_eight(builder, x, builder.add(start, k)) for start in starts]
            lines = [
                side_by_side(builder, numbers[i : i + together]) for i in range(0, rows, together)
            ]
            for j, column in enumerate(columns):
                weights = load_eight(builder, w, builder.add(column, k))
                weights = side_by_side(builder, [weights] * together)
                for line, row in zip(lines, cells, strict=True):
                    name = f"llvm.fmuladd.v{WIDE}f32"
                    total = call(builder, name, line.type, line, weights, builder.load(row[j]))
                    builder.store(total, row[j])
        # All reading before all writing: the last rows of a tile may be one and the same.
        found = [
            four
            for row in cells
            for four in sums_of_eights(builder, *(builder.load(cell) for cell in row))
        ]
        for i, place in enumerate(places):
            begin = builder.add(base_at, builder.add(builder.mul(place, base_row), o))
            found[i] = add_half(builder, found[i], base, begin)
        width = builder.sub(o_end, o)
        for place, four in zip(places, found, strict=True):
            start = builder.add(to, builder.add(builder.mul(place, y_row), o))
            write_half(builder, y, start, four, floor, width)

    return dot


@operation(
    "nothing", "array", "int", "array", "int", "int", "int", "int", "int", "array", "int",
    "float", "array", "int",
)  # fmt: skip
def _dot_one(
    builder: Any, x: Any, x_at: Any, w: Any, w_base: Any, w_row: Any, o: Any, o_end: Any,
    count: Any, base: Any, base_at: Any, floor: Any, y: Any, to: Any,
) -> None:  # fmt: skip
    """Write four results of :func:`dot_row`, or eight; sums are those of :func:`dot_rows`."""
    together = WIDE // EIGHT
    places = _rows_from(builder, o, o_end, DOT_COLUMNS * together)
    starts = [builder.add(w_base, builder.mul(place, w_row)) for place in places]
    cells = [register(builder) for _ in range(DOT_COLUMNS)]
    for cell in cells:
        builder.store(nothing(cell.type.pointee), cell)
    with loop(builder, builder.ashr(count, whole(3))) as eighth:
        k = builder.mul(eighth, whole(EIGHT))
        eights = [load_eight(builder, w, builder.add(start, k)) for start in starts]
        numbers = load_eight(builder, x, builder.add(x_at, k))
        numbers = side_by_side(builder, [numbers] * together)
        for i, cell in enumerate(cells):
            line = side_by_side(builder, eights[i::DOT_COLUMNS])
            name = f"llvm.fmuladd.v{WIDE}f32"
            builder.store(call(builder, name, line.type, line, numbers, builder.load(cell)), cell)
    found = sums_of_eights(builder, *(builder.load(cell) for cell in cells))
    for i, four in enumerate(found):
        place = builder.add(o, whole(i * DOT_COLUMNS))
        left = builder.sub(o_end, place)
        with builder.if_then(builder.icmp_signed(">", left, whole(0))):
            total = add_half(builder, four, base, builder.add(base_at, place))
            write_half(builder, y, builder.add(to, place), total, floor, left)


_dot_tile, _dot_few = _dot(DOT_ROWS), _dot((DOT_ROWS + 1) // 2)
_times_tile, _times_few = _times(ROWS, 1), _times(FEW, 1)
_times_wide, _times_wide_few = _times(ROWS, TOGETHER), _times(FEW, TOGETHER)
_outer_tile, _outer_few = _outer(OUTER_ROWS, 1), _outer(OUTER_ROWS // 2, 1)
_outer_wide, _outer_wide_few = _outer(OUTER_ROWS, TOGETHER), _outer(OUTER_ROWS // 2, TOGETHER)
_plain_tile, _plain_few = _plain(ROWS, 1), _plain(FEW, 1)
_plain_wide, _plain_wide_few = _plain(ROWS, TOGETHER), _plain(FEW, TOGETHER)


@inner
def times_rows(
    x: Any, base: int, table: Any, first: int, last: int, runs: Any, count: int, length: int,
    w: Any, k: int, apart: int, blocks: int, bias: Any, column: int, clamps: int, limits: Any,
    y: Any, to: int, cells: Any,
) -> None:  # fmt: skip
    """Multiply some rows by one block of columns, or by :data:`TOGETHER` of them.

    Parameters
    ----------
    x, base, table : what is multiplied; row p begins at ``base + table[p]``
    first, last : the rows
    runs, count, length : where in a row its `count` runs begin, of `length` numbers each
    w, k, apart : weights from `k` on, ``[run][number][16]``; those of the next block `apart`
    blocks : 1, or ``TOGETHER``
    bias, column : what is added begins at `column`
    clamps, limits : whether results are kept between two limits
    y, to, cells : the results of row p go to ``to + cells[p]``
    """
    for p in range(first, last, ROWS):
        if last - p > FEW:
            if TOGETHER == 1 or blocks == 1:
                _times_tile(
                    x, base, table, p, last, runs, count, length, w, k, apart, bias, column,
                    clamps, limits, y, to, cells,
                )  # fmt: skip
            else:
                _times_wide(
                    x, base, table, p, last, runs, count, length, w, k, apart, bias, column,
                    clamps, limits, y, to, cells,
                )  # fmt: skip
        elif TOGETHER == 1 or blocks == 1:
            _times_few(
                x, base, table, p, last, runs, count, length, w, k, apart, bias, column, clamps,
                limits, y, to, cells,
            )  # fmt: skip
        else:
            _times_wide_few(
                x, base, table, p, last, runs, count, length, w, k, apart, bias, column, clamps,
                limits, y, to, cells,
            )  # fmt: skip


@inner
def outer_rows(
    x: Any, base: int, table: Any, taps: Any, first_tap: int, last_tap: int, d: Any, d_base: int,
    d_apart: int, cells: Any, first: int, last: int, fresh: int, blocks: int, g: Any, to: int,
    row: int, apart: int,
) -> None:  # fmt: skip
    """Add the products of some rows to the results of some taps, for one block or more.

    Parameters
    ----------
    x, base, table, taps : number k of row p is at ``base + table[p] + taps[k]``
    first_tap, last_tap : the taps
    d, d_base, d_apart, cells : 16 numbers at ``d_base + cells[p]``; a block is `d_apart` further
    first, last : the rows
    fresh : 1 if there is nothing to add to yet
    blocks : 1, or ``TOGETHER``
    g, to, row, apart : results of tap k are at ``to + k * row``; a block is `apart` further
    """
    for t in range(first_tap, last_tap, OUTER_ROWS):
        if last_tap - t > OUTER_ROWS // 2:
            if TOGETHER == 1 or blocks == 1:
                _outer_tile(
                    x, base, table, taps, t, last_tap, d, d_base, d_apart, cells, first, last,
                    fresh, g, to, row, apart,
                )  # fmt: skip
            else:
                _outer_wide(
                    x, base, table, taps, t, last_tap, d, d_base, d_apart, cells, first, last,
                    fresh, g, to, row, apart,
                )  # fmt: skip
        elif TOGETHER == 1 or blocks == 1:
            _outer_few(
                x, base, table, taps, t, last_tap, d, d_base, d_apart, cells, first, last, fresh,
                g, to, row, apart,
            )  # fmt: skip
        else:
            _outer_wide_few(
                x, base, table, taps, t, last_tap, d, d_base, d_apart, cells, first, last, fresh,
                g, to, row, apart,
            )  # fmt: skip


@inner
def plain_rows(
    x: Any, base: int, count: int, row: int, block: int, length: int, across: int, w: Any, k: int,
    apart: int, blocks: int, y: Any, to: int, y_apart: int,
) -> None:  # fmt: skip
    """Multiply a matrix by one block of columns or more; tiles that are not full write more rows.

    Parameters
    ----------
    x, base, count : row p begins at ``base + p % 16 * row + p // 16 * block``
    length, across : numbers of a row, and their distance
    w, k, apart : weights from `k` on, ``[number][16]``; those of the next block `apart`
    blocks : 1, or ``TOGETHER``
    y, to, y_apart : the results, ``[row][16]``; those of the next block `y_apart`
    """
    for p in range(0, count, ROWS):
        if count - p > FEW:
            if TOGETHER == 1 or blocks == 1:
                _plain_tile(
                    x, base, p, count, row, block, length, across, w, k, apart, y, to, y_apart
                )
            else:
                _plain_wide(
                    x, base, p, count, row, block, length, across, w, k, apart, y, to, y_apart
                )
        elif TOGETHER == 1 or blocks == 1:
            _plain_few(x, base, p, count, row, block, length, across, w, k, apart, y, to, y_apart)
        else:
            _plain_wide_few(
                x, base, p, count, row, block, length, across, w, k, apart, y, to, y_apart
            )


@inner
def dot_rows(
    x: Any, x_at: int, x_row: int, first: int, last: int, w: Any, w_at: int, w_row: int,
    column: int, end: int, count: int, base: Any, base_at: int, base_row: int, floor: float,
    y: Any, to: int, y_row: int,
) -> None:  # fmt: skip
    """Multiply rows of x with rows of w.

    Parameters
    ----------
    x, x_at, x_row, first, last : row p of x, one of those from `first`, is at ``x_at + p * x_row``
    w, w_at, w_row, column, end : row o of w, one of those from `column`, likewise
    count : numbers of a row, a multiple of 8
    base, base_at, base_row : what is added is at ``base_at + p * base_row + o``; four are read
    floor : results are not below it
    y, to, y_row : the results, at ``to + p * y_row + o``
    """
    half = (DOT_ROWS + 1) // 2
    for o in range(column, end, DOT_COLUMNS):
        for p in range(first, last, DOT_ROWS):
            if last - p > half:
                _dot_tile(
                    x, x_at, x_row, p, last, w, w_at, w_row, o, end, count, base, base_at, base_row,
                    floor, y, to, y_row,
                )  # fmt: skip
            else:
                _dot_few(
                    x, x_at, x_row, p, last, w, w_at, w_row, o, end, count, base, base_at, base_row,
                    floor, y, to, y_row,
                )  # fmt: skip


@inner
def dot_row(
    x: Any, x_at: int, w: Any, w_at: int, w_row: int, column: int, end: int, count: int,
    base: Any, base_at: int, floor: float, y: Any, to: int,
) -> None:  # fmt: skip
    """Do what :func:`dot_rows` does for a single row of x."""
    for o in range(column, end, DOT_COLUMNS * (WIDE // EIGHT)):
        _dot_one(x, x_at, w, w_at, w_row, o, end, count, base, base_at, floor, y, to)
