"""Metrics made of counts: by hand on every library, against scikit-learn and torchmetrics."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import losses, metrics
from xpcnn.device import Device

# Two images of 2 x 3 places, three classes; 255 does not count.
TRUE = np.array([[[0, 0, 1], [1, 255, 0]], [[2, 2, 0], [255, 1, 2]]])
SEEN = np.array([[[0, 1, 1], [1, 2, 0]], [[2, 0, 0], [1, 2, 2]]])
SCORES = np.moveaxis(np.eye(3)[SEEN], -1, 1)
# Of the ten places that count: true 0: 0 1 0 0; true 1: 1 1 2; true 2: 2 0 2.
MATRIX = [[3, 1, 0], [0, 2, 1], [1, 0, 2]]
IOU = [3 / 5, 2 / 4, 2 / 4]
CHANCE = (4 * 4 + 3 * 3 + 3 * 3) / 100


@pytest.mark.parametrize("as_scores", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
def test_segmentation_by_hand(device: Device, as_scores: bool, batch: int) -> None:
    many: dict[str, Any] = {} if as_scores else {"num_classes": 3}
    few = {"ignore_index": 255}
    expected: list[tuple[metrics.Metric, Any]] = [
        (metrics.ConfusionMatrix(**many, **few), MATRIX),
        (metrics.MeanIoU(**many, **few), np.mean(IOU)),
        (metrics.MeanIoU(**many, **few, average=None), IOU),
        (metrics.MeanIoU(**many, **few, average="micro"), 7 / 13),
        (metrics.MeanIoU(**many, **few, average="weighted"), np.average(IOU, weights=[4, 3, 3])),
        (metrics.Dice(**many, **few), (6 / 8 + 4 / 6 + 4 / 6) / 3),
        (metrics.Specificity(**many, **few, average=None), [5 / 6, 6 / 7, 6 / 7]),
        (metrics.Specificity(**many, **few, average="micro"), 17 / 20),
        (metrics.MatthewsCorrCoef(**many, **few), (0.7 - CHANCE) / (1 - CHANCE)),
        (metrics.CohenKappa(**many, **few), (0.7 - CHANCE) / (1 - CHANCE)),
    ]
    x, y = device.asarray(SCORES if as_scores else SEEN), device.asarray(TRUE)
    for metric, value in expected:
        for at in range(0, 2, batch):
            metric.update(x[at : at + batch, ...], y[at : at + batch, ...])
        np.testing.assert_allclose(metric.result(), value, rtol=1e-12, err_msg=repr(metric))
    exact = metrics.ExactMatch(ignore_index=255)
    exact.update(x, y)
    assert exact.result() == 0.0
    right = np.where(TRUE == 255, 0, TRUE)
    exact.update(device.asarray(np.moveaxis(np.eye(3)[right], -1, 1)), y)
    assert exact.result() == 1 / 2


# Labels of four samples; the third label of the last is not known.
LABELS = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [1, 0, -1]])
LOGITS = np.array([[2.0, -1.0, 3.0], [1.0, -1.0, -2.0], [1.0, 0.5, -1.0], [-1.0, -3.0, 2.0]])
EACH = [2 / 4, 4 / 4, 2 / 3]


@pytest.mark.parametrize("dtype", ["int64", "float32"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1)])
def test_label_sets_by_hand(device: Device, dtype: str, shape: tuple[int, ...]) -> None:
    x, y = device.asarray(LOGITS.reshape(shape)), device.asarray(LABELS.reshape(shape), dtype)
    expected: list[tuple[metrics.Metric, Any]] = [
        (metrics.BinaryAccuracy(ignore_index=-1), 8 / 11),
        (metrics.MultilabelAccuracy(ignore_index=-1), np.mean(EACH)),
        (metrics.MultilabelAccuracy(None, ignore_index=-1), EACH),
        (metrics.MultilabelAccuracy("micro", ignore_index=-1), 8 / 11),
        (metrics.MultilabelAccuracy("weighted", ignore_index=-1), (3 * 0.5 + 1 + 2 * 2 / 3) / 6),
        (metrics.ExactMatch(0.0, ignore_index=-1), 2 / 4),
        (metrics.MeanIoU(None, None, threshold=0.0, ignore_index=-1), [2 / 4, 1.0, 1 / 2]),
        (metrics.Recall(None, threshold=0.0, ignore_index=-1), [2 / 3, 1.0, 1 / 2]),
    ]
    for metric, value in expected:
        for rows in (slice(0, 1), slice(1, 4)):
            metric.update(x[rows, ...], y[rows, ...])
        np.testing.assert_allclose(metric.result(), value, rtol=1e-12, err_msg=repr(metric))


def test_a_single_column_with_ignored_places(device: Device) -> None:
    x = device.asarray(np.array([[[2.0, -1.0, 3.0, -2.0]]]))
    y = device.asarray(np.array([[[1, 1, 255, 0]]]))
    for metric, value in (
        (metrics.BinaryAccuracy(ignore_index=255), 2 / 3),
        (metrics.MeanIoU(ignore_index=255), (1 / 2 + 1 / 2) / 2),  # no and yes, as Keras has it
        (metrics.MeanIoU(average="binary", ignore_index=255), 1 / 2),
        (metrics.Dice(ignore_index=255), 2 / 3),
        (metrics.Specificity(ignore_index=255), 1.0),
    ):
        metric.update(x, y)
        assert metric.result() == pytest.approx(value), metric


@pytest.mark.parametrize("present", [5, 3, 1])
def test_as_scikit_learn(rng: np.random.Generator, present: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    true, seen = rng.integers(0, present, 40), rng.integers(0, max(present - 1, 1), 40)
    options = {"num_classes": 5}
    for average in ("macro", "micro", "weighted"):
        found = metrics.mean_iou(seen, true, average=average, **options)
        np.testing.assert_allclose(found, sklearn.jaccard_score(true, seen, average=average))
        found = metrics.dice(seen, true, average=average, **options)
        np.testing.assert_allclose(found, sklearn.f1_score(true, seen, average=average))
    if present > 1:  # one class alone is a warning there
        found = metrics.matthews_corrcoef(seen, true, **options)
        np.testing.assert_allclose(found, sklearn.matthews_corrcoef(true, seen), atol=1e-12)
        found = metrics.cohen_kappa(seen, true, **options)
        np.testing.assert_allclose(found, sklearn.cohen_kappa_score(true, seen), atol=1e-12)
    else:
        assert metrics.matthews_corrcoef(seen, true, **options) == 0.0
        assert math.isnan(metrics.cohen_kappa(seen, true, **options))


def test_label_sets_as_scikit_learn(rng: np.random.Generator) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    p, y = rng.random((60, 4)), rng.integers(0, 2, (60, 4))
    # BinaryAccuracy takes one-hot rows for answers too; Accuracy would take them for classes.
    for target in (y, np.eye(4, dtype=int)[rng.integers(0, 4, 60)]):
        seen = p > 0.4
        matrices = sklearn.multilabel_confusion_matrix(target, seen)
        right = np.trace(matrices, axis1=1, axis2=2) / 60
        each = metrics.multilabel_accuracy(p, target, average=None, threshold=0.4)
        np.testing.assert_allclose(each, right)
        found = metrics.binary_accuracy(p, target, threshold=0.4)
        assert found == pytest.approx((seen == target).mean())
        found = metrics.exact_match(p, target, threshold=0.4)
        assert found == sklearn.accuracy_score(target, seen)
        for average in ("macro", "micro", "weighted", None):
            found = metrics.mean_iou(p, target, average=average, threshold=0.4)
            np.testing.assert_allclose(found, sklearn.jaccard_score(target, seen, average=average))


def test_as_torchmetrics(rng: np.random.Generator) -> None:
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    x, y = rng.normal(size=(6, 4, 5)), rng.integers(0, 4, (6, 5))
    for ignored in (None, -1):
        y[0, :2] = 0 if ignored is None else ignored
        a, b = torch.tensor(x), torch.tensor(y)
        many = {"num_classes": 4, "ignore_index": ignored}
        for average in ("macro", "micro", "weighted"):
            for ours, name in (
                (metrics.mean_iou, "multiclass_jaccard_index"),
                (metrics.dice, "multiclass_f1_score"),
                (metrics.specificity, "multiclass_specificity"),
            ):
                expected = getattr(theirs, name)(a, b, average=average, **many)
                found = ours(x, y, average=average, ignore_index=ignored)
                np.testing.assert_allclose(found, float(expected), rtol=1e-6, err_msg=name)
        expected = theirs.multiclass_matthews_corrcoef(a, b, **many)
        found = metrics.matthews_corrcoef(x, y, ignore_index=ignored)
        np.testing.assert_allclose(found, float(expected), rtol=1e-5)
    p, t = rng.random((30, 3)), rng.integers(0, 2, (30, 3))
    a, b = torch.tensor(p), torch.tensor(t)
    expected = theirs.multilabel_accuracy(a, b, num_labels=3, average=None)
    np.testing.assert_allclose(
        metrics.multilabel_accuracy(p, t, average=None, threshold=0.5), expected.numpy(), rtol=1e-6
    )
    expected = theirs.multilabel_exact_match(a, b, num_labels=3)
    assert metrics.exact_match(p, t, threshold=0.5) == pytest.approx(float(expected), rel=1e-6)


NAMES = [
    "binary_accuracy", "multilabel_accuracy", "exact_match", "specificity", "mean_iou", "dice",
    "matthews_corrcoef", "cohen_kappa",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_descriptions(name: str) -> None:
    metric = metrics.get(name)
    assert metric.name == name
    assert metric.higher_is_better is True
    assert metric.gives_one_number is True
    assert metrics.get(getattr(metrics, name)).name == name
    assert math.isnan(metric.result())
    named = type(metric)(ignore_index=7, name="mine")
    again = metrics.from_config(json.loads(json.dumps(metrics.to_config(named))))
    assert repr(again) == repr(named) == f"{type(metric).__name__}(ignore_index=7, name='mine')"


@pytest.mark.parametrize("name", NAMES)
def test_what_counts_nowhere_gives_nan(name: str) -> None:
    metric = type(metrics.get(name))(ignore_index=5)
    if name in ("binary_accuracy", "multilabel_accuracy"):
        metric.update(np.zeros((2, 3)), np.full((2, 3), 5))
    else:
        metric.update(np.zeros((2, 3)), np.full(2, 5))
    assert math.isnan(metric.result())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.MeanIoU(0), ValueError, "MeanIoU: num_classes must be a whole number"),
        (lambda: metrics.MeanIoU(2.0), ValueError, "num_classes must be a whole number.*got 2.0"),
        (lambda: metrics.MeanIoU(average="mean"), ValueError, "average must be one of 'auto'"),
        (lambda: metrics.MultilabelAccuracy("auto"), ValueError, "one of 'macro', 'micro'"),
        (lambda: metrics.Dice(ignore_index="255"), TypeError, "ignore_index must be a whole num"),
        (lambda: metrics.mean_iou(SCORES, TRUE, num_classes=4), ValueError, "are of 3 classes; le"),
        (lambda: metrics.mean_iou(SEEN, TRUE, num_classes=2), ValueError, "classes from 0 to 2, "),
        (lambda: metrics.dice(SCORES[:, :1] - 2, TRUE), ValueError, "there is a target 255"),
        (lambda: metrics.binary_accuracy(LOGITS, 2 * LABELS), ValueError, "there is a target 2"),
        (lambda: metrics.binary_accuracy(LOGITS, LABELS[:, 0]), ValueError, "a target 0 or 1 for"),
        (
            lambda: metrics.cohen_kappa(LOGITS, np.maximum(LABELS, 0), threshold=0.0),
            ValueError,
            "CohenKappa: is for classes .* 3 columns",
        ),
    ],
)
def test_wrong_use(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_classes_are_no_independent_answers() -> None:
    model = xpcnn.Model([xpcnn.Linear(3, 4)], device="cpu", seed=0)
    for name in ("binary_accuracy", "multilabel_accuracy"):
        model.compile("sgd", "cross_entropy", [name])
        with pytest.raises(ValueError, match="to CrossEntropyLoss the 4 columns .* are classes"):
            model.evaluate(np.ones((2, 3), "float32"), np.array([0, 3]))


def test_metrics_of_columns_in_a_model(rng: np.random.Generator, tmp_path: Any) -> None:
    x = rng.normal(size=(30, 3)).astype("float32")
    y = (x[:, :2] > 0).astype("float32")
    model = xpcnn.Model([xpcnn.Linear(3, 2), xpcnn.Sigmoid()], device="cpu", seed=1)
    names = ["binary_accuracy", "multilabel_accuracy", "exact_match", "mean_iou", "dice"]
    model.compile("adam", losses.BCELoss(), names)
    yes = model.predict(x) > 0.5
    logs = model.evaluate(x, y, batch_size=7)
    assert logs["binary_accuracy"] == pytest.approx((yes == y).mean())
    assert logs["multilabel_accuracy"] == pytest.approx((yes == y).mean())
    assert logs["exact_match"] == pytest.approx((yes == y).all(axis=1).mean())
    both, either = (yes & (y == 1)).sum(axis=0), (yes | (y == 1)).sum(axis=0)
    assert logs["mean_iou"] == pytest.approx((both / either).mean())
    assert logs["dice"] == pytest.approx((2 * both / (either + both)).mean())
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert again.evaluate(x, y, batch_size=7) == logs
