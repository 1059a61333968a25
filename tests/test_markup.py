"""Text in HTML and SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import xpcnn
from xpcnn._markup import escape, variables


def test_text_is_safe_in_elements_and_attributes():
    text = "a < b & 'c' \"d\"\x00\x1b\ud800\x7f\n\te"
    parsed = ElementTree.fromstring(f"<p>{escape(text)}</p>").text
    assert parsed == "a < b & 'c' \"d\"" + "\N{REPLACEMENT CHARACTER}" * 4 + "\n\te"
    assert ElementTree.fromstring(f'<p a="{escape(text[:15])}"/>').get("a") == text[:15]


def test_lines_of_an_explanation_stay_lines_in_html():
    shown = xpcnn.explain(xpcnn.Linear(2, 1), [[1, 2]])._repr_html_()
    assert "dweight[0, 0] = 1·1 = 1\ndweight[0, 1] = 2·1 = 2</pre>" in shown


def test_a_page_that_says_its_theme_goes_before_the_system():
    rules = variables("box", {"ink": "#000"}, {"ink": "#fff"}).splitlines()
    assert rules[0] == ".box{--xp-ink:#000}"
    assert rules[1] == "@media (prefers-color-scheme:dark){.box{--xp-ink:#fff}}"
    assert 'html[data-theme="light"] .box' in rules[2]
    assert rules[2].endswith("{--xp-ink:#000}")
    assert 'html[data-theme="dark"] .box' in rules[3]
    assert rules[3].endswith("{--xp-ink:#fff}")
