"""``xpcnn.explain`` and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xpcnn.errors import check_choice
from xpcnn.explaining.convolution import explain_convolution
from xpcnn.explaining.html import as_html, as_page
from xpcnn.explaining.parts import Section
from xpcnn.explaining.running import WHO, Run, as_numbers, run, subject_of
from xpcnn.explaining.text import as_text
from xpcnn.explaining.words import LANGUAGES, Words, words
from xpcnn.layers.conv import Conv
from xpcnn.layers.layer import Layer
from xpcnn.window import as_int

Family = Callable[[Run, Words, int], list[Section]]

FAMILIES: tuple[tuple[type, Family], ...] = ((Conv, explain_convolution),)


class Explanation:
    """What an operation does with the numbers given, step by step.

    It shows itself as text at a prompt and as tables in a notebook; :func:`xpcnn.explain` makes it.

    Attributes
    ----------
    title : str
    sections : list of Section
        Headings, and what stands below them: texts, formulas, tables and worked lines.
    lang : str
    """

    def __init__(self, title: str, sections: list[Section], lang: str) -> None:
        self.title = title
        self.sections = sections
        self.lang = lang

    def __str__(self) -> str:
        return as_text(self.title, self.sections)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self.title, self.sections, self.lang)

    def save(self, path: str | Path) -> None:
        """Write it to a file.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html`` for a page, or in ``.txt`` for text.

        Raises
        ------
        ValueError
            If the path ends in something else.
        """
        path = Path(path)
        if path.suffix not in (".html", ".txt"):
            raise ValueError(
                f"Explanation.save: path must end in '.html' or '.txt', got {str(path)!r}"
            )
        text = str(self) + "\n"
        if path.suffix == ".html":
            text = as_page(self.title, self._repr_html_(), self.lang)
        path.write_text(text, encoding="utf-8")


def explain(
    operation: Any, x: Any, *, dy: Any = None, lang: str = "en", limit: int = 16
) -> Explanation:
    """Work out what an operation does with the numbers given, step by step."""
    check_choice(WHO, "lang", lang, LANGUAGES)
    limit = as_int(limit, WHO, "limit", 4)
    say = words(lang)
    if not isinstance(operation, Layer):
        raise TypeError(f"{WHO}: {operation!r}")
    family = next((f for kind, f in FAMILIES if isinstance(operation, kind)), None)
    if family is None:
        raise TypeError(f"{WHO}: {operation!r}")
    subject = subject_of(operation, as_numbers(x, "x"))
    made = run(subject, None if dy is None else as_numbers(dy, "dy"), True)
    return Explanation(say("title", who=subject.who), family(made, say, limit), lang)
