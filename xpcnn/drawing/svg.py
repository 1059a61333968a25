"""The picture of a placed network, as SVG.

Colours stand in it twice: as attributes, for programs that know no CSS variables, and as variables
that follow the theme of a page. There are no ids, so that one page can hold many drawings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from xpcnn._markup import SANS, escape, variables
from xpcnn.drawing.layout import COLUMN_GAP, STUB, Cell, Placed, Wire
from xpcnn.drawing.theme import DARK, LIGHT
from xpcnn.drawing.wording import FAMILIES

ROOT = "xpcnn-net"
MARGIN, TOP, TURN = 20.0, 62.0, 13.0
TITLE, SMALL = 13.0, 11.5
LONGEST = 46
_NARROW, _WIDE = set("iIljtfr.,:;'|()[]! "), set("mwMW@%→")


@dataclass(frozen=True)
class Label:
    """What stands in a box: what it is, what it was made with, a name, and a line below these.

    Attributes
    ----------
    family : str
        A key of `FAMILIES`, or "end" for inputs and outputs.
    """

    family: str
    title: str
    more: str = ""
    below: str = ""
    aside: str = ""
    tip: str = ""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        upper = text_width(self.title, TITLE) * 1.1 + text_width(self.more + self.aside, SMALL)
        gaps = 6 * bool(self.more) + 10 * bool(self.aside)
        width = max(upper + gaps, text_width(self.below, SMALL)) + 24
        return max(84.0, round(width)), 40.0 if self.below else 26.0


def text_width(text: str, size: float) -> float:
    """Guess how wide a text is, rather too wide than too narrow."""
    units = 0.0
    for char in text:
        if east_asian_width(char) in "WF":
            units += 1.0
        elif char in _NARROW:
            units += 0.36
        else:
            units += 0.98 if char in _WIDE else 0.72 if char.isupper() else 0.62
    return units * size


def shorten(text: str, most: int = LONGEST) -> str:
    """Cut a long text."""
    return text if len(text) <= most else text[: most - 1] + "…"


def paint(
    placed: Placed,
    labels: Sequence[Label],
    shapes: dict[int, str],
    title: str,
    subtitle: str,
) -> str:
    """Write the picture.

    Parameters
    ----------
    placed : Placed
    labels : sequence of Label
        One for each box.
    shapes : dict of int to str
        What stands beside the line of a value, where anything does.
    title, subtitle : str
    """
    families = [name for name in FAMILIES if any(label.family == name for label in labels)]
    legend, legend_width = _legend(families)
    width = max(placed.width, legend_width, text_width(title, 16) * 1.1, text_width(subtitle, 12))
    shift = (width - placed.width) / 2
    height = TOP + TURN + placed.height + 2 * TURN + 14 + (26 if families else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{ROOT}" role="img" '
        f'width="{width + 2 * MARGIN:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width + 2 * MARGIN:.0f} {height:.0f}" font-family="{escape(SANS)}" '
        f'aria-label="{escape(f"{title}, {subtitle}")}">',
        f"<style>{_style()}</style>",
        f'<rect class="page" width="100%" height="100%" rx="8" fill="{LIGHT["page"]}"/>',
        _text(MARGIN, 26, title, "ink", 16, bold=True),
        _text(MARGIN, 44, subtitle, "soft", 12),
        f'<g transform="translate({MARGIN + shift:.1f},{TOP + TURN:.1f})">',
        *_lines(placed, shapes),
        *_shapes(placed, shapes),
        *(_box(cell, label) for cell, label in zip(placed.boxes, labels, strict=True)),
        "</g>",
        f'<g transform="translate({MARGIN:.1f},{height - 20:.1f})">{legend}</g>',
        "</svg>",
    ]
    return "\n".join(parts)


def _style() -> str:
    rules = [variables(ROOT, LIGHT, DARK)]
    for name in (*FAMILIES, "end"):
        rules.append(f".{ROOT} .{name}{{fill:var(--xp-{name});stroke:var(--xp-{name}-edge)}}")
    for name in ("page", "ink", "soft"):
        rules.append(f".{ROOT} .{name}{{fill:var(--xp-{name})}}")
    rules += [
        f".{ROOT} .wire{{stroke:var(--xp-line)}}",
        f".{ROOT} .head{{fill:var(--xp-line)}}",
        f".{ROOT} .halo{{stroke:var(--xp-page)}}",
    ]
    return "\n".join(rules)


def _text(
    x: float,
    y: float,
    text: str,
    colour: str,
    size: float,
    *,
    bold: bool = False,
    halo: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    css = colour
    if halo:
        css += " halo"
        weight += f' stroke="{LIGHT["page"]}" stroke-width="4" paint-order="stroke"'
    return (
        f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
        f'fill="{LIGHT[colour]}"{weight}>{escape(text)}</text>'
    )


def _box(cell: Cell, label: Label) -> str:
    left, middle = cell.x - cell.width / 2, cell.x
    round_ends = cell.height / 2 if label.family == "end" else 5
    thick = 2.2 if label.family == "block" else 1.3
    first = cell.y + (17 if label.below else 17.5)
    more = _part(label.more, "ink", 6) + _part(label.aside, "soft", 10)
    below = (
        f'<text class="soft" x="{middle:.1f}" y="{cell.y + 32:.1f}" font-size="{SMALL}" '
        f'text-anchor="middle" fill="{LIGHT["soft"]}">{escape(label.below)}</text>'
        if label.below
        else ""
    )
    tip = f"<title>{escape(label.tip)}</title>" if label.tip else ""
    return (
        f"<g>{tip}"
        f'<rect class="{label.family}" x="{left:.1f}" y="{cell.y:.1f}" width="{cell.width:.1f}" '
        f'height="{cell.height:.1f}" rx="{round_ends:.0f}" fill="{LIGHT[label.family]}" '
        f'stroke="{LIGHT[label.family + "-edge"]}" stroke-width="{thick}"/>'
        f'<text class="ink" x="{middle:.1f}" y="{first:.1f}" font-size="{TITLE}" '
        f'font-weight="600" text-anchor="middle" fill="{LIGHT["ink"]}">{escape(label.title)}{more}'
        f"</text>{below}</g>"
    )


def _part(text: str, colour: str, gap: float) -> str:
    """Write what stands behind the title of a box."""
    if not text:
        return ""
    return (
        f'<tspan class="{colour}" dx="{gap}" font-weight="400" font-size="{SMALL}" '
        f'fill="{LIGHT[colour]}">{escape(text)}</tspan>'
    )


def _lines(placed: Placed, shapes: dict[int, str]) -> Iterable[str]:
    """Draw wires, lanes and the heads of arrows."""
    paths, heads = [], []
    ports = _ports(placed)
    for row in placed.rows:
        for cell in row:
            if cell.is_lane:
                paths.append(f"M{cell.x:.1f} {cell.y:.1f}V{cell.y + cell.height:.1f}")
    for number, wire in enumerate(placed.wires):
        x = ports.get(number, wire.end.x)
        paths.append(_path(placed, wire, x, STUB if wire.value in shapes else 0.0))
        if not wire.end.is_lane:
            heads.append(f"M{x - 4:.1f} {wire.end.y - 7:.1f}h8l-4 7z")
    yield (
        f'<path class="wire" fill="none" stroke="{LIGHT["line"]}" stroke-width="1.5" '
        f'd="{"".join(paths)}"/>'
    )
    yield f'<path class="head" fill="{LIGHT["line"]}" d="{"".join(heads)}"/>'


def _ports(placed: Placed) -> dict[int, float]:
    """Return where wires end, by their number, for boxes to which several come."""
    ends: dict[int, list[int]] = {}
    for number, wire in enumerate(placed.wires):
        if not wire.end.is_lane:
            ends.setdefault(wire.end.key, []).append(number)
    found: dict[int, float] = {}
    for numbers in ends.values():
        if len(numbers) == 1:
            continue
        cell = placed.wires[numbers[0]].end
        room = cell.width / 2 - 12
        step = min(16.0, 2 * room / (len(numbers) - 1))
        numbers.sort(key=lambda number: placed.wires[number].start.x)
        at = [min(max(placed.wires[n].start.x, cell.x - room), cell.x + room) for n in numbers]
        for n in range(1, len(at)):
            at[n] = max(at[n], at[n - 1] + step)
        at[-1] = min(at[-1], cell.x + room)
        for n in range(len(at) - 2, -1, -1):
            at[n] = min(at[n], at[n + 1] - step)
        found |= zip(numbers, at, strict=True)
    return found


def _path(placed: Placed, wire: Wire, x: float, stub: float) -> str:
    start, end = wire.start, wire.end
    y0, y1 = start.y + start.height, end.y
    if placed.column_of[start.row] != placed.column_of[end.row]:
        return _over_to_next_column(placed, start, y0, x, y1)
    if abs(start.x - x) < 0.1:
        return f"M{start.x:.1f} {y0:.1f}V{y1:.1f}"
    top = y0 if start.is_lane else y0 + stub
    middle = (top + y1) / 2
    return (
        f"M{start.x:.1f} {y0:.1f}V{top:.1f}"
        f"C{start.x:.1f} {middle:.1f} {x:.1f} {middle:.1f} {x:.1f} {y1:.1f}"
    )


def _over_to_next_column(placed: Placed, start: Cell, y0: float, x: float, y1: float) -> str:
    """Go down, to the gap between the columns, up, and to the top of the next one."""
    gap = placed.edges[placed.column_of[start.row]][1] + COLUMN_GAP / 2
    low, r = placed.height + TURN + 8, 6
    return (
        f"M{start.x:.1f} {y0:.1f}V{low - r:.1f}q0 {r} {r} {r}H{gap - r:.1f}q{r} 0 {r} -{r}"
        f"V{-TURN - 4 + r:.1f}q0 -{r} {r} -{r}H{x - r:.1f}q{r} 0 {r} {r}V{y1:.1f}"
    )


def _shapes(placed: Placed, shapes: dict[int, str]) -> Iterable[str]:
    """Write shapes beside the first part of lines, which goes straight down."""
    written = set()
    for wire in placed.wires:
        if wire.value in shapes and wire.value not in written and not wire.start.is_lane:
            written.add(wire.value)
            y = wire.start.y + wire.start.height + 15
            yield _text(wire.start.x + 7, y, shapes[wire.value], "soft", SMALL, halo=True)


def _legend(families: Sequence[str]) -> tuple[str, float]:
    x, parts = 0.0, []
    for name in families:
        words = FAMILIES[name][0]
        parts.append(
            f'<rect class="{name}" x="{x:.1f}" y="-10" width="14" height="12" rx="2" '
            f'fill="{LIGHT[name]}" stroke="{LIGHT[name + "-edge"]}"/>'
            + _text(x + 19, 0, words, "soft", SMALL)
        )
        x += 19 + text_width(words, SMALL) + 16
    return "".join(parts), x
