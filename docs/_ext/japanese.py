"""Pages in Japanese: browsers are told so, and lines are joined without a space between them."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PLACES = ("ja/", "notebooks/ja/")
WIDE = "[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"
"""Punctuation, kana, kanji, and full-width forms."""
BREAK = re.compile(f"(?<={WIDE})\n(?={WIDE})")


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
                text.parent.replace(text, nodes.Text("".join(kept)))


def on_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Set the language of one page of HTML."""
    if page.startswith(PLACES):
        context["language"] = "ja"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-read", on_read)
    app.connect("html-page-context", on_page)
    return {"parallel_read_safe": True}
