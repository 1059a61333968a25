"""Depthwise convolution by 3x3 and 5x5, strides 1 and 2, with a register of channels at a time.

The taps of a tile are known when it is compiled, and unrolled: the filters of its channels stay in
registers while it goes along the columns, with several lines at once, so that what it reads serves
several results. Taps that see no pixel are left out, line by line, and in columns near the edges
one by one. Each result is the same sum, in the same order, as that of the tables of
:mod:`xpcnn.kernels.cpu.depthwise`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from xpcnn.kernels.cpu.epilogue import LIMITS, activate
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Ints, Job, inner
from xpcnn.kernels.cpu.vector import (
    WIDE,
    WIDTH,
    add,
    call,
    hidden,
    load,
    load_limit,
    load_wide,
    loop,
    narrow,
    operation,
    pointer_at,
    register,
    room,
    select_within,
    store,
    store_wide,
    whole,
    wide_zero,
    widen,
    zero,
)
from xpcnn.window import Ints as Sizes
from xpcnn.window import Window

CHUNK = 32
"""Columns worked on before the next channels, so that memory is read nearly in its order."""

LINES = 4
"""Lines of gradients whose products are summed before the next columns."""

RUN = 512
"""Positions after which sums of float32 go into those of float64."""


class Scheme(NamedTuple):
    """What a tile is made of, along both axes alike.

    Position m of a tile reads the source from ``step * m`` on, and makes the results from
    ``grow * m`` on.

    Attributes
    ----------
    kernel : int
    step, grow : int
        For a convolution, `step` is its stride and `grow` is 1; for the gradient of the input it is
        the other way round.
    rows : int
        Positions down that are worked on together.
    """

    kernel: int
    step: int
    grow: int
    rows: int

    def taps(self, positions: int) -> list[tuple[int, int, int]]:
        """List, for some positions in a row, which result gets which tap of what source."""
        if self.grow == 1:
            every = range(positions)
            return [(p, tap, self.step * p + tap) for p in every for tap in range(self.kernel)]
        behind = (self.kernel - 1) // self.grow
        return [
            (result, tap, (result - tap) // self.grow + behind)
            for result in range(self.grow * positions)
            for tap in range(self.kernel)
            if (result - tap) % self.grow == 0
        ]

    def reach(self, positions: int) -> int:
        """Count the lines (or columns) that some positions read."""
        return 1 + max(source for _, _, source in self.taps(positions))


SCHEMES = tuple(
    Scheme(kernel, step, grow, 2 if grow > 1 else 4)
    for kernel in (3, 5)
    for step, grow in ((1, 1), (2, 1), (1, 2))
)
"""All that there are tiles for. The gradient of stride 1 is a convolution with turned filters."""


class Plan(NamedTuple):
    """How tiles cover a result.

    Attributes
    ----------
    turned : bool
        Whether the filters are to be turned round.
    numbers : tuple of int
        What :func:`convolve` is told; see there.
    """

    turned: bool
    numbers: tuple[int, ...]


@lru_cache(maxsize=512)
def tile_plan(window: Window, source: Sizes, result: Sizes, backward: bool) -> Plan | None:
    """Plan a convolution, or the gradient of its input; ``None`` if there are no tiles for it.

    Parameters
    ----------
    window : Window
        Of two dimensions.
    source, result : (height, width)
        For the gradient, of that of the output and of that of the input.
    backward : bool
    """
    (kernel, other), (stride, across) = window.kernel, window.stride
    step, grow = (1, stride) if backward else (stride, 1)
    square = kernel == other and stride == across and window.dilation == (1, 1)
    found = [i for i, s in enumerate(SCHEMES) if (s.kernel, s.step, s.grow) == (kernel, step, grow)]
    if not square or not found:
        return None
    scheme = SCHEMES[found[0]]
    before = [side[0] for side in window.padding]
    if grow > 1:
        starts, y_starts = [-((kernel - 1) // grow)] * 2, [-b for b in before]
    else:
        starts = [b - kernel + 1 for b in before] if backward else [-b for b in before]
        y_starts = [0, 0]
    down, count = (-(-(n - y) // grow) for n, y in zip(result, y_starts, strict=True))
    return Plan(
        backward and grow == 1,
        (found[0], scheme.rows, step, grow, *source, *result, down, count, *starts, *y_starts,
         scheme.reach(scheme.rows)),
    )  # fmt: skip


def _between(builder: Any, value: Any, low: Any, high: Any) -> Any:
    """Whether low <= value < high."""
    above, below = (
        builder.icmp_signed(sign, value, end) for sign, end in ((">=", low), ("<", high))
    )
    return builder.and_(above, below)


def _at(builder: Any, start: Any, *products: tuple[Any, Any]) -> Any:
    """Return a start plus products of numbers; those that are known may be of Python."""
    for a, b in products:
        factors = [whole(f) if isinstance(f, int) else f for f in (a, b)]
        start = builder.add(start, builder.mul(*factors))
    return start


def _read(builder: Any, array: Any, index: Any, kind: Any) -> Any:
    return builder.load(pointer_at(builder, array, index, kind), align=4)


def _accumulate(builder: Any, a: Any, b: Any, cell: Any) -> None:
    """Add a product to what is in a register."""
    name = f"llvm.fmuladd.v{WIDE}f32"
    builder.store(call(builder, name, a.type, a, b, builder.load(cell)), cell)


@operation(
    "nothing", "int", "array", "int", "int", "int", "int", "int", "int", "int", "int", "int",
    "array", "int", "int", "array", "int", "array", "array", "int", "int", "int", "int", "int",
    "int", "int",
)  # fmt: skip
def _tiles(
    builder: Any, kind: Any, x: Any, at: Any, line: Any, pixel: Any, low: Any, high: Any,
    left: Any, width: Any, first: Any, last: Any, w: Any, f: Any, apart: Any, bias: Any,
    clamps: Any, limits: Any, y: Any, to: Any, y_line: Any, y_pixel: Any, y_low: Any, y_high: Any,
    y_left: Any, y_width: Any,
) -> None:  # fmt: skip
    """Write the results of some positions in a row, by one of the schemes."""
    for number, scheme in enumerate(SCHEMES):
        with builder.if_then(builder.icmp_signed("==", kind, whole(number))):
            _write_tiles(
                builder, scheme, x, at, line, pixel, low, high, left, width, first, last, w, f,
                apart, bias, clamps, limits, y, to, y_line, y_pixel, y_low, y_high, y_left, y_width,
            )  # fmt: skip


def _write_tiles(
    builder: Any, scheme: Scheme, x: Any, at: Any, line: Any, pixel: Any, low: Any, high: Any,
    left: Any, width: Any, first: Any, last: Any, w: Any, f: Any, apart: Any, bias: Any,
    clamps: Any, limits: Any, y: Any, to: Any, y_line: Any, y_pixel: Any, y_low: Any, y_high: Any,
    y_left: Any, y_width: Any,
) -> None:  # fmt: skip
    down, across = scheme.taps(scheme.rows), scheme.taps(1)
    rows, columns = range(scheme.grow * scheme.rows), range(scheme.grow)
    cells = {(i, j): register(builder) for i in rows for j in columns}
    kind = cells[0, 0].type.pointee
    filters = [
        _read(builder, w, _at(builder, f, (tap, apart)), kind) for tap in range(scheme.kernel**2)
    ]
    shift = _read(builder, bias, f, kind)
    reach = range(scheme.reach(1))
    lines = [
        builder.gep(x, [_at(builder, at, (row, line))]) for row in range(scheme.reach(scheme.rows))
    ]
    y_lines = [builder.gep(y, [_at(builder, to, (row, y_line))]) for row in rows]
    seen = [_between(builder, whole(row), low, high) for row in range(len(lines))]
    written = [_between(builder, whole(row), y_low, y_high) for row in rows]
    with loop(builder, builder.sub(last, first)) as turn:
        m = builder.add(first, turn)
        source, result = (
            _at(builder, left, (m, scheme.step)),
            _at(builder, y_left, (m, scheme.grow)),
        )
        begin = builder.mul(source, pixel)
        places = [hidden(builder, _at(builder, begin, (place, pixel))) for place in reach]
        y_begin = builder.mul(result, y_pixel)
        y_places = [hidden(builder, _at(builder, y_begin, (place, y_pixel))) for place in columns]

        def add_products(checked: bool) -> None:
            for row, inside in enumerate(seen):
                with _only(builder, inside):
                    for place in reach:
                        with _only(builder, known(source, place, width) if checked else None):
                            value = _read(builder, lines[row], places[place], kind)
                            for i, tap, _ in (t for t in down if t[2] == row):
                                for j, tap_w, _ in (t for t in across if t[2] == place):
                                    weights = filters[tap * scheme.kernel + tap_w]
                                    _accumulate(builder, value, weights, cells[i, j])

        def known(start: Any, place: int, size: Any) -> Any:
            return _between(builder, builder.add(start, whole(place)), whole(0), size)

        for cell in cells.values():
            builder.store(shift, cell)
        free = builder.and_(known(source, 0, width), known(source, reach[-1], width))
        with builder.if_else(free, likely=True) as (inner, edge):
            with inner:
                add_products(False)
            with edge:
                add_products(True)
        with _only(builder, builder.icmp_signed("!=", clamps, whole(0))):
            least, greatest = (load_limit(builder, limits, place, WIDE) for place in (0, 1))
            for cell in cells.values():
                value = select_within(builder, builder.load(cell), least, greatest)
                builder.store(value, cell)
        for i in rows:
            with _only(builder, written[i]):
                for j in columns:
                    with _only(builder, None if scheme.grow == 1 else known(result, j, y_width)):
                        pointer = pointer_at(builder, y_lines[i], y_places[j], kind)
                        builder.store(builder.load(cells[i, j]), pointer, align=4)


@contextmanager
def _only(builder: Any, condition: Any) -> Iterator[None]:
    """Write what is done only where a condition holds, if there is one."""
    if condition is None:
        yield
    else:
        with builder.if_then(condition, likely=True):
            yield


@Job
def convolve(
    job: int, x: Floats, image: int, line: int, pixel: int, lanes: int, k: Ints, w: Floats,
    bias: Floats, settings: Floats, y: Floats,
) -> None:  # fmt: skip
    """Make a band of lines of one image, for some of the channels.

    `k` holds: the number of the scheme, its rows, step and grow; height and width of the source and
    of the result; positions down and across; where position 0 begins in the source (line, column)
    and in the result; lines of the source that the rows read; bands; parts of the channels; the kind
    of the epilogue, which `settings` are for. Behind one that is no limits the channels are a
    multiple of a register's.
    """
    kind, rows, step, grow, height, width = k[0], k[1], k[2], k[3], k[4], k[5]
    y_height, y_width, down, across, top, left = k[6], k[7], k[8], k[9], k[10], k[11]
    y_top, y_left, reach, bands, parts, epilogue = k[12], k[13], k[14], k[15], k[16], k[17]
    clamps = int(epilogue == LIMITS)
    blocks, groups = (lanes + WIDE - 1) // WIDE, (down + rows - 1) // rows
    per_band, per_part = (groups + bands - 1) // bands, (blocks + parts - 1) // parts
    band = job // parts
    n = band // bands
    begin = (band - n * bands) * per_band
    block0 = (job - band * parts) * per_part
    end = min(blocks, block0 + per_part)
    for group in range(begin, min(groups, begin + per_band)):
        source, result = step * group * rows + top, grow * group * rows + y_top
        low, high = max(0, -source), min(reach, height - source)
        y_low, y_high = max(0, -result), min(grow * rows, y_height - result)
        at, to = n * image + source * line, (n * y_height + result) * y_width * lanes
        for first in range(0, across, CHUNK):
            last = min(across, first + CHUNK)
            for block in range(block0, end):
                c = min(block * WIDE, lanes - WIDE)
                _tiles(
                    kind, x, at + c, line, pixel, low, high, left, width, first, last, w, c, lanes,
                    bias, clamps, settings, y, to + c, y_width * lanes, lanes, y_low, y_high, y_left,
                    y_width,
                )  # fmt: skip
        if epilogue > LIMITS:
            for pixel_of_y in range(y_low * y_width, y_high * y_width):
                start = to + pixel_of_y * lanes + block0 * WIDE
                activate(y, start, (end - block0) * WIDE, epilogue, settings)


@operation(
    "nothing", "int", "array", "int", "int", "int", "int", "int", "int", "int", "array", "int",
    "int", "int", "int", "int", "int", "array", "int", "int",
)  # fmt: skip
def _sums(
    builder: Any, kind: Any, x: Any, at: Any, line: Any, pixel: Any, top: Any, height: Any,
    left: Any, width: Any, d: Any, d_at: Any, d_line: Any, d_pixel: Any, count: Any, first: Any,
    last: Any, g: Any, to: Any, apart: Any,
) -> None:  # fmt: skip
    """Add the products of some lines and columns to the sums of all taps, by one of the schemes."""
    for number, scheme in enumerate(SCHEMES):
        if scheme.grow > 1:
            continue
        with builder.if_then(builder.icmp_signed("==", kind, whole(number))):
            cells = [register(builder) for _ in range(scheme.kernel**2 + 1)]
            places = [
                pointer_at(builder, g, _at(builder, to, (tap, apart)), cells[0].type.pointee)
                for tap in range(len(cells))
            ]
            for cell, place in zip(cells, places, strict=True):
                builder.store(builder.load(place, align=4), cell)
            pairs = builder.ashr(count, whole(1))
            with loop(builder, pairs) as i:
                _sum_lines(
                    builder, scheme, 2, cells, builder.mul(i, whole(2)), x, at, line, pixel, top,
                    height, left, width, d, d_at, d_line, d_pixel, first, last,
                )  # fmt: skip
            with builder.if_then(builder.icmp_signed("!=", builder.mul(pairs, whole(2)), count)):
                _sum_lines(
                    builder, scheme, 1, cells, builder.sub(count, whole(1)), x, at, line, pixel,
                    top, height, left, width, d, d_at, d_line, d_pixel, first, last,
                )  # fmt: skip
            for cell, place in zip(cells, places, strict=True):
                builder.store(builder.load(cell), place, align=4)


def _sum_lines(
    builder: Any, scheme: Scheme, rows: int, cells: list[Any], i: Any, x: Any, at: Any, line: Any,
    pixel: Any, top: Any, height: Any, left: Any, width: Any, d: Any, d_at: Any, d_line: Any,
    d_pixel: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Add the products of one line of gradients, or of two, from line i on."""
    kernel, kind = scheme.kernel, cells[0].type.pointee
    down, skipped = scheme.taps(rows), builder.mul(i, whole(scheme.step))
    source = builder.add(top, skipped)
    lines = [
        builder.gep(x, [_at(builder, at, (builder.add(skipped, whole(row)), line))])
        for row in range(scheme.reach(rows))
    ]
    d_lines = [
        builder.gep(d, [_at(builder, d_at, (builder.add(i, whole(row)), d_line))])
        for row in range(rows)
    ]
    seen = [
        _between(builder, builder.add(source, whole(row)), whole(0), height)
        for row in range(len(lines))
    ]
    with loop(builder, builder.sub(last, first)) as turn:
        m = builder.add(first, turn)
        column = _at(builder, left, (m, scheme.step))
        begin = builder.mul(column, pixel)
        places = [hidden(builder, _at(builder, begin, (tap, pixel))) for tap in range(kernel)]
        d_place = hidden(builder, builder.mul(m, d_pixel))
        gradients = [_read(builder, d_line, d_place, kind) for d_line in d_lines]
        for gradient in gradients:
            builder.store(builder.fadd(builder.load(cells[-1]), gradient), cells[-1])

        def known(place: int) -> Any:
            return _between(builder, builder.add(column, whole(place)), whole(0), width)

        def add_products(checked: bool) -> None:
            for row, inside in enumerate(seen):
                with _only(builder, inside):
                    for place in range(kernel):
                        with _only(builder, known(place) if checked else None):
                            value = _read(builder, lines[row], places[place], kind)
                            for position, tap, _ in (t for t in down if t[2] == row):
                                cell = cells[tap * kernel + place]
                                _accumulate(builder, value, gradients[position], cell)

        free = builder.and_(known(0), known(kernel - 1))
        with builder.if_else(free, likely=True) as (inner, edge):
            with inner:
                add_products(False)
            with edge:
                add_products(True)


