"""Nodes with too few or too many inputs, outputs or attributes are refused when a file is read."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from tests.interop.onnx_models import model, node, value
from xpcnn.errors import ModelFileError, UnsupportedModelError
from xpcnn.interop import onnx
from xpcnn.interop.onnx.ops import OPERATORS

X = value("x", [1, 3, 8, 8])
ARRAYS = {"w": np.ones((3, 3, 1, 1), "f4"), "n": np.array([1])}


def load(*nodes, opset: int = 17):
    return onnx.load(model(nodes, [X], "y", ARRAYS, opset=opset).serialize(), device="cpu")


@pytest.mark.parametrize("op", sorted(name for name, row in OPERATORS.items() if not row.domain))
def test_whatever_a_node_lacks_is_noticed_when_it_is_read(op):
    for inputs in ("", "x", "x w", "x - w", "x w w w w w w"):
        for opset in (8, 10, 17):
            try:
                loaded = load(node(op, inputs, "y"), opset=opset)
            except (ModelFileError, UnsupportedModelError):
                continue
            # shapes that do not fit each other are noticed later
            with suppress(ValueError, TypeError):
                loaded(np.ones((1, 3, 8, 8), "f4"))


WRONG = {
    "one input": (node("Conv", "x", "y"), "2 to 3 inputs, got 1"),
    "no weight": (node("Conv", "x - w", "y"), "input 1 is left out"),
    "too many": (node("Relu", "x w", "y"), "expected 1 inputs, got 2"),
    "no axis": (node("Concat", "x x", "y"), "'axis' is missing"),
    "no type": (node("Cast", "x", "y"), "'to' is missing"),
    "no kernel": (node("MaxPool", "x", "y"), "'kernel_shape' is missing"),
    "two outputs": (node("Relu", "x", "y z"), "has 2 outputs"),
    "a number for numbers": (node("Conv", "x w", "y", strides=1), "'strides' is of the wrong type"),
    "a word for a number": (node("Concat", "x x", "y", axis="a"), "'axis' is of the wrong type"),
}


@pytest.mark.parametrize("name", WRONG)
def test_messages(name):
    wrong, message = WRONG[name]
    with pytest.raises(ModelFileError, match=message):
        load(wrong)
