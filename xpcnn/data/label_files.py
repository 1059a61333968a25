"""Tables of file names and labels, as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from xpcnn.data.images import SUFFIXES

_DELIMITERS = (",", ";", "\t", "|")
_FILE_COLUMNS = ("file", "filename", "file_name", "path", "filepath", "image", "name")
_LABEL_COLUMNS = ("label", "labels", "class", "category", "target")

Line = tuple[int, str, str]
"""Number of a line of a table, from 1, the name of a file, and its label."""


def read_labels(path: Path, folder: Path) -> list[Line]:
    """Read a table of the names of files in a folder and of their labels.

    Parameters
    ----------
    path : Path
        A CSV file in UTF-8 with a file name and a label in each line, with commas, semicolons,
        tabs or bars between them. A header may stand above them; where there are more columns, it
        must, and say which are "file" and "label" (or "filename", "path", "image", "class", ...).
    folder : Path
        What the names of files are relative to.

    Raises
    ------
    OSError
        If there is no such table.
    ValueError
        If it is no such table, a file is missing or stands there twice, or a label is empty. The
        message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a table in UTF-8 ({error}); save it as CSV UTF-8") from None
    rows = _rows(text, path)
    if not rows:
        raise ValueError(f"{path}: the table is empty; write a file name and a label in each line")
    at_file, at_label = 0, 1
    header = _as_header(rows[0][1], folder)
    if header is not None:
        rows = rows[1:]
    if header is not None and len(header) > 2:
        at_file = _column(header, _FILE_COLUMNS, path)
        at_label = _column(header, _LABEL_COLUMNS, path)
    elif header is not None and header[0] in _LABEL_COLUMNS and header[1] in _FILE_COLUMNS:
        at_file, at_label = 1, 0
    width = 2 if header is None else len(header)
    found = []
    for number, row in rows:
        if len(row) != width:
            raise ValueError(
                f"{path}, line {number}: expected {width} columns, file name and label, got "
                f"{len(row)}: {row!r:.200}"
                + ("; name the columns in a header" if header is None and len(row) > 2 else "")
            )
        found.append((number, row[at_file].strip(), row[at_label].strip()))
    _check_lines(found, path, folder)
    return found


def class_names_of(lines: Sequence[Line]) -> list[str]:
    """List the labels of a table, sorted; whole numbers by their size."""
    names = {label for _, _, label in lines}
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _rows(text: str, path: Path) -> list[tuple[int, list[str]]]:
    """Cut a table into cells; empty lines are left out."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)  # the first of them if there is none
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not a line of CSV ({error})") from None
    return rows


def _as_header(row: list[str], folder: Path) -> list[str] | None:
    """Return the names of columns, in lower case, if a line has none of an image."""
    for cell in map(str.strip, row):
        if cell.lower().endswith(SUFFIXES) or (cell and (folder / cell).is_file()):
            return None
    return [cell.strip().lower() for cell in row]


def _column(header: list[str], names: Sequence[str], path: Path) -> int:
    found = [at for at, name in enumerate(header) if name in names]
    if len(found) != 1:
        raise ValueError(
            f"{path}: the table has {len(header)} columns, {', '.join(header)}; call one of them "
            f"{names[0]!r}, and no other {' or '.join(map(repr, names[1:]))}"
        )
    return found[0]


def _check_lines(lines: Sequence[Line], path: Path, folder: Path) -> None:
    if not lines:
        raise ValueError(f"{path}: the table has a header and no lines below it")
    seen: dict[str, int] = {}
    for number, name, label in lines:
        where = f"{path}, line {number}"
        if not name or not label:
            raise ValueError(f"{where}: the {'label' if name else 'file name'} is empty")
        before = seen.setdefault(name, number)
        if before != number:
            raise ValueError(f"{where}: {name!r} stands in line {before} already")
        if not (folder / name).is_file():
            raise ValueError(
                f"{where}: there is no file {name!r} in {folder}; names are relative to that folder"
            )
