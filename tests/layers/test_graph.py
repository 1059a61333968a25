"""Graphs: values by name, several inputs and outputs, gradients that add up."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import xpcnn
from xpcnn._xp import to_numpy
from xpcnn.gradcheck import gradcheck
from xpcnn.operations import Add, Concat, Divide, Multiply, Subtract


def two_inputs():
    """y = tanh(W a) * (W a - b), z = W a."""
    return xpcnn.Graph(
        inputs=["a", "b"],
        nodes=[
            ("y", Multiply(), ["squashed", "difference"]),
            ("difference", Subtract(), ["z", "b"]),
            ("squashed", xpcnn.Tanh(), "z"),
            ("map", xpcnn.Linear(3, 2, bias=False), "a", "z"),
        ],
        outputs=["y", "z"],
    )


def test_values_and_gradients_by_hand(device, rng):
    graph = two_inputs()
    a, b, dy, dz = (rng.standard_normal(shape) for shape in ((4, 3), (4, 2), (4, 2), (4, 2)))
    graph.build((4, 3), (4, 2), device=device, dtype="float64", rng=rng)
    w = to_numpy(graph.parameters()["map.weight"].value)
    y, z = graph.forward(*map(device.asarray, (a, b)), training=True)
    expected = a @ w.T
    np.testing.assert_allclose(to_numpy(z), expected, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(y), np.tanh(expected) * (expected - b), rtol=1e-11)
    da, db = graph.backward(*map(device.asarray, (dy, dz)))
    squashed = np.tanh(expected)
    through = dy * ((1 - squashed**2) * (expected - b) + squashed) + dz
    np.testing.assert_allclose(to_numpy(db), -dy * squashed, rtol=1e-11)
    np.testing.assert_allclose(to_numpy(da), through @ w, rtol=1e-10, atol=1e-12)
    grad = graph.parameters()["map.weight"].grad
    np.testing.assert_allclose(to_numpy(grad), through.T @ a, rtol=1e-10, atol=1e-12)


def test_an_output_that_nobody_uses_has_no_gradient(rng):
    graph = two_inputs()
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    graph.forward(a, b, training=True)
    da, db = graph.backward(None, np.ones((4, 2)))
    np.testing.assert_allclose(da, np.ones((4, 2)) @ graph.parameters()["map.weight"].data)
    assert db is None  # no way leads from b to z


def test_gradients_that_are_not_needed_are_left_out(rng):
    graph = two_inputs()
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    y, z = graph.forward(a, b, training=True)
    da, db = graph.backward(y, z, need_dx=(False, True))
    assert da is None
    assert db.shape == b.shape
    assert graph.parameters()["map.weight"].grad is not None


def test_inputs_by_name(rng):
    graph = two_inputs()
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    in_order = graph(a, b)
    for again in (graph(b=b, a=a), graph(a, b=b)):
        for one, other in zip(in_order, again, strict=True):
            np.testing.assert_array_equal(one, other)
    for wrong in ((), (a,), (a, b, a)):
        with pytest.raises(ValueError, match="Graph: expected 2 inputs, a, b; got"):
            graph(*wrong)
    with pytest.raises(ValueError, match="got 1 in order and 'a'"):
        graph(b, a=a)
    with pytest.raises(ValueError, match="'c'"):
        graph(a=a, c=b)


def test_a_value_used_often(rng):
    """x + x + (x + x) * x, and x itself as an output."""
    nodes = [("twice", Add(), ["x", "x"]), ("square", Multiply(), ["twice", "x"])]
    graph = xpcnn.Graph("x", [*nodes, ("y", Add(), ["twice", "square"])], ["y", "x", "y"])
    x = rng.standard_normal((3, 2))
    y, same, again = graph.forward(x, training=True)
    assert same is x
    assert again is y
    np.testing.assert_allclose(y, 2 * x + 2 * x**2, rtol=1e-12)
    dy, dx, more = (rng.standard_normal((3, 2)) for _ in range(3))
    np.testing.assert_allclose(graph.backward(dy, dx, more), (dy + more) * (2 + 4 * x) + dx)


def test_values_are_dropped_when_nobody_needs_them():
    """Of a chain of a hundred large values, few are there at one time."""
    alive: list[int] = []
    made: list[weakref.ref] = []

    class Counted(np.ndarray):
        def __array_finalize__(self, obj):
            made.append(weakref.ref(self))

    class Watched(Add):
        def _run(self, xp, inputs, training):
            alive.append(sum(reference() is not None for reference in made))
            return super()._run(xp, inputs, training)

    names = [f"v{i}" for i in range(20)]
    nodes = [
        (name, Watched(), [before, before])
        for before, name in zip(["x", *names], names, strict=False)
    ]
    graph = xpcnn.Graph("x", nodes, names[-1])
    graph(np.ones(3).view(Counted))
    assert len(alive) == 20
    assert max(alive) <= 3


def test_an_operation_in_a_chain(rng):
    """A graph with one input and one output stands where a layer can stand."""
    wide = xpcnn.Graph(
        "x",
        [
            ("left", xpcnn.Conv2d(2, 3, 3, padding=1), "x"),
            ("right", xpcnn.Conv2d(2, 4, 1), "x"),
            ("both", Concat(), ["left", "right"]),
        ],
        "both",
    )
    net = xpcnn.Sequential(
        xpcnn.Conv2d(1, 2, 3), wide, xpcnn.Flatten(), xpcnn.Linear(out_features=2)
    )
    assert gradcheck(net, rng.standard_normal((2, 1, 5, 5)))
    assert "1.left.weight" in net.state_dict()
    assert net.output_shape((5, 1, 5, 5)) == (5, 2)


@pytest.mark.parametrize(
    ("inputs", "nodes", "outputs", "message"),
    [
        ("x", [("a", "b"), ("b", "a")], "b", "cycle through node '[ab]': its input depends"),
        ("x", [("a", "a")], "a", "cycle through node 'a'"),
        ("x", [("a", "x"), ("b", "x")], "b", "node 'a' leads to no output"),
        ("x", [("a", "y")], "a", "node 'a' asks for 'y'"),
        ("x", [("a", "x")], "b", "the graph asks for 'b'"),
        ("x", [("a", "x"), ("a", "x")], "a", "'a' is the name of more than one value"),
        ("x", [("x", "x")], "x", "'x' is the name of more than one value"),
        ("x", [("a", ["x", "x"])], "a", "takes one value and gives one"),
        ("x", [("a", "")], "a", "asks for ''"),
        ([], [("a", "x")], "a", "inputs must be a name or names"),
        ("x", [("a", "x")], [], "outputs must be a name or names"),
        ("x", [("a",)], "a", r"node 0 must be \(name, layer, inputs\)"),
    ],
)
def test_graphs_that_are_none(inputs, nodes, outputs, message):
    made = [(node[0], xpcnn.ReLU(), *node[1:]) for node in nodes]
    with pytest.raises(ValueError, match=f"Graph: .*{message}"):
        xpcnn.Graph(inputs, made, outputs)


def test_entries_that_are_no_layers():
    with pytest.raises(TypeError, match="is the class ReLU"):
        xpcnn.Graph("x", [("a", xpcnn.ReLU, "x")], "a")
    relu = xpcnn.ReLU()
    with pytest.raises(ValueError, match="stands at two places"):
        xpcnn.Graph("x", [("a", relu, "x"), ("b", xpcnn.Sequential(relu), "a")], "b")


def test_a_deep_graph_is_sorted_without_recursion():
    names = [f"v{i}" for i in range(5000)]
    nodes = [
        (name, xpcnn.ReLU(), before) for before, name in zip(["x", *names], names, strict=False)
    ]
    graph = xpcnn.Graph("x", reversed(nodes), names[-1])
    assert [node.name for node in graph.in_order] == names


# -- Operations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        (Add(), lambda a, b: a + b),
        (Subtract(), lambda a, b: a - b),
        (Multiply(), lambda a, b: a * b),
        (Divide(), lambda a, b: a / b),
    ],
)
@pytest.mark.parametrize(
    ("first", "second"),
    [((2, 3), (2, 3)), ((2, 3), (3,)), ((1, 3), (2, 1)), ((), (2, 2)), ((4, 1, 2), (3, 1))],
)
def test_arithmetic_is_that_of_torch(operation, function, first, second, device, rng):
    torch = pytest.importorskip("torch")
    a, b = rng.standard_normal(first), rng.uniform(1, 2, second)
    operands = [torch.tensor(x, requires_grad=True) for x in (a, b)]
    expected = function(*operands)
    dy = rng.standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(dy))
    y = operation.forward(*map(device.asarray, (a, b)), training=True)
    assert operation.output_shapes(first, second) == (tuple(expected.shape),)
    np.testing.assert_allclose(to_numpy(y), expected.detach().numpy(), rtol=1e-12)
    for dx, operand in zip(operation.backward(device.asarray(dy)), operands, strict=True):
        assert tuple(dx.shape) == tuple(operand.shape)
        np.testing.assert_allclose(to_numpy(dx), operand.grad.numpy(), rtol=1e-11, atol=1e-12)


def test_a_sum_of_three(rng):
    add = Add()
    parts = [rng.standard_normal(shape) for shape in ((2, 3), (3,), (2, 1))]
    np.testing.assert_allclose(add.forward(*parts, training=True), sum(parts))
    dy = rng.standard_normal((2, 3))
    dxs = add.backward(dy, need_dx=(True, False, True))
    np.testing.assert_allclose(dxs[0], dy)
    assert dxs[1] is None
    np.testing.assert_allclose(dxs[2], dy.sum(1, keepdims=True))


def test_what_operations_refuse():
    with pytest.raises(ValueError, match=r"Add: shapes \(2,\), \(3,\) cannot be broadcast"):
        Add()(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="Subtract: expected two operands, got 3"):
        Subtract()(*[np.ones(2)] * 3)
    with pytest.raises(ValueError, match="Concat: the inputs may differ along axis 1 only"):
        Concat()(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="Concat: dim=2 is out of range"):
        Concat(2)(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(RuntimeError, match="Add: backward needs a forward"):
        Add().backward(np.ones(2))
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match=r"(?s)Add.*numpy.*strict"):
        Add()(np.ones(2), strict.ones(2))
    add = Add()
    add.forward(np.ones(2), np.ones(2), training=True)
    with pytest.raises(ValueError, match="backward expects 1 gradients"):
        add.backward(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="Add: backward expects a gradient of the output's shape"):
        add.backward(np.ones(3))
    assert len(add.backward(np.ones(2))) == 2


def test_integers_have_no_gradient():
    add = Add()
    add.forward(np.ones(2), np.arange(2), training=True)
    dx, none = add.backward(np.ones(2))
    assert none is None
    np.testing.assert_array_equal(dx, np.ones(2))
