"""What docs/sklearn.md shows runs as it stands."""

from __future__ import annotations

import pytest

from tests.pages import Page

pytest.importorskip("sklearn", minversion="1.6")
pytest.importorskip("pandas")


def test_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Page("docs/sklearn.md").run()
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[0]) > 0.96
    assert printed[-1] == "True"
