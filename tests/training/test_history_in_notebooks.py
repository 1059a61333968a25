"""A history as a notebook shows it."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import xpcnn

NAN = math.nan


def recorded(**columns):
    history = xpcnn.History()
    for number, row in enumerate(zip(*columns.values(), strict=True), start=1):
        history.append(number, dict(zip(columns, row, strict=True)))
    return history


def parsed(history):
    """The HTML, which is well-formed XML too."""
    return ElementTree.fromstring(history._repr_html_())


def rows(tree):
    return [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]


def test_the_table_has_the_last_epochs():
    columns = {"loss": [1 / n for n in range(1, 15)], "val_loss": [NAN, 0.5] * 7}
    tree = parsed(recorded(**columns))
    head, *body = rows(tree)
    assert head == ["epoch", "loss", "val_loss"]
    assert body[0] == ["5", "0.2", "–"]
    assert body[-1] == ["14", "0.07143", "0.5"]
    assert len(body) == 10
    assert "".join(tree.find(".//caption").itertext()) == "the last 10 of 14 epochs"
    assert rows(parsed(recorded(loss=[NAN, math.inf, -math.inf])))[1:] == [
        ["1", "NaN"], ["2", "∞"], ["3", "-∞"],
    ]  # fmt: skip


SVG = "{http://www.w3.org/2000/svg}"


def curves(tree, chart=0):
    svg = list(tree.iter(f"{SVG}svg"))[chart]
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in svg.iter(f"{SVG}polyline")
    ]


def test_curves_go_through_the_numbers():
    tree = parsed(recorded(loss=[4.0, 2.0, 0.0], val_loss=[2.0, NAN, 1.0], lr=[1, 1, 1]))
    training, validation = curves(tree)
    (x0, y0), (x1, y1), (x2, y2) = training
    assert abs(x1 - (x0 + x2) / 2) < 0.11  # evenly, to the rounding of the file
    assert abs(y1 - (y0 + y2) / 2) < 0.11
    assert y0 < y2  # more is higher up
    assert [x for x, _ in validation] == [x0, x2]  # what was not validated is passed over
    assert abs(validation[0][1] - y1) < 0.11
    assert len(list(tree.iter(f"{SVG}svg"))) == 1  # none of the learning rate


def test_a_number_that_is_not_finite_leaves_a_gap():
    first, second = curves(parsed(recorded(loss=[1.0, 2.0, NAN, 1.0])))
    assert (len(first), len(second)) == (2, 1)
    assert curves(parsed(recorded(loss=[NAN, NAN]))) == []


def test_every_number_stays_inside_of_the_picture():
    for column in ([0.5], [0.0, 0.0], [1e-30, 1e30], [-3.0, -3.0], [1e300, -1e300]):
        for x, y in curves(parsed(recorded(loss=column)))[0]:
            assert 0 <= x <= 300
            assert 0 <= y <= 180


def test_names_are_text_and_nothing_is_fetched():
    history = recorded(**{"loss": [1.0], "<script>a&b": [2.0]})
    html = history._repr_html_()
    assert "<script" not in html
    assert rows(parsed(history))[0] == ["epoch", "loss", "<script>a&b"]
    assert set(re.findall(r"https?://[^\"]+", html)) == {"http://www.w3.org/2000/svg"}
    assert " id=" not in html


def test_no_epoch_yet():
    assert xpcnn.History()._repr_html_() == "<p>History: no epoch yet</p>"


def test_characters_that_xml_does_not_allow():
    history = xpcnn.History()
    history.append(1, {"a\x07\ud800<": 0.5})
    text = history._repr_html_()
    text.encode()
    ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
