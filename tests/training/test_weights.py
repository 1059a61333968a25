"""Weights of samples and of classes: whose loss they multiply."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn

rng = np.random.default_rng(3)
X = rng.normal(size=(40, 3)).astype("float32")
Y = rng.integers(0, 3, 40)
SAMPLE_WEIGHTS = rng.random(40)
CLASS_WEIGHTS = {0: 1.0, 1: 5.0, 2: 0.25}


def model_with(loss: Any = "cross_entropy", columns: int = 3) -> xpcnn.Model:
    model = xpcnn.Model([xpcnn.Linear(3, columns)], device="cpu", seed=0)
    model.compile(xpcnn.optim.SGD(lr=0.0), loss)
    model.build((None, 3))
    return model


def figures(**options: Any) -> dict[str, float]:
    history = model_with().fit(X[:30], Y[:30], verbose=0, **options)
    return {name: column[0] for name, column in history.history.items()}


def mean(rows: slice, weights: np.ndarray) -> float:
    """Return the weighted mean of the entropies, term by term."""
    scores = model_with().predict(X[rows]).astype(np.float64)
    labels = Y[rows]
    terms = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(labels)), labels]
    return float((terms * weights[rows]).mean())


def test_class_weights_are_for_training_alone() -> None:
    ones, by_class = np.ones(40), np.array([CLASS_WEIGHTS[c] for c in Y])
    model = model_with()
    whole = model.fit(X, Y, validation_split=0.25, class_weight=CLASS_WEIGHTS, verbose=0)
    given = figures(validation_data=(X[30:], Y[30:]), class_weight=CLASS_WEIGHTS)
    assert given["loss"] == pytest.approx(mean(slice(0, 30), by_class), rel=1e-5)
    assert given["val_loss"] == pytest.approx(mean(slice(30, 40), ones), rel=1e-5)
    assert whole.history["loss"][0] == pytest.approx(given["loss"], rel=1e-6)
    assert whole.history["val_loss"][0] == pytest.approx(given["val_loss"], rel=1e-6)


def test_weights_of_samples_go_with_them() -> None:
    model = model_with()
    whole = model.fit(X, Y, validation_split=0.25, sample_weight=SAMPLE_WEIGHTS, verbose=0)
    given = figures(
        validation_data=(X[30:], Y[30:], SAMPLE_WEIGHTS[30:]), sample_weight=SAMPLE_WEIGHTS[:30]
    )
    expected = mean(slice(30, 40), SAMPLE_WEIGHTS)
    for found in (whole.history["val_loss"][0], given["val_loss"]):
        assert found == pytest.approx(expected, rel=1e-5)
    assert given["loss"] == pytest.approx(mean(slice(0, 30), SAMPLE_WEIGHTS), rel=1e-5)
    alone = model.evaluate(X[30:], Y[30:], sample_weight=SAMPLE_WEIGHTS[30:], batch_size=3)
    assert alone["loss"] == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(X, Y, sample_weight=np.zeros(40))["loss"] == 0.0


def test_one_hot_rows_are_classes() -> None:
    rows = np.eye(3, dtype="float32")[Y]
    for loss in ("mse", "cross_entropy", xpcnn.CrossEntropyLoss([1.0, 2.0, 1.0])):
        by_class = model_with(loss).fit(X, rows, class_weight=CLASS_WEIGHTS, verbose=0)
        weights = [CLASS_WEIGHTS[c] for c in Y]
        by_sample = model_with(loss).fit(X, rows, sample_weight=weights, verbose=0)
        assert by_class.history == by_sample.history


def test_ignored_labels_need_no_class_weight() -> None:
    labels = Y.copy()
    labels[::4] = -1
    loss = xpcnn.CrossEntropyLoss(ignore_index=-1)
    plain = model_with(loss).fit(X, labels, verbose=0)
    weighted = model_with(loss).fit(X, labels, class_weight=[2.0] * 3, verbose=0)
    assert weighted.history["loss"][0] == pytest.approx(2.0 * plain.history["loss"][0], rel=1e-6)


MANY = (rng.random((40, 3)) < 0.5).astype("float32")


@pytest.mark.parametrize(
    ("loss", "y", "weights", "message"),
    [
        ("bce_with_logits", MANY, [1, 2, 3], "needs one class for each sample.*pos_weight"),
        ("mse", rng.normal(size=(40, 3)).astype("float32"), [1, 2, 3], "needs one class"),
        ("cross_entropy", np.full((40, 3), 1 / 3, "float32"), [1, 2, 3], "needs one class"),
        ("cross_entropy", Y, {0: 1.0, 1: 1.0}, r"no weight for the classes \[2\]"),
        ("cross_entropy", Y, [1, 1, 1, 1], "weight for 3, which is not one of the 3 classes"),
        ("cross_entropy", Y, {0: 1, 1: 1, 2: 1, "cat": 1}, "weight for 'cat'"),
        ("cross_entropy", Y, [1, 1, -1], "class_weight must be finite and not negative"),
        ("cross_entropy", Y, [1, 1, np.nan], "class_weight must be finite"),
    ],
)
def test_wrong_class_weights(loss: str, y: Any, weights: Any, message: str) -> None:
    model = model_with(loss)
    before = model.state_dict()
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, class_weight=weights, optimizer=xpcnn.optim.SGD(lr=1.0), verbose=0)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_wrong_weights_of_validation_samples() -> None:
    with pytest.raises(ValueError, match=r"sample_weight: expected shape \(10,\), got \(3,\)"):
        figures(validation_data=(X[30:], Y[30:], np.ones(3)))
    with pytest.raises(ValueError, match="sample_weight must be finite and not negative"):
        figures(validation_data=(X[30:], Y[30:], -np.ones(10)))
