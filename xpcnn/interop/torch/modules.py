"""Single modules of torch.nn as layers, and layers as modules.

Most layers have PyTorch's name, and both keep their arguments under the names of the arguments;
then the arguments are read from one and given to the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xpcnn import layers
from xpcnn.interop.torch.problems import UnsupportedError
from xpcnn.layers import Layer

# Arguments that say where and how numbers are kept, or are spent while a module is made.
IGNORED = ("device", "dtype", "_weight", "_freeze")


def is_known(module: Any) -> bool:
    """Whether the class of a module is one of torch.nn that has a layer of the same name."""
    import torch

    kind = type(module)
    return getattr(torch.nn, kind.__name__, None) is kind and (
        _layer_class(kind.__name__) is not None
    )


def is_transform(module: Any) -> bool:
    """Whether a module is one of torchvision's transforms."""
    return type(module).__module__.startswith("torchvision.transforms.")


def _layer_class(name: str) -> type[Layer] | None:
    found = getattr(layers, name, None)
    is_layer = isinstance(found, type) and issubclass(found, Layer)
    return found if is_layer and name not in _CONTAINERS else None


_CONTAINERS = ("Sequential", "Layer", "Operation", "Graph")


def to_layer(module: Any) -> Layer:
    """Make the layer that a single module of torch.nn is.

    Raises
    ------
    UnsupportedError
        If there is none, or it does not take the module's arguments.
    """
    if is_transform(module):
        raise UnsupportedError(
            f"{_shown(module)} is a transform, which tracing does not see; convert the network "
            "without it, and put a preprocessing layer such as xpcnn.Normalize in front"
        )
    cls = _layer_class(type(module).__name__)
    if cls is None or not is_known(module):
        raise UnsupportedError(f"there is no layer like {_shown(module)}")
    if has_hooks(module):
        raise UnsupportedError(f"{_shown(module)} has hooks, which may change what it computes")
    given = _arguments(module)
    try:
        accepted = list(_parameters(cls))
        _check_left_out(module, given, accepted)
        return cls(**{name: value for name, value in given.items() if name in accepted})
    except UnsupportedError:
        raise
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"{_shown(module)}: {error}") from error


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        return {}  # Identity takes anything and uses nothing
    return {name: p for name, p in parameters.items() if name not in IGNORED}


def _arguments(module: Any) -> dict[str, Any]:
    """Return what a module was made with."""
    given: dict[str, Any] = {}
    for name, parameter in _parameters(type(module)).items():
        if name == "bias":  # an array or nothing by now
            given[name] = module.bias is not None and module.bias is not False
        elif hasattr(module, name):
            value = getattr(module, name)
            given[name] = tuple(value) if isinstance(value, list) else value
        elif parameter.default is not None:  # None is what names of former versions have
            raise UnsupportedError(f"{_shown(module)} does not keep its argument {name}")
    if given.get("affine") is False:
        given.pop("bias", None)  # there is none without a weight
    return given


def _check_left_out(module: Any, given: dict[str, Any], accepted: list[str]) -> None:
    """Refuse an argument that the layer does not know, unless it has its default."""
    for name, parameter in _parameters(type(module)).items():
        if name in given and name not in accepted and not _same(given[name], parameter.default):
            raise UnsupportedError(f"{_shown(module)}: the layer takes no {name}={given[name]!r}")


@contextmanager
def keeping_modes(module: Any) -> Iterator[None]:
    """Leave every part of a module in the mode, training or not, that it was in."""
    modes = {part: part.training for part in module.modules()}
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def has_hooks(module: Any) -> bool:
    """Whether other functions run with a module."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind, None) for kind in kinds)


def _shown(module: Any) -> str:
    return f"{type(module).__module__.partition('.')[0]}'s {type(module).__name__}"


def to_module(layer: Layer) -> Any:
    """Make the module of torch.nn that a single layer is, without its weights.

    Raises
    ------
    UnsupportedError
        If there is none, or it does not take the layer's arguments.
    """
    import torch

    name = type(layer).__name__
    cls = getattr(torch.nn, name, None)
    if cls is None or not isinstance(cls, type) or _layer_class(name) is not type(layer):
        raise UnsupportedError(f"torch.nn has no module like {name}")
    arguments = layer.arguments()
    accepted = inspect.signature(cls).parameters
    defaults = {n: p.default for n, p in inspect.signature(type(layer)).parameters.items()}
    for key, value in arguments.items():
        if key not in accepted and not _same(value, defaults.get(key)):
            raise UnsupportedError(f"torch.nn.{name} takes no {key}={value!r}")
        if value is None and defaults.get(key) is None and key in ("in_channels", "in_features"):
            raise UnsupportedError(f"{name} is not built yet, so that its widths are not known")
    given = {key: plain(value) for key, value in arguments.items() if key in accepted}
    try:
        return cls(**given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedError(f"torch.nn.{name}: {error}") from error


def _same(value: Any, default: Any) -> bool:
    """Whether a value is the default, which may stand for one number per axis."""
    if isinstance(value, tuple) and not isinstance(default, tuple):
        return all(_same(part, default) for part in value)
    return bool(value == default)


def plain(value: Any) -> Any:
    """Return a value as PyTorch takes it: pairs (before, after) of equal numbers as one number."""
    if isinstance(value, tuple) and value and all(isinstance(pair, tuple) for pair in value):
        if any(before != after for before, after in value):
            raise UnsupportedError(f"torch.nn pads both sides alike, not {value}")
        return tuple(before for before, _ in value)
    return value
