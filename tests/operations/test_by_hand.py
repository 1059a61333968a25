"""Operations without gradients, those that bring values, and what all of them refuse."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import xpcnn
from tests.operations.cases import CASES
from xpcnn import _registry, _xp
from xpcnn import operations as op
from xpcnn.layers import Operation

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


# Tested by ONNX's own node tests, below, and with the converter of PyTorch's modules.
ELSEWHERE = {"AdagradUpdate", "AdamUpdate", "MomentumUpdate", "Constant", "Weight", "MaskedDropout",
             "RepeatForBatch", "Weights"}  # fmt: skip


def test_every_operation_is_tested():
    tested = {type(case.make()).__name__ for case in CASES.values()}
    tested |= {type(operation).__name__ for operation, _, _ in ANSWERS.values()}
    public = {
        name for name in op.__all__
        if inspect.isclass(getattr(op, name)) and issubclass(getattr(op, name), Operation)
    }  # fmt: skip
    assert public == set(op.__all__)
    assert public - tested == ELSEWHERE
    assert not public & set(xpcnn.layers.__all__), "a model file knows classes by name"


@pytest.mark.parametrize("name", CASES)
def test_a_description_makes_the_same_operation(name):
    operation = CASES[name].make()
    known = {n: getattr(op, n) for n in op.__all__}
    again = _registry.from_config(_registry.to_config(operation), known, "operation")
    assert type(again) is type(operation)
    assert again.config() == operation.config()
    assert operation.__doc__


def test_constants_keep_their_dtype_and_weights_take_the_models(tmp_path):
    graph = xpcnn.Graph(
        "x",
        [
            ("table", op.Weight((4, 2)), [], ["t"]),
            ("which", op.Constant.of(np.array([3, 1])), [], ["w"]),
            ("factor", op.Constant.of(np.array([2.0])), [], ["f"]),
            ("rows", op.Gather(), ["t", "w"]),
            ("scaled", op.Multiply(), ["rows", "f"]),
            ("y", op.Add(), ["x", "scaled"]),
        ],
        "y",
    )
    model = xpcnn.Model(graph, device="cpu", dtype="float32")
    model.load_state_dict({"table.value": np.arange(8.0).reshape(4, 2)}, strict=False)
    x = np.ones((2, 2), dtype="float32")
    expected = np.array([[13.0, 15.0], [5.0, 7.0]])
    np.testing.assert_array_equal(model.predict(x), expected)
    assert {name: str(array.dtype) for name, array in model.state_dict().items()} == {
        "table.value": "float32",
        "which.value": "int64",
        "factor.value": "float32",
    }
    model.forward(x, training=True)
    model.backward(np.ones((2, 2), dtype="float32"))
    np.testing.assert_array_equal(
        model.parameters()["table.value"].grad, [[0, 0], [2, 2], [0, 0], [2, 2]]
    )
    model.save(tmp_path / "m")
    again = xpcnn.Model.load(tmp_path / "m", device="cpu")
    np.testing.assert_array_equal(again.predict(x), expected)
    again.to(dtype="float64")
    np.testing.assert_array_equal(again.predict(x.astype("float64")), expected)
    assert str(again.state_dict()["which.value"].dtype) == "int64"


def test_masked_dropout():
    x = np.ones((50, 50))
    layer = op.MaskedDropout(0.25)
    y, mask = layer.forward(x)
    np.testing.assert_array_equal(y, x)
    assert mask.all()
    layer.seed = 3
    y, mask = layer.forward(x, training=True)
    np.testing.assert_allclose(y, mask / 0.75)
    assert 0.2 < 1 - mask.mean() < 0.3
    np.testing.assert_allclose(layer.backward(x, None), mask / 0.75)
    y, mask = layer.forward(x, np.array(0.5), np.array(True))
    assert 0.45 < mask.mean() < 0.55
    assert layer.forward(x, np.array(0.5), np.array(False), training=True)[1].all()
    with pytest.raises(ValueError, match="probability"):
        layer.forward(x, np.array(1.5), np.array(True))


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
    "Resize": (lambda: op.Resize(sizes=(0,))(np.ones(2)), "cannot resize"),
    "Resize axes": (lambda: op.Resize(sizes=(3,))(np.ones((2, 2))), "one scale or size"),
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