@Job
def sum_products(
    job: int, x: Floats, image: int, line: int, pixel: int, lanes: int, d: Floats, d_image: int,
    d_line: int, d_pixel: int, k: Ints, partial: Floats, total: Doubles,
) -> None:  # fmt: skip
    """Sum the products of gradients and inputs for each tap, and behind them the gradients.

    `k` is that of :func:`convolve`, with pieces of all lines in the place of bands. Piece p has a
    row of vectors for each tap in `partial`, from which sums are added to those of `total`.
    """
    kind, step, height, width, d_height = k[0], k[2], k[4], k[5], k[6]
    across, top, left, pieces, parts = k[9], k[10], k[11], k[15], k[16]
    images, sums = k[18], k[19]
    blocks = (lanes + WIDE - 1) // WIDE
    size = blocks * WIDE
    per_piece, per_part = (images * d_height + pieces - 1) // pieces, (blocks + parts - 1) // parts
    piece = job // parts
    block0 = (job - piece * parts) * per_part
    block1 = min(blocks, block0 + per_part)
    to = piece * sums * size
    for tap in range(sums):
        for at in range(to + tap * size + block0 * WIDE, to + tap * size + block1 * WIDE, WIDTH):
            store(partial, at, zero())
            store_wide(total, at, wide_zero())
    place, done = piece * per_piece, 0
    end = min(images * d_height, place + per_piece)
    while place < end:
        n = place // d_height
        i = place - n * d_height
        count = min(LINES, min(d_height - i, end - place))
        source = step * i + top
        at, d_at = n * image + source * line, n * d_image + i * d_line
        for first in range(0, across, CHUNK):
            last = min(across, first + CHUNK)
            for block in range(block0, block1):
                c = min(block * WIDE, lanes - WIDE)
                _sums(
                    kind, x, at + c, line, pixel, source, height, left, width, d, d_at + c, d_line,
                    d_pixel, count, first, last, partial, to + block * WIDE, size,
                )  # fmt: skip
        place += count
        done += count * across
        if done >= RUN or place >= end:
            for tap in range(sums):
                at = to + tap * size
                _pour(partial, total, at + block0 * WIDE, at + block1 * WIDE)
            done = 0


@inner
def _pour(partial: Any, total: Any, first: int, last: int) -> None:
    """Add sums of float32 to those of float64, and begin them anew."""
    for at in range(first, last, WIDTH):
        store_wide(total, at, widen(load_wide(total, at), load(partial, at)))
        store(partial, at, zero())


@Job
def collect_sums(
    job: int, total: Doubles, pieces: int, taps: int, size: int, lanes: int, width: int,
    filters: int, dw: Floats, db: Floats,
) -> None:  # fmt: skip
    """Add up the pieces of eight filters, and put the taps of a filter side by side.

    Sums are in vectors of `width` channels, the last of which ends with the last lane.
    """
    first = job * WIDTH
    block = first // width
    channel = min(block * width, lanes - width) + first - block * width
    numbers = room()
    for tap in range(taps + 1):
        sums = wide_zero()
        for piece in range(pieces):
            sums = add(sums, load_wide(total, (piece * (taps + 1) + tap) * size + first))
        store(numbers, 0, narrow(sums))
        for lane in range(min(WIDTH, filters - channel)):
            if tap < taps:
                dw[(channel + lane) * taps + tap] = numbers[lane]
            else:
                db[channel + lane] = numbers[lane]
