"""Draw docs/design.svg: the packages of xpcnn, and who imports whom.

    python ci/import_graph.py

An arrow goes from a package to one that it imports; imports inside functions and for types count
too. What a package imports stands below it. An arrow is pale where a longer way of arrows says the
same. Modules that import no package are the foundations, which all others import.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xpcnn"
PICTURE = ROOT / "docs" / "design.svg"
MODULES = {
    ".".join(("xpcnn", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

KERNEL_SETS = "kernel sets"
ROW, BOX, GAP, LANE = 92, 44, 26, 18

Lane = tuple[str, int]
"""What an arrow passes on its way past a row: the box it goes to, and the row."""

STYLE = """
  svg { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
  .page { fill: #ffffff; } .box { fill: #eef3fb; stroke: #5b7db1; stroke-width: 1.2; }
  .ground { fill: #f3f1ec; stroke: #a39a86; stroke-width: 1.2; }
  .name { fill: #16233a; font-size: 14px; font-weight: 600; text-anchor: middle; }
  .note { fill: #55627a; font-size: 11px; text-anchor: middle; }
  .arrow { fill: none; stroke: #3c5a8c; stroke-width: 1.4; }
  .pale { fill: none; stroke: #b9c5d8; stroke-width: 1; }
  .head { fill: #3c5a8c; } .palehead { fill: #b9c5d8; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } .box { fill: #17233a; stroke: #6f93cc; }
    .ground { fill: #23211c; stroke: #8a8169; }
    .name { fill: #e8eefb; } .note { fill: #9fadc6; }
    .arrow { stroke: #8fb2ec; } .pale { stroke: #44546f; }
    .head { fill: #8fb2ec; } .palehead { fill: #44546f; }
  }
"""


def imported_modules(path: Path) -> set[str]:
    """Return the modules of xpcnn that a file imports, inside functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys()
            if not names <= MODULES.keys():
                found.add(str(node.module))
    return {name for name in found & MODULES.keys() if MODULES[name] != path}


def package_of(path: Path) -> str:
    """Name the package, or the single module, that a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] == "kernels" and parts[1] in ("cpu", "cuda", "torch", "jax"):
        return KERNEL_SETS  # the rest of kernels imports them when they are first used
    return {"__init__": "xpcnn", "__main__": "cli"}.get(parts[0], parts[0])


def imports_between_packages() -> tuple[dict[str, set[str]], list[str]]:
    """Return what each package imports, and the modules below all packages."""
    graph: dict[str, set[str]] = {package_of(path): set() for path in MODULES.values()}
    for path in MODULES.values():
        own = package_of(path)
        graph[own] |= {package_of(MODULES[name]) for name in imported_modules(path)} - {own}
    graph["kernels"].discard(KERNEL_SETS)
    ground = {name for name in graph if (PACKAGE / f"{name}.py").is_file()}
    while True:
        low = {name for name in ground if graph[name] <= ground}
        if low == ground:
            break
        ground = low
    return {name: graph[name] - ground for name in graph if name not in ground}, sorted(ground)


def rows_of(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return the row of each package, counted from below: above all that it imports.

    One that more packages import than it imports stands as close to them as it can.
    """
    rows: dict[str, int] = {}

    def row(name: str) -> int:
        if name not in rows:
            rows[name] = 1 + max(map(row, graph[name]), default=-1)
        return rows[name]

    for name in sorted(sorted(graph), key=row, reverse=True):
        importers = [other for other in graph if name in graph[other]]
        if len(importers) > len(graph[name]):
            rows[name] = min(rows[other] for other in importers) - 1
    return rows


def is_implied(graph: dict[str, set[str]], name: str, other: str) -> bool:
    """Whether a package imports another by way of a third as well."""
    waiting, seen = list(graph[name] - {other}), set()
    while waiting:
        current = waiting.pop()
        if current == other:
            return True
        if current not in seen:
            seen.add(current)
            waiting += graph[current]
    return False


def pieces_of(graph: dict[str, set[str]], rows: dict[str, int]) -> dict[tuple[Lane, Lane], bool]:
    """Cut each arrow at the rows it passes, and say which pieces are pale.

    All arrows to one package share its lane in a row.
    """
    pieces: dict[tuple[Lane, Lane], bool] = {}
    for name in sorted(graph):
        for other in sorted(graph[name]):
            pale = is_implied(graph, name, other)
            way = [(name, rows[name])]
            way += [(other, row) for row in range(rows[name] - 1, rows[other] - 1, -1)]
            for piece in pairwise(way):
                pieces[piece] = pieces.get(piece, True) and pale
    return pieces


def place(
    rows: dict[str, int], pieces: dict[tuple[Lane, Lane], bool], widths: dict[str, float]
) -> dict[Lane, float]:
    """Return the middle of each box and lane: near what it is joined to, with few crossings."""
    joined = defaultdict(set)
    for upper, lower in pieces:
        joined[upper].add(lower)
        joined[lower].add(upper)
    boxes = set(rows.items())
    levels: dict[int, list[Lane]] = defaultdict(list)
    for lane in sorted(boxes | joined.keys()):
        levels[lane[1]].append(lane)
    x = dict.fromkeys(sorted(boxes | joined.keys()), 0.0)

    def size(lane: Lane) -> float:
        return widths[lane[0]] + GAP if lane in boxes else LANE

    def spread(level: list[Lane], wanted: dict[Lane, float]) -> None:
        """Put the lanes of a row side by side, close to where they would be."""
        from_left, edge = {}, -1e9
        for lane in level:
            from_left[lane] = max(wanted[lane], edge + size(lane) / 2)
            edge = from_left[lane] + size(lane) / 2
        edge = 1e9
        for lane in reversed(level):
            from_right = min(wanted[lane], edge - size(lane) / 2)
            edge = from_right - size(lane) / 2
            x[lane] = (from_left[lane] + from_right) / 2

    for turn in range(60):
        order_is_open, downwards = turn < 40, turn % 2 == 0
        for number in sorted(levels, reverse=downwards):
            wanted = {}
            for lane in levels[number]:
                sides = [o for o in joined[lane] if (o[1] > number) == downwards]
                near = [x[o] for o in sorted(sides if sides and order_is_open else joined[lane])]
                wanted[lane] = sum(near) / len(near) if near else 0.0
            if order_is_open:
                levels[number].sort(key=lambda lane: (round(wanted[lane], 3), lane))
            spread(levels[number], wanted)
    return x


def draw() -> str:
    """Return the picture."""
    graph, ground = imports_between_packages()
    rows = rows_of(graph)
    pieces = pieces_of(graph, rows)
    widths = {name: max(88.0, 9.0 * len(name) + 22) for name in graph}
    x = place(rows, pieces, widths)
    left = min(x[lane] - (widths[lane[0]] if is_box(lane, rows) else LANE) / 2 for lane in x)
    x = {lane: x[lane] - left + GAP for lane in x}
    right = max(x[lane] + (widths[lane[0]] if is_box(lane, rows) else LANE) / 2 for lane in x)
    width = round(right + GAP)
    top = max(rows.values())
    height = (top + 1) * ROW + 110

    def y(row: int) -> float:
        return 30 + (top - row) * ROW

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        "<title>The packages of xpcnn: an arrow goes from each to what it imports</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    ends = {lane: attachments(lane, pieces, x, rows, widths) for lane in sorted(x)}
    for (upper, lower), pale in sorted(pieces.items(), key=lambda item: (not item[1], item[0])):
        start, end = ends[upper][lower], ends[lower][upper]
        from_y = y(upper[1]) + BOX
        to_y = y(lower[1]) - (5 if is_box(lower, rows) else 0)
        bend = (to_y - from_y) / 2
        kind = "pale" if pale else "arrow"
        parts.append(
            f'<path class="{kind}" d="M{start:.0f} {from_y:.0f}C{start:.0f} {from_y + bend:.0f} '
            f"{end:.0f} {to_y - bend:.0f} {end:.0f} {to_y:.0f}"
            + ('"/>' if is_box(lower, rows) else f'v{BOX}"/>')  # past the boxes of the row
        )
        if is_box(lower, rows):
            head = "palehead" if pale else "head"
            parts.append(f'<path class="{head}" d="M{end - 3.5:.1f} {to_y - 2:.0f}h7l-3.5 7z"/>')
    for name, row in sorted(rows.items()):
        left = x[name, row] - widths[name] / 2
        parts += box("box", left, y(row), widths[name], name)
    names = ", ".join(name + ".py" for name in ground)
    title = "foundations, which all others import"
    parts += box("ground", GAP, y(0) + ROW - 6, width - 2 * GAP, title, names)
    return "\n".join([*parts, "</svg>", ""])


def is_box(lane: Lane, rows: dict[str, int]) -> bool:
    """Whether an arrow ends there, and does not just pass."""
    return rows[lane[0]] == lane[1]


def attachments(
    lane: Lane,
    pieces: dict[tuple[Lane, Lane], bool],
    x: dict[Lane, float],
    rows: dict[str, int],
    widths: dict[str, float],
) -> dict[Lane, float]:
    """Return where the pieces above and below are fixed to a box; to a lane, in its middle."""
    found = {}
    above = sorted((upper for upper, lower in pieces if lower == lane), key=lambda o: (x[o], o))
    below = sorted((lower for upper, lower in pieces if upper == lane), key=lambda o: (x[o], o))
    for others in (above, below):
        step = min(14.0, (widths[lane[0]] - 20) / max(len(others), 1))
        for i, other in enumerate(others):
            shift = (i - (len(others) - 1) / 2) * step if is_box(lane, rows) else 0.0
            found[other] = x[lane] + shift
    return found


def box(kind: str, left: float, top: float, width: float, name: str, note: str = "") -> list[str]:
    """Return a box with a name, and perhaps a line below it."""
    middle, line = left + width / 2, top + (19 if note else 27)
    parts = [
        f'<rect class="{kind}" x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{BOX}" '
        'rx="6"/>',
        f'<text class="name" x="{middle:.0f}" y="{line:.0f}">{name}</text>',
    ]
    if note:
        parts.append(f'<text class="note" x="{middle:.0f}" y="{top + 35:.0f}">{note}</text>')
    return parts


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
