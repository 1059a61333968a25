"""What `like` means: the family of a layer, with the settings it fixes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpcnn import layers, optim
from xpcnn.errors import choice_error
from xpcnn.grading.calling import to_host
from xpcnn.grading.columns import ColumnsGrading
from xpcnn.grading.dialects import ROLES, get, places, plain, signature
from xpcnn.grading.layers import ConvFamily, LinearFamily
from xpcnn.grading.losses import LossGrading
from xpcnn.grading.norms import BatchNormFamily, DropoutFamily, DropoutGrading
from xpcnn.grading.optimizers import OptimizerGrading
from xpcnn.grading.players import Player
from xpcnn.grading.pointwise import PointwiseFamily, PoolFamily, SoftmaxFamily
from xpcnn.grading.report import Report
from xpcnn.grading.rules import settings_of
from xpcnn.grading.running import Family, Grading
from xpcnn.layers.activation import Activation
from xpcnn.optim import SGD, AdamW, Optimizer, RMSprop

CONVS = {layers.Conv1d: 1, layers.Conv2d: 2, layers.Conv3d: 3}
POOLS = {layers.MaxPool1d: 1, layers.MaxPool2d: 2, layers.MaxPool3d: 3,
         layers.AvgPool1d: 1, layers.AvgPool2d: 2, layers.AvgPool3d: 3}  # fmt: skip
NORMS = {layers.BatchNorm1d: 0, layers.BatchNorm2d: 2}
NAMED: dict[str, Any] = {
    "affine": layers.Linear, "fc": layers.Linear, "dense": layers.Linear,
    "convolution": layers.Conv2d, "conv": layers.Conv2d,
    "convolution1d": layers.Conv1d, "convolution2d": layers.Conv2d, "convolution3d": layers.Conv3d,
    "maxpooling1d": layers.MaxPool1d, "maxpooling2d": layers.MaxPool2d,
    "averagepooling1d": layers.AvgPool1d, "averagepooling2d": layers.AvgPool2d,
    "averagepool": layers.AvgPool2d, "averagepooling": layers.AvgPool2d,
    "batchnorm": layers.BatchNorm1d, "batchnormalization": layers.BatchNorm1d,
    "maxpool": layers.MaxPool2d, "avgpool": layers.AvgPool2d, "maxpooling": layers.MaxPool2d,
}  # fmt: skip


LOSSES = {"crossentropy": False, "crossentropyloss": False, "softmaxwithloss": False,
          "crossentropyerror": False, "mse": True, "mseloss": True, "meansquarederror": True,
          "meansquaredloss": True}  # fmt: skip
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamw")
COLUMNS = {"im2col": False, "im2col1d": False, "col2im": True, "col2im1d": True}


PLAIN_SETTINGS: dict[str, Any] = {
    "groups": 1, "dilation": 1, "padding_mode": "zeros", "ceil_mode": False,
    "return_indices": False, "count_include_pad": True, "divisor_override": None,
    "reduction": "mean", "weight": None, "label_smoothing": 0.0, "ignore_index": -100,
    "weight_decay": 0.0, "clip_norm": None, "clip_value": None, "nesterov": False,
    "dampening": 0.0, "momentum": 0.0, "amsgrad": False, "schedule": None, "affine": True,
    "centered": False, "lr_decay": 0.0, "initial_accumulator_value": 0.0,
}  # fmt: skip


def refuse_settings(like: Any) -> None:
    """Raise for a setting of an object that nothing here looks at."""
    if isinstance(like, (str, type)) or inspect.isfunction(like) or not hasattr(like, "__dict__"):
        return
    name = type(like).__name__
    settings = {n: v for n, v in vars(like).items() if n in PLAIN_SETTINGS}
    if isinstance(like, Optimizer):
        settings.pop("groups", None)  # of parameters, not of channels
        if vars(like)["groups"] is not None:
            raise ValueError(f"check: like={name}(...) has groups=, which are not checked")
    for setting, value in settings.items():
        if setting == "nesterov" or (setting == "momentum" and not isinstance(like, RMSprop)):
            continue
        if setting == "weight_decay" and isinstance(like, AdamW):
            continue
        if value is None or hasattr(value, "is_built"):  # the weight of a layer
            continue
        alike = value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
        if alike != PLAIN_SETTINGS[setting]:
            raise ValueError(
                f"check: like={name}(...) has {setting}={alike!r}, which is not checked; leave "
                f"it out"
            )
    if isinstance(getattr(like, "padding", None), str):
        raise ValueError(
            f"check: like={name}(...) has padding={like.padding!r}; give a number, such as 1"
        )
    if isinstance(like, tuple(CONVS)) and getattr(like, "bias", None) is None:
        raise ValueError(
            f"check: like={name}(...) has bias=False, which is not checked; leave it out: a class "
            "that takes no bias is checked without one"
        )


def special_of(like: Any) -> Callable[[Report, Any, Any], Grading] | None:
    """Return the plan for what is no layer: losses, optimizers, im2col and col2im."""
    refuse_settings(like)
    name = plain(like if isinstance(like, str) else _class_of(like).__name__)
    if not isinstance(like, (str, type)) and callable(like) and hasattr(like, "__name__"):
        name = plain(like.__name__)  # a function of xpcnn.functional
    if name in LOSSES:
        return partial(LossGrading, squares=LOSSES[name])
    if name in OPTIMIZERS:
        kind, wanted, usual = name, {}, {}
        if isinstance(like, Optimizer):
            kind = "momentum" if name == "sgd" and vars(like)["momentum"] else name
            kind = "nesterov" if kind == "momentum" and vars(like)["nesterov"] else kind
            wanted, usual = _asked_of(like), _asked_of(vars(optim)[type(like).__name__]())
        return partial(OptimizerGrading, kind=kind, wanted=wanted, usual=usual)
    if name in COLUMNS:
        return partial(_columns, back=COLUMNS[name])
    if name.startswith("dropout"):
        return _dropout
    return None


def _asked_of(like: Optimizer) -> dict[str, float]:
    """Return the settings of one of the library's optimizers."""
    names = {n: v for n, v in vars(like).items() if n not in ("weight_decay", "momentum")}
    if isinstance(like, SGD) and like.momentum:
        names["momentum"] = like.momentum
    if isinstance(like, AdamW):
        names["weight_decay"] = like.weight_decay
    return settings_of(names)


