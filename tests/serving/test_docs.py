"""What docs/serving.md shows runs as it stands."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.pages import Page
from xpcnn import cli

PAGE = Page("docs/serving.md")


def test_python_blocks_run(capsys):
    for package in ("httpx", "starlette", "uvicorn", "prometheus_client", "python_multipart"):
        pytest.importorskip(package)
    PAGE.run()
    assert re.match(r"{'predictions': \[{'name': '(cat|dog)', ", capsys.readouterr().out)


def test_commands_are_understood():
    ours = [shlex.split(line) for line in PAGE.commands() if line.startswith("xpcnn ")]
    assert ours
    for words in ours:
        cli._parser().parse_args(words[1:])


def test_limits_are_those_of_the_command(capsys):
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["serve", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for option, default in re.findall(r"^\| `(--[a-z-]+) (\w+)` \|", PAGE.text, re.M):
        assert re.search(rf"{option} \w+ [^-]*\(default {default}\)", said), option
