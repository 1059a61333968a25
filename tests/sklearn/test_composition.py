"""Estimators in what scikit-learn makes of them: pipelines, searches, curves, calibration."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

import joblib
from joblib.externals import loky
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import xpcnn
from xpcnn.sklearn import CNNClassifier, CNNRegressor


def two_layers(shape, outputs):
    return [xpcnn.Linear(shape[0], 8), xpcnn.ReLU(), xpcnn.Linear(8, outputs)]


@pytest.fixture(scope="module", autouse=True)
def no_process_stays():
    """Processes of joblib wait for more to do, which other tests would take for their own."""
    yield
    loky.get_reusable_executor().shutdown(wait=True)


@pytest.fixture
def small():
    """An estimator that trains in some milliseconds."""
    return CNNClassifier(two_layers, epochs=20, lr=0.02, random_state=0, device="cpu")


@pytest.fixture
def iris():
    x, y = load_iris(return_X_y=True)
    order = np.random.permutation(len(x))
    return x[order], load_iris().target_names[y[order]]


def test_pipeline(small, iris):
    x, y = iris
    pipeline = make_pipeline(MinMaxScaler(), small).fit(x, y, cnnclassifier__sample_weight=None)
    scaled = MinMaxScaler().fit_transform(x)
    alone = clone(small).fit(scaled, y)
    np.testing.assert_allclose(pipeline.predict_proba(x), alone.predict_proba(scaled))
    assert "CNNClassifier" in pipeline._repr_html_()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_search_in_parallel_finds_what_one_job_finds(small, iris, backend):
    x, y = iris
    grid = {"lr": [1e-3, 0.02], "layers": [two_layers, [xpcnn.Linear(4, 3)]]}
    alone = GridSearchCV(small, grid, cv=2).fit(x, y)
    with joblib.parallel_backend(backend):
        search = GridSearchCV(small, grid, cv=2, n_jobs=2).fit(x, y)
    for name in ("mean_test_score", "split0_test_score", "rank_test_score"):
        assert np.array_equal(search.cv_results_[name], alone.cv_results_[name])
    assert np.array_equal(search.predict_proba(x), alone.predict_proba(x))
    assert search.best_score_ > 0.8
    assert len(set(search.cv_results_["mean_test_score"])) > 1


def threads_of_xpcnn():
    return xpcnn.get_num_threads()


def test_processes_share_the_cores():
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(threads_of_xpcnn)() for _ in range(2))
    assert found == [max(joblib.cpu_count() // 2, 1)] * 2


def test_cross_validation(small, iris):
    x, y = iris
    scores = cross_val_score(small, x, y, cv=3, params={"sample_weight": np.ones(150)})
    assert scores.mean() > 0.8
    folds = StratifiedKFold(3)
    predicted = cross_val_predict(small, x, y, cv=folds)
    for (train, test), score in zip(folds.split(x, y), scores, strict=True):
        own = clone(small).fit(x[train], y[train])
        assert predicted[test].tolist() == own.predict(x[test]).tolist()
        assert own.score(x[test], y[test]) == score


def test_calibration(small, iris):
    x, y = iris
    for method in ("sigmoid", "isotonic"):
        calibrated = CalibratedClassifierCV(small, method=method, cv=2).fit(x, y)
        found = calibrated.predict_proba(x)
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
        assert calibrated.score(x, y) > 0.8


def test_importance_of_features(small, iris):
    x, y = iris
    x = np.concatenate([x, np.random.normal(size=(150, 1))], axis=1)
    small.set_params(epochs=60).fit(x, y)
    found = permutation_importance(small, x, y, n_repeats=3, random_state=0)
    assert found.importances_mean[[2, 3]].max() > found.importances_mean[4] + 0.1
    with joblib.parallel_backend("threading"):
        again = permutation_importance(small, x, y, n_repeats=3, random_state=0, n_jobs=2)
    assert np.array_equal(found.importances, again.importances)


def test_learning_curve(small, iris):
    x, y = iris
    sizes, train, test = learning_curve(small, x, y, train_sizes=[20, 60], cv=2)
    assert sizes.tolist() == [20, 60]
    assert train.shape == test.shape == (2, 2)
    assert test.min() > 0.5
    _, _, in_parts = learning_curve(
        small, x, y, train_sizes=[20, 60], cv=2, exploit_incremental_learning=True
    )
    assert in_parts.shape == (2, 2)  # by partial_fit, one epoch of each part


def test_ensembles(small, iris):
    x, y = iris
    others = [("net", small), ("linear", LogisticRegression(max_iter=1000))]
    assert VotingClassifier(others, voting="soft").fit(x, y).score(x, y) > 0.8
    assert StackingClassifier(others, cv=2).fit(x, y).score(x, y) > 0.8
    assert BaggingClassifier(small, n_estimators=2, random_state=0).fit(x, y).score(x, y) > 0.7


def test_models_trained_at_once_are_those_trained_one_after_the_other():
    labels = np.arange(60) % 3
    x = np.random.normal(size=(60, 2, 12, 12)).astype("float32")

    def train(seed):
        layers = [xpcnn.Conv2d(2, 8, 3), xpcnn.BatchNorm2d(8), xpcnn.ReLU(), xpcnn.MaxPool2d(2)]
        layers += [xpcnn.Flatten(), xpcnn.Dropout(0.3), xpcnn.Linear(out_features=3)]
        model = xpcnn.Model(layers, device="cpu", seed=seed)
        model.compile("adam", "cross_entropy", ["accuracy"])
        history = model.fit(x, labels, epochs=3, batch_size=16, verbose=0).history
        single = [model.predict(x[:1]) for _ in range(5)]  # long enough to be recorded
        return history, np.concatenate([*single, model.predict(x)])

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(train, range(4)))
    for (history, outputs), (history2, outputs2) in zip(alone, together, strict=True):
        assert history == history2
        assert np.array_equal(outputs, outputs2)


def scores(estimator, x, y, cv=3):
    return cross_val_score(estimator, x, y, cv=cv).mean()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_rows_as_well_as_by_scikit_learns_networks(load):
    x, y = load(return_X_y=True)
    theirs = make_pipeline(StandardScaler(), MLPClassifier(random_state=0))
    assert scores(CNNClassifier(random_state=0, device="cpu"), x, y) >= scores(theirs, x, y) - 0.02


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_numbers_as_well_as_by_scikit_learns_networks():
    x, y = load_diabetes(return_X_y=True)
    theirs = make_pipeline(StandardScaler(), MLPRegressor(random_state=0, max_iter=1000))
    ours = CNNRegressor(random_state=0, device="cpu")
    assert scores(ours, x, y) >= scores(theirs, x, y) - 0.05


def test_digits():
    x, y = load_digits(return_X_y=True)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    digits = CNNClassifier(input_shape=(1, 8, 8), epochs=25, random_state=0, device="cpu")
    assert scores(digits, x, y, folds) >= 0.97
