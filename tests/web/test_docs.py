"""What docs/web.md shows, run as it stands, with a program in the place of npm."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import xpcnn
from tests.pages import Page
from xpcnn import networks
from xpcnn.cli import main
from xpcnn.web import runtime
from xpcnn.web.page import FILES


@pytest.fixture(autouse=True)
def npm(tmp_path, monkeypatch):
    """Fetch nothing."""
    monkeypatch.chdir(tmp_path)
    content = dict.fromkeys(runtime.RUNTIME, b"\x00asm")
    given = runtime.runtime_files
    monkeypatch.setattr(
        "xpcnn.web.page.runtime_files",
        lambda source: content if source is None else given(source),
    )


def test_python(tmp_path):
    names = Page("docs/web.md").run()
    assert names["files"] == tuple(Path("even-or-odd") / name for name in FILES)
    assert '"even", "odd"' in (tmp_path / "even-or-odd" / "index.html").read_text(encoding="utf-8")
    assert names["model"].network.is_built


def test_commands(tmp_path):
    model = xpcnn.Model(networks.simple(), device="cpu", seed=0)
    model.build((None, 1, 28, 28))
    model.save("simple-digits.safetensors")
    ran = []
    for line in Page("docs/web.md").commands():
        program, command, *words = shlex.split(line)
        if (program, command) == ("xpcnn", "export"):
            assert main([command, *words]) == 0
            ran.append(line)
    assert len(ran) == 5
    for folder in ("page", "second", "docs/digits"):
        assert all((tmp_path / folder / name).is_file() for name in FILES)
    assert (tmp_path / "model.onnx").is_file()
