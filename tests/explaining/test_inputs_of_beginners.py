"""Inputs as they are typed first: numbers without the axes of batch and channels."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.explaining.lines import line_of, table_of


def _conv(layer, weight, bias):
    layer.load_state_dict(
        {"weight": np.array(weight, "float32"), "bias": np.array(bias, "float32")}
    )
    return layer


def test_a_signal_of_numbers():
    conv = _conv(xpcnn.Conv1d(1, 1, 3), [[[3, 5, 7]]], [1])
    shown = xpcnn.explain(conv, [1, 2, 3, 4], dy=[10, 20])
    assert line_of(shown, "y[0]") == "y[0] = 1·3 + 2·5 + 3·7 + 1 = 35"
    assert line_of(shown, "dx[1]") == "dx[1] = 10·5 + 20·3 = 110"
    assert "the axes of batch and channels, (1, 1, …), were put in front" in str(shown)
    assert "先頭にバッチとチャンネルの軸" in str(xpcnn.explain(conv, [1, 2, 3, 4], lang="ja"))
    assert "x has the shape (4,)" in str(shown)


def test_several_filters_keep_their_axis():
    conv = _conv(xpcnn.Conv1d(1, 2, 2), [[[1, 2]], [[3, 4]]], [0, 1])
    shown = xpcnn.explain(conv, [5, 6, 7], dy=[[1, 0], [0, 1]])
    assert line_of(shown, "y[1, 1]") == "y[1, 1] = 6·3 + 7·4 + 1 = 47"


def test_an_image_of_numbers():
    conv = _conv(xpcnn.Conv2d(1, 1, 2), [[[[1, 2], [3, 4]]]], [0])
    shown = xpcnn.explain(conv, [[1, 0], [0, 1]])
    assert line_of(shown, "y[0, 0]") == "y[0, 0] = 1·1 + 0·2 + 0·3 + 1·4 + 0 = 5"
    assert line_of(xpcnn.explain(xpcnn.MaxPool2d(2), [[1, 5], [3, 4]]), "y[0, 0]") == (
        "y[0, 0] = max(1, 5, 3, 4) = 5"
    )


def test_a_mean_of_all_is_one_number():
    shown = xpcnn.explain(xpcnn.GlobalAvgPool2d(), [[1, 2], [3, 6]], dy=4)
    assert line_of(shown, "y") == "y = (1 + 2 + 3 + 6) / 4 = 3"
    assert line_of(shown, "dx[1, 1]") == "dx[1, 1] = 4/4 = 1"


def test_one_row():
    linear = _conv(xpcnn.Linear(2, 1), [[3, 4]], [5])
    assert line_of(xpcnn.explain(linear, [1, 2]), "y[0]") == "y[0] = 1·3 + 2·4 + 5 = 16"
    assert table_of(xpcnn.explain(xpcnn.Softmax(), [0, 0]), "softmax").cells == [["0.5", "0.5"]]


def test_a_single_number():
    shown = xpcnn.explain(xpcnn.LeakyReLU(0.5), -2, dy=10)
    assert table_of(shown, "").cells == [["-2", "-1", "0.5", "10", "5"]]
    assert "a single number" in str(shown)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float32"])
def test_whole_numbers_of_any_kind(dtype):
    conv = _conv(xpcnn.Conv1d(1, 1, 2), [[[3, 5]]], [0])
    shown = xpcnn.explain(conv, np.array([1, 0, 1], dtype))
    assert line_of(shown, "y[1]") == "y[1] = 0·3 + 1·5 + 0 = 5"


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (xpcnn.Conv1d(2, 1, 2), [1, 2, 3], r"laid out as \(N, C, L\), got 1 with shape \(3,\)"),
        (xpcnn.Conv2d(1, 1, 2), [1, 2, 3], r"\(N, C, H, W\), got 1"),
        (xpcnn.Conv1d(1, 1, 2), 3, r"\(N, C, L\), got 0"),
        (xpcnn.MaxPool2d(2), [1, 2, 3], r"\(N, C, H, W\), got 1"),
    ],
)
def test_what_has_no_one_reading_is_an_error(layer, x, message):
    with pytest.raises(ValueError, match=message):
        xpcnn.explain(layer, x)
