"""The page on checking one's own classes runs as it stands."""

from __future__ import annotations

from tests.pages import Page


def test_page() -> None:
    names = Page("docs/check.md").run()
    assert names["report"].mistakes == ["only_last_sample"]
