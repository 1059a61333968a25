"""Building the libraries: how it is started, what stands in the way, what is left behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from xpcnn.kernels.native import build, choice, sources, targets
from xpcnn.kernels.native.targets import Target

TARGET = Target("some", "some", "", "", 8, 6, 0, ())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def command(monkeypatch):
    """What runs in the place of a build, and how it was started."""
    seen = SimpleNamespace()

    def run(given, **options):
        seen.given, seen.options = given, options
        out = options["stdout"]
        if out is not None and not isinstance(out, int):
            out.fileno()
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(choice.subprocess, "run", run)
    return seen


@pytest.mark.parametrize("stream", [io.StringIO(), None, SimpleNamespace(write=print)])
def test_a_build_where_messages_go_to_no_file(monkeypatch, command, stream):
    """As in notebooks, and in IDLE."""
    monkeypatch.setenv("XPCNN_QUIET", "0")
    monkeypatch.setattr(sys, "stderr", stream)
    assert choice._build("") == []
    assert command.given[-2:] == ["--isa", "best"]


def test_a_build_that_cannot_be_started_is_a_reason(monkeypatch):
    """As within a program that has no Python of its own."""
    monkeypatch.setattr(sys, "executable", "")
    (why,) = choice._build("")
    assert why.startswith("a build cannot be started: ")


def test_a_build_finds_what_this_process_finds(monkeypatch, command):
    """Numba may be in a folder that only PYTHONPATH names."""
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    choice._build("")
    root, *others = command.options["env"]["PYTHONPATH"].split(os.pathsep)
    assert (choice._ROOT / "xpcnn").samefile(f"{root}/xpcnn")
    assert others == ["elsewhere"]


def test_what_changes_during_a_build_does_not_count_as_built(folder, monkeypatch):
    """The note names the sources as they were when compiling began."""
    now = ["before"]
    monkeypatch.setattr(sources, "digest", lambda: now[0])
    path = targets.library(TARGET)

    def link(target, work, system):
        now[0] = "after"
        path.write_text("machine code")

    monkeypatch.setattr(build, "_start", lambda command: None)
    monkeypatch.setattr(build, "_finish", lambda process: None)
    monkeypatch.setattr(build, "_end", lambda process: None)
    monkeypatch.setattr(build, "_link", link)
    build.build([TARGET])
    assert not sources.fits(path)
    now[0] = "before"
    assert sources.fits(path)


def test_a_build_that_fails_ends_the_others(folder, monkeypatch):
    started = []

    def start(command):
        code = "raise SystemExit('no')" if not started else "import time; time.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    monkeypatch.setattr(build, "_start", start)
    with pytest.raises(RuntimeError, match="no"):
        build.build([TARGET, TARGET._replace(name="other")])
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_what_a_killed_build_left_goes_with_the_next(folder):
    left = folder / "xpcnn-some.so.123.part"
    left.write_text("half of it")
    with build._alone():
        pass
    assert left.exists() == (build.fcntl is None)


ONE = """
import sys
from xpcnn.kernels.native import choice, targets
target = targets.TARGETS[sys.argv[1]]
choice.compile_for(target)
from xpcnn.kernels.native import compiler
compiler.prepare()
from xpcnn.kernels.cpu import leaky_relu
job = leaky_relu._leak
code = compiler.object_code(job.function, job.hints, "xpcnn_one", target, sys.argv[2])
sys.stdout.buffer.write(code)
"""
"""Writes the object file of one kernel for a target and a system."""


@pytest.mark.parametrize(
    ("isa", "system", "begins"),
    [
        ("x86-64-v3", "linux", b"\x7fELF"),
        ("x86-64-v3", "win32", b"\x64\x86"),
        ("aarch64", "win32", b"\x64\xaa"),
        ("x86-64-v3", "darwin", b"\xcf\xfa\xed\xfe\x07\x00\x00\x01"),
        ("aarch64", "darwin", b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01"),
    ],
)
def test_object_files_are_those_of_the_system(isa, system, begins):
    """Each system has a format of its own, and Windows a list of the functions that are seen."""
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-c", ONE, isa, system],
        env=os.environ | {choice.VARIABLE: "none"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(begins)
    assert (b"export:xpcnn_one" in done.stdout) == (system == "win32")
