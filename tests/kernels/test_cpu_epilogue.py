"""Convolutions and linear layers with a sum and an activation in the same pass."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error, lay
from xpcnn import kernels
from xpcnn.kernels.cpu import buffers
from xpcnn.ops import OPS
from xpcnn.ops.conv import CONV
from xpcnn.ops.fused import CONV_ADD, CONV_AND, CONV_CONCAT, LINEAR_ADD, LINEAR_AND
from xpcnn.window import Window

needs_compiled_kernels()

ACTIVATIONS = {
    "": (),
    "relu": (),
    "hardtanh": (-0.5, 0.75),
    "leaky_relu": (0.2,),
    "hardswish": (),
    "hardsigmoid": (),
    "silu": (),
    "sigmoid": (),
    "tanh": (),
    "gelu": ("none",),
    "gelu tanh": ("tanh",),
    "softplus": (1.5, 2.0),
    "elu": (0.7,),
    "mish": (),
}
BY_OUTPUT = ("relu", "hardtanh", "sigmoid", "tanh")

# Shape of the input, shape of the filters, groups.
CONVOLUTIONS = {
    "direct": ((2, 5, 9, 12), (20, 5, 5, 3), 1),
    "many filters": ((1, 7, 6, 5), (80, 7, 3, 3), 1),
    "few filters": ((2, 5, 9, 12), (3, 5, 3, 3), 1),
    "groups": ((2, 8, 9, 12), (24, 4, 3, 3), 2),
    "1x1": ((2, 40, 7, 7), (50, 40, 1, 1), 1),
    "depthwise": ((2, 21, 9, 11), (21, 1, 3, 3), 21),
    "depthwise, few": ((2, 3, 9, 11), (3, 1, 3, 3), 3),
    "Winograd": ((3, 64, 21, 22), (70, 64, 3, 3), 1),
    "Winograd, few tiles": ((1, 64, 17, 18), (64, 64, 3, 3), 1),
    "line": ((2, 5, 40), (20, 5, 5), 1),
}
SUMS = {
    "direct": ((2, 5, 9, 12), (48, 5, 5, 3), 1),
    "strides": ((2, 40, 7, 7), (16, 40, 1, 1), 1),
    "groups": ((2, 8, 9, 12), (32, 4, 3, 3), 2),
    "Winograd": ((3, 64, 21, 22), (80, 64, 3, 3), 1),
    "Winograd, few tiles": ((1, 64, 17, 18), (64, 64, 3, 3), 1),
    "line": ((2, 5, 40), (32, 5, 5), 1),
}


def draw(shape, filters, groups, stride=1):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(size).astype(np.float32) for size in (shape, filters))
    w /= np.sqrt(w[0].size) / 2
    b = rng.standard_normal(filters[0]).astype(np.float32)
    n = len(filters) - 2
    window = Window(filters[2:], (stride,) * n, ((1, 1),) * n, (1,) * n)
    return x, w, b, window, groups


def op_of(table, name):
    return table[name.partition(" ")[0]]


def by_definition(operands, name, other=None):
    """Run the generic operations one after the other, in float64."""
    x, w, b, window, groups = operands
    with kernels.force("generic"):
        y, _ = CONV(x.astype(float), w.astype(float), b.astype(float), window, groups)
        y = y if other is None else y + other
        if name:
            y, _ = op_of(OPS, name)(y, *ACTIVATIONS[name])
    return y


def run(op, operands, name, *other, **options):
    """Run an operation as one compiled kernel."""
    xp = xpcnn._xp.namespace(operands[0])
    with kernels.force("cpu"), kernels.trace() as decisions:
        y, saved = op.run(xp, *operands, *other, *ACTIVATIONS[name], **options)
    assert [(d.op, d.kernel_set) for d in decisions] == [(op.name, "cpu")]
    return y, saved


def told(name):
    """Only operations that ask for more than their output need to know that nothing is trained."""
    return {} if name in ("", "relu") else {"training": False}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("way", CONVOLUTIONS)
def test_an_activation_behind_a_convolution(way, name):
    operands = draw(*CONVOLUTIONS[way])
    expected = by_definition(operands, name)
    for how in range(7):
        x = lay(operands[0], how)
        y, _ = run(op_of(CONV_AND, name), (x, *operands[1:]), name, **told(name))
        assert y.dtype == np.float32
        assert error(y, expected) < 3e-6


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("way", SUMS)
def test_a_sum_and_an_activation_behind_a_convolution(way, name):
    operands = draw(*SUMS[way], stride=2 if way == "strides" else 1)
    shape = by_definition(operands, "").shape
    other = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = by_definition(operands, name, other)
    for how in range(7):
        y, _ = run(op_of(CONV_ADD, name), operands, name, lay(other, how), training=False)
        assert y.dtype == np.float32
        assert error(y, expected) < 3e-6


@pytest.mark.parametrize("name", ["silu", "elu"])
@pytest.mark.parametrize("way", [way for way in SUMS if way in CONVOLUTIONS])
def test_a_sum_leaves_what_it_reads(way, name):
    operands = draw(*SUMS[way])
    other = np.ones(by_definition(operands, "").shape, np.float32)
    kept = [a.copy() for a in (*operands[:3], other)]
    run(CONV_ADD[name], operands, name, other, training=False)
    for array, copy in zip((*operands[:3], other), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name])
@pytest.mark.parametrize("way", ["direct", "depthwise", "Winograd"])
def test_special_values_come_out_where_they_do_of_the_layers(way, name):
    operands = draw(*CONVOLUTIONS[way])
    operands[0][0, 0, 3, 2], operands[0][-1, 1, 1, 1] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        plain, _ = run(CONV, operands, "")
        expected, _ = op_of(OPS, name)(np.ascontiguousarray(plain), *ACTIVATIONS[name])
    y, _ = run(op_of(CONV_AND, name), operands, name, **told(name))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["hardtanh", "sigmoid", "tanh"])
@pytest.mark.parametrize("way", ["direct", "depthwise", "Winograd", "line"])
def test_gradients_that_follow_from_the_output(way, name):
    operands = draw(*CONVOLUTIONS[way])
    x, w, b, window, groups = operands
    with kernels.force("generic"):
        y, conv_back = CONV(x.astype(float), w.astype(float), b.astype(float), window, groups)
        y, back = OPS[name](y, *ACTIVATIONS[name])
        dy = np.random.default_rng(2).standard_normal(y.shape)
        expected = conv_back(back(dy), True)
    _, saved = run(CONV_AND[name], operands, name)
    for found, wanted in zip(saved(dy.astype(np.float32), True), expected, strict=True):
        assert error(found, wanted) < 1e-3  # a limit may be met by one of the two alone


@pytest.mark.parametrize(
    "name", sorted(set(CONV_AND) - {"", "relu", "hardtanh", "sigmoid", "tanh"})
)
def test_in_training_the_others_are_left_to_the_layers(name):
    operands = draw(*CONVOLUTIONS["direct"])
    y, saved = CONV_AND[name](*operands, *ACTIVATIONS[name])
    with kernels.force("generic"):
        expected, back = CONV_AND[name](*operands, *ACTIVATIONS[name])
    dy = np.ones_like(y)
    assert error(y, expected) < 1e-5
    for found, wanted in zip(saved(dy, True), back(dy, True), strict=True):
        assert error(found, wanted) < 1e-5


@pytest.mark.parametrize("filler", [0x00, 0xFF, 0x7F])
@pytest.mark.parametrize("name", ["relu", "gelu"])
@pytest.mark.parametrize("way", SUMS)
def test_nothing_is_read_or_written_beyond_the_arrays(way, name, filler, monkeypatch):
    operands = draw(*SUMS[way])
    shape = by_definition(operands, "").shape
    other = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = by_definition(operands, name, other)
    guards = Guards(filler)
    monkeypatch.setattr(buffers, "empty", guards)
    for how in (0, 1):
        y, _ = run(CONV_ADD[name], operands, name, lay(other, how), training=False)
        assert error(y, expected) < 3e-6
    guards.assert_whole(at_least=2)


@pytest.mark.parametrize("way", SUMS)
def test_the_same_bits_from_any_number_of_threads(way):
    operands = draw(*SUMS[way])
    other = np.ones(by_definition(operands, "").shape, np.float32)
    found = []
    before = xpcnn.get_num_threads()
    try:
        for count in (1, 2):
            xpcnn.set_num_threads(count)
            found.append(run(CONV_ADD["mish"], operands, "mish", other, training=False)[0])
    finally:
        xpcnn.set_num_threads(before)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("filters", "groups", "reason"),
    [((20, 5, 3, 3), 1, "20 filters"), ((16, 1, 3, 3), 8, "2 filters")],
)
def test_sums_that_are_left_to_a_kernel_of_their_own(filters, groups, reason):
    operands = draw((2, filters[1] * groups, 8, 8), filters, groups)
    other = np.ones((2, filters[0], 8, 8), np.float32)
    with kernels.trace() as decisions:
        y, _ = CONV_ADD["relu"].run(np, *operands, other, training=False)
    assert [d.op for d in decisions] == ["conv_add_relu", "conv", "add_relu"]
    assert reason in decisions[0].declined[0][1]
    assert error(y, by_definition(operands, "relu", other)) < 3e-6


# -- Linear layers ---------------------------------------------------------------------------------

LINEAR = [((5, 33), 21), ((2, 3, 8), 64), ((1, 7), 5), ((130, 100), 37), ((3, 1), 1)]
"""Shapes of the input, and outputs."""


def draw_linear(shape, outputs):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in (shape, (outputs, shape[-1])))
    other = rng.standard_normal((*shape[:-1], outputs)).astype(np.float32)
    return x, w, rng.standard_normal(outputs).astype(np.float32), other


def linear_by_definition(x, w, b, name, other=0.0):
    y = x.astype(float) @ w.astype(float).T + b + other
    with kernels.force("generic"):
        return op_of(OPS, name)(y, *ACTIVATIONS[name])[0] if name else y


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("shape", "outputs"), LINEAR)
def test_an_activation_behind_a_linear_layer(shape, outputs, name):
    x, w, b, _ = draw_linear(shape, outputs)
    y, _ = run(op_of(LINEAR_AND, name), (x, w, b), name, **told(name))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, linear_by_definition(x, w, b, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("shape", "outputs"), LINEAR)
def test_a_sum_and_an_activation_behind_a_linear_layer(shape, outputs, name):
    x, w, b, other = draw_linear(shape, outputs)
    expected = linear_by_definition(x, w, b, name, other)
    wide = np.full((*other.shape[:-1], outputs + 3), np.nan, np.float32)
    wide[..., :outputs] = other
    for given in (other, wide[..., :outputs], np.asfortranarray(other)):
        y, _ = run(op_of(LINEAR_ADD, name), (x, w, b), name, given, training=False)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["hardtanh", "sigmoid", "tanh"])
@pytest.mark.parametrize(("shape", "outputs"), LINEAR)
def test_gradients_of_a_linear_layer_that_follow_from_the_output(shape, outputs, name):
    x, w, b, dy = draw_linear(shape, outputs)
    with kernels.force("generic"):
        exact = [a.astype(float) for a in (x, w, b)]
        _, back = LINEAR_AND[name](*exact, *ACTIVATIONS[name])
        expected = back(dy.astype(float), True)
    _, saved = run(LINEAR_AND[name], (x, w, b), name)
    for found, wanted in zip(saved(dy, True), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("filler", [0x00, 0xFF, 0x7F])
@pytest.mark.parametrize("name", ["relu", "hardtanh", "gelu"])
@pytest.mark.parametrize(("shape", "outputs"), LINEAR)
def test_a_linear_layer_stays_within_its_arrays(shape, outputs, name, filler, monkeypatch):
    x, w, b, other = draw_linear(shape, outputs)
    guards = Guards(filler)
    monkeypatch.setattr(buffers, "empty", guards)
    y, _ = run(LINEAR_ADD[name], (x, w, b), name, other, training=False)
    expected = linear_by_definition(x, w, b, name, other)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    guards.assert_whole(at_least=1)


# -- Convolutions that are put together ------------------------------------------------------------

TOGETHER = {
    "fire": [((2, 12, 9, 11), (16, 12, 1, 1), "relu"), ((2, 12, 9, 11), (48, 12, 3, 3), "relu")],
    "three": [
        ((1, 5, 8, 8), (32, 5, 3, 3), ""),
        ((1, 40, 8, 8), (16, 40, 1, 1), "gelu"),
        ((1, 7, 8, 8), (16, 7, 5, 5), "hardtanh"),
    ],
    "Winograd": [
        ((3, 64, 21, 22), (64, 64, 3, 3), "relu"),
        ((3, 64, 21, 22), (80, 64, 1, 1), "tanh"),
        ((3, 32, 21, 22), (32, 32, 3, 3), "silu"),
    ],
    "lines": [((2, 5, 30), (16, 5, 5), "relu"), ((2, 6, 30), (32, 6, 3), "mish")],
}


def draw_together(case):
    """Return the convolutions, and what they are by definition, put together."""
    rng, found, expected = np.random.default_rng(0), [], []
    for shape, filters, name in TOGETHER[case]:
        x, w = (rng.standard_normal(size).astype(np.float32) for size in (shape, filters))
        w /= np.sqrt(w[0].size)
        b = rng.standard_normal(filters[0]).astype(np.float32)
        kernel = filters[2:]
        padding = tuple((k // 2, k // 2) for k in kernel)
        window = Window(kernel, (1,) * len(kernel), padding, (1,) * len(kernel))
        found.append((x, w, b, window, 1, name, *ACTIVATIONS[name]))
        expected.append(by_definition(found[-1][:5], name))
    return found, np.concatenate(expected, axis=1)


@pytest.mark.parametrize("case", TOGETHER)
def test_convolutions_are_put_together(case):
    convolutions, expected = draw_together(case)
    for how in range(7):
        given = [(lay(x, how), *rest) for x, *rest in convolutions]
        with kernels.force("cpu"):
            y, _ = CONV_CONCAT.run(np, given)
        assert y.dtype == np.float32
        assert error(y, expected) < 3e-6


@pytest.mark.parametrize("filler", [0x00, 0xFF, 0x7F])
@pytest.mark.parametrize("case", TOGETHER)
def test_convolutions_that_are_put_together_stay_within_their_arrays(case, filler, monkeypatch):
    convolutions, expected = draw_together(case)
    guards = Guards(filler)
    monkeypatch.setattr(buffers, "empty", guards)
    y, _ = CONV_CONCAT.run(np, convolutions)
    assert error(y, expected) < 3e-6
    guards.assert_whole(at_least=2)


def test_what_cannot_be_put_together():
    convolutions, _ = draw_together("fire")
    x, w, b, *rest = convolutions[0]
    with kernels.trace() as decisions:
        assert CONV_CONCAT.run(np, [convolutions[1], (x, w[:15], b[:15], *rest)]) is None
        assert CONV_CONCAT.run(np, [convolutions[1], (x[..., 1:], w, b, *rest)]) is None
        assert CONV_CONCAT.run(np, [convolutions[1], (x.astype(float), w, b, *rest)]) is None
        with kernels.force("generic"):
            assert CONV_CONCAT.run(np, convolutions) is None
    reasons = [decision.declined[-1][1] for decision in decisions if decision.declined]
    assert [r for r in reasons if "15 filters" in r or "several sizes" in r or "float32" in r]
