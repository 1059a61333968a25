"""The page on checking one's own classes runs as it stands, and lists every mistake."""

from __future__ import annotations

import re

import pytest

from tests.pages import Page
from xpcnn.grading import MISTAKES


def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    names = Page("docs/check.md").run()
    printed = capsys.readouterr().out
    assert "only the last sample of the batch counts" in printed
    assert "不合格" in printed
    assert "Aoi ['only_last_sample']\nRen passed\n" in printed
    assert names["report"].passed


def test_the_page_lists_every_mistake() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", Page("docs/check.md").text, re.M)
    listed = {name: text.replace("\\*", "*") for name, text in rows if name in MISTAKES}
    assert listed == {name: mistake.en for name, mistake in MISTAKES.items()}
