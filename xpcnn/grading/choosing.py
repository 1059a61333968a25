"""What `like` means: the family of a layer, with the settings it fixes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpcnn import layers
from xpcnn.errors import choice_error
from xpcnn.grading.calling import to_host
from xpcnn.grading.dialects import ROLES, get, places, plain, signature
from xpcnn.grading.layers import ConvFamily, LinearFamily
from xpcnn.grading.pointwise import PointwiseFamily, PoolFamily, SoftmaxFamily
from xpcnn.grading.running import Family
from xpcnn.layers.activation import Activation

CONVS = {layers.Conv1d: 1, layers.Conv2d: 2, layers.Conv3d: 3}
POOLS = {layers.MaxPool1d: 1, layers.MaxPool2d: 2, layers.MaxPool3d: 3,
         layers.AvgPool1d: 1, layers.AvgPool2d: 2, layers.AvgPool3d: 3}  # fmt: skip
NAMED: dict[str, Any] = {
    "affine": layers.Linear, "fc": layers.Linear, "dense": layers.Linear,
    "convolution": layers.Conv2d, "conv": layers.Conv2d,
}  # fmt: skip


def special_of(like: Any) -> Callable[..., None] | None:
    """Return what checks something that is no layer; None of a layer."""
    return None


def family_of(like: Any, theirs: Any) -> Family:
    """Return what to check a layer with."""
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
        raise choice_error("check", "like", name, ("conv1d", "conv2d", "linear"))
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
