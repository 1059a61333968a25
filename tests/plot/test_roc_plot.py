"""ROC curves: the points, and the areas in the legend."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import metrics

plt = pytest.importorskip("matplotlib.pyplot")


def curves(ax):
    """Points by label; the diagonal has none."""
    return {
        line.get_label(): (line.get_xdata(), line.get_ydata())
        for line in ax.lines
        if not line.get_label().startswith("_")
    }


def test_by_hand():
    # From the highest score: yes, no, yes, no.
    ax = xpcnn.plot.roc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    ((label, (x, y)),) = curves(ax).items()
    assert label == "AUC = 0.750"
    assert (x.tolist(), y.tolist()) == ([0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("false positive rate", "true positive rate")


def test_equal_scores_are_one_step():
    ((x, y),) = curves(xpcnn.plot.roc([0, 1, 1], [0.5, 0.5, 0.9])).values()
    assert (x.tolist(), y.tolist()) == ([0, 0, 1], [0, 0.5, 1])


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_as_in_scikit_learn(rng, classes):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    y = rng.integers(0, classes, 300)
    logits = rng.normal(size=(300, classes)) + np.eye(classes)[y]
    probabilities = softmax(logits)
    names = [f"class {n}" for n in range(classes)]
    for options in ({"scores": probabilities}, {"scores": logits, "from_logits": True}):
        found = curves(xpcnn.plot.roc(y, **options, class_names=names))
        assert len(found) == (1 if classes == 2 else classes)
        for column in [1] if classes == 2 else range(classes):
            area = sklearn_metrics.roc_auc_score(y == column, probabilities[:, column])
            x, right, _ = sklearn_metrics.roc_curve(
                y == column, probabilities[:, column], drop_intermediate=False
            )
            got = found[f"class {column}: AUC = {area:.3f}"]
            np.testing.assert_allclose(got[0], x, atol=1e-12)
            np.testing.assert_allclose(got[1], right, atol=1e-12)


def test_the_area_under_the_points_is_the_metric(rng):
    y, scores = rng.integers(0, 2, 100), np.round(rng.normal(size=100), 1)
    metric = metrics.AUC()
    metric.update(scores[:60], y[:60])
    metric.update(scores[60:], y[60:])
    ((x, right),) = metric.points().values()
    area = float(np.sum(np.diff(x) * (right[1:] + right[:-1]) / 2))
    assert area == pytest.approx(metric.result(), abs=1e-12)
    assert area == pytest.approx(metrics.auc(scores, y), abs=1e-12)


def test_points_are_those_of_the_roc_alone():
    with pytest.raises(ValueError, match="curve='ROC', not of 'PR'"):
        metrics.AUC("PR").points()
    assert metrics.AUC().points() == {}
    metric = metrics.AUC()
    metric.update(np.array([np.nan, 0.5]), np.array([0, 1]))
    assert all(np.isnan(rates).all() for rates in metric.points()[0])


def test_columns_of_their_own():
    y = np.array([[1, 0], [0, 1], [1, 1]])
    found = curves(xpcnn.plot.roc(y, np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])))
    assert list(found) == ["0: AUC = 1.000", "1: AUC = 1.000"]


def test_a_model(device):
    model = xpcnn.Model([xpcnn.Linear(3, 3, bias=False)], device=device)
    model.build((None, 3))
    model.load_state_dict({"0.weight": np.eye(3, dtype="float32")})
    model.compile("sgd", "cross_entropy")
    model.class_names = ["a", "b", "c"]
    x = np.array([[2, 0, 0], [0, 1, 0], [0, 0, 3], [1, 0, 0]], "float32")
    y = np.array([0, 1, 2, 1])
    found = curves(xpcnn.plot.roc(model, device.asarray(x), y))
    # Of class 1 the softmax gives 0.107, 0.576, 0.045, 0.212: both above all others.
    assert list(found) == ["a: AUC = 1.000", "b: AUC = 1.000", "c: AUC = 1.000"]
    assert all(ends[-1] == 1 for ends in found["b: AUC = 1.000"])


def test_a_class_without_samples_has_no_curve():
    found = curves(xpcnn.plot.roc([0, 1, 1], softmax(np.array([[1, 0, 0], [0, 1, 0], [1, 2, 3]]))))
    assert "2: no curve" in found


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (([0, 1], [0.1, 0.2], [0, 1]), {}, "y is for a model"),
        (([1, 1], [0.1, 0.2]), {}, "no class has a curve"),
        (([0, 1], [0, 1]), {}, "expected dtype float32"),
        (([0, 1], [[1.0, 2.0], [0.0, 3.0]]), {}, "pass from_logits=True"),
        (([0, 1], [0.1, 0.2]), {"class_names": ["a", "b", "c"]}, "scores one column"),
        (([0, 1], [[0.5, 0.5], [0.5, 0.5]]), {"class_names": ["a"]}, "and there are 2 classes"),
        (([0, 1], [0.1, 0.2]), {"multilabel": 1}, "multilabel must be True or False"),
    ],
)
def test_errors(args, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.roc(*args, **options)
    assert not plt.get_fignums()


def test_estimators_give_classes():
    pytest.importorskip("sklearn")
    from sklearn.dummy import DummyClassifier

    estimator = DummyClassifier().fit([[0], [1]], [0, 1])
    with pytest.raises(TypeError, match="predict_proba"):
        xpcnn.plot.roc(estimator, [[0], [1]], [0, 1])
