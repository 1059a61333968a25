"""A history as a notebook shows it: curves, and a table of the last epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from xpcnn._markup import escape

TRAINING, VALIDATION = "#2f86cf", "#dd6b1a"
"""Blue and orange that can be read on white and on black, and told apart by color-blind readers."""
WIDTH, HEIGHT = 300, 180
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 26, 36
ROWS = 10
CHARTS = 2

Columns = Mapping[str, Sequence[float]]
Points = Sequence[tuple[float, float]]


def as_html(epochs: Sequence[int], columns: Columns) -> str:
    """Return HTML that needs nothing else: no script, no style sheet, no network.

    Lines and letters have the color of the text around them, so that they are readable on a dark
    page too.
    """
    if not epochs:
        return "<p>History: no epoch yet</p>"
    plain = [name for name in columns if not name.startswith("val_") and name != "lr"]
    charts = "".join(_chart(name, epochs, columns) for name in plain[:CHARTS])
    return (
        '<div style="font-family:system-ui,sans-serif;font-size:13px;overflow-x:auto">'
        f"<div>{charts}</div>{_table(epochs, columns)}</div>"
    )


def _table(epochs: Sequence[int], columns: Columns) -> str:
    cell = 'style="padding:2px 10px;text-align:right;font-variant-numeric:tabular-nums"'
    head = "".join(f"<th {cell}>{escape(name)}</th>" for name in ("epoch", *columns))
    rows = []
    for at in range(max(0, len(epochs) - ROWS), len(epochs)):
        cells = [str(epochs[at]), *(_number(name, column[at]) for name, column in columns.items())]
        rows.append("<tr>" + "".join(f"<td {cell}>{text}</td>" for text in cells) + "</tr>")
    more = len(epochs) - ROWS
    note = (
        f'<caption style="text-align:left">the last {ROWS} of {len(epochs)} epochs</caption>'
        if more > 0
        else ""
    )
    return (
        '<table style="border-collapse:collapse;background:none;color:inherit">'
        f"{note}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _number(name: str, value: float) -> str:
    if math.isnan(value):
        return "–" if name.startswith("val_") else "NaN"  # not every epoch is validated
    return "∞" if value == math.inf else "-∞" if value == -math.inf else f"{value:.4g}"


def _chart(name: str, epochs: Sequence[int], columns: Columns) -> str:
    """Draw one quantity over the epochs, in training and validation."""
    lines = [
        (kind, color, list(zip(epochs, columns[key], strict=True)), key != name)
        for key, kind, color in (
            (name, "training", TRAINING),
            (f"val_{name}", "validation", VALIDATION),
        )
        if key in columns
    ]
    finite = [y for _, _, points, _ in lines for _, y in points if math.isfinite(y)]
    low, high = _limits(finite)
    first, last = epochs[0], epochs[-1]
    x_scale = (WIDTH - LEFT - RIGHT) / max(last - first, 1)
    y_scale = (HEIGHT - TOP - BOTTOM) / (high - low)
    x_start = LEFT if last > first else (LEFT + WIDTH - RIGHT) / 2

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return x_start + (point[0] - first) * x_scale, HEIGHT - BOTTOM - (point[1] - low) * y_scale

    parts = [_axes(name, low, high, place, first, last)]
    for number, (kind, color, points, is_joined) in enumerate(lines):
        parts += [_line([place(p) for p in run], color) for run in _runs(points, is_joined)]
        parts.append(_text(WIDTH - RIGHT, TOP - 14 + 12 * number, kind, "end", color))
    told = escape(f"{name} over the epochs {first} to {last}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{told}" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" '
        f'font-family="system-ui,sans-serif">{"".join(parts)}</svg>'
    )


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def _runs(points: Points, is_joined: bool) -> Sequence[Points]:
    """Split a line where a number is not finite; epochs without validation are passed over."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif not (is_joined and math.isnan(point[1])):
            runs.append([])
    return [run for run in runs if run]


def _line(places: Points, color: str) -> str:
    dots = places if len(places) <= 30 else places[-1:]
    marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{color}"/>' for x, y in dots)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>{marks}'


def _axes(
    name: str,
    low: float,
    high: float,
    place: Callable[[tuple[float, float]], tuple[float, float]],
    first: int,
    last: int,
) -> str:
    foot = HEIGHT - BOTTOM
    shown = name if len(name) <= 24 else f"{name[:23]}…"
    parts = [
        _text(LEFT, 14, shown, "start", "currentColor", bold=True),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "epoch", "middle"),
        f'<path d="M{LEFT} {TOP}V{foot}H{WIDTH - RIGHT}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.6"/>',
    ]
    for epoch in sorted({first, (first + last) // 2, last}):
        parts.append(_text(place((epoch, low))[0], foot + 14, str(epoch), "middle"))
    for share in (0.05, 0.5, 0.95):
        value = low + share * (high - low)
        y = place((first, value))[1]
        parts.append(_text(LEFT - 5, y + 4, f"{value:.3g}", "end"))
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="currentColor" '
            'stroke-opacity="0.15"/>'
        )
    return "".join(parts)


def _text(
    x: float, y: float, text: str, anchor: str, color: str = "currentColor", *, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"{weight}>'
        f"{escape(text)}</text>"
    )