def _class_of(like: Any) -> type:
    return like if isinstance(like, type) else type(like)


def _columns(report: Report, theirs: Any, make: Any, *, back: bool) -> Grading:
    if isinstance(theirs, type) or not callable(theirs):
        raise TypeError(
            f"check: theirs must be a function to be compared with {report.like}, got "
            f"{type(theirs).__name__}"
        )
    return ColumnsGrading(report, theirs, back=back)


def _dropout(report: Report, theirs: Any, make: Any) -> Grading:
    held = None
    if not isinstance(theirs, type) and hasattr(theirs, "__dict__"):
        named = {plain(n): v for n, v in vars(theirs).items() if isinstance(v, float)}
        held = next((named[n] for n in ROLES["ratio"].split() if n in named), None)
        kept = next((named[n] for n in ROLES["keep"].split() if n in named), None)
        held = 1 - kept if held is None and kept is not None else held
    family = DropoutFamily(held)
    player = Player(theirs, make, family.preferred)
    report.subject = player.name
    return DropoutGrading(report, player, family)


def family_of(like: Any, theirs: Any) -> Family:
    """Return what to check a layer with."""
    if inspect.isfunction(like) and not like.__module__.startswith("xpcnn."):
        raise TypeError(
            f"check: like must be a layer, loss, optimizer or function of xpcnn or a name such as "
            f"'conv2d', and {like.__name__} is a function of {like.__module__}"
        )
    if inspect.isfunction(like):
        like = like.__name__
    like = _by_name(like) if isinstance(like, str) else like
    cls = like if isinstance(like, type) else type(like)
    obj = None if isinstance(like, type) else like
    held = _held(theirs)
    for conv, rank in CONVS.items():
        if issubclass(cls, conv):
            return ConvFamily(conv, rank, _conv_settings(obj, theirs, held, rank), held)
    if issubclass(cls, layers.Linear):
        fixed = {} if obj is None else {"in": obj.in_features, "out": obj.out_features}
        return LinearFamily(layers.Linear, fixed, held)
    for pool, rank in POOLS.items():
        if issubclass(cls, pool):
            fixed = {}
            if obj is not None:
                fixed = {"size": obj.kernel_size, "stride": obj.stride, "pad": obj.padding}
            fixed |= _pool_settings(theirs, rank)
            return PoolFamily(pool, rank, fixed, maximum="Max" in pool.__name__)
    for norm, rank in NORMS.items():
        if issubclass(cls, norm):
            return BatchNormFamily(rank)
    if issubclass(cls, (layers.Softmax, layers.LogSoftmax)):
        return SoftmaxFamily(obj or cls(1), theirs)
    if issubclass(cls, (Activation, layers.Flatten)):
        return PointwiseFamily(_suited(obj or cls(), theirs), theirs)
    raise TypeError(
        f"check: like must be a layer, loss or optimizer of xpcnn or a name such as 'conv2d', and "
        f"there is no check like {like!r}"
    )


