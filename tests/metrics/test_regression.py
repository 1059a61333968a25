"""Metrics of numbers: by hand, against scikit-learn, and as sums over a million samples."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import losses, metrics
from xpcnn.device import Device

P = np.array([[1.0, 2.0], [4.0, 0.0], [3.0, 4.0]])
T = np.array([[0.0, 2.0], [1.0, 0.0], [5.0, 1.0]])
# Differences 1, 0; 3, 0; -2, 3. Targets 0, 1, 5 around 2 and 2, 0, 1 around 1: squares 14 and 2.
R2_OF_COLUMNS = np.array([1 - (1 + 9 + 4) / 14, 1 - 9 / 2])
# Differences around their means 2/3 and 1.
EXPLAINED = np.array([1 - (14 - 4 / 3) / 14, 1 - (9 - 3) / 2])
BY_HAND: list[tuple[metrics.Metric, Any]] = [
    (metrics.MAE(), 9 / 6),
    (metrics.MSE(), 23 / 6),
    (metrics.RMSE(), math.sqrt(23 / 6)),
    (metrics.R2(), R2_OF_COLUMNS.mean()),
    (metrics.R2("raw_values"), R2_OF_COLUMNS),
    (metrics.R2("variance_weighted"), 1 - 23 / 16),
    (metrics.ExplainedVariance("raw_values"), EXPLAINED),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pieces", [[3], [1, 1, 1], [2, 0, 1]])
def test_by_hand(device: Device, dtype: str, pieces: list[int]) -> None:
    for metric, expected in BY_HAND:
        metric.reset()
        start = 0
        for count in pieces:
            rows = slice(start, start + count)
            start += count
            metric.update(device.asarray(P[rows], dtype), device.asarray(T[rows].astype("int64")))
        np.testing.assert_allclose(
            metric.result(), expected, rtol=1e-14, atol=1e-15, err_msg=repr(metric)
        )
        metric.reset()
        assert np.isnan(metric.result()).all()


def test_one_column_takes_targets_without_the_axis(device: Device) -> None:
    x, y = device.asarray(P[:, :1]), device.asarray(T[:, 0])
    assert metrics.mae(x, y) == 2.0
    assert metrics.mae(y, x) == 2.0
    assert metrics.r2(x, y) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 4)])
def test_as_scikit_learn(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    for offset in (0.0, 1e5):
        t = rng.normal(offset, 2.0, shape)
        p = t + rng.normal(0.1, 1.0, shape)
        close = {"rtol": 1e-9}
        np.testing.assert_allclose(metrics.mae(p, t), sklearn.mean_absolute_error(t, p), **close)
        np.testing.assert_allclose(metrics.mse(p, t), sklearn.mean_squared_error(t, p), **close)
        root = math.sqrt(sklearn.mean_squared_error(t, p))
        np.testing.assert_allclose(metrics.rmse(p, t), root, **close)
        for ours, theirs in (
            (metrics.R2, sklearn.r2_score),
            (metrics.ExplainedVariance, sklearn.explained_variance_score),
        ):
            for multioutput in ("uniform_average", "variance_weighted", "raw_values"):
                metric = ours(multioutput)
                for rows in np.array_split(np.arange(50), [1, 3, 20]):
                    metric.update(p[rows], t[rows])
                expected = theirs(t, p, multioutput=multioutput)
                found = metric.result()
                np.testing.assert_allclose(np.squeeze(found), np.squeeze(expected), rtol=1e-8)


def test_targets_that_are_all_alike_as_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    t = np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 3.0]])
    p = np.array([[2.0, 1.0, 1.0], [2.0, 3.0, 3.0]])
    for ours, theirs in (
        (metrics.r2, sklearn.r2_score),
        (metrics.explained_variance, sklearn.explained_variance_score),
    ):
        for multioutput in ("uniform_average", "variance_weighted", "raw_values"):
            expected = theirs(t, p, multioutput=multioutput)
            np.testing.assert_allclose(ours(p, t, multioutput=multioutput), expected)
            alike = ours(p[:, :2], t[:, :2], multioutput=multioutput)
            np.testing.assert_allclose(alike, theirs(t[:, :2], p[:, :2], multioutput=multioutput))
    assert math.isnan(metrics.r2(p[:1], t[:1]))  # one sample has no variance


def test_places_of_images_belong_to_the_channel(device: Device, rng: np.random.Generator) -> None:
    p, t = rng.normal(size=(2, 3, 2, 4, 5))
    rows = [np.moveaxis(x, 1, -1).reshape(-1, 2) for x in (p, t)]
    found = metrics.r2(device.asarray(p), device.asarray(t), multioutput="raw_values")
    np.testing.assert_allclose(found, metrics.r2(*rows, multioutput="raw_values"), rtol=1e-12)


@pytest.mark.parametrize("shape", [(1_000_000, 1), (1000, 1000)])
def test_a_million_samples(device: Device, rng: np.random.Generator, shape: Any) -> None:
    t = rng.normal(100.0, 1.0, shape).astype("float32")
    p = (t + rng.exponential(0.1, shape)).astype("float32")
    wide = p.astype("float64") - t
    x, y = device.asarray(p), device.asarray(t)
    assert metrics.mae(x, y) == pytest.approx(np.abs(wide).mean(), rel=1e-6)
    assert metrics.mse(x, y) == pytest.approx((wide**2).mean(), rel=1e-6)
    expected = 1 - (wide**2).sum(axis=0) / ((t - t.mean(axis=0, dtype="f8")) ** 2).sum(axis=0)
    assert metrics.r2(x, y) == pytest.approx(expected.mean(), rel=1e-6)


def test_numbers_that_are_not_finite_show() -> None:
    for bad in (math.nan, math.inf):
        p = P.copy()
        p[1, 0] = bad
        for name in ("mae", "mse", "rmse", "r2", "explained_variance"):
            metric = metrics.get(name)
            metric.update(p[:2], T[:2])
            metric.update(p[2:], T[2:])
            assert not math.isfinite(metric.result()), name


# -- In a model ------------------------------------------------------------------------------------


def model_for(loss: Any, chosen: Any) -> xpcnn.Model:
    model = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu", seed=0)
    model.compile("adam", loss, chosen)
    return model


ALL = ["mae", "mse", "rmse", "r2", "explained_variance"]


def test_a_model_of_numbers(tmp_path: Any, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(40, 3)).astype("float32"), rng.normal(size=(40, 2)).astype("float32")
    model = model_for("mse", [*ALL, metrics.R2("variance_weighted", name="r2_weighted")])
    logs = model.evaluate(x, y, batch_size=7)
    p = model.predict(x)
    assert logs["mse"] == pytest.approx(logs["loss"], rel=1e-5)
    for name in ALL:
        assert logs[name] == pytest.approx(getattr(metrics, name)(p, y), rel=1e-5)
    stopping = xpcnn.EarlyStopping(monitor="val_r2", patience=1)
    model.fit(x, y, epochs=2, validation_data=(x, y), callbacks=[stopping], verbose=0)
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert [metric.name for metric in again.metrics] == [*ALL, "r2_weighted"]
    assert again.evaluate(x, y) == model.evaluate(x, y)


def test_counts_are_exponentials_of_what_the_network_gives(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(40, 3)).astype("float32"), rng.poisson(3.0, (40, 2))
    model = model_for(losses.PoissonNLLLoss(), ["mae"])
    expected = np.abs(np.exp(model.predict(x)) - y).mean()
    assert model.evaluate(x, y)["mae"] == pytest.approx(expected, rel=1e-5)
    model = model_for(losses.PoissonNLLLoss(log_input=False), ["mae"])
    assert model.metrics[0].bind(losses.PoissonNLLLoss(log_input=False)) is None
    p, t = np.abs(P) + 1.0, np.abs(T)
    metric = metrics.MAE()
    metric.bind(losses.PoissonNLLLoss(log_input=False))
    metric.update(p, t)
    assert metric.result() == pytest.approx(np.abs(p - t).mean())


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("cross_entropy", np.zeros(5, int), "predictions are scores of any size to CrossEntropy"),
        ("bce_with_logits", np.zeros((5, 2)), "use 'accuracy', 'auc'"),
        ("nll", np.zeros(5, int), "predictions are logarithms to NLLLoss"),
    ],
)
def test_scores_do_not_come_near_to_targets(loss: str, y: Any, message: str) -> None:
    end = [xpcnn.LogSoftmax(1)] if loss == "nll" else []
    model = xpcnn.Model([xpcnn.Linear(3, 2), *end], device="cpu", seed=0)
    model.compile("adam", loss, ["mae"])
    with pytest.raises(ValueError, match=f"MAE: compares numbers with numbers.*{message}"):
        model.evaluate(np.ones((5, 3), "float32"), y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.mae(P, T[:, 0]), ValueError, "MAE: .*\\(3,\\) do not fit .*\\(3, 2\\)"),
        (lambda: metrics.r2(P[:0], T[:, :1]), ValueError, "R2: .*do not fit"),
        (lambda: metrics.mae(P[:, 0], T[:2, 0]), ValueError, "do not fit"),
        (lambda: metrics.mse(P.astype(int), T), TypeError, "MSE: expected dtype float32"),
        (
            lambda: metrics.mae(P, T * 1j),
            TypeError,
            "MAE: targets must be real numbers, got dtype c",
        ),
        (lambda: metrics.mae(P[0, 0], T[0, 0]), ValueError, "with a batch axis"),
        (lambda: metrics.MAE(name=""), TypeError, "MAE: name must be a str"),
        (lambda: metrics.R2("mean"), ValueError, "multioutput must be one of 'uniform_average'"),
        (lambda: metrics.MAE(zzz=1), TypeError, "MAE: there is no argument 'zzz'; it takes name"),
        (lambda: setattr(metrics.R2(), "multioutput", "x"), ValueError, "must be one of"),
    ],
)
def test_wrong_use(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_columns_that_change() -> None:
    metric = metrics.R2()
    metric.update(P, T)
    with pytest.raises(ValueError, match="this batch has 1 columns, the ones before had 2"):
        metric.update(P[:, :1], T[:, :1])


def test_names_and_descriptions() -> None:
    for name in ALL:
        metric = metrics.get(name)
        assert metric.name == name
        assert metric.higher_is_better is (name in ("r2", "explained_variance"))
        assert type(metrics.get(getattr(metrics, name))) is type(metric)
    metric = metrics.R2("raw_values", name="mine")
    again = metrics.from_config(json.loads(json.dumps(metrics.to_config(metric))))
    assert repr(again) == repr(metric) == "R2(multioutput='raw_values', name='mine')"
    assert not again.gives_one_number
    assert repr(metrics.from_config(metrics.to_config(metrics.MAE()))) == "MAE()"
    with pytest.raises(ValueError, match="gives an array"):
        model_for("mse", [metric])
