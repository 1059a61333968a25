"""The script that makes photographs makes what its first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xpcnn.data import ImageFolder

Image = pytest.importorskip("PIL.Image")
SCRIPT = Path(__file__).parents[1] / "examples" / "make_photographs.py"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "photos"
    words = [sys.executable, str(SCRIPT), str(folder), "--count", "60", "--seed", "4"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"60 photographs in {folder}: checks, dots, stripes\n"
    return folder


def test_each_class_has_its_share(photos):
    folder = ImageFolder(photos, size=16)
    assert folder.class_names == ("checks", "dots", "stripes")
    assert np.bincount(folder.targets).tolist() == [20, 20, 20]
    assert folder.load()[0].std() > 20


def test_they_are_of_all_kinds(photos):
    sizes, modes, orientations = set(), set(), set()
    for file in photos.rglob("*.jpg"):
        with Image.open(file) as picture:
            sizes.add(picture.size)
            modes.add(picture.mode)
            orientations.add(picture.getexif().get(0x0112))
    assert len(sizes) > 50
    assert modes == {"L", "RGB"}
    assert orientations == {None, 3, 6, 8}


def test_turned_ones_stand_upright_when_they_are_read():
    names: dict = {"__name__": "make_photographs"}
    exec(SCRIPT.read_text(encoding="utf-8"), names)
    scene = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    turns = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_270,
        8: Image.Transpose.ROTATE_90,
    }
    for orientation, turn in names["TURNS"].items():
        upright = scene.transpose(turn).transpose(turns[orientation])
        np.testing.assert_array_equal(np.asarray(upright), np.asarray(scene))
