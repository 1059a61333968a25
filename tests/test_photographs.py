"""3,000 photographs, by the words of the README: learned, named, and in little memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PEAK = (
    "import resource, sys; from xpcnn.cli import main; code = main(sys.argv[1:]); "
    "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024); sys.exit(code)"
)


def run(folder: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in KiB on Linux")
def test_photographs_are_learned(tmp_path):
    pytest.importorskip("PIL")
    run(tmp_path, str(ROOT / "examples" / "make_photographs.py"), "photos", "--count", "3000")
    words = ("train", "--data", "photos", "--size", "64", "--augment", "flip,crop")
    trained = run(tmp_path, "-c", PEAK, *words, "--epochs", "12", "--save", "m", "--device", "cpu")
    accuracy = re.search(r"test accuracy (\d\.\d+) ", trained)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.95
    peak = re.search(r"peak (\d+)", trained)
    assert peak is not None
    assert int(peak[1]) < 400
    photo = "photos/dots/00001.jpg"
    found = json.loads(run(tmp_path, "-m", "xpcnn", "predict", "--model", "m", "--json", photo))
    assert set(found[0]["probabilities"]) == {"checks", "dots", "stripes"}
    report = run(tmp_path, "-m", "xpcnn", "evaluate", "--model", "m", "--data", "photos")
    assert f"test accuracy {accuracy[1]}" in report
