"""The numbers and the errors of the estimators."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import xpcnn
from xpcnn.sklearn import CNNClassifier, CNNRegressor
from xpcnn.sklearn.scaling import measure

NAMES = np.array(["cat", "dog", "emu"])


def rows(count=40, features=4, classes=3):
    x = np.random.normal(2.0, 3.0, (count, features))
    return x, NAMES[:classes][np.random.permutation(np.arange(count) % classes)]


def softmax(z):
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def linear_classifier(**options):
    """Softmax regression by plain gradient descent, of all samples at once."""
    return CNNClassifier(
        lambda shape, outputs: [xpcnn.Linear(shape[0], outputs)],
        **{"optimizer": "sgd", "lr": 0.5, "epochs": 4, "tol": None, "random_state": 3}
        | {"device": "cpu"}
        | options,
    )


def descend(w, b, x, numbers, weights, steps, lr=0.5):
    """Make the same steps by the formula of the gradient."""
    for _ in range(steps):
        error = softmax(x @ w.T + b) - np.eye(len(b))[numbers]
        error *= weights[:, None] / weights.sum()
        w, b = w - lr * error.T @ x, b - lr * error.sum(axis=0)
    return w, b


def initial(estimator, x, labels):
    """The weights from which a fit starts: those after an epoch with a learning rate of 0."""
    layer = clone(estimator).set_params(epochs=1, lr=0.0).fit(x, labels).model_.layers[-1]
    return np.array(layer.weight.value), np.array(layer.bias.value)


@pytest.mark.parametrize("kind", ["plain", "weighted", "balanced", "table"])
def test_training_is_gradient_descent_on_standardized_rows(kind):
    x, labels = rows()
    labels[:20] = "cat"  # so that balanced weights differ
    numbers = np.searchsorted(NAMES, labels)
    weights, given, options = np.ones(40), None, {}
    if kind == "weighted":
        given = weights = np.random.uniform(0.5, 3.0, 40)
    elif kind == "balanced":
        options = {"class_weight": "balanced"}
        weights = 1.0 / np.bincount(numbers)[numbers]
    elif kind == "table":
        options = {"class_weight": {"dog": 5.0}}
        weights = np.where(labels == "dog", 5.0, 1.0)
    estimator = linear_classifier(**options)
    w, b = initial(estimator, x, labels)
    estimator.fit(x, labels, sample_weight=given)

    of_each = np.ones(40) if given is None else given
    mean = (x * of_each[:, None]).sum(axis=0) / of_each.sum()
    scale = np.sqrt((of_each[:, None] * (x - mean) ** 2).sum(axis=0) / of_each.sum())
    np.testing.assert_allclose(estimator.x_mean_, mean, rtol=1e-12)
    np.testing.assert_allclose(estimator.x_scale_, scale, rtol=1e-12)

    z = (x - mean) / scale
    w, b = descend(w, b, z, numbers, weights, 4)
    expected = softmax(z @ w.T + b)
    np.testing.assert_allclose(estimator.predict_proba(x), expected, rtol=1e-9)
    np.testing.assert_allclose(estimator.predict_log_proba(x), np.log(expected), rtol=1e-9)
    np.testing.assert_allclose(estimator.decision_function(x), z @ w.T + b, rtol=1e-9)
    assert estimator.predict(x).tolist() == NAMES[expected.argmax(axis=1)].tolist()
    assert estimator.score(x, labels) == np.mean(NAMES[expected.argmax(axis=1)] == labels)


def test_weights_are_repetitions_and_zeros_are_absences():
    x, labels = rows(30)
    counts = np.random.randint(0, 4, 30)
    once = CNNClassifier(epochs=50, random_state=0, device="cpu")
    again = clone(once).fit(x.repeat(counts, axis=0), labels.repeat(counts))
    once.fit(x, labels, sample_weight=counts)
    np.testing.assert_allclose(once.predict_proba(x), again.predict_proba(x), rtol=1e-9)
    balanced = clone(once).set_params(class_weight="balanced")
    again = clone(balanced).fit(x.repeat(counts, axis=0), labels.repeat(counts))
    balanced.fit(x, labels, sample_weight=counts)
    np.testing.assert_allclose(balanced.predict_proba(x), again.predict_proba(x), rtol=1e-9)


def test_two_classes_have_one_decision():
    x, labels = rows(classes=2)
    estimator = linear_classifier().fit(x, labels)
    outputs = estimator.model_.predict(x)
    np.testing.assert_allclose(estimator.decision_function(x), outputs[:, 1] - outputs[:, 0])
    np.testing.assert_allclose(estimator.predict_proba(x), softmax(outputs))


def test_several_labels():
    x, _ = rows()
    answers = (x[:, :2] > 2.0).astype(int)
    estimator = CNNClassifier(random_state=0, device="cpu", lr=0.01).fit(x, answers)
    outputs = estimator.model_.predict(x)
    assert estimator.predict(x).tolist() == (outputs > 0).astype(int).tolist()
    np.testing.assert_allclose(estimator.predict_proba(x), 1 / (1 + np.exp(-outputs)))
    assert estimator.decision_function(x).shape == (40, 2)
    assert estimator.score(x, answers) > 0.9
    assert estimator.classes_.tolist() == [0, 1]


def test_a_regressor_predicts_in_the_units_of_y():
    x, _ = rows(60)
    y = np.stack([1000.0 + 50.0 * x[:, 0], 0.01 * x[:, 1]], axis=1)
    estimator = CNNRegressor(
        [xpcnn.Linear(4, 2)], lr=0.05, tol=None, random_state=0, device="cpu"
    ).fit(x, y)
    np.testing.assert_allclose(estimator.y_mean_, y.mean(axis=0))
    np.testing.assert_allclose(estimator.y_scale_, y.std(axis=0))
    expected = estimator.model_.predict(x) * y.std(axis=0) + y.mean(axis=0)
    np.testing.assert_allclose(estimator.predict(x), expected)
    assert estimator.score(x, y) > 0.99
    alone = clone(estimator).set_params(layers=[xpcnn.Linear(4, 1)])
    assert alone.fit(x, y[:, 0]).predict(x).shape == (60,)
    assert alone.fit(x, y[:, :1]).predict(x).shape == (60, 1)


def test_a_regressor_of_raw_numbers():
    x, _ = rows()
    y = x[:, 0].copy()
    options = {"standardize": False, "standardize_y": False, "tol": None, "device": "cpu"}
    estimator = CNNRegressor(
        [xpcnn.Linear(4, 1)], optimizer="sgd", lr=0.01, epochs=1, random_state=0, **options
    ).fit(x, y)
    layer = clone(estimator).set_params(lr=0.0).fit(x, y).model_.layers[0]
    w, b = np.array(layer.weight.value)[0], np.array(layer.bias.value)[0]
    error = 2.0 * (x @ w + b - y) / 40
    expected = x @ (w - 0.01 * error @ x) + b - 0.01 * error.sum()
    np.testing.assert_allclose(estimator.predict(x), expected, rtol=1e-9)
    assert not hasattr(estimator, "x_mean_")
    assert not hasattr(estimator, "y_mean_")


def test_counts():
    x = np.random.normal(size=(300, 2))
    rate = np.exp(1.0 + 0.8 * x[:, 0])
    counts = np.random.poisson(rate)
    estimator = CNNRegressor(
        [xpcnn.Linear(2, 1)], loss=xpcnn.PoissonNLLLoss(), standardize_y=False, lr=0.05,
        random_state=0, device="cpu",
    ).fit(x, counts)  # fmt: skip
    np.testing.assert_allclose(estimator.predict(x), np.exp(estimator.model_.predict(x))[:, 0])
    np.testing.assert_allclose(estimator.predict(x).mean(), counts.mean(), rtol=0.01)
    assert np.corrcoef(estimator.predict(x), rate)[0, 1] > 0.98
    with pytest.raises(ValueError, match="y must stay positive; give standardize_y=False"):
        estimator.set_params(standardize_y=True).fit(x, counts)


def test_scaling():
    x = np.random.normal(5.0, 2.0, (50, 3))
    x[:, 1] = 0.1  # whose mean is rounded
    ours, theirs = measure(x, None, "X"), StandardScaler().fit(x)
    np.testing.assert_allclose(ours.mean, theirs.mean_)
    np.testing.assert_allclose(ours.scale, theirs.scale_)
    assert ours.scale[1] == 1.0
    images = np.random.normal(1.0, 4.0, (6, 2, 5, 5)).astype("float32")
    found = measure(images, None, "X")
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 2, 3), dtype=float))
    np.testing.assert_allclose(found.scale, images.std(axis=(0, 2, 3), dtype=float))
    counts = np.arange(6) % 3
    again = measure(images.repeat(counts, axis=0), None, "X")
    np.testing.assert_allclose(measure(images, counts.astype(float), "X"), again)
    with pytest.raises(ValueError, match="X has numbers of up to 3e.200, which are too large"):
        measure(np.array([[3e200], [1.0]]), None, "X")


# -- What can be given ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 9), (1, 9, 10), (2, 4, 4, 8)])
def test_signals_images_and_volumes(shape):
    labels = np.arange(60) % 2
    x = np.random.normal(size=(60, *shape)) + labels.reshape(-1, *[1] * len(shape))
    estimator = CNNClassifier(epochs=15, random_state=0, device="cpu").fit(x, labels)
    assert estimator.score(x, labels) > 0.9
    assert estimator.model_.dtype == "float32"
    assert estimator.input_shape_ == shape
    np.testing.assert_allclose(estimator.x_mean_, x.mean(axis=(0, *range(2, x.ndim))), rtol=1e-5)
    with pytest.raises(ValueError, match="samples of shape .* was fitted on samples of shape"):
        estimator.predict(x[..., :-1])
    as_rows = clone(estimator).set_params(input_shape=shape).fit(x.reshape(60, -1), labels)
    assert np.array_equal(as_rows.predict_proba(x.reshape(60, -1)), estimator.predict_proba(x))


def test_bytes_stay_bytes():
    x = np.random.randint(0, 200, (60, 3, 6, 6), dtype=np.uint8)
    labels = np.arange(60) % 2
    x[labels == 1] += 50
    estimator = CNNClassifier(epochs=10, random_state=0, device="cpu").fit(x, labels)
    assert estimator.score(x, labels) > 0.9
    np.testing.assert_allclose(estimator.x_mean_, x.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(estimator.x_scale_, x.std(axis=(0, 2, 3)))
    floats = clone(estimator).fit(x.astype(float), labels)
    assert np.array_equal(floats.predict_proba(x), estimator.predict_proba(x.astype("float32")))
    assert estimator.transform(x).shape == (60, 128)
    with pytest.raises(TypeError, match="begin with xpcnn.Rescale"):
        clone(estimator).set_params(standardize=False).fit(x, labels)
    layers = [xpcnn.Rescale(1 / 255), xpcnn.Flatten(), xpcnn.Linear(out_features=2)]
    own = CNNClassifier(layers, standardize=False, epochs=1, device="cpu").fit(x, labels)
    expected = own.predict(x.astype("float32"))
    assert np.array_equal(own.predict(x), expected)


def test_the_model_takes_what_the_estimator_takes(tmp_path):
    x, labels = rows()
    estimator = CNNClassifier(epochs=5, random_state=0, device="cpu").fit(x, labels)
    estimator.model_.save(tmp_path / "model.safetensors")
    model = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert np.array_equal(softmax(model.predict(x)), estimator.predict_proba(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_keep_their_dtype(dtype, device):
    x, labels = rows()
    estimator = CNNClassifier(epochs=5, random_state=0, device=device)
    found = estimator.fit(x.astype(dtype), labels).predict_proba(x.astype(dtype))
    expected = "float32" if estimator.model_.dtype == "float32" else dtype
    assert found.dtype == expected
    reference = clone(estimator).set_params(device="cpu").fit(x.astype(dtype), labels)
    np.testing.assert_allclose(found, reference.predict_proba(x), rtol=1e-3, atol=1e-4)


def test_a_chosen_dtype():
    x, labels = rows()
    estimator = CNNClassifier(epochs=2, dtype="float32", device="cpu").fit(x, labels)
    assert estimator.predict_proba(x).dtype == estimator.model_.dtype == "float32"


def test_tables():
    pandas = pytest.importorskip("pandas")
    x, labels = rows()
    table = pandas.DataFrame(x, columns=["a", "b", "c", "d"])
    estimator = CNNClassifier(epochs=5, random_state=0, device="cpu")
    estimator.fit(table, pandas.Series(labels, dtype="category"))
    assert estimator.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert estimator.predict(table).tolist() == clone(estimator).fit(x, labels).predict(x).tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(table[["b", "a", "c", "d"]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        estimator.predict(x)


@pytest.mark.parametrize(
    "labels", [[True, False], ["a", "b"], [-7, 3], [0.0, 2.0], np.array(["x", 5], dtype=object)[:1]]
)
def test_any_labels(labels):
    x, _ = rows()
    labels = np.asarray([*labels, "y"] if len(labels) == 1 else labels)
    y = labels[np.arange(40) % 2]
    found = CNNClassifier(epochs=2, device="cpu").fit(x, y)
    assert found.classes_.tolist() == sorted(labels.tolist())
    assert set(found.predict(x).tolist()) <= set(labels.tolist())
    assert found.predict(x).dtype == y.dtype


def test_networks_in_every_form():
    x, labels = rows()
    layers = [xpcnn.Linear(4, 8), xpcnn.ReLU(), xpcnn.Linear(8, 3)]
    model = xpcnn.Model(layers, device="cpu", seed=5, dtype="float64")
    model.build((None, 4))
    before = {name: np.array(array) for name, array in model.state_dict().items()}
    forms = [layers, xpcnn.Sequential(*layers), model, lambda shape, outputs: layers]
    found = [
        CNNClassifier(form, epochs=3, random_state=0, device="cpu").fit(x, labels) for form in forms
    ]
    for other in found[1:]:
        assert np.array_equal(other.predict_proba(x), found[0].predict_proba(x))
    for name, array in model.state_dict().items():  # what was given is as it was
        assert np.array_equal(array, before[name])
    assert CNNClassifier("mlp", epochs=3, device="cpu").fit(x, labels).predict(x).shape == (40,)


def test_indices():
    x = np.random.randint(0, 20, (60, 5))
    layers = [xpcnn.Embedding(20, 4), xpcnn.Flatten(), xpcnn.Linear(out_features=2)]
    estimator = CNNClassifier(layers, lr=0.05, random_state=0, device="cpu")
    estimator.fit(x, x[:, 0] > 9)
    assert estimator.score(x, x[:, 0] > 9) > 0.9
    assert not hasattr(estimator, "x_mean_")
    with pytest.raises(ValueError, match="a layer that takes indices.* X has .*5"):
        estimator.predict(x + 0.5)


def test_features_are_what_goes_into_the_last_layer():
    x, labels = rows()
    estimator = CNNClassifier(epochs=3, random_state=0, device="cpu").fit(x, labels)
    _, hidden, _, last = estimator.model_.layers
    z = (x - estimator.x_mean_) / estimator.x_scale_
    expected = np.maximum(z @ np.array(hidden.weight.value).T + np.array(hidden.bias.value), 0.0)
    found = estimator.transform(x)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    outputs = found @ np.array(last.weight.value).T + np.array(last.bias.value)
    np.testing.assert_allclose(outputs, estimator.decision_function(x))
    assert estimator.get_feature_names_out()[:2].tolist() == ["cnnclassifier0", "cnnclassifier1"]
    assert len(estimator.get_feature_names_out()) == 100
    alone = linear_classifier().fit(x, labels)
    np.testing.assert_allclose(alone.transform(x), (x - alone.x_mean_) / alone.x_scale_)
    alone.set_params(standardize=False).fit(x, labels)
    assert np.array_equal(alone.transform(x), x)


def test_features_of_a_graph():
    x, labels = rows()
    first, second, last = xpcnn.Linear(4, 5), xpcnn.Linear(5, 5), xpcnn.Linear(5, 3)
    nodes = [("a", first, "x"), ("b", second, "a"), ("c", xpcnn.operations.Add(), ["a", "b"])]
    graph = xpcnn.Graph("x", [*nodes, ("d", last, "c"), ("e", xpcnn.ReLU(), "d")], "e")
    estimator = CNNClassifier(graph, epochs=3, device="cpu").fit(x, labels)
    trained = estimator.model_.layers[1].children()
    z = (x - estimator.x_mean_) / estimator.x_scale_
    a = trained["a"](z)
    np.testing.assert_allclose(estimator.transform(x), a + trained["b"](a), rtol=1e-9)
    assert estimator.get_feature_names_out().shape == (5,)
    direct = CNNRegressor(xpcnn.Graph("x", [("d", xpcnn.Linear(4, 1), "x")], "d"), device="cpu")
    assert direct.fit(x, x[:, 0]).transform(x).shape == (40, 4)


def test_features_as_a_table():
    pandas = pytest.importorskip("pandas")
    labels = np.arange(30) % 2
    x = np.random.normal(size=(30, 1, 8, 8))
    estimator = CNNClassifier(epochs=1, random_state=0, device="cpu").fit(x, labels)
    plain = estimator.transform(x)
    table = estimator.set_output(transform="pandas").transform(x)
    assert isinstance(table, pandas.DataFrame)
    assert table.columns.tolist() == estimator.get_feature_names_out().tolist()
    assert np.array_equal(table.to_numpy(), plain)


# -- Training further ----------------------------------------------------------------------------


def test_warm_start_goes_on():
    x, labels = rows()
    whole = CNNClassifier(epochs=6, tol=None, random_state=0, device="cpu").fit(x, labels)
    half = clone(whole).set_params(epochs=3, warm_start=True).fit(x, labels)
    assert half.n_iter_ == 3
    half.fit(x, labels)
    assert np.array_equal(half.predict_proba(x), whole.predict_proba(x))
    assert half.loss_curve_ == whole.loss_curve_[3:]
    half.set_params(lr=0.0).fit(x, labels)
    assert np.array_equal(half.predict_proba(x), whole.predict_proba(x))
    with pytest.raises(ValueError, match="layers was None when the model was made, and 'mlp'"):
        half.set_params(layers="mlp").fit(x, labels)


def test_partial_fit_makes_one_epoch():
    x, labels = rows()
    whole = CNNClassifier(epochs=3, tol=None, random_state=0, device="cpu").fit(x, labels)
    parts = clone(whole).partial_fit(x, labels, classes=NAMES[::-1])
    for _ in range(2):
        parts.partial_fit(x, labels)
    assert np.array_equal(parts.predict_proba(x), whole.predict_proba(x))
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.n_iter_ == 3
    mean = parts.x_mean_.copy()
    parts.partial_fit(x[:1] + 100.0, labels[:1])
    assert np.array_equal(parts.x_mean_, mean)


def test_partial_fit_of_a_regressor():
    x, _ = rows()
    whole = CNNRegressor(epochs=2, tol=None, random_state=0, device="cpu").fit(x, x[:, 0])
    parts = clone(whole).partial_fit(x, x[:, 0]).partial_fit(x, x[:, 0])
    assert np.array_equal(parts.predict(x), whole.predict(x))


def test_training_ends_when_the_loss_no_longer_falls():
    x, labels = rows()
    estimator = CNNClassifier(epochs=500, tol=1.0, n_iter_no_change=4, device="cpu")
    assert estimator.fit(x, labels).n_iter_ == 5  # the first epoch is the best
    assert len(estimator.loss_curve_) == 5
    assert estimator.loss_ == estimator.loss_curve_[-1]
    assert estimator.best_loss_ == min(estimator.loss_curve_)
    assert clone(estimator).set_params(tol=None, epochs=20).fit(x, labels).n_iter_ == 20


def test_early_stopping_keeps_the_best_weights():
    x, labels = rows(80)  # which nothing can be learnt from
    estimator = CNNClassifier(
        epochs=200, early_stopping=True, validation_fraction=0.25, lr=0.01, n_iter_no_change=5,
        random_state=7, device="cpu",
    ).fit(x, labels)  # fmt: skip
    curve = estimator.validation_loss_curve_
    assert len(curve) == estimator.n_iter_ == len(estimator.loss_curve_) < 200
    assert estimator.best_loss_ == min(curve) == curve[-6]
    seed = np.random.RandomState(7).randint(np.iinfo(np.int32).max)
    kept, aside = train_test_split(
        np.arange(80), test_size=0.25, random_state=seed, stratify=labels
    )
    chosen = estimator.predict_proba(x[aside])[np.arange(20), np.searchsorted(NAMES, labels[aside])]
    np.testing.assert_allclose(-np.log(chosen).mean(), estimator.best_loss_)
    np.testing.assert_allclose(estimator.x_mean_, x[kept].mean(axis=0))
    with pytest.raises(ValueError, match="validation_fraction=0.01 of 80 samples cannot be set"):
        estimator.set_params(validation_fraction=0.01).fit(x, labels)


def test_the_same_seed_gives_the_same_bits():
    x, labels = rows()
    layers = [xpcnn.Linear(4, 16), xpcnn.Dropout(0.5), xpcnn.Linear(16, 3)]
    first = CNNClassifier(layers, epochs=5, batch_size=8, random_state=1, device="cpu")
    first.fit(x, labels)
    assert np.array_equal(first.predict_proba(x), clone(first).fit(x, labels).predict_proba(x))
    other = clone(first).set_params(random_state=2).fit(x, labels)
    assert not np.array_equal(first.predict_proba(x), other.predict_proba(x))
    np.random.seed(5)
    drawn = clone(first).set_params(random_state=None).fit(x, labels).predict_proba(x)
    np.random.seed(5)
    again = clone(first).set_params(random_state=None).fit(x, labels).predict_proba(x)
    assert np.array_equal(drawn, again)


def test_a_last_batch_of_one_sample_is_left_out():
    x, labels = rows(41)
    layers = [xpcnn.Linear(4, 8), xpcnn.BatchNorm1d(8), xpcnn.Linear(8, 3)]
    estimator = CNNClassifier(layers, batch_size=8, epochs=2, device="cpu").fit(x, labels)
    assert estimator.model_.step == 10


def test_callbacks_are_copied():
    x, labels = rows()
    seen = []

    class Watch(xpcnn.Callback):
        def __init__(self):
            self.seen = seen

        def on_epoch_end(self, epoch, logs):
            self.seen.append(logs["loss"])

    watch = Watch()
    estimator = CNNClassifier(epochs=3, callbacks=[watch], device="cpu").fit(x, labels)
    assert seen == estimator.loss_curve_
    assert not hasattr(watch, "model")


# -- Copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_predict_and_train_on(copied):
    labels = np.arange(30) % 2
    x = np.random.normal(size=(30, 1, 8, 8)).astype("float32")
    layers = [xpcnn.Conv2d(1, 4, 3), xpcnn.BatchNorm2d(4), xpcnn.ReLU(), xpcnn.Flatten()]
    layers += [xpcnn.Dropout(0.3), xpcnn.Linear(out_features=2)]
    estimator = CNNClassifier(
        layers, epochs=2, random_state=0, device="cpu", warm_start=True,
        callbacks=[xpcnn.EarlyStopping("loss", patience=5, restore_best_weights=True)],
    )  # fmt: skip
    unfitted = copied(estimator)
    estimator.fit(x, labels)
    for _ in range(5):  # long enough for kernels to be recorded
        single = estimator.predict_proba(x[:1])
    other = copied(estimator)
    for _ in range(5):
        assert np.array_equal(other.predict_proba(x[:1]), single)
    assert np.array_equal(other.fit(x, labels).predict(x), estimator.fit(x, labels).predict(x))
    assert np.array_equal(
        unfitted.fit(x, labels).fit(x, labels).predict_proba(x), other.predict_proba(x)
    )


def test_pickles_hold_weights_and_optimizer_alone():
    x = np.random.normal(size=(30, 1, 8, 8)).astype("float32")
    estimator = CNNClassifier(epochs=2, device="cpu").fit(x, np.arange(30) % 2)
    for _ in range(5):
        estimator.predict(x[:1])
    weights = sum(array.nbytes for array in estimator.model_.state_dict().values())
    assert weights > 100_000
    assert len(pickle.dumps(estimator)) < 3 * weights + 30_000  # Adam keeps two numbers for each


# -- Errors --------------------------------------------------------------------------------------

WRONG = {
    "layers": (5, "layers must be a list of layers, the name of a network"),
    "input_shape": ((1, 3, 3), "input_shape=(1, 3, 3) has 9 numbers, and each row of X has 4"),
    "standardize": (1, "standardize must be True or False"),
    "epochs": (0, "epochs must be at least 1, got 0"),
    "batch_size": ("all", "batch_size must be an integer"),
    "optimizer": ("adamm", "unknown optimizer 'adamm'"),
    "lr": (-1.0, "lr must be at least 0"),
    "loss": ("hinge", "unknown loss 'hinge'"),
    "tol": (-1e-3, "tol must be at least 0"),
    "n_iter_no_change": (0, "n_iter_no_change must be at least 1"),
    "early_stopping": ("yes", "early_stopping must be True or False"),
    "validation_fraction": (1.0, "validation_fraction must lie between 0 and 1"),
    "callbacks": (xpcnn.EarlyStopping(), "callbacks must be a list of Callback"),
    "warm_start": (None, "warm_start must be True or False"),
    "device": ("gpu", "unknown device 'gpu'"),
    "dtype": ("float16", "dtype must be one of 'auto', 'float32', 'float64'"),
    "memory": ("much", "memory must be a number with a unit"),
    "random_state": ("seed", "random_state: 'seed' cannot be used"),
    "verbose": (7, "verbose must be 'auto', 0 or 1"),
}


@pytest.mark.parametrize("estimator", [CNNClassifier(), CNNRegressor()], ids=str)
def test_every_parameter_is_checked_by_fit(estimator):
    x, labels = rows()
    estimator = clone(estimator).set_params(epochs=1)
    y = labels if isinstance(estimator, CNNClassifier) else x[:, 0]
    extra = {"class_weight": ("even", "class_weight must be 'balanced', a dict")}
    if isinstance(estimator, CNNRegressor):
        extra = {"standardize_y": ("no", "standardize_y must be True or False")}
    wrong = {**WRONG, **extra}
    assert set(wrong) == set(estimator.get_params())
    estimator.fit(x, y)
    for name, (value, message) in wrong.items():
        before = dict(vars(estimator))
        good = estimator.get_params()[name]
        estimator.set_params(**{name: value})
        with pytest.raises((ValueError, TypeError, xpcnn.DeviceError)) as error:
            estimator.fit(x, y)
        assert message in str(error.value), str(error.value)
        estimator.set_params(**{name: good})
        assert vars(estimator) == before, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [xpcnn.Linear]}, "layers: entry 0 is the class Linear; write Linear"),
        ({"layers": [xpcnn.Linear(4, 5)]}, "outputs of shape (5,) for each sample, and y needs"),
        ({"layers": [xpcnn.Linear(7, 3)]}, "the layers do not fit samples of shape (4,)"),
        ({"layers": "simple"}, "where rows are images, give input_shape, such as (1, 28, 28)"),
        ({"layers": lambda shape, outputs: None}, "the function given as layers returned None"),
        ({"layers": xpcnn.Linear}, "layers must be a list of layers"),
        ({"input_shape": 4}, "input_shape must be the shape of one sample"),
        ({"loss": "mse"}, "loss='mse' is not for one class of each sample"),
        ({"loss": "bce"}, "loss='bce' is not for one class of each sample"),
        ({"class_weight": {"fox": 1.0}}, "class_weight has a weight for 'fox', which is none of"),
        ({"class_weight": {"cat": -1.0}}, "class_weight must be at least 0"),
        ({"class_weight": dict.fromkeys(NAMES.tolist(), 0)}, "must not be zero for all classes"),
    ],
)
def test_what_does_not_fit_is_said(options, message):
    x, labels = rows()
    with pytest.raises((ValueError, TypeError)) as error:
        CNNClassifier(epochs=1, device="cpu", **options).fit(x, labels)
    assert "CNNClassifier: " in str(error.value)
    assert message in str(error.value), str(error.value)


def test_labels_that_do_not_fit():
    x, labels = rows()
    estimator = CNNClassifier(epochs=1, device="cpu")
    with pytest.raises(NotFittedError):
        estimator.predict(x)
    with pytest.raises(ValueError, match="y has one class only, 'cat', and there is nothing to"):
        estimator.fit(x, np.full(40, "cat"))
    with pytest.raises(ValueError, match="y must hold one class for each sample, .* got"):
        estimator.fit(x, np.arange(80).reshape(40, 2) % 3)
    with pytest.raises(ValueError, match="the first call of partial_fit needs classes"):
        estimator.partial_fit(x, labels)
    with pytest.raises(ValueError, match="y has the label 'emu', which is none of the classes"):
        estimator.partial_fit(x, labels, classes=["cat", "dog"])
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        estimator.fit(x, labels[:, None])
    estimator.partial_fit(x, labels, classes=NAMES)
    with pytest.raises(ValueError, match="classes=.* is not the same as in the first call"):
        estimator.partial_fit(x, labels, classes=["cat", "dog"])
    with pytest.raises(ValueError, match="partial_fit .* takes early_stopping=False"):
        estimator.set_params(early_stopping=True).partial_fit(x, labels)
    answers = np.eye(3)[np.arange(40) % 3].astype(int)
    with pytest.raises(ValueError, match="class_weight needs one class for each sample"):
        CNNClassifier(class_weight="balanced", device="cpu").fit(x, answers)
    with pytest.raises(ValueError, match="loss='cross_entropy' is not for several labels"):
        CNNClassifier(loss="cross_entropy", device="cpu").fit(x, answers)
    with pytest.raises(ValueError, match="loss='cross_entropy' is not for numbers"):
        CNNRegressor(loss="cross_entropy", device="cpu").fit(x, x[:, 0])


def test_probabilities_are_there_if_the_loss_gives_them():
    x, labels = rows()
    layers = [xpcnn.Linear(4, 3), xpcnn.LogSoftmax(dim=1)]
    estimator = CNNClassifier(layers, loss="nll", epochs=2, device="cpu").fit(x, labels)
    np.testing.assert_allclose(estimator.predict_proba(x), np.exp(estimator.model_.predict(x)))
    own = CNNClassifier(loss=lambda prediction, target: prediction, device="cpu")
    assert not hasattr(own, "predict_proba")


def test_without_scikit_learn():
    code = "import sys; sys.modules['sklearn'] = None; import xpcnn; xpcnn.sklearn"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(xpcnn.__file__).parents[1])},
    )
    assert "pip install 'scikit-learn>=1.6'" in done.stderr
