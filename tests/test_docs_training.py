"""What docs/training.md shows runs as it stands."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


def test_blocks_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    assert PAGE.count("```") == 2 * len(BLOCKS)
    for number, text in enumerate(BLOCKS, start=1):
        exec(compile(text, f"docs/training.md, block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "suggested lr: " in printed
    assert "\n10\n" in printed
    column = names["history"].history["val_loss"]
    assert [math.isnan(value) for value in column] == [True, False, True, False]
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["epoch"] == 9
    assert "epoch 9" in printed


def test_callbacks_are_listed() -> None:
    from xpcnn import callbacks

    for name, item in vars(callbacks).items():
        if isinstance(item, type) and name != "Callback":
            assert f"`{name}`" in PAGE
