"""What docs/augmentation.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import xpcnn
from xpcnn.layers.preprocessing import Preprocessing

PAGE = (Path(__file__).parents[3] / "docs" / "augmentation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


def test_blocks_run_in_order_and_print_what_they_say(capsys):
    assert PAGE.count("```") == 2 * len(BLOCKS)
    names: dict[str, object] = {"__name__": "page"}
    for number, text in enumerate(BLOCKS, start=1):
        exec(compile(text, f"augmentation.md, block {number}", "exec"), names)
    promised = re.findall(r"print\(.*\)  # (.*)", PAGE)
    assert len(promised) >= 3
    assert capsys.readouterr().out.splitlines() == promised


def test_every_layer_is_named():
    for name in xpcnn.layers.__all__:
        if issubclass(getattr(xpcnn.layers, name), Preprocessing):
            assert f"`{name}(" in PAGE, name
