"""The page on looking inside prints what it promises."""

from __future__ import annotations

from tests.pages import Page


def test_looking_inside(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Page("docs/looking-inside.md")
    page.run(optional=("matplotlib",))
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:3] == ["1 (4, 8, 28, 28) True", "4 (4, 16, 14, 14) True"]
    assert [line for line in printed if line not in printed[1:3]] == page.promised()
