"""Reads explanations: worked lines and tables by name."""

from __future__ import annotations

from xpcnn.explaining.parts import Lines, Table


def worked_lines(shown) -> list[str]:
    return [row for s in shown.sections for p in s.parts if isinstance(p, Lines) for row in p.rows]


def line_of(shown, name: str) -> str:
    """Return the one line that works out a number."""
    (found,) = [row for row in worked_lines(shown) if row.startswith(f"{name} = ")]
    return found


def values_of(shown, name: str) -> float:
    """Return the number that a line ends in."""
    line = line_of(shown, name)
    return 0.0 if "= 0 (" in line else float(line.rsplit(" ", 1)[1])


def table_of(shown, title: str) -> Table:
    """Return the first table of that title."""
    return next(
        p for s in shown.sections for p in s.parts if isinstance(p, Table) and p.title == title
    )
