"""Outputs of whatever kind become the probabilities of classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn
from xpcnn.training.probabilities import class_probabilities

SCORES = np.array([[1.0, 2.0, -0.5], [700.0, 0.0, -700.0]])


def softmax(row):
    top = max(row)
    powers = [math.exp(s - top) for s in row]
    return [p / sum(powers) for p in powers]


def sigmoid(s):
    return 1 / (1 + math.exp(-s)) if s >= 0 else math.exp(s) / (1 + math.exp(s))


def found(layers, loss=None, scores=SCORES):
    model = xpcnn.Model(layers, device="cpu", dtype="float64")
    model.build((None, *scores.shape[1:]))
    if loss is not None:
        model.compile("sgd", loss)
    return class_probabilities(model, model.predict(scores))


@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        ([xpcnn.Identity()], None),
        ([xpcnn.Identity()], "cross_entropy"),
        ([xpcnn.Softmax(dim=1)], None),
        ([xpcnn.LogSoftmax(dim=1)], None),
        ([xpcnn.LogSoftmax(dim=1)], "nll"),
    ],
)
def test_classes(layers, loss):
    np.testing.assert_allclose(found(layers, loss), list(map(softmax, SCORES)), atol=1e-12)


@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        ([xpcnn.Identity()], "bce_with_logits"),
        ([xpcnn.Sigmoid()], None),
        ([xpcnn.Sigmoid()], "bce"),
        ([xpcnn.LogSigmoid()], None),
    ],
)
def test_answers_of_their_own(layers, loss):
    expected = [[sigmoid(s) for s in row] for row in SCORES]
    np.testing.assert_allclose(found(layers, loss), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("layers", "loss"),
    [([xpcnn.Identity()], None), ([xpcnn.Sigmoid()], "bce"), ([xpcnn.Identity()], "soft_margin")],
)
@pytest.mark.parametrize("flat", [False, True])
def test_a_single_column_is_the_answer_yes(layers, loss, flat):
    layers = [*layers, xpcnn.Flatten(0)] if flat else layers
    yes = [sigmoid(s) for s in (2.0, -1.0)]
    expected = [[1 - p, p] for p in yes]
    scores = np.array([[2.0], [-1.0]])
    np.testing.assert_allclose(found(layers, loss, scores), expected, atol=1e-12)


def test_what_gives_no_probabilities():
    with pytest.raises(ValueError, match="trained with MSELoss, and its outputs are values"):
        found([xpcnn.Identity()], "mse")
    with pytest.raises(ValueError, match=r"outputs of shape \(N, 2, 3, 3\), not one number for"):
        found([xpcnn.Identity()], None, np.zeros((1, 2, 3, 3)))
    nodes = [("a", xpcnn.ReLU(), "x"), ("b", xpcnn.ReLU(), "x")]
    model = xpcnn.Model(xpcnn.Graph(inputs="x", nodes=nodes, outputs=["a", "b"]), device="cpu")
    outputs = model.predict(np.zeros((1, 2), "float32"))
    with pytest.raises(ValueError, match="the model has 2 outputs, a, b"):
        class_probabilities(model, outputs)
