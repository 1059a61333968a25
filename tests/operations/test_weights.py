"""Arrays that belong to no layer, constants, and those that are repeated for a batch."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn._xp import to_numpy
from xpcnn.operations import Add, Constant, Gather, Multiply, RepeatForBatch, Weight, Weights


def network():
    return xpcnn.Graph(
        "x",
        [
            ("", Weights([("scale", (3,)), ("mean", (1, 3))], ["mean"]), [], ["s", "m"]),
            ("repeated", RepeatForBatch(), ["m", "x"]),
            ("scaled", Multiply(), ["x", "s"]),
            ("y", Multiply(), ["scaled", "repeated"]),
        ],
        "y",
    )


def test_values_and_gradients_by_hand(device):
    net = network()
    net.build((2, 3), device=device, dtype="float64")
    net.load_state_dict({"scale": np.array([1.0, 2.0, 3.0]), "mean": np.array([[10.0, 0.0, 1.0]])})
    assert list(net.parameters()) == ["scale"]
    x = device.asarray(np.array([[1.0, 1.0, 1.0], [2.0, 3.0, 4.0]]), "float64")
    y = net.forward(x, training=True)
    np.testing.assert_array_equal(to_numpy(y), [[10, 0, 3], [20, 0, 12]])
    dx = net.backward(device.asarray(np.ones((2, 3)), "float64"))
    np.testing.assert_array_equal(to_numpy(dx), [[10, 0, 3], [10, 0, 3]])
    np.testing.assert_array_equal(to_numpy(net.parameters()["scale"].grad), [30, 0, 5])


def test_the_repeated_sample_gets_the_sum_of_the_gradients():
    operation = RepeatForBatch()
    operation.forward(np.ones((1, 2)), np.ones((3, 7)), training=True)
    dx, dlike = operation.backward(np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(dx, [[6, 9]])
    assert dlike is None
    with pytest.raises(ValueError, match=r"expected one sample.*\(2, 2\) and \(3, 7\)"):
        operation(np.ones((2, 2)), np.ones((3, 7)))


@pytest.mark.parametrize("names", [["scale", "scale"], ["forward"], ["name"], ["arrays"]])
def test_names_that_are_taken(names):
    with pytest.raises(ValueError, match="cannot be the name of another array"):
        Weights([(name, (2,)) for name in names])


def test_a_network_with_weights_is_saved(tmp_path):
    model = xpcnn.Model(network(), device="cpu", seed=0)
    model.build((None, 3))
    model.load_state_dict({"scale": np.array([1.0, 2.0, 3.0]), "mean": np.ones((1, 3))})
    model.save(tmp_path / "model")
    again = xpcnn.Model.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(again.predict(np.ones((2, 3), "float32"))[0], [1, 2, 3])


def test_constants_keep_their_dtype_and_weights_take_the_models(tmp_path):
    graph = xpcnn.Graph(
        "x",
        [
            ("table", Weight((4, 2)), [], ["t"]),
            ("which", Constant.of(np.array([3, 1])), [], ["w"]),
            ("factor", Constant.of(np.array([2.0])), [], ["f"]),
            ("rows", Gather(), ["t", "w"]),
            ("scaled", Multiply(), ["rows", "f"]),
            ("y", Add(), ["x", "scaled"]),
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
