"""The threads of compiled kernels, under sanitizers: races, freed memory, forks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xpcnn.kernels.native import sources

STRESS = Path(__file__).with_name("pool_stress.c")
EMPTY = "int main(void) { return 0; }\n"


def compiled(source, path, sanitizer, *flags):
    """Compile a program, and return its path; ``None`` if that fails."""
    command = ["gcc", "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    done = subprocess.run(
        [*command, *flags, "-o", path, source, "-lpthread"], capture_output=True, text=True
    )
    assert done.returncode == 0 or not flags, done.stderr
    return path if done.returncode == 0 else None


@pytest.mark.skipif(sys.platform != "linux", reason="the sanitizers are tried on Linux")
@pytest.mark.parametrize("sanitizer", ["thread", "address", "undefined"])
def test_every_job_is_done_once_from_several_threads_and_after_forks(tmp_path, sanitizer):
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    empty = tmp_path / "empty.c"
    empty.write_text(EMPTY)
    works = compiled(empty, tmp_path / "empty", sanitizer)
    if works is None or subprocess.run([works], capture_output=True).returncode != 0:
        pytest.skip(f"-fsanitize={sanitizer} does not work here")
    flags = ["-Wall", "-Wextra", "-Werror", f'-DRUNTIME="{sources.RUNTIME}"']
    if sanitizer != "undefined":
        flags.append("-DNO_FORK")
    program = compiled(STRESS, tmp_path / "stress", sanitizer, *flags)
    done = subprocess.run([program, "4", "300", "10"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
