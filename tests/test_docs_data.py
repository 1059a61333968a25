"""What docs/data.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)


def test_blocks_run_in_order(tmp_path, monkeypatch):
    """One after the other in one namespace, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    assert PAGE.count("```") == 2 * len(BLOCKS)
    names: dict[str, object] = {"__name__": "page"}
    for number, (language, text) in enumerate(BLOCKS, start=1):
        assert language == "python"
        exec(compile(text, f"docs/data.md, block {number}", "exec"), names)
    assert names["history"].history["accuracy"][-1] > 0.1  # type: ignore[attr-defined]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (Path(__file__).parents[1] / "docs" / target).exists(), target
