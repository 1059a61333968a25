"""Pages in Japanese say so, which makes browsers choose Japanese forms of characters."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

PLACES = ("ja/", "notebooks/ja/")


def on_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Set the language of one page of HTML."""
    if page.startswith(PLACES):
        context["language"] = "ja"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", on_page)
    return {"parallel_read_safe": True}
