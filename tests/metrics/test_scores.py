"""Areas under curves and calibration: by hand, by loops, scikit-learn and torchmetrics."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import losses, metrics
from xpcnn.device import Device

SCORE = np.array([0.9, 0.8, 0.7, 0.7, 0.3, 0.1])
YES = np.array([1, 0, 1, 0, 1, 0])
# Pairs of a yes and a no: 0.9 wins 3; 0.7 wins 1 and ties 1; 0.3 wins 1.
ROC = (3 + 1.5 + 1) / 9
# Precision at 0.9, at both of 0.7, at 0.3, each for a third of the yes.
PR = (1 + 2 / 4 + 3 / 5) / 3


def pairs(scores: np.ndarray, yes: np.ndarray) -> float:
    """Count pairs in order, one by one."""
    high, low = scores[yes == 1], scores[yes == 0]
    wins = [float(h > other) + 0.5 * float(h == other) for h in high for other in low]
    return sum(wins) / len(wins)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (2, 1, 3)])
@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_answer_by_hand(device: Device, shape: tuple[int, ...], batch: int, dtype: str) -> None:
    x, y = device.asarray(SCORE.reshape(shape), dtype), device.asarray(YES.reshape(shape))
    for loss in (None, losses.BCELoss(), losses.BCEWithLogitsLoss()):
        for curve, expected in (("ROC", ROC), ("PR", PR)):
            metric = metrics.AUC(curve)
            metric.bind(loss)
            for at in range(0, shape[0], batch):  # some batches have one class only
                rows = slice(at, min(at + batch, shape[0]))
                metric.update(x[rows, ...], y[rows, ...])
            assert metric.result() == pytest.approx(expected, rel=1e-12)
            assert metric.result() == metric.result()
    ignored = metrics.AUC(ignore_index=-1)
    ignored.update(x, device.asarray(np.where(YES == 1, -1, YES).reshape(shape)))
    assert math.isnan(ignored.result())  # no yes is left
    ignored.update(x, y)
    assert ignored.result() == pytest.approx(
        pairs(np.tile(SCORE, 2)[[*range(6), 7, 9, 11]], np.array([*YES, 0, 0, 0]))
    )


SCORES = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 1.5, 2.0], [0.5, 0.0, 0.4]])
LABELS = np.array([0, 1, 1, 2])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["logits", "log_probabilities", "probabilities", "from_logits"])
@pytest.mark.parametrize("places", [False, True])
def test_classes_by_hand(device: Device, kind: str, places: bool) -> None:
    p = softmax(SCORES)
    each = [pairs(p[:, c], (c == LABELS).astype(int)) for c in range(3)]
    options: dict[str, Any] = {"from_logits": True} if kind == "from_logits" else {}
    loss = {"logits": losses.CrossEntropyLoss(), "log_probabilities": losses.NLLLoss()}.get(kind)
    x = {"probabilities": p, "log_probabilities": np.log(p)}.get(kind, SCORES)
    y = LABELS
    if places:  # (1, 3, 2, 2)
        x, y = np.moveaxis(x.reshape(1, 2, 2, 3), -1, 1), y.reshape(1, 2, 2)
    for average, expected in (
        (None, each),
        ("auto", np.mean(each)),
        ("macro", np.mean(each)),
        ("weighted", np.average(each, weights=[1, 2, 1])),
        ("micro", pairs(p.ravel(), np.eye(3)[LABELS].ravel())),
    ):
        metric = metrics.AUC(average=average, **options)
        metric.bind(loss)
        metric.update(device.asarray(x), device.asarray(y))
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-12)
        # One-hot rows, and rows that do not count.
        metric.reset()
        metric.update(device.asarray(x), device.asarray(np.moveaxis(np.eye(3)[y], -1, 1)))
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-12)
    ignoring = metrics.AUC(average=None, ignore_index=7, **options)
    ignoring.bind(loss)
    ignoring.update(device.asarray(x), device.asarray(y))
    ignoring.update(device.asarray(x), device.asarray(np.full_like(y, 7)))
    np.testing.assert_allclose(ignoring.result(), each, rtol=1e-12)


def test_label_sets_by_hand(device: Device, rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 5, (20, 3)).astype("float64"), rng.integers(0, 2, (20, 3))
    y[3, 1] = y[5, 2] = -1
    each = [pairs(x[y[:, c] >= 0, c], y[y[:, c] >= 0, c]) for c in range(3)]
    metric = metrics.AUC(average=None, multilabel=True, ignore_index=-1)
    for rows in np.array_split(np.arange(20), 4):
        metric.update(device.asarray(x[rows]), device.asarray(y[rows].astype("float32")))
    np.testing.assert_allclose(metric.result(), each, rtol=1e-12)
    known = y >= 0
    metric.average = "micro"
    metric.update(device.asarray(x), device.asarray(y))
    assert metric.result() == pytest.approx(pairs(x[known], y[known]))


@pytest.mark.parametrize("levels", [3, 10, 10**6])
def test_as_scikit_learn(rng: np.random.Generator, levels: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    curves = {"ROC": sklearn.roc_auc_score, "PR": sklearn.average_precision_score}
    for curve, theirs in curves.items():
        x, y = rng.integers(0, levels, 200) / levels, rng.integers(0, 2, 200)
        assert metrics.auc(x, y, curve=curve) == pytest.approx(theirs(y, x), abs=1e-12)
        x, y = rng.integers(0, levels, (80, 4)) / levels, rng.integers(0, 2, (80, 4))
        for average in ("macro", "micro", "weighted", None):
            found = metrics.auc(x, y, curve=curve, average=average, multilabel=True)
            np.testing.assert_allclose(found, theirs(y, x, average=average), atol=1e-12)
        p, labels = softmax(4 * x), rng.integers(0, 4, 80)
        for average in ("macro", "micro", "weighted", None):
            options = {"multi_class": "ovr"} if curve == "ROC" else {}
            found = metrics.auc(p, labels, curve=curve, average=average)
            expected = theirs(labels, p, average=average, **options)
            np.testing.assert_allclose(found, expected, atol=1e-12)
    two = p[:, :2] / p[:, :2].sum(axis=1, keepdims=True)
    binary = metrics.auc(two, labels % 2, average="binary")
    assert binary == pytest.approx(sklearn.roc_auc_score(labels % 2, two[:, 1]))


def test_a_class_without_a_curve_does_not_count() -> None:
    y = np.array([0, 0, 1, 1])
    x = softmax(SCORES)
    for curve in ("ROC", "PR"):
        each = metrics.auc(x, y, curve=curve, average=None)
        assert np.isnan(each).tolist() == [False, False, True]
        assert metrics.auc(x, y, curve=curve) == pytest.approx(each[:2].mean())
        assert math.isnan(metrics.auc(x[:2], y[:2], curve=curve))
        assert math.isnan(metrics.auc(SCORE, np.ones(6, int), curve=curve))


def test_not_finite() -> None:
    x = SCORE.copy()
    x[0] = math.nan
    for curve in ("ROC", "PR"):
        assert math.isnan(metrics.auc(x, YES, curve=curve))
    x[0], x[-1] = math.inf, -math.inf
    assert metrics.auc(x, YES) == pytest.approx(ROC)
    assert metrics.auc(np.full(4, math.inf), np.array([0, 1, 0, 1])) == 0.5
    rows = softmax(SCORES)
    rows[1] = math.nan
    assert math.isnan(metrics.auc(rows, LABELS))


def test_two_classes_have_one_curve_or_two() -> None:
    x = np.stack([-SCORE, SCORE], axis=1)
    for curve, expected in (("ROC", ROC), ("PR", PR)):
        found = metrics.auc(x, YES, curve=curve, average="binary", from_logits=True)
        assert found == pytest.approx(expected)
    assert metrics.auc(x, YES, from_logits=True) == pytest.approx(ROC)


# -- Calibration -----------------------------------------------------------------------------------


def test_calibration_by_hand(device: Device) -> None:
    # Bins of a quarter: 0.1 and 0.2, mean 0.15, none yes; 0.25 and 0.35, mean 0.3, one.
    p, y = np.array([0.1, 0.2, 0.25, 0.35, 0.9]), np.array([0, 0, 1, 0, 1])
    gaps = np.array([0.15, 0.2, 0.1])
    for norm, expected in (
        ("l1", (2 * 0.15 + 2 * 0.2 + 0.1) / 5),
        ("l2", math.sqrt((2 * 0.15**2 + 2 * 0.2**2 + 0.1**2) / 5)),
        ("max", gaps.max()),
    ):
        for loss in (None, losses.BCELoss(), losses.BCEWithLogitsLoss()):
            metric = metrics.CalibrationError(4, norm, ignore_index=9)
            metric.bind(loss)
            x = np.log(p / (1 - p)) if isinstance(loss, losses.BCEWithLogitsLoss) else p
            for rows in (slice(0, 2), slice(2, 5)):
                metric.update(device.asarray(x[rows]), device.asarray(y[rows]))
            metric.update(device.asarray(x[:1]), device.asarray(np.array([9])))
            assert metric.result() == pytest.approx(expected, rel=1e-9)
    metric.reset()
    assert math.isnan(metric.result())


@pytest.mark.parametrize("places", [False, True])
def test_calibration_of_classes_by_hand(device: Device, places: bool) -> None:
    # Confidences 0.7, 0.6 and 0.75, of which two are right; the last row does not count.
    p = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.75, 0.05], [0.1, 0.0, 0.9]])
    y = np.array([0, 1, 1, 9])
    if places:
        p, y = np.moveaxis(p.reshape(2, 2, 3), -1, 1), y.reshape(2, 2)
    for loss in (None, losses.CrossEntropyLoss(), losses.NLLLoss()):
        with np.errstate(divide="ignore"):
            x = p if loss is None else np.log(p)
        metric = metrics.CalibrationError(2, ignore_index=9)
        metric.bind(loss)
        metric.update(device.asarray(x), device.asarray(y))
        assert metric.result() == pytest.approx(abs(2 / 3 - 2.05 / 3))
    columns = np.array([[0.2, 0.9], [0.4, 0.8]])  # both columns put together
    found = metrics.calibration_error(
        device.asarray(columns), device.asarray(np.array([[1, 0], [0, 1]])), n_bins=2,
        multilabel=True,
    )  # fmt: skip
    assert found == pytest.approx((2 * (0.5 - 0.3) + 2 * (0.85 - 0.5)) / 4)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_calibration_as_torchmetrics(rng: np.random.Generator, norm: str) -> None:
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    p, y = rng.random(100), rng.integers(0, 2, 100)
    p[:4] = 0.0, 1.0, 1.0, 1.0
    y[5:9] = -1
    for n_bins in (15, 4):
        options = {"n_bins": n_bins, "norm": norm, "ignore_index": -1}
        expected = theirs.binary_calibration_error(torch.tensor(p), torch.tensor(y), **options)
        assert metrics.calibration_error(p, y, **options) == pytest.approx(
            float(expected), rel=1e-6
        )
        x, labels = 3 * rng.normal(size=(100, 5)), rng.integers(0, 5, 100)
        labels[:3] = -1
        expected = theirs.multiclass_calibration_error(
            torch.tensor(x), torch.tensor(labels), num_classes=5, **options
        )
        found = metrics.calibration_error(x, labels, from_logits=True, **options)
        assert found == pytest.approx(float(expected), rel=1e-6)


def test_calibration_of_nan_is_nan() -> None:
    assert math.isnan(metrics.calibration_error(np.array([0.5, math.nan]), np.array([0, 1])))


# -- In a model ------------------------------------------------------------------------------------


def test_a_model_of_label_sets(rng: np.random.Generator, tmp_path: Any) -> None:
    x = rng.normal(size=(60, 4)).astype("float32")
    y = (x[:, :3] + 0.5 * rng.normal(size=(60, 3)) > 0).astype("float32")
    model = xpcnn.Model([xpcnn.Linear(4, 3)], device="cpu", seed=0)
    chosen = ["auc", metrics.AUC("PR"), "calibration_error", metrics.AUC(average="micro", name="m")]
    model.compile("adam", "bce_with_logits", chosen)
    stop = xpcnn.EarlyStopping(monitor="val_auc", patience=3, restore_best_weights=True)
    history = model.fit(
        x, y, epochs=8, batch_size=7, validation_data=(x, y), callbacks=[stop], verbose=0
    ).history
    assert history["val_auc"][-1] > history["val_auc"][0]
    logs = model.evaluate(x, y, batch_size=11)
    z = model.predict(x)
    each = [pairs(z[:, c], y[:, c]) for c in range(3)]
    assert logs["auc"] == pytest.approx(np.mean(each))
    assert logs["m"] == pytest.approx(pairs(z.ravel(), y.ravel()))
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert [metric.name for metric in again.metrics] == ["auc", "pr_auc", "calibration_error", "m"]
    assert again.evaluate(x, y, batch_size=60) == pytest.approx(logs, rel=1e-6)


def test_the_scores_are_copies() -> None:
    x = SCORE.copy()
    metric = metrics.AUC()
    metric.update(x, YES)
    x[:] = 0.0
    assert metric.result() == pytest.approx(ROC)


def test_what_waits_on_a_device_is_limited(device: Device, monkeypatch: Any) -> None:
    monkeypatch.setattr("xpcnn._xp.on_host", lambda x: False)
    monkeypatch.setattr("xpcnn.metrics.scores.LIMIT", 100)
    metric = metrics.AUC()
    for at in range(6):  # 8 + 4 bytes each, or more
        metric.update(device.asarray(SCORE[at : at + 1]), device.asarray(YES[at : at + 1]))
    assert len(metric._waiting) == 6
    for at in range(6):
        metric.update(device.asarray(SCORE[at : at + 1]), device.asarray(YES[at : at + 1]))
    assert 0 < len(metric._waiting) < 6
    assert metric.result() == pytest.approx(ROC)


def test_names_and_descriptions() -> None:
    assert metrics.get("auc").name == metrics.get(metrics.auc).name == "auc"
    assert metrics.AUC("PR").name == "pr_auc"
    assert metrics.AUC("PR", name="mine").name == "mine"
    assert metrics.AUC().higher_is_better is True
    assert metrics.CalibrationError().higher_is_better is False
    assert math.isnan(metrics.AUC().result())
    for metric in (metrics.AUC("PR", None, True, True, 3), metrics.CalibrationError(5, "max")):
        again = metrics.from_config(json.loads(json.dumps(metrics.to_config(metric))))
        assert repr(again) == repr(metric)
        assert again.name == metric.name
    assert repr(metrics.AUC("PR")) == "AUC(curve='PR')"
    metric = metrics.AUC()
    metric.curve = "PR"
    assert metric.name == "pr_auc"
    model = xpcnn.Model([xpcnn.Linear(4, 3)], device="cpu", seed=0)
    with pytest.raises(ValueError, match="two columns of the logs would be called 'auc'"):
        model.compile("adam", "cross_entropy", ["auc", metrics.AUC(average="weighted")])
    with pytest.raises(ValueError, match="gives an array"):
        model.compile("adam", "cross_entropy", [metrics.AUC(average=None)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.AUC("roc"), ValueError, "AUC: curve must be one of 'ROC', 'PR'; got 'roc"),
        (lambda: metrics.AUC(average="samples"), ValueError, "average must be one of 'auto'"),
        (lambda: metrics.auc(SCORES, LABELS), ValueError, "add up to 1 .*from_logits=True"),
        (
            lambda: metrics.auc(softmax(SCORES), LABELS + 1),
            ValueError,
            "labels must be from 0 to 2",
        ),
        (lambda: metrics.auc(LABELS, LABELS), TypeError, "AUC: expected dtype float32"),
        (lambda: metrics.auc(SCORE, YES.astype(str)), TypeError, "AUC: targets must be real num"),
        (lambda: metrics.auc(np.array(0.5), YES), ValueError, "AUC: expected predictions with a b"),
        (lambda: metrics.AUC(name=3), TypeError, "AUC: name must be a str"),
        (lambda: metrics.auc(SCORE, YES[:3]), ValueError, "do not fit"),
        (lambda: metrics.auc(SCORE, 2 * YES), ValueError, "there is a target 2"),
        (
            lambda: metrics.auc(softmax(SCORES), LABELS, average="binary"),
            ValueError,
            "AUC: average='binary' is for one answer .* there are 3 columns",
        ),
        (lambda: metrics.CalibrationError(0), ValueError, "n_bins must be a whole number"),
        (lambda: metrics.CalibrationError(norm="l3"), ValueError, "norm must be one of 'l1'"),
        (lambda: metrics.calibration_error(SCORES, LABELS), ValueError, "from_logits=True"),
        (lambda: metrics.calibration_error(-SCORE, YES), ValueError, "from -0.9 to -0.1"),
    ],
)
def test_wrong_use(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_columns_that_change() -> None:
    metric = metrics.AUC()
    metric.update(SCORE, YES)
    with pytest.raises(ValueError, match="has 3 columns \\(classes\\), the ones before had 1"):
        metric.update(SCORES, LABELS)
