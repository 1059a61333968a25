"""Code in tables may be broken behind brackets, dots and commas: columns become narrower."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

CELL = re.compile(r"<td\b.*?</td>", re.S)
CODE = re.compile(r"<code\b.*?</code>", re.S)
PLACE = re.compile(r"(?<=[(\[.,=_])(?=[^<>]*<)(?!<)")


def with_places_to_break(body: str) -> str:
    """Return a page in which the code of table cells has <wbr>; what is copied has none."""

    def code(match: re.Match[str]) -> str:
        return PLACE.sub("<wbr>", match[0])

    return CELL.sub(lambda cell: CODE.sub(code, cell[0]), body)


def on_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Change the page that is about to be written."""
    if "body" in context:
        context["body"] = with_places_to_break(context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", on_page)
    return {"parallel_read_safe": True}
