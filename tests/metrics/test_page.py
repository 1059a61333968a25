"""What docs/metrics.md shows runs as it stands, and lists what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import xpcnn
from xpcnn import metrics

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


def test_blocks_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGE.count("```") == 2 * len(BLOCKS) >= 8
    names: dict[str, Any] = {"__name__": "page"}
    for number, text in enumerate(BLOCKS, start=1):
        exec(compile(text, f"docs/metrics.md, block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "'val_pr_auc'" in printed
    assert "weighted avg" in printed
    assert names["history"].history["val_auc"][-1] > 0.6


def test_every_metric_and_loss_of_the_page_exists() -> None:
    listed = set(re.findall(r"`(\w+)[(`]", PAGE))
    for name in metrics.__all__:
        item = getattr(metrics, name)
        if callable(item) and name not in ("get", "from_config", "to_config"):
            of_base = name in ("Metric", "OutputMetric", "FunctionMetric", "ConfusionMatrix")
            assert name in listed or of_base, name
    for name in ("DiceLoss", "JaccardLoss", "TverskyLoss", "FocalLoss", "CTCLoss"):
        assert f"`{name}" in PAGE
        assert hasattr(xpcnn, name)
