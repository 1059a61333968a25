"""Which machine code runs, and what happens where there is none, or one that does not fit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from xpcnn.kernels.cpu import jobs, pairs
from xpcnn.kernels.native import choice, sources, targets

PACKAGE = Path(xpcnn.__file__).parent
MADE = [t for t in targets.of_this_machine() if sources.fits(targets.library(t))]
OWN = [j for j in jobs.ALL.values() if j.function.__module__.startswith("xpcnn.")]
NUMBA_FAILS = "Numba needs NumPy 2.3 or less. Got NumPy 2.9."

TRAIN = """
import hashlib, warnings
import numpy as np
import xpcnn
from xpcnn.kernels.native import choice

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    layers = [
        xpcnn.Conv2d(1, 24, 3, padding=1), xpcnn.BatchNorm2d(24), xpcnn.ReLU(),
        xpcnn.Conv2d(24, 40, 3, padding=1), xpcnn.GELU(), xpcnn.MaxPool2d(2),
        xpcnn.Conv2d(40, 40, 3, groups=40), xpcnn.Tanh(), xpcnn.PReLU(40), xpcnn.Softplus(),
        xpcnn.GLU(), xpcnn.Softmax2d(), xpcnn.Flatten(), xpcnn.LayerNorm(1280),
        xpcnn.Linear(None, 30), xpcnn.LogSoftmax(), xpcnn.Linear(None, 10),
    ]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 1, 20, 20), dtype="float32"), rng.integers(0, 10, 12)
    model.fit(x, y, batch_size=6, epochs=2, optimizer="adam", loss="cross_entropy", verbose=0)
digest = hashlib.sha256()
for array in (*model.state_dict().values(), model.predict(x)):
    digest.update(np.ascontiguousarray(array).tobytes())
