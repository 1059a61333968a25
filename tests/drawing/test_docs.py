"""docs/in-notebooks.md."""

from __future__ import annotations

from tests.pages import ROOT, Page


def test_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = Page("docs/in-notebooks.md")
    names = page.run()
    assert capsys.readouterr().out.splitlines() == page.promised() != []
    assert "<svg" in names["model"]._repr_html_()
    drawn = (tmp_path / "unet.svg").read_text(encoding="utf-8")
    shown = (ROOT / "docs" / "_static" / "unet.svg").read_text(encoding="utf-8")
    assert shown == drawn, "run the page's blocks, and copy unet.svg to docs/_static"
