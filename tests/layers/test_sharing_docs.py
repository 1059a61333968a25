"""What docs/shared-layers.md shows runs as it stands, and learns something."""

from __future__ import annotations

from tests.pages import Page


def test_the_triplets(capsys):
    Page("docs/shared-layers.md").run()
    assert float(capsys.readouterr().out) > 0.85
