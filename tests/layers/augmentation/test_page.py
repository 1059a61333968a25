"""What docs/augmentation.md shows runs as it stands, and lists what there is."""

from __future__ import annotations

import xpcnn
from tests.pages import Page
from xpcnn.layers.preprocessing import Preprocessing

PAGE = Page("docs/augmentation.md")


def test_blocks_run_in_order_and_print_what_they_say(capsys):
    PAGE.run()
    assert len(PAGE.promised()) >= 3
    assert capsys.readouterr().out.splitlines() == PAGE.promised()


def test_every_layer_is_named():
    for name in xpcnn.layers.__all__:
        if issubclass(getattr(xpcnn.layers, name), Preprocessing):
            assert f"`{name}(" in PAGE.text, name
