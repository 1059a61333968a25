"""Sections and lines that several families have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xpcnn.explaining.numbers import first_and_last, worked
from xpcnn.explaining.parts import Index, Lines, Marks, Numbers, Part, Section, Text, array_tables
from xpcnn.explaining.running import Run
from xpcnn.explaining.words import Words


def gradient_section(run: Run, say: Words, limit: int) -> Section:
    """Show the gradient that the backward starts from."""
    parts: list[Part] = [Text(say("dy_given", shape=run.dy.shape))]
    if not run.dy_given:
        parts.append(Text(say("dy_ones")))
    parts += array_tables(run.dy, limit, say("tables_left_out"))
    return Section(say("gradient_given"), parts)


def plain_input(run: Run, say: Words, limit: int) -> Section:
    """Show the input as it is."""
    parts: list[Part] = [Text(say("shape", name="x", shape=run.x.shape))]
    parts += [Text(say(note)) for note in run.subject.notes]
    parts += array_tables(run.x, limit, say("tables_left_out"))
    return Section(say("input"), parts)


def plain_output(run: Run, say: Words, limit: int, marks: Any = None) -> Section:
    """Show the output in its shape."""
    tables = array_tables(run.y, limit, say("tables_left_out"), marks=marks)
    return Section(say("output"), [Text(say("output_text", shape=run.y.shape)), *tables])


def in_shape(numbers: Numbers, say: Words, limit: int) -> list[Part]:
    """Show an array in its own shape."""
    parts: list[Part] = [Text(say("in_its_shape", name=numbers.name, shape=numbers.shape))]
    return [*parts, *array_tables(numbers, limit, say("tables_left_out"))]


def work(
    name: str, terms: Sequence[Sequence[float]], result: float, say: Words, **options: Any
) -> str:
    """Write a sum of products and its value; see :func:`~xpcnn.explaining.numbers.worked`."""
    return worked(name, terms, float(result), say("terms_left_out"), **options)


def lines(
    indices: Sequence[Index],
    line: Callable[[Index], str],
    limit: int,
    say: Words,
    first: int | None = None,
) -> Lines:
    """Work out one line for each index; of many, the first ones and the last.

    Parameters
    ----------
    first : int, optional
        Show so many from the front, and nothing behind them.
    """
    more = say("lines_left_out")
    if first is not None and first < len(indices):
        rows = [line(index) for index in indices[:first]]
        return Lines([*rows, more.format(count=len(indices) - first)])
    shown = first_and_last(len(indices), limit)
    count = len(indices) - len(shown) + 1
    return Lines([more.format(count=count) if i is None else line(indices[i]) for i in shown])


def row_marks(row: int, columns: int, mark: str) -> Marks:
    """Mark a whole row of a table."""
    return {(row, column): mark for column in range(columns)}
