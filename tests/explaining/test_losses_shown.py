"""Losses with all their settings: every number by hand, and PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn
from tests.explaining.lines import line_of, table_of
from tests.pytorch import nn, torch
from xpcnn.explaining.parts import Formula
from xpcnn.scratch import deep_conv_net


def _cells(shown, title):
    return np.array([[float(v) for v in row] for row in table_of(shown, title).cells])


def _value(shown):
    """Return what the line of the mean ends in: ``L = (…) / 4 ≈ 1.5``."""
    formulas = [part.text for s in shown.sections for part in s.parts if isinstance(part, Formula)]
    (line,) = [text for text in formulas if text.startswith("L = ")]
    return float(line.rsplit(" ", 1)[1])


def test_weights_of_classes_by_hand():
    p = np.log([[1.0, 1, 2], [2, 1, 1]])  # probabilities ¼ ¼ ½ and ½ ¼ ¼
    shown = xpcnn.explain(xpcnn.CrossEntropyLoss(weight=[1, 2, 3]), p, target=[2, 1])
    assert line_of(shown, "L[0]") == "L[0] = -3·log(0.5) ≈ 2.079"
    assert line_of(shown, "L[1]") == "L[1] = -2·log(0.25) ≈ 2.773"
    assert "N = 5" in str(shown)
    assert "L = (2.079 + 2.773) / 5 = 0.9704" in str(shown)
    expected = np.array([[0.75, 0.75, 1.5 - 3], [1, 0.5 - 2, 0.5]])
    assert np.allclose(_cells(shown, "y·Σ w·t - w·t"), expected)
    assert np.allclose(_cells(shown, "dp"), expected / 5, atol=1e-3)


def test_labels_that_do_not_count():
    p = np.zeros((3, 2))
    shown = xpcnn.explain(xpcnn.CrossEntropyLoss(), p, target=[0, -100, 1])
    assert line_of(shown, "L[1]") == "L[1] = -0 = 0"
    assert "Labels of -100 (ignore_index) do not count: 1 here" in str(shown)
    assert "L = (0.6931 + 0 + 0.6931) / 2 = 0.6931" in str(shown)
    assert _cells(shown, "dp").tolist() == [[-0.25, 0.25], [0, 0], [0.25, -0.25]]


def test_smoothed_labels():
    shown = xpcnn.explain(xpcnn.CrossEntropyLoss(label_smoothing=0.2), [[0.0, 0.0]], target=[0])
    assert "t′ = 0.8·t + 0.2 / 2" in str(shown)
    assert _cells(shown, "t′[n, k]").tolist() == [[0.9, 0.1]]
    assert line_of(shown, "L[0]") == "L[0] = -(0.9·log(0.5) + 0.1·log(0.5)) ≈ 0.6931"
    assert np.allclose(_cells(shown, "dp"), [[-0.4, 0.4]])


def test_a_score_for_every_place():
    p = np.zeros((1, 2, 1, 2))
    shown = xpcnn.explain(xpcnn.CrossEntropyLoss(), p, target=[[[0, 1]]])
    assert table_of(shown, "dp").rows == ["n0 (0,0)", "n0 (0,1)"]
    assert _cells(shown, "dp").tolist() == [[-0.25, 0.25], [0.25, -0.25]]
    assert line_of(shown, "L[0, 0, 1]") == "L[0, 0, 1] = -log(0.5) ≈ 0.6931"


def test_logarithms_of_probabilities():
    shown = xpcnn.explain(xpcnn.NLLLoss(), [[-1.0, -2.0], [-3.0, -0.5]], target=[1, 0])
    assert line_of(shown, "L[0]") == "L[0] = -(-2) = 2"
    assert "L = (2 + 3) / 2 = 2.5" in str(shown)
    assert _cells(shown, "dp").tolist() == [[0, -0.5], [-0.5, 0]]


@pytest.mark.parametrize(
    ("loss", "terms", "slopes"),
    [
        (xpcnn.HuberLoss(delta=2.0), [0.5, 4.0], [1, 2]),  # ½·1², 2·(3 - 1)
        (xpcnn.SmoothL1Loss(beta=2.0), [0.25, 2.0], [0.5, 1]),  # ½·1² / 2, 3 - 1
        (xpcnn.SmoothL1Loss(beta=0.0), [1.0, 3.0], [1, 1]),
        (xpcnn.MSELoss(reduction="sum"), [1.0, 9.0], [2, 6]),
    ],
)
def test_differences_of_one_and_three(loss, terms, slopes):
    shown = xpcnn.explain(loss, [1.0, 5.0], target=[0.0, 2.0])
    tables = [p for s in shown.sections for p in s.parts if hasattr(p, "cells") and not p.title]
    assert [float(row[-1]) for row in tables[0].cells] == terms
    assert [float(row[0]) for row in tables[1].cells] == slopes
    divided = 1 if loss.reduction == "sum" else 2
    assert [float(row[1]) for row in tables[1].cells] == [v / divided for v in slopes]


def test_a_single_number():
    shown = xpcnn.explain(xpcnn.MSELoss(), 3, target=1)
    assert "L = (4) / 1 = 4" in str(shown)


def test_weights_of_answers():
    loss = xpcnn.BCEWithLogitsLoss(weight=[1, 2], pos_weight=[3, 3])
    shown = xpcnn.explain(loss, [[0.0, 0.0]], target=[[1, 0]])
    log2 = math.log(2)
    assert f"L = ({3 * log2:.4g} + {2 * log2:.4g}) / 2" in str(shown)
    assert "c is pos_weight=" in str(shown)
    assert "L = w·(-c·t·log(σ(p)) - (1 - t)·log(1 - σ(p)))" in str(shown)


def test_mean_of_squares_of_the_course():
    loss = deep_conv_net.MeanSquaredLoss()
    shown = xpcnn.explain(loss, [[3, 0], [1, 1]], target=[[1, 0], [1, 2]])
    assert "L = (2 + 0 + 0 + 0.5) / 2 = 1.25" in str(shown)  # half of 4 and of 1, two samples
    assert "divided by the number of samples, 2" in str(shown)
    assert loss.y is None
    by_label = xpcnn.explain(loss, [[3, 0]], target=[1])
    assert "L = (4.5 + 0.5) / 1 = 5" in str(by_label)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2)])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 2.0]])
def test_pytorch_has_the_same_cross_entropy(reduction, shape, smoothing, weight, rng):
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": 1}
    p = rng.normal(size=shape)
    target = rng.integers(0, 3, (shape[0], *shape[2:]))
    target.flat[:3] = [0, 1, 2]
    shown = xpcnn.explain(xpcnn.CrossEntropyLoss(weight, **options), p, target=target)
    own = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    x = torch.tensor(p, requires_grad=True)
    value = nn.CrossEntropyLoss(own, **options)(x, torch.tensor(target))
    value.backward()
    assert math.isclose(_value(shown), value.item(), rel_tol=1e-3)
    expected = np.moveaxis(x.grad.numpy(), 1, -1).reshape(-1, 3)
    assert np.allclose(_cells(shown, "dp"), expected, atol=1e-3)
