"""Layers, losses and metrics leave the host free: they read no number of an array on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.layers.cases import CASES
from xpcnn import losses, metrics
from xpcnn.backends.strict import Strict
from xpcnn.device import Device, resolve

# The host orders the rows of a table, or the pixels of a picture, for their gradients.
ORDERED = {"Embedding"}
ORDERED_FOR_BACKWARD = {"RandomRotation", "RandomRotation-nearest", "RandomAffine"}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device that is not the host, of whose arrays reading a number is an error."""
    strict = pytest.importorskip("array_api_strict")
    found = resolve("strict:1")

    def wait(*given: Any) -> Any:
        raise AssertionError("the host waits for the device")

    kind = type(strict.zeros(1))
    for name in ("__bool__", "__int__", "__float__", "__index__"):
        monkeypatch.setattr(kind, name, wait)
    monkeypatch.setattr(Strict, "to_numpy", wait)
    return found


def floats(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(2).random(shape)


def test_reading_is_an_error_here(device):
    x = device.asarray(np.ones(2))
    for read in (lambda: float(x[0]), lambda: bool(x[0] > 0), lambda: int(x[0])):
        with pytest.raises(AssertionError):
            read()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [name for name in CASES if name not in ORDERED])
def test_layers(device, name, training):
    case = CASES[name]
    layer = case.make()
    layer.build(case.shape, device=device, dtype="float64", rng=np.random.default_rng(1))
    y = layer.forward(device.asarray(floats(case.shape)), training=training)
    if training and name not in ORDERED_FOR_BACKWARD:
        layer.backward(device.asarray(floats(tuple(y.shape))))


LABELS = np.array([[[0, 1, 3], [2, 2, 0]], [[3, 3, 1], [1, 0, 255]]])
YES = (LABELS[:, None] == np.arange(4)[:, None, None]).astype(float)
LOSSES = {
    "Dice": (losses.DiceLoss(ignore_index=255), LABELS),
    "Dice of answers": (losses.DiceLoss(multilabel=True, squared=True), YES),
    "Dice of the batch": (losses.DiceLoss([1.0, 2.0, 0.0, 1.0], batch=True), LABELS % 4),
    "Jaccard": (losses.JaccardLoss(ignore_index=255), LABELS),
    "Tversky": (losses.TverskyLoss(alpha=0.3, beta=0.7), YES),
    "focal": (losses.FocalLoss(alpha=[1.0, 2.0, 3.0, 4.0], ignore_index=255), LABELS),
    "focal of answers": (losses.FocalLoss(alpha=0.25, multilabel=True), YES),
    "cross-entropy": (losses.CrossEntropyLoss(ignore_index=255), LABELS),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_places(device, name, weighted):
    loss, target = LOSSES[name]
    weights = None
    if weighted and not getattr(loss, "batch", False):
        weights = device.asarray(np.array([1.0, 0.5]))
    value = loss(
        device.asarray(floats((2, 4, 2, 3))), device.asarray(target), sample_weight=weights
    )
    loss.parts(value, 2)
    assert loss.backward().shape == (2, 4, 2, 3)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc(device, zero_infinity):
    loss = losses.CTCLoss(zero_infinity=zero_infinity)
    scores = np.log(floats((2, 4, 6)))
    loss(device.asarray(scores), device.asarray(np.array([[1, 1, 3], [2, -1, -1]])))
    assert loss.backward().shape == scores.shape


def test_triplets(device):
    loss = losses.TripletMarginLoss(swap=True)
    loss(*(device.asarray(floats((2, 3)) * k) for k in (1.0, 2.0, 3.0)))
    assert len(loss.backward()) == 3


OF_ANSWERS = [
    "accuracy", "precision", "recall", "f1_score", "confusion_matrix", "exact_match",
    "specificity", "mean_iou", "dice", "matthews_corrcoef", "cohen_kappa", "auc",
    "calibration_error",
]  # fmt: skip


@pytest.mark.parametrize("metric", [*OF_ANSWERS, metrics.TopKAccuracy(2)], ids=str)
def test_metrics_of_classes(device, metric):
    metric = metrics.get(metric)
    metric.bind(losses.CrossEntropyLoss(ignore_index=255))
    for _ in range(2):
        metric.update(device.asarray(floats((2, 4, 2, 3))), device.asarray(LABELS))


@pytest.mark.parametrize("metric", [*OF_ANSWERS, "binary_accuracy", "multilabel_accuracy"])
def test_metrics_of_answers(device, metric):
    metric = metrics.get(metric)
    metric.bind(losses.BCEWithLogitsLoss())
    for _ in range(2):
        metric.update(device.asarray(floats((2, 4, 2, 3))), device.asarray(YES))


@pytest.mark.parametrize("metric", ["mae", "mse", "rmse", "r2", "explained_variance"])
def test_metrics_of_numbers(device, metric):
    metric = metrics.get(metric)
    metric.bind(losses.PoissonNLLLoss())
    for _ in range(2):
        metric.update(device.asarray(floats((2, 3))), device.asarray(floats((2, 3))))


def test_mixing(device):
    x, y = device.asarray(floats((4, 1, 5, 5))), device.asarray(np.array([0, 1, 2, 0]))
    for mix in (xpcnn.MixUp(), xpcnn.CutMix()):
        assert mix(x, y, classes=3)[1].shape == (4, 3)
