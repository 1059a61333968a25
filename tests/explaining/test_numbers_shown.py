"""Every number of an explanation, against the courses' examples, naive loops and the layers."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

import xpcnn
from tests.explaining.lines import line_of, table_of, values_of, worked_lines
from xpcnn.scratch import conv1d, deep_conv_net, simple_conv_net


def with_weights(layer, **arrays):
    layer.load_state_dict({k: np.asarray(v, dtype="float64") for k, v in arrays.items()})
    return layer


# -- The courses' own examples ---------------------------------------------------------------------


def test_simple_convolution_of_the_course():
    conv = conv1d.SimpleConv1d(W=np.array([3, 5, 7]), b=np.array([1]))
    shown = str(xpcnn.explain(conv, [1, 2, 3, 4], dy=[10, 20]))
    for line in (
        "y[0] = 1·3 + 2·5 + 3·7 + 1 = 35",
        "y[1] = 2·3 + 3·5 + 4·7 + 1 = 50",
        "db[0] = 10 + 20 = 30",
        "dW[0] = 1·10 + 2·20 = 50",
        "dW[1] = 2·10 + 3·20 = 80",
        "dW[2] = 3·10 + 4·20 = 110",
        "dx[0] = 10·3 = 30",
        "dx[1] = 10·5 + 20·3 = 110",
        "dx[2] = 10·7 + 20·5 = 170",
        "dx[3] = 20·7 = 140",
        "⌊(4 + 0 + 0 - 1·(3 - 1) - 1) / 1⌋ + 1 = 2",
    ):
        assert line in shown
    assert conv.dW is None
    assert conv.x is None


def test_convolution_with_channels_of_the_course():
    conv = conv1d.Conv1d(W=np.ones((3, 2, 3)), b=np.array([1, 2, 3]))
    shown = xpcnn.explain(conv, [[1, 2, 3, 4], [2, 3, 4, 5]])
    assert line_of(shown, "y[0, 0]") == "y[0, 0] = 1·1 + 2·1 + 3·1 + 2·1 + 3·1 + 4·1 + 1 = 16"
    found = [values_of(shown, f"y[{o}, {p}]") for o in range(3) for p in range(2)]
    assert found == [16, 22, 17, 23, 18, 24]
    assert "(2, 4)" in str(shown)


def test_im2col_of_the_course_in_two_dimensions():
    conv = simple_conv_net.Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
    shown = xpcnn.explain(conv, np.arange(9).reshape(1, 1, 3, 3))
    col = table_of(shown, "col")
    assert col.cells == [
        ["0", "1", "3", "4"],
        ["1", "2", "4", "5"],
        ["3", "4", "6", "7"],
        ["4", "5", "7", "8"],
    ]
    assert col.columns == ["c0 (0,0)", "c0 (0,1)", "c0 (1,0)", "c0 (1,1)"]
    assert col.rows == ["n0 (0,0)", "n0 (0,1)", "n0 (1,0)", "n0 (1,1)"]
    assert [values_of(shown, f"y[0, 0, {i}, {j}]") for i in (0, 1) for j in (0, 1)] == [
        8, 12, 20, 24,
    ]  # fmt: skip


def test_pooling_of_the_course():
    pool = conv1d.MaxPooling1D(2, stride=2)
    shown = str(xpcnn.explain(pool, [[1, 3, 2, 2]], dy=[[10, 20]]))
    assert "y[0, 0] = max(1, 3) = 3" in shown
    assert "y[0, 1] = max(2, 2) = 2" in shown
    assert "dx[0, 1] = dy[0, 0] = 10" in shown
    assert "dx[0, 2] = dy[0, 1] = 20" in shown  # of equal ones the first


def test_affine_of_the_course():
    affine = conv1d.Affine(np.array([[1, 2], [3, 4], [5, 6]]), np.array([1, -1]))
    shown = str(xpcnn.explain(affine, [[1, 2, 3], [4, 5, 6]], dy=[[1, 2], [3, 4]]))
    assert "y[0, 1] = 1·2 + 2·4 + 3·6 + (-1) = 27" in shown
    assert "dW[2, 1] = 3·2 + 6·4 = 30" in shown
    assert "db[1] = 2 + 4 = 6" in shown
    assert "dx[1, 2] = 3·5 + 4·6 = 39" in shown


# -- Convolutions, against naive loops -------------------------------------------------------------

CONVOLUTIONS = [
    ((2, 2, 5), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 1, 7), {"kernel_size": 3, "dilation": 2, "padding": ((1, 2),)}),
    ((1, 2, 5), {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"}),
    ((1, 1, 4), {"kernel_size": 2, "padding": 1, "padding_mode": "replicate"}),
    ((1, 1, 4), {"kernel_size": 3, "padding": 2, "padding_mode": "circular"}),
    ((1, 4, 4), {"kernel_size": 2, "groups": 2, "out_channels": 4}),
    ((1, 1, 6), {"kernel_size": 2, "stride": 4}),
    ((2, 1, 4, 3), {"kernel_size": 2}),
    ((1, 2, 3, 4), {"kernel_size": (2, 3), "padding": "same", "bias": False}),
    ((1, 1, 2, 3, 3), {"kernel_size": 2}),
]


def naive(x, w, b, dy, pads, stride, dilation, groups, mode):
    """Convolve by loops; return the output and all gradients."""
    how = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    ndim = x.ndim - 2
    flat = np.arange(x[0, 0].size).reshape(x.shape[2:])
    extra = {"constant_values": -1} if mode == "zeros" else {}
    source = np.pad(flat, pads, mode=how, **extra)
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    per = w.shape[0] // groups
    for n, o, *p in np.ndindex(*dy.shape):
        y[(n, o, *p)] = 0 if b is None else b[o]
        for c, *t in np.ndindex(*w.shape[1:]):
            at = tuple(p[a] * stride[a] + t[a] * dilation[a] for a in range(ndim))
            place = source[at]
            if place < 0:
                continue
            channel = c + (o // per) * w.shape[1]
            index = (n, channel, *np.unravel_index(place, x.shape[2:]))
            y[(n, o, *p)] += x[index] * w[(o, c, *t)]
            dw[(o, c, *t)] += x[index] * dy[(n, o, *p)]
            dx[index] += w[(o, c, *t)] * dy[(n, o, *p)]
    return y, dx, dw


@pytest.mark.parametrize(("shape", "options"), CONVOLUTIONS)
def test_every_number_of_a_convolution(shape, options, rng):
    options = {"out_channels": 2, **options}
    ndim = len(shape) - 2
    layer = {1: xpcnn.Conv1d, 2: xpcnn.Conv2d, 3: xpcnn.Conv3d}[ndim](shape[1], **options)
    integers = lambda shape: rng.integers(-4, 5, shape).astype(float)  # noqa: E731
    state = {name: integers(p.shape) for name, p in layer.parameters().items()}
    with_weights(layer, **state)
    x = integers(shape)
    dy = integers(layer.output_shape(shape))
    window = layer.window(shape[2:])
    b = state.get("bias")
    y, dx, dw = naive(
        x, state["weight"], b, dy, window.padding, window.stride, window.dilation,
        layer.groups, layer.padding_mode,
    )  # fmt: skip
    shown = xpcnn.explain(layer, x, dy=dy, limit=1000)
    expected = {"y": y, "dweight": dw, "dx": dx}
    if b is not None:
        expected["dbias"] = dy.sum(axis=(0, *range(2, dy.ndim)))
    for name, values in expected.items():
        for index in np.ndindex(*values.shape):
            written = f"{name}[{', '.join(map(str, index))}]"
            assert values_of(shown, written) == values[index], written
    assert "≈" not in str(shown)  # whole numbers: each line is true as it is written
    assert check_lines(shown) >= y.size + dw.size
    tables = [t for t in tables_of(shown) if t.title.startswith("dx")]
    assert np.array_equal(np.concatenate([cells(t).ravel() for t in tables]), dx.ravel())
    tables = [t for t in tables_of(shown) if re.fullmatch(r"y(\[.*\])?", t.title)]
    assert np.array_equal(np.concatenate([cells(t).ravel() for t in tables]), y.ravel())


TRANSPOSED = [
    ((1, 1, 3), {"kernel_size": 3}),
    ((2, 2, 3), {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}),
    ((1, 1, 3), {"kernel_size": 2, "dilation": 2, "stride": 2, "bias": False}),
    ((1, 4, 2, 2), {"kernel_size": 2, "groups": 2, "out_channels": 4}),
    ((1, 1, 2, 3), {"kernel_size": 3, "stride": 2, "padding": "same"}),
]


@pytest.mark.parametrize(("shape", "options"), TRANSPOSED)
def test_every_number_of_a_transposed_convolution(shape, options, rng):
    options = {"out_channels": 2, **options}
    layer = {3: xpcnn.ConvTranspose1d, 4: xpcnn.ConvTranspose2d}[len(shape)](shape[1], **options)
    state = {n: rng.integers(-4, 5, p.shape) * 1.0 for n, p in layer.parameters().items()}
    with_weights(layer, **state)
    x, out = rng.integers(-4, 5, shape) * 1.0, layer.output_shape(shape)
    dy, w = rng.integers(-4, 5, out) * 1.0, state["weight"]
    window, _ = layer.transposed_window(shape[2:])
    per_in, per_out = shape[1] // layer.groups, w.shape[1]
    y, dx, dw = np.zeros(out), np.zeros(shape), np.zeros(w.shape)
    for n, c, *p in np.ndindex(*shape):
        for o, *t in np.ndindex(*w.shape[1:]):
            at = tuple(
                a * s + b * d - before
                for a, s, b, d, (before, _) in zip(
                    p, window.stride, t, window.dilation, window.padding, strict=True
                )
            )
            if all(0 <= a < m for a, m in zip(at, out[2:], strict=True)):
                place = (n, c // per_in * per_out + o, *at)
                y[place] += x[(n, c, *p)] * w[(c, o, *t)]
                dx[(n, c, *p)] += dy[place] * w[(c, o, *t)]
                dw[(c, o, *t)] += dy[place] * x[(n, c, *p)]
    if "bias" in state:
        y += state["bias"].reshape(-1, *(1,) * len(shape[2:]))
    shown = xpcnn.explain(layer, x, dy=dy, limit=1000)
    for name, values in {"y": y, "dweight": dw, "dx": dx}.items():
        for index in np.ndindex(*values.shape):
            written = f"{name}[{', '.join(map(str, index))}]"
            assert values_of(shown, written) == values[index], written
    assert "≈" not in str(shown)  # whole numbers: each line is true as it is written
    assert check_lines(shown) > 0


def tables_of(shown):
    return [p for s in shown.sections for p in s.parts if hasattr(p, "cells")]


def cells(table):
    return np.array([[float(v) for v in row] for row in table.cells])


NUMBER = r"\(?-?[\d.e+-]+\)?"
TERM = rf"{NUMBER}(?:·{NUMBER})*"
SUM = re.compile(rf"[^=]+ = ({TERM}(?: \+ {TERM})*) = ({NUMBER})")


def check_lines(shown) -> int:
    """Work out again all sums that are said to be equal; return how many there were."""
    count = 0
    for line in worked_lines(shown):
        if found := SUM.fullmatch(line):
            terms = [
                np.prod([float(f.strip("()")) for f in term.split("·")])
                for term in found[1].split(" + ")
            ]
            assert sum(terms) == pytest.approx(float(found[2]), abs=1e-9), line
            count += 1
    return count


def test_padding_is_named_by_its_position():
    layer = with_weights(xpcnn.Conv1d(1, 1, 2, padding=1), weight=[[[1, 1]]], bias=[0])
    table = table_of(xpcnn.explain(layer, [[[5, 6]]]), "x[0]")
    assert table.columns == ["-1", "0", "1", "2"]
    assert table.cells == [["0", "5", "6", "0"]]
    assert [table.marks.get((0, j)) for j in range(4)] == ["a", "a", "b", "b"]


# -- Pooling ---------------------------------------------------------------------------------------


def test_average_pooling_divides_as_the_layer_does():
    x = [[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]
    shown = str(xpcnn.explain(xpcnn.AvgPool2d(2, padding=1), x))
    assert "y[0, 0, 0, 1] = (0 + 0 + 2 + 3) / 4 = 1.25" in shown
    assert "dx[0, 0, 0, 0] = 1/4 = 0.25" in shown
    layer = xpcnn.AvgPool2d(2, padding=1, count_include_pad=False)
    shown = str(xpcnn.explain(layer, x))
    assert "y[0, 0, 0, 1] = (0 + 0 + 2 + 3) / 2 = 2.5" in shown
    assert "dx[0, 0, 0, 0] = 1/1 = 1" in shown


def test_max_pooling_in_overlapping_windows():
    shown = xpcnn.explain(xpcnn.MaxPool1d(3, 1), [[[1, 9, 2, 3]]], dy=[[[10, 20]]])
    assert line_of(shown, "dx[0, 0, 1]") == (
        "dx[0, 0, 1] = dy[0, 0, 0] + dy[0, 0, 1] = 10 + 20 = 30"
    )
    assert table_of(shown, "").marks == {(0, 1): "max", (1, 0): "max"}


def test_global_pooling():
    shown = str(xpcnn.explain(xpcnn.GlobalAvgPool2d(), [[[[1, 2], [3, 6]]]], dy=[[8]]))
    assert "y[0, 0] = (1 + 2 + 3 + 6) / 4 = 3" in shown
    assert "dx[0, 0, 1, 1] = 8/4 = 2" in shown
    shown = str(xpcnn.explain(xpcnn.GlobalMaxPool1d(), [[[1, 5, 2]]], dy=[[8]]))
    assert "y[0, 0] = max(1, 5, 2) = 5" in shown
    assert "dx[0, 0, 1] = dy[0, 0] = 8" in shown


# -- The others ------------------------------------------------------------------------------------


def test_linear_with_pytorchs_layout():
    layer = with_weights(xpcnn.Linear(3, 2), weight=[[1, 2, 3], [4, 5, 6]], bias=[1, -1])
    shown = str(xpcnn.explain(layer, [1, 0, 2], dy=[10, 100]))
    assert "y[0] = 1·1 + 0·2 + 2·3 + 1 = 8" in shown
    assert "y[1] = 1·4 + 0·5 + 2·6 + (-1) = 15" in shown
    assert "dweight[1, 2] = 2·100 = 200" in shown
    assert "dx[1] = 10·2 + 100·5 = 520" in shown


def test_batch_normalisation_in_training():
    layer = with_weights(
        xpcnn.BatchNorm1d(2, eps=0.0), weight=[2, 1], bias=[1, 0], running_mean=[0, 0],
        running_var=[1, 1], num_batches_tracked=0,
    )  # fmt: skip
    x, dy = np.array([[1.0, 0], [3, 2]]), np.array([[1.0, 0], [0, 2]])
    shown = xpcnn.explain(layer, x, dy=dy)
    text = str(shown)
    assert "μ[0] = (1 + 3) / 2 = 2" in text
    assert "v[0] = ((-1)² + 1²) / 2 = 1" in text
    assert table_of(shown, "x̂").cells == [["-1", "1"], ["-1", "1"]]
    assert "dbias[0] = 1 + 0 = 1" in text
    assert "dweight[1] = 0·(-1) + 2·1 = 2" in text
    # γ / 1 · (dy - 0.5 - x̂·(-0.5)) = 2·(1 - 0.5 - 0.5, 0 - 0.5 + 0.5) = 0
    assert table_of(shown, "dx").cells[0] == ["0", "0"]
    assert "running_mean[0] = 0.9·0 + 0.1·2 = 0.2" in text
    assert "running_var[0]  = 0.9·1 + 0.1·2 = 1.1" in text


def test_batch_normalisation_of_images_equals_its_formula(rng):
    layer = xpcnn.BatchNorm2d(3)
    x, dy = rng.normal(size=(2, 3, 2, 2)), rng.normal(size=(2, 3, 2, 2))
    shown = xpcnn.explain(layer, x, dy=dy)
    own = xpcnn.BatchNorm2d(3)
    own.build(x.shape, dtype="float64")
    y, dx = own.forward(x, training=True), own.backward(dy)
    rows = lambda a: np.moveaxis(a, 1, 0).reshape(3, -1)  # noqa: E731
    assert np.allclose(cells(table_of(shown, "y")), rows(y), atol=1e-3)
    assert np.allclose(cells(table_of(shown, "dx")), rows(dx), atol=1e-3)


def test_batch_normalisation_in_inference():
    layer = with_weights(
        xpcnn.BatchNorm1d(1, eps=0.0), weight=[3], bias=[1], running_mean=[2], running_var=[4],
        num_batches_tracked=1,
    )  # fmt: skip
    shown = xpcnn.explain(layer, [[4], [2]], training=False, dy=[[2], [4]])
    assert table_of(shown, "x̂").cells == [["1", "0"]]
    assert table_of(shown, "y").cells == [["4", "1"]]
    assert table_of(shown, "dx").cells == [["3", "6"]]  # dy·3/2
    assert "running_mean[0] =" not in str(shown)


def test_batch_normalisation_of_the_course():
    layer = deep_conv_net.BatchNormalization(np.array([2.0]), np.array([1.0]))
    shown = xpcnn.explain(layer, [[1.0], [3.0]])
    assert "μ[0] = (1 + 3) / 2 = 2" in str(shown)
    assert np.allclose(cells(table_of(shown, "y")), [[-1, 3]], atol=1e-3)
    assert layer.moving_mean is None
    assert "running_var" not in str(shown)  # the course does not divide by m - 1


@pytest.mark.parametrize(
    ("layer", "y", "slope"),
    [
        (xpcnn.ReLU(), lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
        (xpcnn.LeakyReLU(0.1), lambda x: np.where(x > 0, x, 0.1 * x),
         lambda x: np.where(x > 0, 1, 0.1)),
        (xpcnn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x)),
         lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
        (xpcnn.LogSigmoid(), lambda x: -np.log1p(np.exp(-x)), lambda x: 1 / (1 + np.exp(x))),
        (xpcnn.Tanh(), np.tanh, lambda x: 1 - np.tanh(x) ** 2),
        (xpcnn.Tanhshrink(), lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2),
        (xpcnn.Softsign(), lambda x: x / (1 + abs(x)), lambda x: (1 + abs(x)) ** -2.0),
        (xpcnn.ELU(0.5), lambda x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1)),
         lambda x: np.where(x > 0, 1, 0.5 * np.exp(x))),
        (xpcnn.SiLU(), lambda x: x / (1 + np.exp(-x)),
         lambda x: (1 + x * (1 - 1 / (1 + np.exp(-x)))) / (1 + np.exp(-x))),
        (xpcnn.ReLU6(), lambda x: np.clip(x, 0, 6), lambda x: 1.0 * ((x > 0) & (x < 6))),
        (xpcnn.Identity(), lambda x: x, lambda x: 1.0 + 0 * x),
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_activations(layer, y, slope):
    x = np.array([[-2.0, -0.5, 0.25, 3.0, 7.0]])
    shown = xpcnn.explain(layer, x, dy=[[1, 2, 3, 4, 5]])
    found = cells(table_of(shown, ""))
    expected = np.stack([x, y(x), slope(x), [[1, 2, 3, 4, 5]], slope(x) * [1, 2, 3, 4, 5]], axis=2)
    assert np.allclose(found, expected[0], rtol=1e-3, atol=2e-3)


def test_softmax():
    shown = xpcnn.explain(xpcnn.Softmax(), np.log([[1.0, 1, 2]]), dy=[[1, 0, 0]])
    assert table_of(shown, "softmax").cells == [["0.25", "0.25", "0.50"]]
    # y·(dy - 0.25)
    assert cells(table_of(shown, "dx")).tolist() == [[0.1875, -0.0625, -0.125]]


def test_dropout_shows_the_next_mask():
    layer = xpcnn.Dropout(0.5)
    layer.seed, layer.step = 7, 3
    x = np.arange(1.0, 13.0).reshape(2, 6)
    shown = cells(table_of(xpcnn.explain(layer, x), ""))
    assert layer.step == 3
    y = layer.forward(x, training=True)
    assert np.array_equal(shown[:, 2], y.ravel())
    assert np.array_equal(shown[:, 1], (y != 0).ravel())
    assert np.array_equal(shown[:, 4], 2.0 * (y != 0).ravel())
    still = cells(table_of(xpcnn.explain(layer, x, training=False), ""))
    assert np.array_equal(still[:, 1], x.ravel())


def test_flatten():
    shown = xpcnn.explain(xpcnn.Flatten(), [[[1, 2], [3, 4]]], dy=[[5, 6, 7, 8]])
    assert table_of(shown, "y").cells == [["1", "2", "3", "4"]]
    assert table_of(shown, "dx[0]").cells == [["5", "6"], ["7", "8"]]


# -- Losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [[0, 2], [[1, 0, 0], [0, 0, 1]]])
@pytest.mark.parametrize("loss", [xpcnn.CrossEntropyLoss(), conv1d.SoftmaxWithLoss()])
def test_cross_entropy(loss, target):
    shown = xpcnn.explain(loss, np.log([[1.0, 1, 2], [2, 1, 1]]), target=target)
    assert table_of(shown, "softmax").cells == [["0.25", "0.25", "0.50"], ["0.50", "0.25", "0.25"]]
    assert "L[0] = -log(0.25) ≈ 1.386" in str(shown)
    assert "L = (1.386 + 1.386) / 2 = 1.386" in str(shown)
    dp = [[-0.375, 0.125, 0.25], [0.25, 0.125, -0.375]]
    assert cells(table_of(shown, "dp")).tolist() == dp


def test_cross_entropy_of_shares_and_as_a_sum():
    loss = xpcnn.CrossEntropyLoss(reduction="sum")
    shown = xpcnn.explain(loss, np.log([[1.0, 1, 2]]), target=[[0.5, 0.5, 0]])
    assert "L[0] = -(0.5·log(0.25) + 0.5·log(0.25)) ≈ 1.386" in str(shown)
    assert cells(table_of(shown, "dp")).tolist() == [[-0.25, -0.25, 0.5]]


def test_losses_element_by_element():
    p, t = [[1.0, 3]], [[0.0, 1]]
    shown = str(xpcnn.explain(xpcnn.MSELoss(), p, target=t))
    assert "L = (1 + 4) / 2 = 2.5" in shown
    assert re.search(r"p\[0, 1\] \| +4 +2", shown)  # 2·2, and that by 2
    shown = str(xpcnn.explain(xpcnn.L1Loss(reduction="sum"), p, target=t))
    assert "L = 1 + 2 = 3" in shown
    shown = str(xpcnn.explain(xpcnn.BCELoss(), [[0.5, 0.25]], target=[[1, 0]]))
    assert "L = (0.6931 + 0.2877) / 2 = 0.4904" in shown
    assert re.search(r"p\[0, 0\] \| +-2\.0+ +-1\.0+", shown)
    shown = str(xpcnn.explain(xpcnn.BCEWithLogitsLoss(), [[0.0]], target=[[1]]))
    assert "L = (0.6931) / 1 = 0.6931" in shown
    assert re.search(r"p\[0, 0\] \| +-0\.5 +-0\.5", shown)


def test_written_signs_are_true():
    """A line with = is true as written; ≈ stands where rounding shows."""
    layer = with_weights(xpcnn.Linear(2, 1), weight=[[0.1, 1 / 3]], bias=[0.2])
    shown = str(xpcnn.explain(layer, [[3, 0]]))
    assert "y[0, 0] = 3·0.1 + 0·0.3333 + 0.2 = 0.5" in shown
    shown = str(xpcnn.explain(layer, [[3, 2]]))
    assert "y[0, 0] = 3·0.1 + 2·0.3333 + 0.2 ≈ 1.167" in shown


def test_pytorch_agrees(rng):
    torch = pytest.importorskip("torch")
    for stride, padding in itertools.product((1, 2), (0, 1)):
        layer = xpcnn.Conv2d(2, 3, 2, stride, padding)
        x = rng.integers(-3, 4, (2, 2, 4, 4)).astype(float)
        state = {n: rng.integers(-3, 4, p.shape) * 1.0 for n, p in layer.parameters().items()}
        with_weights(layer, **state)
        theirs = torch.nn.Conv2d(2, 3, 2, stride, padding, dtype=torch.float64)
        theirs.load_state_dict({n: torch.tensor(a) for n, a in state.items()})
        tx = torch.tensor(x, requires_grad=True)
        ty = theirs(tx)
        dy = rng.integers(-3, 4, ty.shape) * 1.0
        ty.backward(torch.tensor(dy))
        shown = xpcnn.explain(layer, x, dy=dy, limit=1000)
        for name, values in (("y", ty.detach()), ("dx", tx.grad), ("dweight", theirs.weight.grad)):
            for index in np.ndindex(*values.shape):
                written = f"{name}[{', '.join(map(str, index))}]"
                assert values_of(shown, written) == float(values[index])


def test_a_window_of_one_number_is_a_mean_too():
    shown = xpcnn.explain(xpcnn.AvgPool1d(1), [[[5, 7]]])
    assert line_of(shown, "y[0, 0, 1]") == "y[0, 0, 1] = (7) / 1 = 7"


@pytest.mark.parametrize(
    ("x", "line"),
    [
        ([1.00001, 2.99999], "(1 + 3) / 2 = 2"),
        ([1.23456, 2.76544], "(1.235 + 2.765) / 2 = 2"),
        ([10.006, 0.0004], "(10.01 + 0.0004) / 2 ≈ 5.003"),
    ],
)
def test_a_mean_of_rounded_numbers_says_if_it_is_true(x, line):
    shown = xpcnn.explain(xpcnn.AvgPool1d(2), [[x]])
    assert line_of(shown, "y[0, 0, 0]") == f"y[0, 0, 0] = {line}"


def test_moving_averages_of_the_course():
    layer = deep_conv_net.BatchNormalization(None, None, rho=0.75)
    x = np.array([[1.0], [5.0]])  # mean 3, variance 4
    shown = xpcnn.explain(layer, x)
    assert line_of(shown, "moving_mean[0]") == "moving_mean[0] = 0.25·3 = 0.75"
    assert line_of(shown, "moving_var[0]") == "moving_var[0] = 0.25·4 = 1"
    assert layer.moving_mean is None
    layer.forward(x)
    shown = xpcnn.explain(layer, x + 4)
    assert line_of(shown, "moving_mean[0]") == "moving_mean[0] = 0.75·0.75 + 0.25·7 ≈ 2.312"
    layer.forward(x + 4)
    assert layer.moving_mean[0] == 2.3125
    assert layer.moving_var[0] == 0.75 * 1 + 0.25 * 4
