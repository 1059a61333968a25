"""What the pages of docs/ show runs as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from xpcnn import cli

ROOT = Path(__file__).parents[1]


def make_photographs(folder: Path) -> None:
    """Do what the page tells to do first, in small."""
    pytest.importorskip("PIL")
    names: dict[str, object] = {"__name__": "make_photographs"}
    exec((ROOT / "examples" / "make_photographs.py").read_text(encoding="utf-8"), names)
    names["make_photographs"](folder / "photos", 30)  # type: ignore[operator]


PAGES: dict[str, Callable[[Path], None]] = {"images.md": make_photographs}
"""The pages, and what must be there before their code runs."""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    assert text.count("```") == 2 * len(found)
    return [block for name, block in found if name == language]


@pytest.mark.parametrize("page", PAGES)
def test_python_runs_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PAGES[page](tmp_path)
    names: dict[str, object] = {"__name__": page}
    for number, text in enumerate(blocks(page, "python"), start=1):
        exec(compile(text, f"{page}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES)
def test_commands_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PAGES[page](tmp_path)
    for line in "\n".join(blocks(page, "bash")).splitlines():
        words = shlex.split(line)
        if words[:1] == ["xpcnn"]:
            assert cli.main([*words[1:], *(["--epochs", "1"] * (words[1] == "train"))]) == 0


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / "docs" / target).exists(), target
    for file in re.findall(r"python (\S+\.py)", text):
        assert (ROOT / file).exists(), file
