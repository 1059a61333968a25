"""Where machine code is kept, when it is made anew, and what is said about it."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import xpcnn

pytest.importorskip("numba", exc_type=ImportError)

from xpcnn.kernels.cpu import compiling, kept

PACKAGE = Path(xpcnn.__file__).parent

INNER = """
from numba import njit

@njit(nogil=True)
def increased(x, i):
    return x[i] + 1
"""
OUTER = """
from numba import njit, prange
from xpcnn.kernels.cpu import compiling
from xpcnn.kernels.cpu.inner import increased

@compiling.keeps
@njit(nogil=True, parallel=True)
def increase(x):
    for i in prange(x.size):
        x[i] = increased(x, i)
"""


@pytest.fixture
def installed(tmp_path):
    """A copy of the package with a kernel of its own, and a home folder for its user."""
    target = tmp_path / "lib" / "xpcnn"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "kernels/cpu/inner.py").write_text(INNER)
    (target / "kernels/cpu/outer.py").write_text(OUTER)
    (tmp_path / "home").mkdir()
    return target


def increase(installed, **environment):
    """Run the kernel in a process of its own; returns the result, stderr and what it loaded."""
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        from xpcnn.kernels.cpu import threads
        from xpcnn.kernels.cpu.outer import increase
        x = np.zeros(3, "float32")
        threads.launch(10, increase, x)
        print(x[0], "numba.cpython.unicode" in sys.modules, sep=",")
        """
    )
    home = installed.parents[1] / "home"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_CACHE", "XPCNN"))}
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", program],
        env=clean
        | {
            "PYTHONPATH": str(installed.parent),
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "LOCALAPPDATA": str(home / ".cache"),
        }
        | environment,
        cwd=installed.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    number, loaded = done.stdout.strip().split(",")
    return float(number), compiled(done.stderr), loaded == "True"


def compiled(stderr):
    """Say how many kernels were compiled, according to the two lines that announce it."""
    lines = [line for line in stderr.splitlines() if line.startswith("xpcnn: compil")]
    lines = [line for line in lines if "this machine, once" not in line or "seconds" in line]
    if not lines:
        return 0
    first, last = lines
    assert first == ("xpcnn: compiling kernels for this machine, once; this takes some seconds ...")
    words = last.split()
    assert words[:2] == ["xpcnn:", "compiled"]
    assert float(words[-2]) > 0
    return int(words[2])


def test_compiled_once_and_again_after_a_change_of_what_is_inlined(installed):
    assert increase(installed) == (1.0, 1, True)
    # Neither is anything compiled now, nor is the compiler loaded.
    assert increase(installed) == (1.0, 0, not compiling._can_load_lightly())
    inner = installed / "kernels/cpu/inner.py"
    inner.write_text(inner.read_text().replace("+ 1", "+ 2"))
    assert increase(installed) == (2.0, 1, True)
    # What does not go into the kernel may change.
    for other in ("update", "threads"):
        path = installed / f"kernels/cpu/{other}.py"
        path.write_text(path.read_text() + "\n")
    assert increase(installed)[1] == 0
    folders = list((installed / "kernels/cpu/__pycache__/xpcnn-kernels").glob("outer-*"))
    assert len(folders) == 2
    assert not list((installed.parents[1] / "home").iterdir())


def test_package_that_cannot_be_written(installed):
    """A file where the folder should be keeps even the system's administrator from writing."""
    (installed / "kernels/cpu/__pycache__").write_text("")
    assert increase(installed)[:2] == (1.0, 1)
    assert increase(installed)[:2] == (1.0, 0)
    home = installed.parents[1] / "home"
    assert list(home.rglob("xpcnn-kernels/outer-*/*.code"))


def test_nothing_can_be_written(installed):
    (installed / "kernels/cpu/__pycache__").write_text("")
    nowhere = installed / "file"
    nowhere.write_text("")
    home = {name: str(nowhere) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA")}
    temporary = installed.parents[1] / "temporary"
    temporary.mkdir()
    assert increase(installed, **home, TMPDIR=str(temporary), XPCNN_QUIET="1")[:2] == (1.0, 0)
    assert not list(temporary.iterdir())


def test_numbas_own_choice_of_a_folder_has_precedence(installed, tmp_path):
    chosen = tmp_path / "chosen"
    assert increase(installed, NUMBA_CACHE_DIR=str(chosen))[1] == 1
    assert increase(installed, NUMBA_CACHE_DIR=str(chosen))[1] == 0
    assert list(chosen.rglob("xpcnn-kernels/outer-*/*.code"))
    assert not list(installed.rglob("xpcnn-kernels"))


def test_version_goes_by_what_a_module_imports(tmp_path, monkeypatch):
    version = compiling.version.__wrapped__
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "compiling.py"))
    files = {
        "a": "from xpcnn.kernels.cpu import (\n    b,\n    threads,\n)",
        "b": "def f():\n    from xpcnn.kernels.cpu.c import x, y",
        "c": "x = y = 1\nfrom xpcnn.kernels.cpu import a",
        "d": "",
        "threads": "",
    }

    def changed(name):
        for stem, text in files.items():
            (tmp_path / f"{stem}.py").write_text(text)
        before = version("a")
        (tmp_path / f"{name}.py").write_text(files[name] + "\n")
        return version("a") != before

    assert [name for name in files if changed(name)] == ["a", "b", "c"]
    before = version("a")
    assert version("a") == before
    monkeypatch.setattr(np, "__version__", "0.0")
    assert version("a") != before


def test_folders_used_last_are_kept(tmp_path, monkeypatch):
    for age in range(7):
        folder = tmp_path / f"conv-{age}"
        folder.mkdir()
        (folder / "code").write_text("")
        os.utime(folder, (1e9 - 86400 * age,) * 2)
    (tmp_path / "pool-1").mkdir()
    new = compiling.folder("conv")
    monkeypatch.setattr(kept, "places", lambda: (tmp_path,))
    kept.write(new, "kernel", b"code")
    assert {path.name for path in tmp_path.iterdir()} == {"conv-0", "conv-1", new, "pool-1"}
