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


@pytest.mark.parametrize(
    ("module", "name", "meant"),
    [
        (xpcnn.functional, "conv2d", "xpcnn.functional.conv, which takes one to three dim"),
        (xpcnn.functional, "max_pool1d", "xpcnn.functional.max_pool, which takes one to th"),
        (xpcnn.functional, "ReLU", r"xpcnn.functional.relu\?"),
        (xpcnn.functional, "sofmax", r"xpcnn.functional.softmax\?"),
        (xpcnn, "conv2d", r"xpcnn.Conv2d\?"),
        (xpcnn, "MaxPooling2D", r"xpcnn.MaxPool2d\?"),
        (xpcnn, "Dense", r"xpcnn.Linear\?"),
        (xpcnn, "Adam", r"xpcnn.optim.Adam\?"),
        (xpcnn, "softmax", r"xpcnn.Softmax\?"),
        (xpcnn, "one_hot", r"xpcnn.functional.one_hot\?"),
        (xpcnn, "explian", r"xpcnn.explain\?"),
    ],
)
def test_an_unknown_name_brings_the_near_one(module: object, name: str, meant: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; did you mean {meant}"):
        getattr(module, name)


def test_python_does_not_say_the_near_name_again() -> None:
    code = "import xpcnn; xpcnn.Conv2D"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.lower().count("did you mean") == 1


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="'dropout'; what is not here is a layer or a loss"):
        _ = xpcnn.functional.dropout
    with pytest.raises(AttributeError, match="'xpcnn' has no attribute '__wrapped__'$"):
        _ = xpcnn.__wrapped__
    with pytest.raises(AttributeError, match="module 'xpcnn' has no attribute 'Conv4d'"):
        _ = xpcnn.Conv4d
    with pytest.raises(AttributeError, match="it is in deep_conv_net and in simple_conv_net"):
        _ = xpcnn.scratch.Convolution
    with pytest.raises(AttributeError, match="'conv2d'; its modules are conv1d, deep_conv_net"):
        _ = xpcnn.scratch.conv2d
