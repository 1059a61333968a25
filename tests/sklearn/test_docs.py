"""What docs/sklearn.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("sklearn", minversion="1.6")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sklearn.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)


def test_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert PAGE.count("```") == 2 * len(BLOCKS)
    assert {language for language, _ in BLOCKS} == {"python"}
    names: dict[str, object] = {"__name__": "__main__"}
    for number, (_, text) in enumerate(BLOCKS, start=1):
        exec(compile(text, f"sklearn.md, block {number}", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[0]) > 0.96
    assert printed[-1] == "True"


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
