"""Operations without gradients, those that bring values, and what operations refuse, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import _xp
from xpcnn import operations as op
from xpcnn._registry import from_config, to_config
from xpcnn.training.saving import known_layers

A, B = np.array([1.0, 2.0, np.nan]), np.array([2.0, 2.0, 2.0])
YES, NO = np.array([True, True, False, False]), np.array([True, False, True, False])

ANSWERS = {
    "Equal": (op.Equal(), (A, B), [False, True, False]),
    "Greater": (op.Greater(), (B, A), [True, False, False]),
    "GreaterEqual": (op.GreaterEqual(), (B, A), [True, True, False]),
    "Less": (op.Less(), (A, B), [True, False, False]),
    "LessEqual": (op.LessEqual(), (A, B), [True, True, False]),
    "And": (op.And(), (YES, NO), [True, False, False, False]),
    "Or": (op.Or(), (YES, NO), [True, True, True, False]),
    "Xor": (op.Xor(), (YES, NO), [False, True, True, False]),
    "Not": (op.Not(), (YES,), [False, False, True, True]),
    "IsNaN": (op.IsNaN(), (A,), [False, False, True]),
    "ShapeOf": (op.ShapeOf(), (np.zeros((2, 3)),), [2, 3]),
    "ShapeOf the last": (op.ShapeOf(-1), (np.zeros((2, 3)),), [3]),
    "Size": (op.Size(), (np.zeros((2, 3)),), 6),
    "Filled": (op.Filled(2.5), (np.array([2, 1]),), [[2.5], [2.5]]),
    "Range": (op.Range(), (np.array(1), np.array(8), np.array(3)), [1, 4, 7]),
    "ArgMax": (op.ArgMax(1), (np.array([[1.0, 3.0, 3.0]]),), [[1]]),
    "ArgMax, the last": (op.ArgMax(1, last=True), (np.array([[1.0, 3.0, 3.0]]),), [[2]]),
    "ArgMin": (op.ArgMin(0, keepdim=False), (np.array([[1.0], [0.0]]),), [1]),
    "Hardmax": (op.Hardmax(), (np.array([[1.0, 3.0, 3.0]]),), [[0.0, 1.0, 0.0]]),
    # windows of two: the larger of 0, 5, 1 and of 7, 2, 3, numbered over both channels
    "MaxPositions": (op.MaxPositions((2,)), (np.array([[[0, 5, 1], [7, 2, 3.0]]]),),
                     [[[1, 1], [3, 5]]]),
    # the maximum 9 stands at row 0, column 1: number 1 by rows of 2, number 3 by columns of 3
    "MaxPositions by columns": (
        op.MaxPositions((3, 2), column_major=True),
        (np.array([[[[1.0, 9.0], [2.0, 3.0], [0.0, 4.0]]]]),),
        [[[[3]]]],
    ),
    # twice as many as there are: of 3, 5, 7 + 6, 10, 14 the last is cut off
    "TransposedConvolution of the same size": (
        op.TransposedConvolution(2, "same"),
        (np.array([[[1.0, 2.0]]]), np.array([[[3.0, 5.0, 7.0]]])),
        [[[3.0, 5.0, 13.0, 10.0]]],
    ),
    "Divide whole numbers": (op.Divide(), (np.array([7, -7, 7, -7, -6]),
                                           np.array([2, 2, -2, -2, 2])), [3, -3, -3, 3, -3]),
    "Power of whole numbers": (op.Power(), (np.array([2, 3]), np.array([3.0, 2.0])), [8, 9]),
    "ReduceMax of booleans": (op.ReduceMax(), (YES,), [True]),
    "Cast drops what is behind the point": (op.Cast("int64"), (np.array([1.9, -1.9]),), [1, -1]),
    "Clip by inputs": (op.Clip(), (np.array([1, 5, 9]), np.array(2), np.array(7)), [2, 5, 7]),
    "Clip to limits that contradict": (op.Clip(3.0, 1.0), (np.array([0.0, 5.0]),), [1.0, 1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name, device):
    operation, inputs, expected = ANSWERS[name]
    got = operation.forward(*(device.asarray(x) for x in inputs))
    np.testing.assert_array_equal(_xp.to_numpy(got), np.asarray(expected))
    assert _xp.device_of(got) == _xp.device_of(device.asarray(inputs[0]))


REFUSED = {
    "Add": (lambda: op.Add()(np.ones(2), np.ones(3)), r"\(2,\), \(3,\) cannot be broadcast"),
    "MatMul": (lambda: op.MatMul()(np.ones((2, 3)), np.ones((2, 3))), r"\(2, 3\) and \(2, 3\)"),
    "Reshape": (lambda: op.Reshape((4, -1))(np.ones((2, 3))), r"\(2, 3\) into \(4, -1\)"),
    "Reshape twice open": (lambda: op.Reshape((-1, -1))(np.ones((2, 3))), "into"),
    "Reshape copies": (lambda: op.Reshape((6, 1, 0))(np.ones((2, 3))), "copies a length"),
    "Squeeze": (lambda: op.Squeeze((0,))(np.ones((2, 3))), "not all 1"),
    "Unsqueeze": (lambda: op.Unsqueeze((0, 0))(np.ones(2)), "twice"),
    "Transpose": (lambda: op.Transpose((0,))(np.ones((2, 3))), "all of 2 axes"),
    "Expand": (lambda: op.Expand((3,))(np.ones(2)), "cannot expand"),
    "Slice": (lambda: op.Slice((0,), (1,), (5,))(np.ones(2)), "out of range"),
    "Slice without steps": (lambda: op.Slice((0,), (1,), (0,), (0,))(np.ones(2)), "other than 0"),
    "Gather": (lambda: op.Gather()(np.ones(2), np.array([2])), "out of range"),
    "Split": (lambda: op.Split(0, (1, 2))(np.ones(4)), "do not make up"),
    "Pad": (lambda: op.Pad((1, 1))(np.ones((2, 2))), "amount"),
    "Pad cuts": (lambda: op.Pad((-2, -1))(np.ones(2)), "more than there is"),
    "Pad mode": (lambda: op.Pad((1, 1), "edge"), "'edge'"),
    "Resizing": (lambda: op.Resizing(sizes=(0,))(np.ones(2)), "cannot resize"),
    "Resizing axes": (lambda: op.Resizing(sizes=(3,))(np.ones((2, 2))), "one scale or size"),
    "DepthToSpace": (lambda: op.DepthToSpace(2)(np.ones((1, 3, 2, 2))), "blocks of 4"),
    "Range": (lambda: op.Range()(np.array(0), np.array(1), np.array(0)), "step"),
    "MaxPooling": (lambda: op.MaxPooling((2, 2))(np.ones((1, 1, 4))), "does not fit"),
    "PerChannel": (
        lambda: op.PerChannel()(np.ones((1, 3, 2)), np.ones(2), np.ones(2)),
        "channels",
    ),
    "NegativeLogLikelihood": (
        lambda: op.NegativeLogLikelihood()(np.ones((2, 3)), np.array([[0], [1]])),
        r"targets of shape \(2,\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "cls"), [("Abs", op.Absolute), ("Neg", op.Negative), ("Sqrt", op.SquareRoot)]
)
def test_names_that_onnx_has_are_other_names(name, cls):
    """Files may have either, and are written with the older one."""
    assert getattr(op, name) is cls
    for known in (name, cls.__name__):
        made = from_config({"class": known, "config": {}}, known_layers(), "layer")
        assert to_config(made) == {"class": cls.__name__, "config": {}}
