"""What docs/serving.md shows runs as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from xpcnn import cli

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)


def test_python_blocks_run(capsys):
    for package in ("httpx", "starlette", "uvicorn", "prometheus_client", "python_multipart"):
        pytest.importorskip(package)
    blocks = [text for language, text in BLOCKS if language == "python"]
    assert blocks
    for text in blocks:
        exec(compile(text, "docs/serving.md", "exec"), {"__name__": "page"})
    assert re.match(r"{'predictions': \[{'name': '(cat|dog)', ", capsys.readouterr().out)


def test_commands_are_understood():
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    ours = [shlex.split(line) for line in lines if line.startswith("xpcnn ")]
    assert ours
    for words in ours:
        cli._parser().parse_args(words[1:])


def test_limits_are_those_of_the_command(capsys):
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["serve", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for option, default in re.findall(r"^\| `(--[a-z-]+) (\w+)` \|", PAGE, re.M):
        assert re.search(rf"{option} \w+ [^-]*\(default {default}\)", said), option
