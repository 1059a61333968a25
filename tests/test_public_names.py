"""What ``import xpcnn`` offers, and what it imports when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import xpcnn

LATER = (
    "attribution",
    "drawing",
    "grading",
    "interop",
    "plot",
    "scratch",
    "serving",
    "sklearn",
    "web",
    "zoo",
)


def test_every_part_is_listed() -> None:
    assert set(xpcnn.__all__) <= set(dir(xpcnn))
    assert set(LATER) <= set(dir(xpcnn))
    assert set(xpcnn.scratch.__all__) <= set(dir(xpcnn.scratch))


def test_parts_are_imported_when_they_are_asked_for() -> None:
    code = (
        "import sys, xpcnn; dir(xpcnn)\n"
        f"print([m for m in {LATER!r} if 'xpcnn.' + m in sys.modules])\n"
        "print(xpcnn.scratch.conv1d.ReLU.__name__, xpcnn.zoo.__name__, xpcnn.interop.__name__)"
    )
    root = str(Path(xpcnn.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
        check=True,
    )
    assert result.stdout.splitlines() == ["[]", "ReLU xpcnn.zoo xpcnn.interop"]


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="module 'xpcnn' has no attribute 'Conv4d'"):
        _ = xpcnn.Conv4d
    with pytest.raises(AttributeError, match="it is in deep_conv_net and in simple_conv_net"):
        _ = xpcnn.scratch.Convolution
    with pytest.raises(AttributeError, match="'conv2d'; its modules are conv1d, deep_conv_net"):
        _ = xpcnn.scratch.conv2d
