"""Loss, metrics and optimizer of a model, set after it was compiled."""

from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn.metrics import Accuracy

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


def compiled(loss: str, metric: Any, *last: xpcnn.Layer) -> xpcnn.Model:
    model = xpcnn.Model([xpcnn.Linear(4, 1), *last], device="cpu", seed=0)
    model.compile("adam", loss, [metric])
    return model


def test_a_metric_reads_for_the_loss_of_the_model_that_asks() -> None:
    metric = Accuracy()
    chances = compiled("bce", metric, xpcnn.Sigmoid())
    scores = compiled("bce_with_logits", metric)
    for _ in range(2):
        for model, middle in ((chances, 0.5), (scores, 0.0)):
            right = np.mean((model.predict(X) > middle) == Y)
            assert model.evaluate(X, Y)["accuracy"] == pytest.approx(right)


def test_a_loss_that_is_set_later_says_what_the_metrics_read() -> None:
    model = compiled("bce", "accuracy", xpcnn.Sigmoid())
    model.loss = xpcnn.BCEWithLogitsLoss()
    right = np.mean((model.predict(X) > 0.0) == Y)
    assert model.evaluate(X, Y)["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "mse"),
        ("optimizer", 1),
        ("metrics", "accuracy"),
        ("metrics", ["accuracy"]),
        ("metrics", None),
        ("metrics", Accuracy()),
    ],
)
def test_what_is_none_of_the_kind_is_refused(name: str, value: Any) -> None:
    model = compiled("bce_with_logits", "accuracy")
    before = getattr(model, name)
    with pytest.raises(TypeError, match=rf"model\.{name} must be"):
        setattr(model, name, value)
    assert getattr(model, name) is before
