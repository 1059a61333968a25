"""Layers beside PyTorch's, as a table, the worst first."""

from __future__ import annotations

import json
from typing import Any

from xpcnn.bench import report

LEGEND = """\
ms: time of one call, median over the rounds; "forward" is without training, "gradients" a training
forward and its backward. ratio: that of PyTorch over that of xpcnn, median over the rounds; above
1, xpcnn is faster. Images lie in memory with the channels last for xpcnn, as its layers leave them,
and first for PyTorch, as is its default."""


def ranked(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that were measured, the worst ratio first."""
    return sorted(
        (row for row in results["layers"] if "ratio" in row), key=lambda row: row["ratio"]
    )


def problems(results: dict[str, Any]) -> list[str]:
    """List what failed, and where the libraries did not compute the same."""
    return [
        f"{row['name']}, {row['kind']}: {row['error']}"
        for row in results["layers"]
        if "error" in row
    ]


def table(results: dict[str, Any]) -> list[str]:
    """Return the lines of the table, as Markdown that is aligned as it stands."""
    headings = ["layer", "pass", "shape", f"{results['subject']} ms", "PyTorch ms", "ratio"]
    rows = [
        [
            row["name"],
            row["kind"],
            "x".join(map(str, row["shape"])),
            report.number(row["ms"], 3),
            report.number(row["rival_ms"], 3),
            report.number(row["ratio"]),
        ]
        for row in ranked(results)
    ]
    columns = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [report.line(row, columns) for row in rows]
    return [report.line(headings, columns), report.rule(columns), *lines]


def summary(results: dict[str, Any]) -> str:
    """Say how many are slower than PyTorch's."""
    rows = ranked(results)
    slower = sum(row["ratio"] < 1 for row in rows)
    return f"{slower} of {len(rows)} are slower than in PyTorch"


def markdown(results: dict[str, Any]) -> str:
    """Return the whole report."""
    lines = ["# xpcnn bench --layers", "", *(f"- {text}" for text in report.setting(results)), ""]
    lines += [*table(results), "", summary(results) + ".", "", LEGEND]
    wrong = problems(results)
    if wrong:
        lines += ["", "## Problems", "", *(f"- {text}" for text in wrong)]
    return "\n".join(lines) + "\n"


def as_json(results: dict[str, Any]) -> str:
    """Return everything that was measured, as JSON."""
    return json.dumps(results, indent=1, allow_nan=False) + "\n"
