"""Draw docs/performance.svg: how many times faster xpcnn is, workload by workload.

    python ci/speed_picture.py [RESULTS.json [PICTURE.svg]]

The figures are those of a file that ``xpcnn bench --json`` or ``benchmarks/compare.py`` has
written; without arguments, of benchmarks/results/compare.json. A bar begins at 1, as fast as the
other library, and goes to the right where xpcnn is faster; from one line of the grid to the next
is a factor of two.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
PICTURE = ROOT / "docs" / "performance.svg"

LEFT, RIGHT, WIDTH = 200, 700, 780
"""Where the grid begins and ends; names stand to the left of it, some numbers to the right."""
TOP, BAR, GAP, HEADING = 104, 13, 9, 34
GROUPS = {
    "Training, one step": ("train",),
    "One layer": ("forward", "gradients"),
    "Prediction": ("predict",),
}
SERIES = {
    "ratio": ("pytorch", "PyTorch, in its fastest configuration"),
    "onnxruntime_ratio": ("runtime", "onnxruntime"),
}
"""Keys of the results: class of the bar, and what it is compared with."""
NAMED = ("xpcnn", "torch", "onnxruntime")
"""The libraries whose versions stand in the picture."""

STYLE = """
  svg { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; font-size: 13px; }
  .page { fill: #ffffff; } .grid { stroke: #dde3ec; } .one { stroke: #55627a; stroke-width: 1.5; }
  .pytorch { fill: #2f6fd0; } .runtime { fill: #c26a12; }
  .title { font-size: 16px; font-weight: 600; } .group { font-weight: 600; }
  .title, .group, .name, .value { fill: #16233a; } .note { fill: #55627a; font-size: 12px; }
  .name { text-anchor: end; } .tick { text-anchor: middle; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } .grid { stroke: #273142; } .one { stroke: #9fadc6; }
    .pytorch { fill: #6aa3f5; } .runtime { fill: #eba04f; }
    .title, .group, .name, .value { fill: #e8eefb; } .note { fill: #9fadc6; }
  }
"""


def draw(results: dict[str, Any]) -> str:
    """Return the picture of what a run has measured."""
    entries = [entry for entry in results["workloads"] if ratios_of(entry)]
    if not entries:
        raise ValueError("there are no ratios in these results")
    seen = [ratio for entry in entries for ratio in ratios_of(entry).values()]
    low = min(-1, math.floor(math.log2(min(seen))))
    high = max(1, math.ceil(math.log2(max(seen))))

    def x(ratio: float) -> float:
        return LEFT + (math.log2(ratio) - low) / (high - low) * (RIGHT - LEFT)

    rows = list(place(entries))
    bottom = rows[-1][1] + BAR * len(ratios_of(rows[-1][2])) + GAP
    parts = [*page(bottom + 34), *head(results, entries)]
    for power in range(low, high + 1):
        at = x(2.0**power)
        kind = "one" if power == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{at:.1f} {TOP}V{bottom}"/>')
        label = f"{2**power}" if power >= 0 else f"1/{2**-power}"
        parts.append(text("note tick", at, bottom + 18, label))
    for group, top, entry in rows:
        if group:
            parts.append(text("group", 16, top - 10, group))
        parts += bars(entry, top, x)
    return "\n".join([*parts, "</svg>", ""])


def ratios_of(entry: dict[str, Any]) -> dict[str, float]:
    """Return what a workload's bars show, by the key of the results."""
    return {key: entry[key] for key in SERIES if entry.get(key) is not None}


def place(entries: list[dict[str, Any]]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield the workloads group by group, each with its height, and the first with its heading."""
    top = TOP
    for title, kinds in GROUPS.items():
        heading = title
        for entry in entries:
            if entry["kind"] in kinds:
                top += HEADING if heading else 0
                yield heading, top, entry
                top += BAR * len(ratios_of(entry)) + GAP
                heading = ""


def page(height: int) -> list[str]:
    """Return how the picture begins."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">',
        "<title>How many times faster xpcnn is than PyTorch and onnxruntime</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
    ]


def head(results: dict[str, Any], entries: list[dict[str, Any]]) -> list[str]:
    """Return what stands above the bars: title, machine, and which colour is which library."""
    where = results["environment"]
    versions = (
        f"{name} {where['versions'][name]}" for name in NAMED if where["versions"].get(name)
    )
    parts = [
        text("title", 16, 28, "How many times faster xpcnn is (1: as fast as the other)"),
        text(
            "note",
            16,
            48,
            f"{where['cpu']}, {results['threads']} threads, {where['date'][:10]}; "
            f"{', '.join(versions)}",
        ),
    ]
    left = 16
    for key, (kind, title) in SERIES.items():
        if any(key in ratios_of(entry) for entry in entries):
            parts.append(f'<rect class="{kind}" x="{left}" y="62" width="12" height="12" rx="2"/>')
            parts.append(text("note", left + 18, 73, f"than {title}"))
            left += 290
    return parts


def bars(entry: dict[str, Any], top: int, x: Any) -> list[str]:
    """Return the name of a workload and its bars, with the ratios behind them."""
    ratios = ratios_of(entry)
    middle = top + BAR * len(ratios) / 2 + 4.5
    parts = [text("name", LEFT - 12, middle, entry["name"])]
    for number, (key, ratio) in enumerate(ratios.items()):
        start, end = sorted((x(1.0), x(ratio)))
        y = top + BAR * number
        parts.append(
            f'<rect class="{SERIES[key][0]}" x="{start:.1f}" y="{y}" width="{end - start:.1f}" '
            f'height="{BAR - 2}" rx="2"/>'
        )
        parts.append(text("value note", max(x(1.0), end) + 6, y + 10, f"{ratio:.2f}"))
    return parts


def text(kind: str, x: float, y: float, words: str) -> str:
    """Return a line of text."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def main(argv: list[str]) -> None:
    """Draw the picture of the file that was named."""
    source = Path(argv[0]) if argv else RESULTS
    target = Path(argv[1]) if len(argv) > 1 else PICTURE
    results = json.loads(source.read_text(encoding="utf-8"))
    target.write_text(draw(results), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
