"""Metrics against cases counted by hand and against scikit-learn."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest

from xpcnn import metrics
from xpcnn.device import Device

# Five samples of three classes: predicted 1, 0, 2, 1, 1; true 1, 2, 2, 1, 0.
SCORES = np.array(
    [[0.1, 0.8, 0.1], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6], [0.3, 0.4, 0.3], [0.3, 0.6, 0.1]]
)
LABELS = np.array([1, 2, 2, 1, 0])
MATRIX = [[0, 1, 0], [0, 2, 0], [1, 0, 1]]


# -- By hand, on every device ----------------------------------------------------------------------


def test_streaming_by_hand(device: Device) -> None:
    # Each with its value for all samples, and for the first one alone.
    expected: list[tuple[metrics.Metric, Any, Any]] = [
        (metrics.Accuracy(), 3 / 5, 1.0),
        (metrics.TopKAccuracy(1), 3 / 5, 1.0),
        (metrics.TopKAccuracy(2), 1.0, 1.0),
        (metrics.ConfusionMatrix(), MATRIX, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
        (metrics.Precision(), (0 + 2 / 3 + 1) / 3, 1.0),
        (metrics.Recall(average=None), [0, 1, 1 / 2], [0, 1, 0]),
        (metrics.F1Score(average="weighted"), (1 * 0 + 2 * 4 / 5 + 2 * 2 / 3) / 5, 1.0),
    ]
    batches = [slice(0, 2), slice(2, 5)]
    for metric, value, first in expected:
        for batch in batches:
            metric.update(device.asarray(SCORES[batch]), device.asarray(LABELS[batch]))
        np.testing.assert_allclose(metric.result(), value, rtol=1e-14)
        metric.reset()
        metric.update(device.asarray(SCORES[:1]), device.asarray(LABELS[:1]))
        np.testing.assert_array_equal(metric.result(), first)


def test_target_forms(device: Device) -> None:
    rows = np.eye(3)[LABELS]
    soft = 0.7 * rows + 0.1
    for target in (LABELS.astype("uint8"), rows.astype("int32"), rows.astype(bool), soft):
        metric = metrics.Accuracy()
        metric.update(device.asarray(SCORES), device.asarray(target))
        assert metric.result() == 3 / 5


def test_one_column_is_a_yes_or_no(device: Device) -> None:
    logits = np.array([[2.0], [-1.0], [0.5], [-3.0]])
    truth = np.array([[1.0], [1.0], [0.0], [0.0]])
    assert metrics.accuracy(device.asarray(logits), device.asarray(truth)) == 2 / 4
    whole = truth[:, 0].astype("int64")
    assert metrics.accuracy(device.asarray(logits[:, 0]), device.asarray(whole)) == 2 / 4
    value = metrics.accuracy(device.asarray(logits), device.asarray(whole > 0), threshold=1.0)
    assert value == 3 / 4


def test_places(device: Device) -> None:
    scores = np.moveaxis(np.eye(3)[[[0, 1, 2], [2, 2, 0]]], -1, 1)  # (2, 3, 3)
    labels = np.array([[0, 1, 1], [2, 0, 0]])
    assert metrics.accuracy(device.asarray(scores), device.asarray(labels)) == 4 / 6
    np.testing.assert_array_equal(
        metrics.confusion_matrix(device.asarray(scores), device.asarray(labels)),
        [[2, 0, 1], [0, 1, 1], [0, 0, 1]],
    )


# -- Against scikit-learn --------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["precision", "recall", "f1_score"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("present", [6, 3])
def test_averages_as_scikit_learn(
    rng: np.random.Generator, function: str, average: str | None, zero_division: float, present: int
) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    # With fewer classes present than there are, some ratios have a denominator of 0.
    labels, predicted = rng.integers(0, present, 30), rng.integers(1, present, 30)
    name = function if function == "f1_score" else f"{function}_score"
    # Without an average there is a number for every class, present or not.
    classes = range(6) if average is None else None
    expected = getattr(sklearn, name)(
        labels, predicted, labels=classes, average=average, zero_division=zero_division
    )
    settings = {"average": average, "zero_division": zero_division}
    ours = getattr(metrics, function)
    np.testing.assert_allclose(ours(np.eye(6)[predicted], labels, **settings), expected)
    np.testing.assert_allclose(ours(predicted, labels, num_classes=6, **settings), expected)


def test_counts_as_scikit_learn(rng: np.random.Generator) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, labels = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    predicted = scores.argmax(axis=1)
    assert metrics.accuracy(scores, labels) == sklearn.accuracy_score(labels, predicted)
    assert metrics.accuracy(predicted, labels) == sklearn.accuracy_score(labels, predicted)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(scores, labels), sklearn.confusion_matrix(labels, predicted)
    )
    for k in range(1, 7):
        assert metrics.top_k_accuracy(scores, labels, k=k) == sklearn.top_k_accuracy_score(
            labels, scores, k=k, labels=range(7)
        )


# -- Corners ---------------------------------------------------------------------------------------


def test_top_k_of_ties_and_nan() -> None:
    scores = np.array([[0.5, 0.5, 0.0]] * 2)
    assert metrics.top_k_accuracy(scores, np.array([0, 1]), k=1) == 1 / 2  # as accuracy counts
    assert metrics.accuracy(scores, np.array([0, 1])) == 1 / 2
    assert metrics.top_k_accuracy(np.full((2, 3), np.nan), np.array([0, 1]), k=2) == 0.0
    # A label that is none is wrong, even where every class counts.
    assert metrics.top_k_accuracy(scores, np.array([-100, 2]), k=3) == 1 / 2
    assert metrics.top_k_accuracy(scores, np.array([2, 2])) == 1.0  # k = 5 of three classes


def test_ignored_labels_stay_out_of_the_matrix() -> None:
    matrix = metrics.confusion_matrix(SCORES, np.array([1, -100, 2, 1, 0]))
    np.testing.assert_array_equal(matrix, [[0, 1, 0], [0, 2, 0], [0, 0, 1]])


def test_without_a_batch() -> None:
    for name in ("accuracy", "top_k_accuracy", "precision", "recall", "f1_score"):
        assert math.isnan(metrics.get(name).result())
    assert metrics.ConfusionMatrix(2).result().tolist() == [[0, 0], [0, 0]]


def test_counts_do_not_overflow(device: Device) -> None:
    metric = metrics.ConfusionMatrix(2)
    metric.update(device.asarray(np.array([1, 1])), device.asarray(np.array([1, 1])))
    for _ in range(32):
        metric._counts = metric._counts + metric._counts
    assert metric.result()[1, 1] == 2**33


@pytest.mark.parametrize(
    ("name", "prediction", "target", "error", "message"),
    [
        ("accuracy", SCORES, LABELS[:4], ValueError, "do not fit predictions of shape \\(5, 3\\)"),
        ("accuracy", SCORES, LABELS[:, None, None], ValueError, "do not fit"),
        ("accuracy", SCORES, LABELS * 1.0, TypeError, "labels must be integers, got float64"),
        ("accuracy", SCORES[:, :1], LABELS[:3], ValueError, "do not fit"),
        ("accuracy", [[1.0]], LABELS, TypeError, "Accuracy"),
        ("top_k_accuracy", LABELS, LABELS, TypeError, "expected scores"),
        ("confusion_matrix", LABELS, LABELS, ValueError, "num_classes"),
        ("precision", SCORES[:, 0], LABELS, ValueError, "yes or no, .* there is a target 2"),
    ],
)
def test_wrong_input(
    name: str, prediction: Any, target: Any, error: type[Exception], message: str
) -> None:
    metric = metrics.get(name)
    with pytest.raises(error, match=message):
        metric.update(prediction, target)


def test_changing_classes_and_devices() -> None:
    metric = metrics.Recall()
    metric.update(SCORES, LABELS)
    with pytest.raises(ValueError, match="this batch has 2 classes, the ones before had 3"):
        metric.update(SCORES[:, :2], LABELS)
    strict = pytest.importorskip("array_api_strict")
    elsewhere = strict.asarray(LABELS, device=strict.Device("device1"))
    with pytest.raises(TypeError, match="move one of them"):
        metric.update(strict.asarray(SCORES), elsewhere)


def test_no_warning_where_ratios_have_no_denominator() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = metrics.precision(np.eye(3)[[0, 0]], np.array([1, 1]))
    assert value == 0.0


# -- Settings --------------------------------------------------------------------------------------


def test_get_and_configuration() -> None:
    assert metrics.get("accuracy").name == "accuracy"
    assert metrics.TopKAccuracy(3).name == "top_3_accuracy"
    metric = metrics.F1Score("micro", num_classes=4, zero_division=1.0)
    assert metrics.get(metric) is metric
    again = metrics.from_config(json.loads(json.dumps(metrics.to_config(metric))))
    assert isinstance(again, metrics.F1Score)
    assert again.config() == metric.config()
    with pytest.raises(ValueError, match="unknown metric 'acc'.*'accuracy'"):
        metrics.get("acc")
    with pytest.raises(ValueError, match="average must be one of"):
        metrics.Precision("median")
    for k in (0, 1.5, True):
        with pytest.raises(ValueError, match="k must be a whole number"):
            metrics.TopKAccuracy(k)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown class"):
        metrics.from_config({"class": "Metric", "config": {}})
