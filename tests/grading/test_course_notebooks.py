"""Classes of the five courses themselves, where the folder with their text is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpcnn

COURSES = Path(xpcnn.__file__).parents[2] / "shared" / "courses"


def find() -> Path | None:
    """Return the folder, which lies beside the checkout."""
    here = Path(xpcnn.__file__).resolve()
    for parent in (*here.parents, Path("/work")):
        if (parent / "shared" / "courses").is_dir():
            return parent / "shared" / "courses"
    return None


def definitions(number: str, *, indent: int = 4) -> dict[str, Any]:
    """Run what classes and functions can be read of a course's text."""
    folder = find()
    if folder is None:
        pytest.skip("the courses' texts are not here")
    (path,) = folder.glob(f"{number}_*.txt")
    blocks: list[list[str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.match(r"(class|def) ", line):
            blocks.append([line])
        elif blocks and line[:1].isspace():
            blocks[-1].append(line)
        elif line.strip() and blocks and blocks[-1]:
            blocks.append([])
    names: dict[str, Any] = {"np": np}
    for block in filter(None, blocks):
        try:
            exec("\n".join(block), names)
        except SyntaxError:  # the extraction of the text lost its indentation
            continue
    return names


@pytest.mark.parametrize(
    ("number", "name", "like"),
    [
        ("000", "SimpleConv1d", "conv1d"),
        ("000", "im2col_1d", "im2col"),
        ("000", "col2im_1d", "col2im"),
        ("000", "Affine", "linear"),
        ("000", "Flatten", "flatten"),
        ("000", "Softmax", "softmax"),
        ("000", "SGD", "sgd"),
        ("000", "AdaGrad", "adagrad"),
        ("000", "Adam", "adam"),
        ("002", "im2col", "im2col"),
        ("002", "tanh", "tanh"),
        ("003", "FC", "linear"),
        ("003", "SGD", "sgd"),
        ("003", "Sigmoid", "sigmoid"),
        ("003", "ReLU", "relu"),
    ],
)
def test_what_is_right_passes(number: str, name: str, like: str) -> None:
    report = xpcnn.check(definitions(number)[name], like=like)
    assert report.passed, report.text
    assert report.mistakes == []


@pytest.mark.parametrize(
    ("number", "name", "like", "mistake"),
    [
        ("000", "ReLU", "relu", "backward_changes_dout"),  # dout[self.mask] = 0
        ("000", "MaxPooling1D", "max_pool1d", "max_pool_padded_with_zero"),
        ("002", "softmax", "softmax", "softmax_over_everything"),  # it is for one image
        ("003", "AdaGrad", "adagrad", "squares_not_accumulated"),  # of the bias: hb = db * db
        ("003", "Softmax", "softmax", "softmax_overflows"),  # 0 / 0: one maximum for all rows
    ],
)
def test_what_they_have_wrong_is_named(number: str, name: str, like: str, mistake: str) -> None:
    report = xpcnn.check(definitions(number)[name], like=like)
    assert report.mistakes == [mistake], report.text
