"""Every operation as an ONNX file: our numbers in onnxruntime and when read again."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.interop.onnx_written import checked, close, known, run
from tests.operations.cases import CASES
from xpcnn import operations as op
from xpcnn.interop import onnx as xonnx
from xpcnn.training import Model


def as_model(case, dtype):
    """Put an operation into a graph: floats are inputs, whole numbers that steer are constants."""
    arrays = [x.astype(dtype) if x is not None and x.dtype.kind == "f" else x for x in case.inputs]
    operation = case.make()
    names, nodes, given, dtypes = [], [], {}, {}
    for i, x in enumerate(arrays):
        names.append("" if x is None else f"x{i}")
        if i and x is not None and x.dtype.kind in "iu":
            nodes.append((f"x{i}", op.Constant.of(x, follows=False), []))
        elif x is not None:
            given[f"x{i}"] = x
            dtypes |= {} if x.dtype.kind == "f" else {f"x{i}": x.dtype.name}
    outputs = operation.forward(*arrays)
    made = [f"y{i}" for i in range(len(outputs) if isinstance(outputs, tuple) else 1)]
    graph = xc.Graph(list(given), [*nodes, ("op", operation, names, made)], made, dtypes)
    return Model(graph, device="cpu", dtype=dtype), list(given.values())


# Versions of the operators that are needed; before, the error says so.
SINCE = {
    "Col2Im": 18,
    "reduce nothing": 13,
    "BatchNormalization of a batch": 14,
    "NegativeLogLikelihood": 12,
    "NegativeLogLikelihood of each": 12,
    "NegativeLogLikelihood in all": 12,
}


@pytest.mark.parametrize("name", CASES)
def test_operations(name):
    case = CASES[name]
    model, inputs = as_model(case, "float64")
    narrow, floats = as_model(case, "float32")
    shapes = [x.shape for x in inputs]
    shape = shapes if len(shapes) > 1 else shapes[0]
    expected = model.forward(*inputs)
    wanted = narrow.forward(*floats)
    expected, wanted = (v if isinstance(v, tuple) else (v,) for v in (expected, wanted))
    for opset in known(11, 17, 18, 28):
        if opset < SINCE.get(name, 0):
            with pytest.raises(xc.UnsupportedModelError, match="version"):
                xonnx.to_bytes(model, opset=opset, input_shape=shape)
            continue
        again = xonnx.load(xonnx.to_bytes(model, opset=opset, input_shape=shape), device="cpu")
        found = again.forward(*inputs)
        for own, right in zip(found if isinstance(found, tuple) else (found,), expected,
                              strict=True):  # fmt: skip
            close(own, right, 1e-10)
        data = xonnx.to_bytes(narrow, opset=opset, input_shape=shape)
        checked(data)
        for own, right in zip(run(data, *floats), wanted, strict=True):
            close(own, right, 1e-5)


@pytest.mark.parametrize("opset", [11, 12, 18])
def test_whole_numbers(opset):
    """Sums of more than two, and powers, of which old versions take floats of one dtype only."""
    graph = xc.Graph(
        ["a", "b", "x"],
        [
            ("sum", op.Add(), ["a", "b", "a"]),
            ("rest", op.Modulo(), ["sum", "b"]),
            ("quotient", op.Divide(), ["a", "b"]),
            ("power", op.Power(), ["x", "b"]),
            ("scale", op.Constant.of(np.array([2.0, 3.0, 4.0])), []),
            ("scaled", op.Multiply(), ["power", "scale"]),
        ],
        ["sum", "rest", "quotient", "power", "scaled"],
        {"a": "int64", "b": "int64"},
    )
    model = Model(graph, device="cpu")
    inputs = np.array([7, -7, 8]), np.array([2, 2, -3]), np.array([1.5, -2.0, 0.5], "float32")
    expected = model.forward(*inputs)
    data = xonnx.to_bytes(model, opset=opset, input_shape=[(3,)] * 3)
    checked(data)
    for found in (run(data, *inputs), xonnx.load(data, device="cpu").forward(*inputs)):
        for own, right in zip(found, expected, strict=True):
            close(own, right, 1e-6)


@pytest.mark.parametrize("operation", [op.Maximum(), op.Clip(0, 5)])
def test_whole_numbers_that_old_versions_do_not_take(operation):
    names = ["a", "b"] if isinstance(operation, op.Maximum) else ["a"]
    graph = xc.Graph(names, [("y", operation, names)], "y", dict.fromkeys(names, "int64"))
    model = Model(graph, device="cpu")
    inputs = [np.array([7, -7, 3]), np.array([2, 2, 4])][: len(names)]
    shapes = [(3,)] * 2 if len(names) == 2 else (3,)
    data = xonnx.to_bytes(model, opset=12, input_shape=shapes)
    np.testing.assert_array_equal(run(data, *inputs)[0], model.forward(*inputs))
    with pytest.raises(xc.UnsupportedModelError, match="version 12"):
        xonnx.to_bytes(model, opset=11, input_shape=shapes)
