"""What docs/metrics.md shows runs as it stands, and lists what there is."""

from __future__ import annotations

import re

import xpcnn
from tests.pages import Page
from xpcnn import metrics

PAGE = Page("docs/metrics.md")


def test_blocks_run_in_order(capsys):
    names = PAGE.run()
    printed = capsys.readouterr().out
    assert "'val_pr_auc'" in printed
    assert "weighted avg" in printed
    assert names["history"].history["val_auc"][-1] > 0.6


def test_every_metric_and_loss_of_the_page_exists():
    listed = set(re.findall(r"`(\w+)[(`]", PAGE.text))
    for name in metrics.__all__:
        item = getattr(metrics, name)
        if callable(item) and name not in ("get", "from_config", "to_config"):
            of_base = name in ("Metric", "OutputMetric", "FunctionMetric", "ConfusionMatrix")
            assert name in listed or of_base, name
    for name in ("DiceLoss", "JaccardLoss", "TverskyLoss", "FocalLoss", "CTCLoss"):
        assert f"`{name}" in PAGE.text
        assert hasattr(xpcnn, name)
