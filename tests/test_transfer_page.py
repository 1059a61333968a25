"""What docs/transfer.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "transfer.md").read_text(encoding="utf-8")


def test_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    assert PAGE.count("```") == 2 * len(blocks)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "transfer"}
    for number, text in enumerate(blocks, start=1):
        exec(compile(text, f"docs/transfer.md, block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "['classifier.1.weight', 'classifier.1.bias']" in printed
    assert len(names["history"].epoch) == 1  # type: ignore[attr-defined]
