"""What the README shows runs as it stands."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from xpcnn import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def test_every_block_is_of_a_kind_that_is_tested():
    assert README.count("```") == 2 * len(BLOCKS)
    assert {language for language, _ in BLOCKS} == {"python", "bash"}


def test_python_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    """One after the other in one namespace, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "readme"}
    ran = 0
    for number, text in enumerate(blocks("python"), start=1):
        if "import torch" in text and importlib.util.find_spec("torch") is None:
            continue
        exec(compile(text, f"README.md, Python block {number}", "exec"), names)
        ran += 1
    assert ran >= 5
    printed = capsys.readouterr().out
    # What the comments beside the prints promise.
    for promise in ("[[[35. 50.]]]", "[[[ 30. 110. 170. 140.]]]", "[35. 50.]"):
        assert promise in printed
    accuracies = names["history"].history["val_accuracy"]  # type: ignore[attr-defined]
    assert len(accuracies) == 2
    assert accuracies[-1] > 0.85


def commands() -> list[str]:
    return [line for text in blocks("bash") for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "command",
    [part.strip() for line in commands() for part in line.split("&&") if "xpcnn " in part],
)
def test_commands_are_understood(command):
    words = shlex.split(command)
    assert words[0] == "xpcnn"
    cli._parser().parse_args(words[1:])


def test_set_up_commands():
    """The two commands of the beginning do all the set-up, and name what exists."""
    main_job, tests = commands()[:2]
    for command in (main_job, tests):
        assert command.startswith("python3 -m venv .venv && . .venv/bin/activate && pip install")
    assert main_job.endswith("&& xpcnn train")
    assert tests.endswith("&& bash ci/test.sh")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "bash ci/test.sh" in ci
    assert 'pip install --quiet -e ".[test]"' in ci
    assert "pytest -n auto" in (ROOT / "ci" / "test.sh").read_text(encoding="utf-8")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_extras_exist():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"(?:xpcnn|\.)\[([\w,]+)\]", README)
    for extra in {each for group in named for each in group.split(",")}:
        assert extra in project["optional-dependencies"]