found = choice.chosen()
print(found.target.name if found.target else None, found.library is not None, digest.hexdigest())
print(found.why)
print(*(w.message for w in caught), sep="\\n")
"""


def train(package=PACKAGE, broken_numba=None, **environment):
    """Train a little in a process of its own; returns the target, digest, why and warnings."""
    path = [str(package.parent), *sys.path]
    if broken_numba is not None:
        (broken_numba / "numba.py").write_text(f"raise ImportError({NUMBA_FAILS!r})")
        path.insert(0, str(broken_numba))
    clean = {name: value for name, value in os.environ.items() if name != choice.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], capture_output=True, text=True, timeout=300,
        env=clean | {"PYTHONPATH": os.pathsep.join(path)} | environment, cwd=package.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, why, *warned = done.stdout.splitlines()
    target, is_library, digest = first.split()
    return target, is_library == "True", digest, why, "\n".join(warned).strip()


@pytest.fixture
def installed(tmp_path):
    """A copy of the package, with its libraries, that is no checkout."""
    target = tmp_path / "lib" / "xpcnn"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def library_of(package):
    """Return the best library that was built here, in a copy of the package."""
    if not MADE:
        pytest.skip("no library was built")
    return package / targets.library(MADE[0]).relative_to(PACKAGE)


def test_all_kernels_are_in_each_library():
    needs_compiled_kernels()
    assert pairs.PAIRS
    assert len(OWN) > 60
    for target in MADE:
        library = choice.Library(targets.library(target), target)
        for job in OWN:
            assert library.address(job) > 0


def test_the_same_bits_from_every_library_and_from_numba():
    """Each result is the same sum of the same terms, whatever the width of a register."""
    pytest.importorskip("numba", exc_type=ImportError)
    needs_compiled_kernels()
    runnable = [t for t in MADE if choice.Library(targets.library(t), t).runs_here()]
    found = {name: train(XPCNN_ISA=name) for name in [*(t.name for t in runnable), "numba"]}
    for name, (target, is_library, _, _, warned) in found.items():
        assert target == ("host" if name == "numba" else name)
        assert is_library == (name != "numba")
        assert warned == ""
    assert len({digest for _, _, digest, _, _ in found.values()}) == 1


def test_none():
    assert train(XPCNN_ISA="none")[0] == "None"
    assert train(XPCNN_ISA="none")[3:] == ("XPCNN_ISA=none", "")


@pytest.mark.parametrize("name", ["avx1024", "aarch64" if MADE else "x86-64-v3"])
def test_what_is_not_to_be_had_is_said_once(name):
    target, _, _, why, warned = train(XPCNN_ISA=name)
    assert target == "None"
    assert f"XPCNN_ISA={name}" in why
    assert warned == f"there are no compiled kernels: {why}"


def test_changed_sources_without_numba(installed, tmp_path):
    """What was compiled of other sources does not run; the command that helps is named."""
    needs_compiled_kernels()
    path = installed / "kernels/cpu/pool.py"
    path.write_text(path.read_text() + "\n")
    target, _, _, why, warned = train(installed, broken_numba=tmp_path)
    assert target == "None"
    assert "older than the sources of its kernels; run python -m xpcnn.kernels.cpu.build" in why
    assert warned == f"there are no compiled kernels: {why}"


def test_changed_sources_with_numba(installed):
    needs_compiled_kernels()
    pytest.importorskip("numba", exc_type=ImportError)
    path = installed / "kernels/cpu/pool.py"
    path.write_text(path.read_text() + "\n")
    target, is_library, digest, why, _ = train(installed)
    assert (target, is_library) == ("host", False)
    assert why.startswith("compiled by Numba in each process: ")
    assert digest == train()[2]


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "a folder", "no note"])
def test_damaged_libraries_are_not_loaded(installed, tmp_path, damage):
    path = library_of(installed)
    content = path.read_bytes()
    for each in path.parent.glob("*.so"):
        if damage == "cut":
            each.write_bytes(content[: len(content) // 2])
        elif damage == "zeros":
            each.write_bytes(content[:5000] + bytes(2000) + content[7000:])
        elif damage == "empty":
            each.write_bytes(b"")
        elif damage == "a folder":
            each.unlink()
            each.mkdir()
        else:
            each.with_name(f"{each.name}.json").unlink(missing_ok=True)
    target, _, _, why, _ = train(installed, broken_numba=tmp_path)
    assert target == "None"
    assert choice.BUILD in why


def test_no_library_and_a_numba_that_cannot_be_imported(installed, tmp_path):
    """As one that is older than NumPy; training goes on, and it is said once."""
    shutil.rmtree(installed / "kernels/native/lib")
    target, _, _, why, warned = train(installed, broken_numba=tmp_path)
    assert target == "None"
    assert why.startswith(f"Numba cannot be imported ({NUMBA_FAILS})")
    assert warned == f"there are no compiled kernels: {why}"


def test_a_build_that_fails_leaves_the_old_library(installed):
    """A compiler that cannot link."""
    pytest.importorskip("numba", exc_type=ImportError)
    path = library_of(installed)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    runtime = installed / "kernels/native/runtime.c"
    runtime.write_text(runtime.read_text() + "\n#error no\n")
    done = subprocess.run(
        [sys.executable, "-m", "xpcnn.kernels.cpu.build", "--isa", MADE[0].name],
        env=os.environ | {"PYTHONPATH": str(installed.parent)}, cwd=installed.parent,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("cannot build the kernels: ")
    assert "#error no" in done.stderr
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert not list(path.parent.glob("*.part"))


def test_an_empty_launch_and_more_threads_than_jobs():
    needs_compiled_kernels()
    from xpcnn.kernels.cpu import elementwise

    x, y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    arguments = (x, 64, x, 64, 1, 64, elementwise.ADD, y, 64)
    elementwise._apply.launch(8, 0, arguments)
    assert not y.any()
    elementwise._apply.launch(8, 1, arguments)
    np.testing.assert_array_equal(y, 2 * x)
