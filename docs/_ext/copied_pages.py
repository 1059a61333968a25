"""Pages that lie outside docs/: notebooks, CONTRIBUTING.md, CHANGELOG.md; and links between files.

They are copied into the source of the site when it is built, and Git ignores the copies. In all
pages, links are as GitHub wants them, relative to the file; here they become links of the site.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGES = {"CONTRIBUTING.md": "project/contributing.md", "CHANGELOG.md": "project/changelog.md"}
FOLDERS = {"notebooks/": "notebooks/"}
HOME = {"README.md": "index.md"}

FENCE = re.compile(r"(^ *(`{3,}|~{3,}|:{3,}).*?^ *\2 *$|`[^`\n]+`)", re.M | re.S)
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?(\))")


def copy(root: Path) -> None:
    """Copy what lies elsewhere into docs/, and remove copies of what there is no more."""
    docs = root / "docs"
    wanted = {docs / page: root / path for path, page in PAGES.items()}
    for folder, place in FOLDERS.items():
        for path in (root / folder).rglob("*"):
            if path.suffix in (".md", ".png", ".svg"):
                wanted[docs / place / path.relative_to(root / folder)] = path
    for top in {Path(page).parts[0] for page in [*PAGES.values(), *FOLDERS.values()]}:
        for old in (docs / top).rglob("*"):
            if old.is_file() and old not in wanted:
                old.unlink()
    for place, path in wanted.items():
        if not place.exists() or place.read_bytes() != path.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def page_of(path: str) -> str | None:
    """Return the page, as a path in docs/, that a file of the repository is; None if it is none."""
    for table in (PAGES, HOME):
        if path in table:
            return table[path]
    for folder, place in FOLDERS.items():
        if path.startswith(folder):
            return place + path.removeprefix(folder)
    return path.removeprefix("docs/") if path.startswith("docs/") else None


def file_of(page: str) -> str:
    """Return the file of the repository that a page, a path in docs/, was made of."""
    for path, copied in PAGES.items():
        if page == copied:
            return path
    for folder, place in FOLDERS.items():
        if page.startswith(place):
            return folder + page.removeprefix(place)
    return f"docs/{page}"


def translated(page: str, target: str, anchor: str) -> str:
    """Return where a link of a page leads on the site; files that are no pages are downloads."""
    path = os.path.normpath(PurePosixPath(file_of(page)).parent / target)
    there = page_of(path)
    if there is None or not (ROOT / path).is_file() or not path.endswith(".md"):
        here = Path("docs", page).parent
        scheme = "path:" if path.endswith(".md") else ""
        return scheme + os.path.relpath(path if there is None else f"docs/{there}", here)
    keeps_anchor = path not in HOME
    return os.path.relpath(there, PurePosixPath(page).parent) + (anchor if keeps_anchor else "")


def translate_links(text: str, page: str) -> str:
    """Return the text of a page with links of the site; what stands in code stays as it is."""

    def link(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        return before + translated(page, target, anchor or "") + after

    parts = FENCE.split(text)  # text, code, its mark, text, ...
    return "".join(
        LINK.sub(link, part) if i % 3 == 0 else part
        for i, part in enumerate(parts)
        if i % 3 != 2 and part is not None
    )


def on_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Translate the links of one page in Markdown when Sphinx reads it."""
    if app.env.doc2path(page).suffix == ".md":
        source[0] = translate_links(source[0], f"{page}.md")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", on_source)
    return {"parallel_read_safe": True}
