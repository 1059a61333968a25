"""The picture of the ratios, from numbers made by hand."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from ci import speed_picture

SVG = "{http://www.w3.org/2000/svg}"


def entry(name, kind, ratio, onnxruntime=None):
    return {"name": name, "kind": kind, "ratio": ratio, "onnxruntime_ratio": onnxruntime}


@pytest.fixture
def results():
    return {
        "environment": {
            "cpu": "Some <CPU>",
            "date": "2024-06-07T00:00:00+00:00",
            "versions": {"xpcnn": "1.0", "numpy": "2.4", "torch": "2.13", "onnxruntime": None},
        },
        "threads": 2,
        "workloads": [
            entry("a-predict", "predict", 2.0, 0.25),
            entry("simple", "train", 4.0),
            entry("conv", "gradients", 0.5),
            entry("failed", "train", None),
        ],
    }


def drawn(results):
    return ET.fromstring(speed_picture.draw(results))


def bars(picture, kind):
    """Return begin and end of the bars of a kind, from above; the first stands in the legend."""
    found = [rect for rect in picture.iter(f"{SVG}rect") if rect.get("class") == kind]
    found.sort(key=lambda rect: float(rect.get("y")))
    return [
        (float(rect.get("x")), float(rect.get("x")) + float(rect.get("width"))) for rect in found
    ][1:]


def words(picture, kind):
    return [each.text for each in picture.iter(f"{SVG}text") if kind in each.get("class").split()]


def test_bars_go_from_one_to_the_ratio_by_factors_of_two(results):
    picture = drawn(results)
    # from 1/4 to 4: the ticks stand 125 apart between 200 and 700
    at = {0.25: 200, 0.5: 325, 1: 450, 2: 575, 4: 700}
    assert bars(picture, "pytorch") == [(at[1], at[4]), (at[0.5], at[1]), (at[1], at[2])]
    assert bars(picture, "runtime") == [(at[0.25], at[1])]
    assert words(picture, "tick") == ["1/4", "1/2", "1", "2", "4"]
    assert words(picture, "value") == ["4.00", "0.50", "2.00", "0.25"]
    (one,) = [each for each in picture.iter(f"{SVG}path") if each.get("class") == "one"]
    assert one.get("d").startswith("M450.0 ")


def test_workloads_stand_in_groups_and_what_failed_is_left_out(results):
    picture = drawn(results)
    assert words(picture, "group") == ["Training, one step", "One layer", "Prediction"]
    assert words(picture, "name") == ["simple", "conv", "a-predict"]
    results["workloads"] = results["workloads"][1:2]
    picture = drawn(results)
    assert words(picture, "group") == ["Training, one step"]
    assert "than onnxruntime" not in words(picture, "note")


def test_nothing_stands_on_anything_else(results):
    results["workloads"] += [entry(f"more-{n}", "predict", 3.0, 1.5) for n in range(9)]
    picture = drawn(results)
    height = float(picture.get("height"))
    rects = [r for r in picture.iter(f"{SVG}rect") if r.get("class") != "page" and r.get("height")]
    edges = sorted((float(r.get("y")), float(r.get("y")) + float(r.get("height"))) for r in rects)
    in_chart = [edge for edge in edges if edge[0] >= speed_picture.TOP]
    assert all(upper[1] <= lower[0] for upper, lower in pairwise(in_chart))
    headings = [
        float(each.get("y"))
        for each in picture.iter(f"{SVG}text")
        if "group" in each.get("class").split()
    ]
    assert not any(top - 4 < y < end + 12 for y in headings for top, end in in_chart)
    assert in_chart[-1][1] < height - 20


def test_where_it_was_measured_is_in_it(results):
    notes = words(drawn(results), "note")
    assert "Some <CPU>, 2 threads, 2024-06-07; xpcnn 1.0, torch 2.13" in notes


def test_it_has_colours_for_light_and_dark(results):
    picture = speed_picture.draw(results)
    light, dark = picture.split("@media (prefers-color-scheme: dark)")
    for name in ("page", "grid", "one", "pytorch", "runtime", "title", "name", "note"):
        assert re.search(rf"\.{name}\b[^{{}}]*{{ (fill|stroke):", light), name
        assert re.search(rf"\.{name}\b[^{{}}]*{{ (fill|stroke):", dark), name


def test_results_without_ratios_are_refused(results):
    results["workloads"] = results["workloads"][-1:]
    with pytest.raises(ValueError, match="no ratios"):
        speed_picture.draw(results)


def test_the_script_reads_and_writes_files(results, tmp_path):
    (tmp_path / "in.json").write_text(json.dumps(results))
    speed_picture.main([str(tmp_path / "in.json"), str(tmp_path / "out.svg")])
    assert (tmp_path / "out.svg").read_text() == speed_picture.draw(results)


def test_the_picture_is_that_of_the_figures():
    figures = json.loads(speed_picture.RESULTS.read_text(encoding="utf-8"))
    assert speed_picture.PICTURE.read_text(encoding="utf-8") == speed_picture.draw(figures), (
        "draw it again: python ci/speed_picture.py"
    )