def _by_name(name: str) -> Any:
    classes = {n: getattr(layers, n) for n in dir(layers)}
    found = {plain(n): c for n, c in classes.items() if isinstance(c, type)} | NAMED
    if plain(name) not in found:
        known = ("conv1d", "conv2d", "linear", "max_pool2d", "avg_pool2d", "relu", "sigmoid",
                 "tanh", "softmax", "flatten", "batch_norm", "dropout", "cross_entropy", "mse",
                 *OPTIMIZERS, "im2col", "col2im")  # fmt: skip
        raise choice_error("check", "like", name, known)
    return found[plain(name)]


def _held(theirs: Any) -> dict[str, np.ndarray] | None:
    """Return the weights that an object has already."""
    if isinstance(theirs, type) or not hasattr(theirs, "__dict__"):
        return None
    found: dict[str, np.ndarray] = {}
    for role in ("W", "b"):
        for owner, key, _ in places(theirs, role):
            array = to_host(get(owner, key))
            if array is not None:
                found[role] = array.astype(float)
            break
    return found if "W" in found else None


def _conv_settings(
    like: Any, theirs: Any, held: dict[str, np.ndarray] | None, rank: int
) -> dict[str, Any]:
    fixed: dict[str, Any] = {}
    if like is not None:
        fixed = {"in": like.in_channels, "out": like.out_channels, "size": like.kernel_size,
                 "stride": like.stride, "pad": like.padding}  # fmt: skip
    if held is not None:
        w = held["W"]
        fixed |= {"out": w.shape[0], "in": w.shape[1], "size": w.shape[2:]}
        for role, names in (("stride", ("stride", "S")), ("pad", ("pad", "padding", "P"))):
            value = next((vars(theirs)[n] for n in names if n in vars(theirs)), 1 - (role == "pad"))
            fixed[role] = value if isinstance(value, tuple) else (int(value),) * rank
    return fixed


def _pool_settings(theirs: Any, rank: int) -> dict[str, Any]:
    """Return the settings of an object that pools."""
    if isinstance(theirs, type) or not hasattr(theirs, "forward"):
        return {}
    found: dict[str, Any] = {}
    for name, value in vars(theirs).items():
        roles = [r for r, names in ROLES.items() if plain(name) in names.split()]
        for role in ("size", "stride", "pad", "height", "width"):
            if role in roles and isinstance(value, (int, tuple)):
                found[role] = value if isinstance(value, tuple) else (value,) * rank
    if "height" in found and "width" in found:
        found["size"] = (found.pop("height")[0], found.pop("width")[0])
    if "size" not in found:
        return {}
    return {"stride": found["size"], "pad": (0,) * rank} | found


def _suited(layer: Any, theirs: Any) -> Any:
    """Return a LeakyReLU with the slope of theirs, which courses set to 0.01 or to 0.1."""
    if type(layer) is not layers.LeakyReLU:
        return layer
    source = getattr(theirs, "__init__", theirs) if isinstance(theirs, type) else theirs
    slopes = (
        [v for n, v in vars(theirs).items() if isinstance(v, float)]
        if not isinstance(theirs, type) and hasattr(theirs, "__dict__")
        else []
    )
    slopes += [p.default for p in signature(source).values() if isinstance(p.default, float)]
    return layers.LeakyReLU(slopes[0]) if slopes else layer
