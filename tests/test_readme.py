"""What the README shows runs as it stands."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import tomllib

import pytest

import xpcnn
from tests.pages import PAGES, ROOT, Page
from xpcnn import cli

README = Page("README.md")


def test_python_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = README.run()
    printed = capsys.readouterr().out
    assert "dx[1] = 10·5 + 20·3 = 110" in printed
    (promise,) = README.promised()
    assert promise.strip(". ") in printed
    assert names["report"].mistakes == ["mask_of_wrong_sign"]
    assert (tmp_path / "digits.safetensors").exists()
    accuracies = names["history"].history["val_accuracy"]
    assert len(accuracies) == 2
    assert accuracies[-1] > 0.85


def commands_of(path: str) -> list[str]:
    parts = [part.strip() for line in Page(path).commands() for part in line.split("&&")]
    return [part for part in parts if part.startswith("xpcnn ")]


@pytest.mark.parametrize("command", sorted({each for path in PAGES for each in commands_of(path)}))
def test_commands_are_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()  # which an earlier command makes
    words = shlex.split(command, comments=True)
    cli._parser().parse_args(words[1:])


def test_set_up_commands():
    """The two commands of the beginning do all the set-up, and name what exists."""
    main_job, tests = README.commands()[:2]
    for command in (main_job, tests):
        assert command.startswith("python3 -m venv .venv && . .venv/bin/activate && pip install")
    assert main_job.endswith("&& xpcnn train")
    assert tests.endswith("&& bash ci/test.sh")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "bash ci/test.sh" in ci
    assert 'pip install --quiet -e ".[test,docs]"' in ci
    assert "pytest -n auto" in (ROOT / "ci" / "test.sh").read_text(encoding="utf-8")


def test_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = "".join(Page(path).text for path in PAGES)
    named = re.findall(r"(?:xpcnn|\.)\[([\w,]+)\]", text)
    for extra in {each for group in named for each in group.split(",")}:
        assert extra in project["optional-dependencies"]


def test_picture_is_drawn_from_the_results(tmp_path):
    """With a network that was trained for a moment; the script trains as the first command does."""
    plt = pytest.importorskip("matplotlib.pyplot")
    script = runpy.run_path(str(ROOT / "ci" / "readme_picture.py"))
    results = json.loads((ROOT / "benchmarks" / "results" / "compare.json").read_text())
    (x, y), _ = xpcnn.data.load_digits_subset()
    model = xpcnn.Model(xpcnn.networks.simple(), device="cpu", seed=0)
    model.compile("adam", "cross_entropy", ["accuracy"])
    model.fit(x[:200], y[:200], epochs=2, verbose=0)
    script["PICTURES"]["dark"] = tmp_path / "dark.png"
    script["draw"](model, results, "dark")
    assert plt.imread(tmp_path / "dark.png").shape == (928, 1440, 4)
    _, ax = plt.subplots()
    script["draw_speeds"](ax, results, script["THEMES"]["light"])
    shown = {text.get_text() for text in ax.texts}
    ratios = {each["name"]: each["runs"] for each in results["workloads"]}
    fastest = min(value["ms"] for key, value in ratios["simple"].items() if "torch" in key)
    assert f"{fastest / ratios['simple']['xpcnn']['ms']:.1f} ×" in shown  # from the times


def test_both_pictures_are_there():
    for path in re.findall(r'(?:src|srcset)="([^"]+)"', README.text):
        assert (ROOT / path).stat().st_size < 200_000
