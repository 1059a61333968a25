"""Convolutions and linear layers take what follows them into one operation, without training."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from xpcnn import kernels
from xpcnn.graph import Program
from xpcnn.operations import Add, Concat

needs_compiled_kernels()

ACTIVATIONS = [
    xpcnn.ReLU(),
    xpcnn.ReLU6(),
    xpcnn.Hardtanh(-0.2, 0.3),
    xpcnn.LeakyReLU(0.1),
    xpcnn.Hardswish(),
    xpcnn.Hardsigmoid(),
    xpcnn.SiLU(),
    xpcnn.Sigmoid(),
    xpcnn.Tanh(),
    xpcnn.GELU(),
    xpcnn.GELU(approximate="tanh"),
    xpcnn.Softplus(2.0, 1.0),
    xpcnn.ELU(0.5),
    xpcnn.SELU(),
    xpcnn.Mish(),
]


def settled(layers, shape, seed=0):
    """Make a model of which the running statistics have moved, and an input."""
    model = xpcnn.Model(layers, device="cpu", seed=seed)
    x = np.random.default_rng(seed).standard_normal((2, *shape)).astype(np.float32)
    for _ in range(3):
        model.forward(1.5 * x + 0.5, training=True)
    model.predict(x)
    return model, x


def single(model, x):
    """Run the layers of the definition one by one, by the generic kernels."""
    with kernels.force("generic"):
        for layer in model.layers:
            x = layer.forward(x)
    return x


def operations(model, x):
    """Return what is predicted, and the operations that it took."""
    with kernels.trace() as decisions:
        y = model.predict(x)
    return y, [d.op for d in decisions if d.kernel_set is not None]


def name_of(op, activation):
    return op if activation is None else f"{op}_{activation.op}"


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_an_activation(activation, norm):
    norms = [xpcnn.BatchNorm2d(16)] if norm else []
    layers = [xpcnn.Conv2d(3, 16, 3), *norms, activation, xpcnn.Conv2d(16, 8, 1)]
    model, x = settled(layers, (3, 9, 9))
    y, ops = operations(model, x)
    assert ops == [name_of("conv", activation), "conv"]
    np.testing.assert_allclose(y, single(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS], ids=str)
def test_a_sum(activation, norm):
    norms = [xpcnn.BatchNorm2d(16)] if norm else []
    block = xpcnn.Residual(xpcnn.Sequential(xpcnn.Conv2d(16, 16, 3, padding=1), *norms))
    behind = [] if activation is None else [activation]
    layers = [xpcnn.Conv2d(3, 16, 3), block, *behind, xpcnn.Conv2d(16, 8, 1)]
    model, x = settled(layers, (3, 9, 9))
    y, ops = operations(model, x)
    assert ops == ["conv", name_of("conv_add", activation), "conv"]
    np.testing.assert_allclose(y, single(model, x), rtol=1e-4, atol=1e-5)


def test_a_sum_of_two_convolutions():
    body = xpcnn.Sequential(xpcnn.Conv2d(16, 32, 3, stride=2, padding=1), xpcnn.BatchNorm2d(32))
    past = xpcnn.Sequential(xpcnn.Conv2d(16, 32, 1, stride=2), xpcnn.BatchNorm2d(32))
    layers = [xpcnn.Conv2d(3, 16, 3), xpcnn.Residual(body, past), xpcnn.ReLU()]
    model, x = settled(layers, (3, 9, 9))
    y, ops = operations(model, x)
    assert ops == ["conv", "conv", "conv_add_relu"]
    np.testing.assert_allclose(y, single(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_a_sum_whose_terms_are_broadcast(order):
    graph = xpcnn.Graph(
        "x",
        [
            ("a", xpcnn.Conv2d(3, 16, 3, padding=1), "x"),
            ("p", xpcnn.GlobalAvgPool2d(keepdims=True), "x"),
            ("b", xpcnn.Conv2d(3, 16, 1), "p"),
            ("s", Add(), order),
            ("y", xpcnn.SiLU(), "s"),
        ],
        "y",
    )
    assert_as_the_definition(graph)


def test_a_value_that_is_added_to_itself():
    nodes = [("a", xpcnn.Conv2d(3, 16, 3, padding=1), "x"), ("y", Add(), ["a", "a"])]
    assert_as_the_definition(xpcnn.Graph("x", nodes, "y"))


def test_a_product_that_others_read_too_stays_by_itself():
    graph = xpcnn.Graph(
        "x",
        [
            ("a", xpcnn.Conv2d(3, 16, 3, padding=1), "x"),
            ("b", xpcnn.Conv2d(3, 16, 1), "x"),
            ("s", Add(), ["a", "b"]),
            ("t", xpcnn.Tanh(), "a"),
            ("u", xpcnn.Tanh(), "b"),
        ],
        ["s", "t", "u"],
    )
    assert_as_the_definition(graph)


def assert_as_the_definition(graph):
    """Compare a program of a graph with its layers in float64."""
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    graph.build((2, 3, 6, 6), rng=np.random.default_rng(0))
    found = Program(graph).forward(x, training=False)
    with kernels.force("generic"):
        wanted = graph.forward(x)
    pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", [xpcnn.ReLU6(), xpcnn.Sigmoid(), xpcnn.Tanh()], ids=str)
def test_training_takes_activations_along_whose_output_says_the_gradient(activation):
    layers = [xpcnn.Conv2d(3, 16, 3), activation, xpcnn.Flatten(), xpcnn.Linear(16 * 49, 4)]
    model, x = settled(layers, (3, 9, 9))
    dy = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    found = []
    for name in (None, "generic"):
        with kernels.force(name), kernels.trace() as decisions:
            model.zero_grad()
            model.forward(x, training=True)
            model.backward(dy)
        found.append([p.grad for p in model.parameters().values()])
        if name is None:
            assert decisions[0][:2] == (f"conv_{activation.op}", "cpu")
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS], ids=str)
def test_linear_layers(activation):
    behind = [[] if activation is None else [deepcopy(activation)] for _ in range(3)]
    inside = [xpcnn.Linear(12, 20), *behind[1], xpcnn.Linear(20, 12)]
    block = xpcnn.Residual(xpcnn.Sequential(*inside))
    model, x = settled([xpcnn.Linear(9, 12), *behind[0], block, *behind[2]], (9,))
    y, ops = operations(model, x)
    linear = name_of("linear", activation)
    assert ops == [linear, linear, name_of("linear_add", activation)]
    np.testing.assert_allclose(y, single(model, x), rtol=1e-4, atol=1e-5)


def fire(small, large, behind=xpcnn.ReLU, norm=False):
    """Make a graph of two convolutions that read one array, and are put together."""
    nodes = [("x", xpcnn.Conv2d(3, 12, 1), "image")]
    for name, filters, size in (("small", small, 1), ("large", large, 3)):
        nodes.append((name, xpcnn.Conv2d(12, filters, size, padding=size // 2), "x"))
        if norm:
            nodes.append((f"{name}.norm", xpcnn.BatchNorm2d(filters), name))
        if behind is not None:
            nodes.append((f"{name}.behind", behind(), f"{name}.norm" if norm else name))
    ends = [nodes[len(nodes) // 2][0], nodes[-1][0]]
    return [*nodes, ("both", Concat(1), ends)], "both"


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("behind", [None, xpcnn.ReLU, xpcnn.SiLU])
def test_convolutions_that_are_put_together(behind, norm):
    nodes, end = fire(16, 48, behind, norm)
    model, x = settled(xpcnn.Graph("image", nodes, end), (3, 9, 9))
    y, ops = operations(model, x)
    assert ops == ["conv", "conv_concat"]
    with kernels.force("generic"):
        np.testing.assert_allclose(y, model.network.forward(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("small", "large"), [(16, 20), (5, 32), (16, 16)])
def test_convolutions_that_are_put_together_one_by_one(small, large):
    """Where filters are no multiple of 16, and where one is read by somebody else too."""
    nodes, end = fire(small, large)
    ends = [end]
    if small == large == 16:
        nodes.append(("more", xpcnn.Conv2d(16, 8, 1), "small.behind"))
        ends.append("more")
    graph = xpcnn.Graph(
        "x0", [(n, layer, "x0" if i == "image" else i) for n, layer, i in nodes], ends
    )
    assert_as_the_definition(graph)


def test_what_is_put_together_with_something_else():
    nodes, _ = fire(16, 16)
    nodes = [*nodes[:-1], ("pool", xpcnn.AvgPool2d(3, 1, 1), "x")]
    nodes.append(("all", Concat(1), ["small.behind", "pool", "large.behind"]))
    assert_as_the_definition(xpcnn.Graph("image", nodes, "all"))


def test_outputs_of_other_sizes_are_an_error_of_the_layer():
    nodes = [
        ("a", xpcnn.Conv2d(3, 16, 3), "x"),
        ("b", xpcnn.Conv2d(3, 16, 1), "x"),
        ("both", Concat(1), ["a", "b"]),
    ]
    program = Program(xpcnn.Graph("x", nodes, "both"))
    with pytest.raises(ValueError, match="axis 1 only"):
        program.forward(np.zeros((1, 3, 9, 9), np.float32), training=False)


def test_training_puts_convolutions_together_by_themselves():
    nodes, end = fire(16, 32)
    layers = [xpcnn.Graph("image", nodes, end), xpcnn.GlobalAvgPool2d(), xpcnn.Linear(48, 4)]
    model, x = settled(layers, (3, 9, 9))
    dy = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    found = []
    for name in (None, "generic"):
        with kernels.force(name):
            model.zero_grad()
            model.forward(x, training=True)
            model.backward(dy)
        found.append([p.grad for p in model.parameters().values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
