"""Objects from names and from JSON-able descriptions, out of a fixed list of classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self, TypeVar

import numpy as np

T = TypeVar("T")


class Configurable:
    """An object that keeps its constructor's arguments as attributes of the same names."""

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments, from which an equal object can be made."""
        return {name: getattr(self, name) for name in _accepted(type(self))}

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Self:
        """Make an object from what :meth:`arguments` returned."""
        return cls(**arguments)

    def config(self) -> dict[str, Any]:
        """Return :meth:`arguments` as JSON has them."""
        return {name: _to_json(value) for name, value in self.arguments().items()}

    def __repr__(self) -> str:
        accepted = _accepted(type(self))
        shown = []
        for name, value in self.arguments().items():
            default = accepted[name].default
            if default is inspect.Parameter.empty or _to_json(value) != _to_json(default):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


C = TypeVar("C", bound=Configurable)


def _accepted(cls: type) -> dict[str, inspect.Parameter]:
    """Return what the constructor takes; a class without one of its own takes nothing."""
    return dict(inspect.signature(cls).parameters)


def _to_json(value: Any) -> Any:
    if isinstance(value, Configurable):
        return to_config(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value


def to_config(obj: Configurable) -> dict[str, Any]:
    """Describe an object: ``{"class": name, "config": constructor's arguments}``."""
    return {"class": type(obj).__name__, "config": obj.config()}


def from_config(description: Any, classes: Mapping[str, type[C]], kind: str) -> C:
    """Make the object that :func:`to_config` described; only the listed classes are made.

    Raises
    ------
    ValueError
        If the description is not of that form, names another class, or has arguments the class
        does not take.
    """
    if (
        not isinstance(description, Mapping)
        or set(description) != {"class", "config"}
        or not isinstance(description["class"], str)
        or not isinstance(description["config"], Mapping)
    ):
        raise ValueError(
            f"{kind}: expected a description {{'class': name, 'config': {{...}}}}, got "
            f"{description!r:.200}"
        )
    name = description["class"]
    if name not in classes:
        raise ValueError(f"{kind}: unknown class {name!r:.80}; known are {', '.join(classes)}")
    config = {key: _from_json(value, classes, kind) for key, value in description["config"].items()}
    allowed = _accepted(classes[name])
    unexpected = [key for key in config if key not in allowed]
    if unexpected:
        raise ValueError(
            f"{kind}: {name} has no argument {unexpected[0]!r:.80}; it takes "
            + (", ".join(allowed) or "none")
        )
    try:
        return classes[name].from_arguments(config)
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{kind}: {name} cannot be made from {config!r:.200}: {error}") from error


def _from_json(value: Any, classes: Mapping[str, type[C]], kind: str) -> Any:
    if isinstance(value, Mapping):
        return from_config(value, classes, kind)
    if isinstance(value, list):
        return [_from_json(item, classes, kind) for item in value]
    return value


def get(spec: Any, base: type[T], names: Mapping[str, type[T]], kind: str) -> T:
    """Return `spec` itself if it is a `base`, or a new object of the class with that name.

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the names.
    TypeError
        If `spec` is neither an object nor a name.
    """
    if isinstance(spec, base):
        return spec
    if isinstance(spec, type) and issubclass(spec, base):
        return spec()
    listing = ", ".join(repr(name) for name in names)
    if not isinstance(spec, str):
        raise TypeError(
            f"{kind} must be a {base.__name__} or one of {listing}; got {type(spec).__name__}"
        )
    key = spec.strip().lower().replace("-", "_")
    if key not in names:
        raise ValueError(f"unknown {kind} {spec!r}; choose one of {listing}, or pass an object")
    return names[key]()
