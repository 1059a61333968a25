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
