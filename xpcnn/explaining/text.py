"""An explanation as plain text, for terminals."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from xpcnn._columns import columns_of
from xpcnn.explaining.parts import Formula, Lines, Section, Table, Text

WIDTH = 100
BRACKETS = {"a": "[]", "b": "<>", "ab": "{}", "max": "[]"}
_NEVER_FIRST = "ァィゥェォッャュョーぁぃぅぇぉっゃゅょ、。，．）」』・：；ー！？)],.;:"
_NEVER_LAST = "（「『("


def wrapped(text: str, width: int = WIDTH, indent: str = "") -> list[str]:
    """Break a text into lines: between words, and anywhere in Japanese."""
    lines, line = [], ""
    for piece in _pieces(text):
        if line and columns_of(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = indent + piece.lstrip()
        else:
            line += piece
    return [*lines, line.rstrip()] if line.strip() else lines


def _pieces(text: str) -> list[str]:
    """Cut a text where a line may end; a space stays with the word before it."""
    pieces, word = [], ""
    for c in text:
        wide = unicodedata.east_asian_width(c) in "WF"
        if wide and word:
            pieces.append(word)
            word = ""
        word += c
        if wide or c == " ":
            pieces.append(word)
            word = ""
    joined: list[str] = []
    for piece in [*pieces, word] if word else pieces:
        if joined and (piece[0] in _NEVER_FIRST or joined[-1][-1] in _NEVER_LAST):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def as_text(title: str, sections: Sequence[Section]) -> str:
    """Lay out a whole explanation in lines of at most :data:`WIDTH` cells."""
    lines = [title, "=" * columns_of(title)]
    for number, section in enumerate(sections, start=1):
        heading = f"{number}. {section.heading}"
        lines += ["", *wrapped(heading), "-" * min(columns_of(heading), WIDTH)]
        for part in section.parts:
            if isinstance(part, Text):
                lines += wrapped(part.text)
            elif isinstance(part, Formula):
                lines += [f"    {line}" for line in wrapped(part.text, WIDTH - 4, "    ")]
            elif isinstance(part, Lines):
                lines += _aligned(part.rows)
            else:
                lines += [*_table(part), ""]
        while lines[-1] == "":
            lines.pop()
    return "\n".join(lines)


def _aligned(rows: Sequence[str]) -> list[str]:
    """Put the first "=" of worked lines below one another."""
    left = max((columns_of(row.partition(" = ")[0]) for row in rows if " = " in row), default=0)
    lines = []
    for row in rows:
        name, equals, rest = row.partition(" = ")
        line = (
            f"    {name}{' ' * (left - columns_of(name))}{equals}{rest}" if equals else f"    {row}"
        )
        lines += wrapped(line, WIDTH, " " * (left + 7))
    return lines


def _table(part: Table) -> list[str]:
    cells = [[_marked(part, r, c) for c in range(len(row))] for r, row in enumerate(part.cells)]
    grid = [[part.corner, *part.columns]]
    grid += [[label, *row] for label, row in zip(part.rows, cells, strict=True)]
    grid = _narrowed(grid)
    widths = [max(columns_of(row[c]) for row in grid) for c in range(len(grid[0]))]
    lines = [part.title] if part.title else []
    for number, row in enumerate(grid):
        label = row[0] + " " * (widths[0] - columns_of(row[0]))
        rest = "  ".join(
            " " * (w - columns_of(v)) + v for v, w in zip(row[1:], widths[1:], strict=True)
        )
        lines.append(f"    {label} | {rest}".rstrip())
        if number == 0:
            lines.append(f"    {'-' * widths[0]}-+-{'-' * (sum(widths[1:]) + 2 * len(widths) - 4)}")
    return lines


def _marked(part: Table, row: int, column: int) -> str:
    value = part.cells[row][column]
    brackets = BRACKETS.get(part.marks.get((row, column), ""))
    if brackets:
        return f"{brackets[0]}{value}{brackets[1]}"
    marked = any(m in BRACKETS and c == column for (_, c), m in part.marks.items())
    return f"{value} " if marked else value


def _narrowed(grid: list[list[str]]) -> list[list[str]]:
    """Leave out columns in the middle until a table fits."""

    def whole(rows: list[list[str]]) -> int:
        return 7 + sum(2 + max(columns_of(v) for v in column) for column in zip(*rows, strict=True))

    if whole(grid) <= WIDTH:
        return grid
    kept = [row[:-1] + ["…", row[-1]] for row in grid]
    while whole(kept) > WIDTH and len(kept[0]) > 4:
        kept = [row[:-3] + row[-2:] for row in kept]
    return kept
