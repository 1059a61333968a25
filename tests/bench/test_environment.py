"""What is told of the machine."""

from __future__ import annotations

import platform

import pytest

from xpcnn.bench import environment

TWO_CORES = """\
processor\t: 0
model name\t: Some CPU @ 2.50GHz
flags\t\t: fpu sse2 avx2{more}

processor\t: 1
model name\t: Another CPU
flags\t\t: fpu
"""


@pytest.fixture
def proc(monkeypatch, tmp_path):
    """Return a file that stands for what Linux tells of the processor."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(environment, "Path", lambda _: file)
    return file


@pytest.mark.parametrize(("more", "there"), [("", False), (" avx512f avx512bw", True)])
def test_the_first_core_is_told_of(proc, more, there):
    proc.write_text(TWO_CORES.format(more=more))
    assert environment.cpu_name() == "Some CPU @ 2.50GHz"
    assert environment.has_avx512() is there


def test_what_the_system_does_not_tell_is_not_known(proc):
    assert environment.cpu_info() == {}
    assert environment.has_avx512() is None
    assert environment.cpu_name() == (platform.processor() or platform.machine())


def test_a_processor_without_flags_is_not_judged(proc):
    proc.write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    assert environment.has_avx512() is None
