"""Files of machine code: damaged, planted, in folders that cannot be used, wanted by several."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("numba", exc_type=ImportError)

from xpcnn.kernels.cpu import kept

PROGRAM = """
import numpy as np
import xpcnn
x = np.arange(-8, 8, dtype="f4").reshape(2, 8)
relu = xpcnn.ReLU()
np.testing.assert_array_equal(relu.forward(x, training=True), x.clip(0))
np.testing.assert_array_equal(relu.backward(x + 9), (x + 9) * (x > 0))
from xpcnn.kernels.cpu import compiling
print(compiling.report()[0])
"""
MORE = (
    """
import numpy as np
import xpcnn
layer = xpcnn.Linear(3, 2)
layer.build((4, 3), rng=np.random.default_rng(0))
w = layer.weight.data[...] = np.arange(6, dtype="f4").reshape(2, 3)
layer.bias.data[...] = 1
x = np.arange(12, dtype="f4").reshape(4, 3)
np.testing.assert_array_equal(layer.forward(x, training=True), x @ w.T + 1)
np.testing.assert_array_equal(layer.backward(np.ones((4, 2), "f4")), [w.sum(0)] * 4)
np.testing.assert_array_equal(layer.weight.grad, [x.sum(0)] * 2)
x = np.arange(64, dtype="f4").reshape(1, 1, 8, 8)
np.testing.assert_array_equal(xpcnn.MaxPool2d(2)(x), x[:, :, 1::2, 1::2])
"""
    + PROGRAM
)
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and modes of POSIX")


def start(folder, program=PROGRAM, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder), "XPCNN_QUIET": "0"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=240):
    """Return how many kernels a process has compiled, and what it said."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, (process.returncode, err)
    return int(out), err


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The only folder for machine code, in this process."""
    path = tmp_path / kept.NAME
    path.mkdir(0o755)
    monkeypatch.setattr(kept, "places", lambda: (path,))
    monkeypatch.setattr(kept, "_said", set())
    monkeypatch.delenv(kept.QUIET, raising=False)
    return path


class Planted:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def damages(content, other, marker, rng):
    """Yield the content of a file after many accidents, and one attack."""
    yield b""
    yield content[: rng.randrange(len(content))]
    yield content[:-1]
    yield content[:31]
    yield content[:32]
    yield content + b"\0"
    yield other
    yield bytes(len(content))
    yield rng.randbytes(len(content))
    yield pickle.dumps(Planted(marker))
    yield content[:32] + pickle.dumps(Planted(marker))
    while True:
        flipped = bytearray(content)
        for _ in range(rng.choice([1, 1, 8])):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        yield bytes(flipped)


def test_a_damaged_file_counts_as_none(place):
    kept.write("conv-1", "a", b"code of a" * 100)
    (a,) = place.glob("*/*.code")
    kept.write("conv-1", "b", b"code of b" * 100)
    (b,) = (path for path in place.glob("*/*.code") if path != a)
    content, other = a.read_bytes(), b.read_bytes()
    rng = random.Random(0)
    for _, damaged in zip(range(300), damages(content, other, place / "x", rng), strict=False):
        a.write_bytes(damaged)
        assert kept.read("conv-1", "a") is None
    a.write_bytes(content)
    assert kept.read("conv-1", "a") == b"code of a" * 100
    assert kept.read("conv-1", "c") is None
    assert kept.read("conv-2", "a") is None


def damage_all(folder, marker, rng, kinds):
    files = sorted(folder.rglob("*.code"))
    contents = [path.read_bytes() for path in files]
    for i, path in enumerate(files):
        several = damages(contents[i], contents[i - 1], marker, rng)
        path.write_bytes([next(several) for _ in range(12)][kinds[i % len(kinds)]])
    return len(files)


def test_processes_with_damaged_files(tmp_path):
    compiled, _ = finish(start(tmp_path))
    assert compiled == 2
    assert finish(start(tmp_path)) == (0, "")
    assert damage_all(tmp_path, tmp_path / "marker", random.Random(1), [0, 1, 9]) == 3
    assert finish(start(tmp_path))[0] == compiled
    assert not (tmp_path / "marker").exists()
    assert finish(start(tmp_path))[0] == 0


@pytest.mark.slow
def test_two_hundred_damaged_files(tmp_path):
    compiled, _ = finish(start(tmp_path, MORE))
    rng, count = random.Random(2), 0
    while count < 200:
        count += damage_all(tmp_path, tmp_path / "marker", rng, [rng.randrange(12)])
        assert finish(start(tmp_path, MORE))[0] == compiled
        assert not (tmp_path / "marker").exists()


@posix
@pytest.mark.parametrize("which", ["place", "module", "file"])
def test_what_others_can_write_to_is_not_used(place, capsys, which):
    kept.write("conv-1", "a", b"code")
    (file,) = place.glob("*/*.code")
    path = {"place": place, "module": file.parent, "file": file}[which]
    path.chmod(0o777)
    if which == "place":
        assert not kept._is_ours(place)
    else:
        assert kept.read("conv-1", "a") is None
        assert kept.read("conv-1", "a") is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"others can write to {place}" in said
    assert "not used" in said


@posix
def test_a_process_whose_folder_others_can_write_to(tmp_path):
    folder = tmp_path / "cache"
    compiled, _ = finish(start(folder))
    (folder / kept.NAME).chmod(0o777)
    home = str(tmp_path / "home")
    # Not in the package's folder either, which has what other tests have compiled.
    nowhere = "from xpcnn.kernels.cpu import kept; kept.places(); kept.places = lambda: ()\n"
    found, said = finish(start(folder, nowhere + PROGRAM, HOME=home, XDG_CACHE_HOME=home))
    assert found == compiled
    assert said.count("others can write to") == 1


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root can give away")
def test_a_folder_of_somebody_else(place, capsys):
    kept.write("conv-1", "a", b"code")
    (file,) = place.glob("*/*.code")
    os.chown(file, 12345, 12345)
    assert kept.read("conv-1", "a") is None
    assert "others can write to" in capsys.readouterr().err


@posix
def test_a_shared_folder_such_as_tmp(tmp_path):
    tmp_path.chmod(0o1777)
    place = tmp_path / kept.NAME
    assert kept._make(place)
    tmp_path.chmod(0o777)
    assert not kept._make(place)


@posix
def test_the_mode_does_not_depend_on_the_umask(place):
    before = os.umask(0)
    try:
        kept.write("conv-1", "a", b"code")
    finally:
        os.umask(before)
    assert kept.read("conv-1", "a") == b"code"


@posix
def test_a_pipe_in_the_place_of_a_file(place):
    kept.write("conv-1", "a", b"code")
    (file,) = place.glob("*/*.code")
    file.unlink()
    os.mkfifo(file)
    assert kept.read("conv-1", "a") is None


def test_a_full_disk(place, monkeypatch, capsys):
    def write(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", write)
    for key in "ab":
        kept.write("conv-1", key, b"code")
        assert kept.read("conv-1", key) is None
    assert capsys.readouterr().err.count("No space left on device") == 1
    assert not list(place.glob("*/*.code*"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
def test_a_process_that_can_write_nowhere():
    program = "from xpcnn.kernels.cpu import kept; kept.places = lambda: ()\n" + PROGRAM
    count, said = finish(start("/dev/full/nothing", program, TMPDIR="/dev/full"))
    assert count == 2
    assert said.count("are not kept") == 1


def test_a_place_that_can_be_read_only_is_read(place, tmp_path, monkeypatch):
    kept.write("conv-1", "a", b"code")
    second = tmp_path / "second" / kept.NAME
    monkeypatch.setattr(kept, "places", lambda: (place, second))
    make = kept._make_folder
    monkeypatch.setattr(
        kept, "_make_folder", lambda path, folder: path != place and make(path, folder)
    )
    kept.write("conv-1", "b", b"more")
    assert list(second.glob("*/*.code"))
    assert kept.read("conv-1", "a") == b"code"
    assert kept.read("conv-1", "b") == b"more"


@pytest.mark.skipif(kept.fcntl is None, reason="no locks")
def test_one_of_three_processes_compiles(tmp_path):
    processes = [start(tmp_path) for _ in range(3)]
    found = [finish(process) for process in processes]
    alone, _ = finish(start(tmp_path / "alone"))
    assert sum(count for count, _ in found) == alone
    assert any("waiting for it" in said for _, said in found)


HOLD = """
import os, sys, time
from xpcnn.kernels.cpu import kept
kept.lock(sys.argv[1] if len(sys.argv) > 1 else "conv-1")
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(kept.fcntl is None, reason="no locks")
def test_a_killed_process_holds_nobody_up(tmp_path, place, monkeypatch):
    monkeypatch.setattr(kept, "places", lambda: (tmp_path / kept.NAME,))
    holder = start(tmp_path, HOLD)
    try:
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(kept, "_left", 0.2)
        kept.lock("conv-1")  # in vain, but not for ever
        assert "conv-1" not in kept._locks
        monkeypatch.setattr(kept, "_left", 60.0)
        kept.lock("conv-2")
        assert "conv-2" in kept._locks
        holder.send_signal(signal.SIGKILL)
        started = time.monotonic()
        kept.lock("conv-1")
        assert "conv-1" in kept._locks
        assert time.monotonic() - started < 30
    finally:
        holder.kill()
        holder.communicate()
        kept.unlock("conv-1")
        kept.unlock("conv-2")
    assert not kept._locks


def test_code_that_cannot_be_loaded_is_compiled_anew(tmp_path):
    """Whole by its digest, but not what this version of Numba expects."""
    spoil = """
from xpcnn.kernels.cpu import compiling
compiling.dumps = lambda data: b"not a pickle"
"""
    compiled, _ = finish(start(tmp_path, spoil + PROGRAM))
    assert finish(start(tmp_path))[0] == compiled
    assert finish(start(tmp_path))[0] == 0
