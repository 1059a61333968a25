"""Pages in Japanese: browsers are told so, and lines are joined without a space between them."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PLACES = ("ja/", "notebooks/ja/")
WIDE = "[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"
"""Punctuation, kana, kanji, and full-width forms."""
BREAK = re.compile(f"(?<={WIDE})\n(?={WIDE})|(?<=[、。（：])\n|\n(?=[、。）])")


def on_read(app: Sphinx, doctree: nodes.document) -> None:
    """Take out the breaks of lines between Japanese characters, which browsers show as spaces."""
    if not app.env.docname.startswith(PLACES):
        return
    for paragraph in list(doctree.findall(nodes.paragraph)):
        texts = list(paragraph.findall(nodes.Text))
        whole = "".join(texts)
        breaks = {match.start() for match in BREAK.finditer(whole)}
        start = 0
        for text in texts:
            kept = [c for i, c in enumerate(text, start) if i not in breaks]
            start += len(text)
            if len(kept) < len(text):
                put_in_place(text, nodes.Text("".join(kept)))


def put_in_place(old: nodes.Text, new: nodes.Text) -> None:
    """Exchange this very text: the parent's own method takes the first that is equal to it."""
    place = next(i for i, child in enumerate(old.parent) if child is old)
    old.parent[place] = new


def on_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Set the language of one page of HTML."""
    if page.startswith(PLACES):
        context["language"] = "ja"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-read", on_read)
    app.connect("html-page-context", on_page)
    return {"parallel_read_safe": True}
