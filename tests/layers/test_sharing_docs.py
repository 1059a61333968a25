"""What docs/shared-layers.md shows runs as it stands, and learns something."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "shared-layers.md").read_text(encoding="utf-8")


def test_the_triplets(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(blocks) == 1
    exec(compile(blocks[0], "docs/shared-layers.md", "exec"), {"__name__": "page"})
    assert float(capsys.readouterr().out) > 0.85
