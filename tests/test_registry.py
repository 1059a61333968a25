"""Settings: kept under their names, checked when they are set, written as JSON."""

import inspect
import json
import math

import numpy as np
import pytest

import xpcnn
from xpcnn import _registry, losses, metrics, optim


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, None, "0.1", True, 1j, [0.1]])
@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad])
def test_learning_rate_is_checked_when_it_is_set(cls, value):
    optimizer = cls(0.5)
    with pytest.raises((ValueError, TypeError), match="lr must be"):
        optimizer.lr = value
    assert optimizer.lr == 0.5


@pytest.mark.parametrize("value", [np.float32(0.25), np.float64(0.25), 0.25, np.float16(0.25)])
def test_numbers_of_numpy_become_numbers_of_python(value):
    optimizer = optim.SGD(0.5)
    optimizer.lr = value
    assert (type(optimizer.lr), optimizer.lr) == (float, 0.25)
    optimizer.lr = np.int64(2)
    assert (type(optimizer.lr), optimizer.lr) == (float, 2.0)
    optimizer = optim.Adam(value, betas=(np.float32(0.5), value), eps=np.float32(1.0))
    assert json.loads(json.dumps(optim.to_config(optimizer)))["config"]["betas"] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("made", "name", "value"),
    [
        (optim.Adam(), "betas", (0.9,)),
        (optim.Adam(), "betas", (0.9, 1.0)),
        (optim.Adam(), "clip_norm", 0.0),
        (optim.Adam(), "schedule", "step"),
        (optim.SGD(momentum=0.9, nesterov=True), "momentum", 0.0),
        (optim.SGD(), "nesterov", True),
        (losses.CrossEntropyLoss(), "reduction", "average"),
        (losses.CrossEntropyLoss(), "label_smoothing", 2.0),
        (losses.CrossEntropyLoss(), "weight", "heavy"),
        (losses.HuberLoss(), "delta", -1.0),
        (metrics.TopKAccuracy(), "k", 0),
        (metrics.F1Score(), "average", "mean"),
        (metrics.Accuracy(), "threshold", math.nan),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_setting_that_is_refused_changes_nothing(made, name, value):
    before = repr(made)
    with pytest.raises((ValueError, TypeError)):
        setattr(made, name, value)
    assert repr(made) == before


def test_what_was_made_of_a_setting_follows_it():
    """Weights of classes are kept as an array too, and a metric's name says its k."""
    scores, target = np.array([[1.0, 3.0], [2.0, 0.0]]), np.array([0, 0])
    loss = losses.CrossEntropyLoss(weight=[1.0, 1.0], reduction="sum")
    before = float(loss(scores, target))
    loss.weight = np.array([10.0, 1.0])
    assert float(loss(scores, target)) == pytest.approx(10.0 * before)
    loss.weight = None
    assert float(loss(scores, target)) == pytest.approx(before)
    top = metrics.TopKAccuracy(5)
    top.k = 3
    assert top.name == "top_3_accuracy"


def test_setting_keeps_what_was_learnt():
    optimizer = optim.Adam(0.1)
    model = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu", seed=0)
    model.compile(optimizer, "mse")
    model.train_on_batch(np.ones((3, 2), dtype="float32"), np.ones((3, 1)))
    before = {name: array.copy() for name, array in optimizer.state_dict().items()}
    optimizer.lr = 0.2
    optimizer.schedule = optim.StepLR(3)
    optimizer.weight_decay = 0.1
    assert before.keys() == optimizer.state_dict().keys()
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("made", "name", "meant"),
    [
        (optim.SGD(), "learning_rate", "'lr'"),
        (optim.Adam(), "beta", "'betas'"),
        (optim.StepLR(3), "stepsize", "'step_size'"),
        (losses.CrossEntropyLoss(), "weights", "'weight'"),
        (metrics.Accuracy(), "treshold", "'threshold'"),
        (losses.MSELoss(), "surprise", "it has reduction"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_setting_that_is_none_is_an_error(made, name, meant):
    with pytest.raises(AttributeError, match=f"{type(made).__name__} has no setting '{name}'") as e:
        setattr(made, name, 1)
    assert meant in str(e.value)


class Quadratic(losses.Loss):
    """A class of a user, who may set what he likes."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.own_factor = factor


def test_classes_of_users_may_do_as_they_like():
    loss = Quadratic(3.0)
    loss.anything = 1
    loss.own_factor = "x"
    assert repr(loss) == "Quadratic(...)"


def test_signatures_are_those_of_the_constructors():
    assert list(inspect.signature(optim.SGD).parameters)[:2] == ["lr", "momentum"]
    assert list(inspect.signature(Quadratic).parameters) == ["factor"]

    class Plain(metrics.Metric):
        pass

    assert list(inspect.signature(Plain).parameters) == []
    assert _registry.to_config(Plain()) == {"class": "Plain", "config": {}}


@pytest.mark.parametrize(
    ("module", "name", "cls"),
    [
        (losses, "bce_with_logits", losses.BCEWithLogitsLoss),
        (losses, "l1", losses.L1Loss),
        (losses, "kl_div", losses.KLDivLoss),
        (losses, "multi_label_soft_margin", losses.MultiLabelSoftMarginLoss),
        (metrics, "f1_score", metrics.F1Score),
        (metrics, "top_k_accuracy", metrics.TopKAccuracy),
        (optim, "rmsprop", optim.RMSprop),
        (optim, "adamw", optim.AdamW),
    ],
)
def test_names_follow_from_those_of_the_classes(module, name, cls):
    assert type(module.get(name)) is cls
    assert cls.__name__ in module.__all__


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (losses, "loss"),
        (losses, "function"),
        (losses, "loss_per_output"),
        (metrics, "output_metric"),
        (optim, "optimizer"),
        (optim, "steplr"),
    ],
)
def test_what_cannot_be_made_by_its_name_alone_has_none(module, name):
    with pytest.raises(ValueError, match=f"unknown .* '{name}'; choose one of"):
        module.get(name)


@pytest.mark.parametrize(
    ("module", "name"), [(losses, "Loss"), (metrics, "Metric"), (optim, "Schedule")]
)
def test_files_do_not_name_a_base_class(module, name):
    with pytest.raises(ValueError, match=f"unknown class '{name}'"):
        module.from_config({"class": name, "config": {}})


@pytest.mark.parametrize(
    ("module", "name", "meant"),
    [
        (losses, "crossentropy", "cross_entropy"),
        (losses, "sparse_categorical_crossentropy", "cross_entropy"),
        (losses, "mean_squared_error", "mse"),
        (optim, "adm", "adam"),
        (metrics, "acuracy", "accuracy"),
    ],
)
def test_a_name_of_another_library_or_misspelt_brings_the_right_one(module, name, meant):
    with pytest.raises(ValueError, match=rf"unknown .* '{name}' \(did you mean '{meant}'\?\)"):
        module.get(name)
