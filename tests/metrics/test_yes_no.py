"""Metrics of answers yes or no: the loss says from where on a prediction is a yes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import losses, metrics
from xpcnn.device import Device

# Above its threshold: yes, yes, no, yes, no. True: yes, no, no, yes, yes.
LOGITS = np.array([[2.0], [0.5], [-1.0], [3.0], [-0.1]])
TRUTH = np.array([1, 0, 0, 1, 1])
PREDICTIONS = {
    "logits": (LOGITS, losses.BCEWithLogitsLoss()),
    "scores": (LOGITS, losses.SoftMarginLoss()),
    "probabilities": (1.0 / (1.0 + np.exp(-LOGITS)), losses.BCELoss()),
    "values": (0.5 + LOGITS / 10.0, losses.MSELoss()),
    "logarithms": (-np.log1p(np.exp(-LOGITS)), losses.KLDivLoss()),
}
# Of the 5 answers 3 are right: no 1 of 2, yes 2 of 3; 3 are yes, of which 2 are right.
FIGURES: list[tuple[metrics.Metric, Any]] = [
    (metrics.Accuracy(), 3 / 5),
    (metrics.Precision("binary"), 2 / 3),
    (metrics.Recall("binary"), 2 / 3),
    (metrics.F1Score("binary"), 2 / 3),
    (metrics.Precision(), 2 / 3),  # of the answer yes, as in scikit-learn
    (metrics.Precision("macro"), (1 / 2 + 2 / 3) / 2),
    (metrics.Recall(None), [1 / 2, 2 / 3]),
    (metrics.F1Score("micro"), 3 / 5),
    (metrics.ConfusionMatrix(), [[1, 1], [1, 2]]),
]


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 1, 1)])
def test_the_loss_says_what_predictions_are(device: Device, kind: str, shape: tuple) -> None:
    predictions, loss = PREDICTIONS[kind]
    x = device.asarray(predictions.reshape(shape))
    no = -1 if isinstance(loss, losses.SoftMarginLoss) else 0
    truth = np.where(TRUTH == 1, 1, no)
    for target in (truth, truth.reshape(shape), truth.reshape(shape).astype("float32")):
        y = device.asarray(target)
        for metric, expected in FIGURES:
            metric.bind(loss)
            metric.reset()
            metric.update(x[:2, ...], y[:2, ...])
            metric.update(x[2:, ...], y[2:, ...])
            np.testing.assert_allclose(metric.result(), expected, rtol=1e-12, err_msg=str(metric))


def test_a_threshold_of_ones_own_wins() -> None:
    for metric in (metrics.Accuracy(1.0), metrics.ConfusionMatrix(threshold=1.0)):
        metric.bind(losses.BCEWithLogitsLoss())
        metric.update(LOGITS, TRUTH)  # yes, no, no, yes, no
        np.testing.assert_allclose(
            metric.result(), 4 / 5 if isinstance(metric, metrics.Accuracy) else [[2, 0], [1, 2]]
        )
    assert metrics.f1_score(LOGITS, TRUTH, average="binary", threshold=1.0) == 4 / 5
    assert metrics.accuracy(LOGITS, TRUTH) == 3 / 5  # without a loss they are logits
    with pytest.raises(ValueError, match="threshold must be finite, got nan"):
        metrics.Accuracy(math.nan)


COLUMNS = np.array([[1.0, -1.0, 2.0], [-1.0, -2.0, 3.0]])
MANY = np.array([[1, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_columns_of_independent_answers(device: Device, shape: tuple[int, ...]) -> None:
    x, y = device.asarray(COLUMNS.reshape(shape)), device.asarray(MANY.reshape(shape))
    loss = losses.BCEWithLogitsLoss()
    # Right: yes no yes; no no yes against yes yes yes; no no no. By columns: F1 of 1, 0 and 2/3.
    each = np.array([[[1, 0], [0, 1]], [[1, 0], [1, 0]], [[0, 1], [0, 1]]])
    figures: list[tuple[metrics.Metric, Any]] = [
        (metrics.Accuracy(), 4 / 6),
        (metrics.F1Score(None), [1.0, 0.0, 2 / 3]),
        (metrics.F1Score(), (1.0 + 0.0 + 2 / 3) / 3),
        (metrics.Precision("micro"), 2 / 3),
        (metrics.ConfusionMatrix(), each),
    ]
    for metric, expected in figures:
        metric.bind(loss)
        for row in (0, 1):
            metric.update(x[row : row + 1, ...], y[row : row + 1, ...])
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-12, err_msg=str(metric))
        if not isinstance(metric, metrics.Accuracy):
            with pytest.raises(ValueError, match="the ones before had 3 columns of yes and no"):
                metric.update(x[:, :2, ...], y[:, :2, ...])
    top = metrics.TopKAccuracy(2)
    top.bind(loss)
    with pytest.raises(ValueError, match="answers yes or no"):
        top.update(x, y)
    with pytest.raises(ValueError, match="'binary' is for one answer"):
        metrics.f1_score(x, y, average="binary", threshold=0.0)


def test_one_hot_rows_of_classes_are_no_columns() -> None:
    scores, rows = np.array([[0.1, 0.9, 0.8], [0.7, 0.2, 0.6]]), np.eye(3)[[1, 2]]
    for loss in (losses.CrossEntropyLoss(), losses.KLDivLoss(), None):
        metric = metrics.Accuracy()
        metric.bind(loss)
        metric.update(scores, rows)
        assert metric.result() == 1 / 2


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "binary", None])
@pytest.mark.parametrize("function", ["precision", "recall", "f1_score"])
def test_one_column_as_scikit_learn(
    rng: np.random.Generator, average: str | None, function: str
) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    name = function if function == "f1_score" else f"{function}_score"
    for _ in range(20):
        x, y = rng.random((30, 1)), rng.integers(0, 2, (30, 1))
        threshold = float(rng.random())
        expected = getattr(sklearn, name)(
            y[:, 0], x[:, 0] > threshold, average=average, zero_division=0.0
        )
        found = getattr(metrics, function)(x, y, average=average, threshold=threshold)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("function", ["precision", "recall", "f1_score"])
def test_several_columns_as_scikit_learn(
    rng: np.random.Generator, average: str | None, function: str
) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    name = function if function == "f1_score" else f"{function}_score"
    for share in (0.5, 0.03):
        x, y = rng.random((30, 4)), (rng.random((30, 4)) < share).astype("float32")
        expected = getattr(sklearn, name)(y, x > 0.8, average=average, zero_division=0.0)
        found = getattr(metrics, function)(x, y, average=average, threshold=0.8)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_array_equal(
            metrics.confusion_matrix(x, y, threshold=0.8),
            sklearn.multilabel_confusion_matrix(y, x > 0.8),
        )


# -- In a model ------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
YES = (X.sum(axis=1, keepdims=True) + 0.5 > 0.0).astype("float32")


def model_for(loss: str, chosen: Any, columns: int = 1) -> xpcnn.Model:
    end = {"bce": [xpcnn.Sigmoid()], "nll": [xpcnn.LogSoftmax(1)]}.get(loss, [])
    model = xpcnn.Model([xpcnn.Linear(4, columns), *end], device="cpu", seed=0)
    model.compile("adam", loss, chosen)
    return model


@pytest.mark.parametrize(("loss", "threshold"), [("bce", 0.5), ("bce_with_logits", 0.0)])
@pytest.mark.parametrize("columns", [1, 3])
def test_accuracy_of_a_model(loss: str, threshold: float, columns: int, tmp_path: Any) -> None:
    y = np.hstack([YES, 1 - YES, YES])[:, :columns]
    model = model_for(loss, ["accuracy"], columns)
    expected = ((model.predict(X) > threshold) == y).mean()
    assert 0.2 < expected < 0.8
    assert model.evaluate(X, y)["accuracy"] == pytest.approx(expected)
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert again.evaluate(X, y)["accuracy"] == pytest.approx(expected)
    # Loss and metrics may come one after the other, and another loss may come later.
    again.fit(X, y, epochs=0, metrics=["accuracy"], verbose=0)
    assert again.evaluate(X, y)["accuracy"] == pytest.approx(expected)
    other = xpcnn.Model([xpcnn.Linear(4, columns)], device="cpu", seed=0)
    other.metrics = [metrics.Accuracy()]
    other.compile("adam", "bce_with_logits", other.metrics)
    other.fit(X, y, epochs=0, verbose=0)
    logits = other.evaluate(X, y)["accuracy"]
    assert logits == pytest.approx(((other.predict(X) > 0.0) == y).mean())


def two_outputs() -> xpcnn.Graph:
    return xpcnn.Graph(
        inputs=["x"],
        nodes=[
            ("number", xpcnn.Linear(4, 1), "x"),
            ("chance", xpcnn.Sigmoid(), "number"),
            ("score", xpcnn.Linear(4, 2), "x"),
        ],
        outputs=["chance", "score"],
    )


def test_each_output_has_the_threshold_of_its_loss() -> None:
    model = xpcnn.Model(two_outputs(), device="cpu", seed=1)
    both = np.hstack([YES, 1 - YES])
    model.compile(
        "adam",
        {"chance": "bce", "score": "bce_with_logits"},
        {"chance": ["accuracy"], "score": ["accuracy", "recall"]},
    )
    logs = model.evaluate(X, {"chance": YES, "score": both}, batch_size=7)
    chance, score = model.predict(X)
    assert logs["chance_accuracy"] == pytest.approx(((chance > 0.5) == YES).mean())
    assert logs["score_accuracy"] == pytest.approx(((score > 0.0) == both).mean())
    found = ((score > 0.0) & (both == 1)).sum(axis=0) / both.sum(axis=0)
    assert logs["score_recall"] == pytest.approx(found.mean())


def test_files_of_before_hold_the_default_threshold() -> None:
    metric = metrics.from_config({"class": "Accuracy", "config": {"threshold": 0.0}})
    metric.bind(losses.BCELoss())
    metric.update(np.array([[0.3], [0.7]]), np.array([0, 1]))
    assert metric.result() == 1.0
    chosen = metrics.from_config(metrics.to_config(metrics.Accuracy(0.0)))
    chosen.bind(losses.BCELoss())
    chosen.update(np.array([[0.3], [0.7]]), np.array([0, 1]))
    assert chosen.result() == 0.5


def test_higher_is_better() -> None:
    for name in ("accuracy", "top_k_accuracy", "precision", "recall", "f1_score"):
        metric = metrics.get(name)
        assert metric.higher_is_better is True
        assert metrics.OutputMetric(metric, "a", 0).higher_is_better is True
    assert metrics.ConfusionMatrix().higher_is_better is None
    assert metrics.Metric().higher_is_better is None
    assert losses.MSELoss().higher_is_better is False


# -- Ignored labels --------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", [-100, 1, 255])
def test_ignored_labels_count_nowhere(device: Device, ignored: int) -> None:
    scores = np.array([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.0, 3.0, 1.0]])
    labels = np.array([0, 2, 2, ignored])
    x, y = device.asarray(scores), device.asarray(labels)
    figures: list[tuple[metrics.Metric, Any]] = [
        (metrics.Accuracy(), 2 / 3),
        (metrics.TopKAccuracy(1), 2 / 3),
        (metrics.Recall(None), [1.0, 0.0, 1 / 2]),
        (metrics.Precision(None), [1 / 2, 0.0, 1.0]),
        (metrics.ConfusionMatrix(), [[1, 0, 0], [0, 0, 0], [1, 0, 1]]),
    ]
    for metric, expected in figures:
        metric.bind(losses.CrossEntropyLoss(ignore_index=ignored))
        metric.update(x, y)
        metric.update(x[3:, ...], y[3:, ...])  # nothing to count
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-12, err_msg=str(metric))
        # Without a loss it can be said in the constructor, or to the function.
        name = {"TopKAccuracy": "top_k_accuracy"}.get(type(metric).__name__)
        if name is None:
            alone = type(metric)(**metric.arguments() | {"ignore_index": ignored})
            alone.update(x, y)
            np.testing.assert_allclose(alone.result(), expected, rtol=1e-12)
    assert metrics.top_k_accuracy(x, y, k=1, ignore_index=ignored) == pytest.approx(2 / 3)
    empty = metrics.Accuracy(ignore_index=ignored)
    empty.update(x[3:, ...], y[3:, ...])
    assert math.isnan(empty.result())


def test_ignored_places_of_a_segmentation(rng: np.random.Generator) -> None:
    scores, labels = rng.normal(size=(5, 4, 3, 3)), rng.integers(0, 4, (5, 3, 3)).astype("uint8")
    labels[0], labels[1, 0] = 255, 255
    kept = labels != 255
    metric = metrics.Accuracy()
    metric.bind(losses.CrossEntropyLoss(ignore_index=255))
    for sample in range(5):
        metric.update(scores[sample : sample + 1], labels[sample : sample + 1])
    assert metric.result() == (scores.argmax(axis=1) == labels)[kept].mean()


# -- Without a loss --------------------------------------------------------------------------------


def test_functions_look_at_the_targets() -> None:
    # Several ones in a row are no choice of one class.
    assert metrics.accuracy(COLUMNS, MANY) == 4 / 6
    np.testing.assert_allclose(metrics.f1_score(COLUMNS, MANY, average=None), [1.0, 0.0, 2 / 3])
    assert metrics.accuracy(COLUMNS, np.eye(3)[[2, 1]]) == 1 / 2  # the highest: 2 and 2


def test_functions_doubt_probabilities_without_a_threshold() -> None:
    chances, truth = np.array([[0.2], [0.9]]), np.array([0, 1])
    with pytest.warns(UserWarning, match="from 0 to 1.*pass threshold=0.5"):
        assert metrics.accuracy(chances, truth) == 0.5
    assert metrics.accuracy(chances, truth, threshold=0.5) == 1.0
    assert metrics.accuracy(chances, truth, threshold=0.0) == 0.5
    with pytest.warns(UserWarning, match="F1Score: all predictions lie from 0 to 1"):
        metrics.f1_score(chances, truth)
    with pytest.warns(UserWarning, match="ConfusionMatrix: all predictions"):
        metrics.confusion_matrix(np.array([[0.2, 0.9]]), np.array([[1, 1]]))


# -- Targets that are no answers -------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "smooth_l1", "poisson_nll"])
@pytest.mark.parametrize("chosen", ["accuracy", "f1_score", "top_k_accuracy"])
@pytest.mark.parametrize("columns", [1, 3])
def test_answers_are_no_real_numbers(loss: str, chosen: str, columns: int) -> None:
    y = np.abs(X[:, :columns]) + 0.5
    model = model_for(loss, [chosen], columns)
    model.build((None, 4))
    before = model.state_dict()
    message = "the targets of .*Loss are numbers such as"
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=message):
            call(X, y)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(("low", "middle"), [(0.0, 0.5), (-1.0, 0.0)])
def test_yes_and_no_as_numbers(low: float, middle: float) -> None:
    one = np.where(YES == 1, 1.0, low).astype("float32")
    model = model_for("mse", ["accuracy"])
    expected = ((model.predict(X) > middle) == (YES == 1)).mean()
    assert model.evaluate(X, one)["accuracy"] == pytest.approx(expected)
    # Several columns: of one-hot rows the highest is right, otherwise each is an answer.
    model = model_for("mse", ["accuracy"], 3)
    labels = np.arange(60) % 3
    rows = np.where(np.eye(3)[labels] == 1, 1.0, low).astype("float32")
    found = model.evaluate(X, rows)["accuracy"]
    assert found == pytest.approx((model.predict(X).argmax(axis=1) == labels).mean())
    many = np.where(X[:, :3] > 0, 1.0, low).astype("float32")
    found = model.evaluate(X, many)["accuracy"]
    assert found == pytest.approx(((model.predict(X) > middle) == (X[:, :3] > 0)).mean())


def test_validation_is_measured_as_training_is() -> None:
    # One-hot by chance, beside training data that is not.
    many, rows = (X[:, :3] > 0).astype("float32"), np.eye(3, dtype="float32")[np.arange(60) % 3]
    model = model_for("mse", ["accuracy"], 3)
    model.compile(xpcnn.optim.SGD(lr=0.0), "mse", ["accuracy"])
    history = model.fit(X, many, validation_data=(X, rows), verbose=0).history
    assert history["accuracy"][0] == pytest.approx(((model.predict(X) > 0.5) == many).mean())
    assert history["val_accuracy"][0] == pytest.approx(((model.predict(X) > 0.5) == rows).mean())


def test_shares_of_classes_as_numbers() -> None:
    model = model_for("mse", ["accuracy"], 3)
    labels = np.arange(60) % 3
    soft = (0.7 * np.eye(3)[labels] + 0.1).astype("float32")
    found = model.evaluate(X, soft)["accuracy"]
    assert found == pytest.approx((model.predict(X).argmax(axis=1) == labels).mean())


def test_top_k_needs_classes() -> None:
    for loss, columns in (("bce_with_logits", 1), ("bce_with_logits", 3), ("mse", 1)):
        model = model_for(loss, ["top_k_accuracy"], columns)
        with pytest.raises(ValueError, match="answers yes or no.*use Accuracy"):
            model.fit(X, np.hstack([YES] * columns), verbose=0)


def test_distances_are_no_answers() -> None:
    model = model_for("hinge_embedding", ["accuracy"])
    with pytest.raises(ValueError, match="HingeEmbeddingLoss has none"):
        model.fit(X, 2 * YES - 1, verbose=0)


def test_labels_of_more_than_two_classes_in_a_column() -> None:
    for chosen in ("accuracy", "recall", "confusion_matrix"):
        metric = metrics.get(chosen)
        with pytest.raises(ValueError, match="there is a target 2"):
            metric.update(np.array([[0.3], [0.4]]), np.array([2, 0]))


# -- Names -----------------------------------------------------------------------------------------


def test_names_in_the_logs_are_distinct() -> None:
    both = [metrics.F1Score("macro"), metrics.F1Score("micro")]
    model = model_for("bce_with_logits", ["accuracy"])
    with pytest.raises(ValueError, match="two columns .* 'f1_score'.*F1Score\\(name="):
        model.compile("sgd", "mse", both)
    assert [metric.name for metric in model.metrics] == ["accuracy"]
    named = [metrics.F1Score("macro"), metrics.F1Score("micro", name="f1_micro")]
    model.compile("adam", "bce_with_logits", named)
    logs = model.evaluate(X, YES)
    yes, truth = model.predict(X)[:, 0] > 0, YES[:, 0] == 1
    assert logs["f1_micro"] == pytest.approx((yes == truth).mean())
    assert logs["f1_score"] != logs["f1_micro"]
    again = metrics.from_config(metrics.to_config(named[1]))
    assert again.name == "f1_micro"
    assert metrics.from_config(metrics.to_config(named[0])).name == "f1_score"
    for name, message in (("loss", "that of the loss"), ("val_loss", "'val_'"), ("epoch", "epoch")):
        with pytest.raises(ValueError, match=message):
            model.compile("sgd", "mse", [metrics.Accuracy(name=name)])


def test_names_of_several_outputs_are_distinct() -> None:
    model = xpcnn.Model(two_outputs(), device="cpu", seed=1)
    chosen = {"chance": ["accuracy"], "score": ["accuracy", metrics.Accuracy(0.5)]}
    with pytest.raises(ValueError, match="two columns .* 'score_accuracy'"):
        model.compile("adam", {"chance": "bce", "score": "bce_with_logits"}, chosen)
    chosen["score"][1] = metrics.Accuracy(0.5, name="strict")
    model.compile("adam", {"chance": "bce", "score": "bce_with_logits"}, chosen)
    logs = model.evaluate(X, {"chance": YES, "score": np.hstack([YES, 1 - YES])})
    of_outputs = {"chance_loss", "score_loss"}
    assert set(logs) == of_outputs | {"loss", "chance_accuracy", "score_accuracy", "score_strict"}


def test_a_metric_of_one_output_of_a_loss_of_two() -> None:
    # GaussianNLLLoss has one target, that of the mean, and no answers that could be right.
    graph = xpcnn.Graph(
        inputs=["x"],
        nodes=[
            ("mean", xpcnn.Linear(4, 1), "x"),
            ("score", xpcnn.Linear(4, 1), "x"),
            ("var", xpcnn.Softplus(), "score"),
        ],
        outputs=["mean", "var"],
    )

    class Error(metrics.Metric):
        name, higher_is_better = "error", False

        def reset(self) -> None:
            self.seen: list[np.ndarray] = []

        def update(self, prediction: Any, target: Any) -> None:
            self.seen.append(np.abs(prediction - target))

        def result(self) -> float:
            return float(np.concatenate(self.seen).mean())

    model = xpcnn.Model(graph, device="cpu", seed=0)
    model.compile("adam", xpcnn.losses.GaussianNLLLoss(), {"mean": [Error()]})
    y = X[:, :1]
    mean, _ = model.predict(X)
    logs = model.evaluate(X, y, batch_size=7)
    assert logs["mean_error"] == pytest.approx(np.abs(mean - y).mean(), rel=1e-5)


def test_a_loss_of_ones_own_leaves_it_to_the_last_layer() -> None:
    def cubic(prediction: Any, target: Any) -> Any:
        return (abs(prediction - target) ** 3).mean(axis=1)

    class Cubic(losses.MSELoss):
        reads = None

    for loss in (cubic, Cubic()):
        for last, threshold in (([xpcnn.Sigmoid()], 0.5), ([], 0.0)):
            model = xpcnn.Model([xpcnn.Linear(4, 1), *last], device="cpu", seed=0)
            model.compile("adam", loss, ["accuracy"])
            expected = ((model.predict(X) > threshold) == YES).mean()
            assert model.evaluate(X, YES)["accuracy"] == pytest.approx(expected)


def test_places_are_counted_piece_by_piece(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted, truth = rng.integers(0, 3, (2, 5, 10))
    kept = truth != 2
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (truth[kept], predicted[kept]), 1)
    monkeypatch.setattr("xpcnn.metrics.counts.PIECE", 7)
    for ignored, right in ((2, expected), (None, None)):
        found = metrics.confusion_matrix(predicted, truth, num_classes=3, ignore_index=ignored)
        if right is not None:
            np.testing.assert_array_equal(found, right)
        assert found.sum() == (kept.sum() if ignored else 50)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_metrics_of_half_precision(dtype: str) -> None:
    # More right answers than float16 can count.
    x = np.tile(np.array([[0.1], [-0.1]], dtype), (5000, 1))
    y = np.tile(np.array([1, 0, 1, 0, 0, 0, 1, 1]), 1250)
    for function in (metrics.accuracy, metrics.recall, metrics.precision, metrics.f1_score):
        options = {} if function is metrics.accuracy else {"average": "micro"}
        assert function(x, y, **options) == 0.75
