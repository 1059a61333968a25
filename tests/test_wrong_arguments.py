"""Wrong settings of whatever has settings: each is refused by an error that names it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import callbacks, metrics, optim
from xpcnn.layers import augmentation, preprocessing

NOT_A_NUMBER = [object(), {"a": 1}, {1, 2}, b"x", int, "x", [None], 1j, [[1.0], [1.0, 2.0]]]
NOT_A_FLAG = [None, "yes", 0, 1.0, [], np.zeros(3)]
NOT_A_NAME = [0, True, "no such name", [], ["mean"], np.zeros(3), b"mean"]

# What the classes cannot do without.
REQUIRED: dict[str, dict[str, Any]] = {
    "ConstantLR": {},
    "CosineAnnealingLR": {"T_max": 3},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "ExponentialLR": {"gamma": 0.5},
    "LambdaLR": {"lr_lambda": float},
    "ModelCheckpoint": {"path": "model.safetensors"},
    "MultiStepLR": {"milestones": [1]},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 10},
    "RandomAffine": {"degrees": 3},
    "RandomCrop": {"size": 4},
    "RandomResizedCrop": {"size": 4},
    "RandomRotation": {"degrees": 3},
    "RandomShift": {"max_shift": 3},
    "Resize": {"size": 4},
    "SWALR": {"swa_lr": 0.1, "start": 1},
    "SequentialLR": {"schedulers": [optim.StepLR(1), optim.StepLR(1)], "milestones": [2]},
    "StepLR": {"step_size": 1},
    "TimeMask": {"max_length": 3},
    "GaussianBlur": {"kernel_size": 3},
    "Rescale": {"scale": 2.0},
    "Normalize": {"mean": [0.0], "std": [1.0]},
    "TimeLimit": {"limit": 3},
    "SWA": {"start": 1},
    "CenterCrop": {"size": 3},
    "CSVLogger": {"path": "log.csv"},
    "JSONLogger": {"path": "log.jsonl"},
}  # fmt: skip

NUMBERS = {
    "alpha", "beta", "blank", "brightness", "contrast", "decay", "degrees", "delta", "end_factor",
    "eps", "eta_min", "factor", "fill", "gamma", "hue", "k", "limit", "lr", "margin", "max_length",
    "max_lr", "max_shift", "mean", "milestones", "min_delta", "momentum", "n_bins", "offset", "p",
    "padding", "power", "pos_weight", "ratio", "saturation", "scale", "sigma", "size", "smooth",
    "start", "start_factor", "std", "step_size", "swa_lr", "T_0", "T_max", "threshold",
    "total_iters", "value", "weight", "weight_decay", "zero_division", "label_smoothing",
}  # fmt: skip
FLAGS = {
    "amsgrad", "antialias", "append", "batch", "centered", "clip", "from_logits", "full",
    "histograms", "log_input", "log_target", "multilabel", "nesterov", "pad_if_needed",
    "restore_best_weights", "save_best_only", "squared", "swap", "three_phase", "zero_infinity",
}  # fmt: skip
NAMES = {
    "anneal_strategy", "average", "counts", "curve", "interpolation", "mode", "multioutput", "norm",
    "padding_mode", "reduction", "threshold_mode",
}  # fmt: skip


def _classes() -> Iterator[type]:
    for module in (callbacks, metrics, optim, augmentation, preprocessing, xpcnn.losses):
        for name, kind in sorted(vars(module).items()):
            if inspect.isclass(kind) and not name.startswith("_"):
                yield kind
    yield from (xpcnn.MixUp, xpcnn.CutMix)


def _cases() -> list[Any]:
    """Give each setting of each class, and the values that it should refuse."""
    cases = {}
    for kind in _classes():
        for name, parameter in inspect.signature(kind).parameters.items():
            required = REQUIRED.get(kind.__name__, {})
            others = [
                one.name
                for one in inspect.signature(kind).parameters.values()
                if one.default is one.empty and one.kind < one.VAR_POSITIONAL
            ]
            if set(others) - {name} - set(required):
                continue  # a base, or what needs more than settings
            for names, bad in ((NUMBERS, NOT_A_NUMBER), (FLAGS, NOT_A_FLAG), (NAMES, NOT_A_NAME)):
                if name in names:
                    values = [v for v in bad if v is not None or parameter.default is not None]
                    cases[f"{kind.__name__}.{name}"] = (kind, required, name, values)
    return [pytest.param(*case, id=id) for id, case in sorted(cases.items())]


@pytest.mark.parametrize(("kind", "required", "name", "values"), _cases())
def test_a_wrong_setting_is_refused_by_its_name(kind, required, name, values):
    for value in values:
        if kind is callbacks.TimeLimit and value is None:
            continue
        with pytest.raises((TypeError, ValueError), match=rf"\b{re.escape(name)}\b") as error:
            kind(**{**required, name: value})
        assert kind.__name__ in str(error.value)


X, Y = np.zeros((6, 1, 4, 4), dtype="float32"), np.arange(6) % 3


def _model() -> xpcnn.Model:
    layers = [xpcnn.Conv2d(1, 2, 3), xpcnn.Flatten(), xpcnn.Linear(8, 3)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.compile("adam", "cross_entropy")
    model.build((None, 1, 4, 4))
    return model


REPORT = {"y_true": [0, 1, 1], "y_pred": [0, 1, 0]}
CALLS: list[tuple[str, Any, list[Any]]] = [
    ("metrics", lambda b: _model().compile("adam", "mse", b), [3, True, object(), {"accuracy"}]),
    ("metrics", lambda b: _model().fit(X, Y, metrics=b), [3, 1.5, object()]),
    ("callbacks", lambda b: _model().fit(X, Y, callbacks=b), [3, "x", [1], [None]]),
    ("strict", lambda b: _state(strict=b), NOT_A_FLAG),
    ("skip_mismatch", lambda b: _state(skip_mismatch=b), NOT_A_FLAG),
    ("labels", lambda b: metrics.classification_report(**REPORT, labels=b), [3, "x", {0, 1}]),
    ("target_names", lambda b: metrics.classification_report(**REPORT, target_names=b), [3, "ab"]),
    ("digits", lambda b: metrics.classification_report(**REPORT, digits=b), [-1, 1.5, 10**30]),
    ("output_dict", lambda b: metrics.classification_report(**REPORT, output_dict=b), NOT_A_FLAG),
    ("ignore_index", lambda b: metrics.classification_report(**REPORT, ignore_index=b), [1.5, [1]]),
    ("zero_division", lambda b: metrics.classification_report(**REPORT, zero_division=b),
     [2, "x", None, np.zeros(3)]),
    ("seed", lambda b: _mixed(seed=b), [None, -1, 1.5, "x", [1, 2]]),
    ("step", lambda b: _mixed(step=b), [None, -1, 1.5, "x", [1, 2]]),
    ("losses", lambda b: xpcnn.losses.LossPerOutput(b), [None, 3, "x", ["mse"], [1, 2]]),
    ("alpha", lambda b: xpcnn.FocalLoss(alpha=b), [["a"], [None], [float("nan")] * 2]),
    ("n_bins", lambda b: metrics.CalibrationError(n_bins=b), [0, 1.5, True, 10**30]),
]  # fmt: skip


def _state(**options: Any) -> Any:
    model = _model()
    return model.load_state_dict(model.state_dict(), **options)


def _mixed(**options: Any) -> Any:
    return xpcnn.MixUp(0.2)(X, Y, classes=3, **options)


@pytest.mark.parametrize(("name", "call", "values"), CALLS, ids=[name for name, *_ in CALLS])
def test_a_wrong_argument_is_refused_by_its_name(name, call, values):
    for value in values:
        with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
            call(value)


@pytest.mark.parametrize("value", [None, 3, "", b"x", object()])
def test_paths_of_a_folder_are_refused_by_name(tmp_path, value):
    pytest.importorskip("PIL")
    with pytest.raises(TypeError, match="ImageFolder: path must be a path"):
        xpcnn.data.ImageFolder(value)
    if value is not None:
        with pytest.raises(TypeError, match="ImageFolder: labels must be a path"):
            xpcnn.data.ImageFolder(tmp_path, labels=value)


def test_a_table_of_labels_that_is_not_there_is_refused_by_name(tmp_path):
    pytest.importorskip("PIL")
    with pytest.raises(FileNotFoundError, match=r"labels must be a table.*no file .*none\.csv"):
        xpcnn.data.ImageFolder(tmp_path, labels="none.csv")


def test_arrays_are_lists_and_sets_are_not():
    assert xpcnn.Normalize(np.array([1.0, 2.0]), (3.0, 4.0)).mean == (1.0, 2.0)
    with pytest.raises(TypeError, match="mean must be a number"):
        xpcnn.Normalize({1.0, 2.0}, (3.0, 4.0))


def test_a_function_in_the_place_of_its_generator_is_refused():
    def generator():
        yield X, Y

    with pytest.raises(TypeError, match=r"fit: x is a function, .*generator.*give what it returns"):
        _model().fit(generator, verbose=0)
