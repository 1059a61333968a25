"""Check the pages of the built site: every link inside leads somewhere, and nothing is fetched.

    python ci/site_links.py build/docs

A link to a file must find it, one with #anchor an element of that id. Scripts, styles, fonts and
pictures must come with the site: it has to work without a network.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {
    ("script", "src"),
    ("link", "href"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
}
NOT_FETCHED = {"canonical", "next", "prev", "search", "index", "author", "copyright", "help"}


class Page(HTMLParser):
    """The links of one page, and the ids that links may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.repeated: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one element has."""
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            (self.repeated if found["id"] in self.ids else self.ids).add(found["id"])
        if tag == "a" and "name" in found:
            self.ids.add(found["name"])
        for name in ("href", "src"):
            if name in found:
                self.links.add(found[name])
                fetched = (tag, name) in FETCHED and found.get("rel") not in NOT_FETCHED
                if fetched and urlsplit(found[name]).netloc:
                    self.fetched.add(found[name])


def problems(site: Path) -> list[str]:
    """Return what is wrong with the links of a site, a line for each."""
    paths = [p for p in sorted(site.rglob("*.html")) if "_static" not in p.parts]
    pages = {path.resolve(): Page(path) for path in paths}
    found = [] if pages else [f"{site} has no pages"]
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        found += [f"{where} fetches {link}" for link in sorted(page.fetched)]
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                found.append(f"{where} links to {link}, which is not there")
            elif target in pages and unquote(parts.fragment) not in {"", *pages[target].ids}:
                found.append(f"{where} links to {link}, which has no such anchor")
    return found


def main() -> int:
    """Check the site that is named in the command."""
    found = problems(Path(sys.argv[1]))
    print("\n".join(found) or "All links inside lead somewhere.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
