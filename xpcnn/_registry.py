"""Objects from names and from JSON-able descriptions, out of a fixed list of classes."""

from __future__ import annotations

import difflib
import inspect
from abc import ABCMeta
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar
from weakref import WeakKeyDictionary

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
        try:
            arguments = self.arguments()
        except AttributeError:  # a class of somebody who keeps them otherwise
            return f"{type(self).__name__}(...)"
        for name, value in arguments.items():
            if name not in accepted:
                continue
            default = accepted[name].default
            if default is inspect.Parameter.empty or _to_json(value) != _to_json(default):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class _Making(ABCMeta):
    """The type of classes that tell an object that is being made from one that is."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        made = super().__call__(*args, **options)
        vars(made)["_is_made"] = True
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        if cls.__init__ is object.__init__:  # type: ignore[misc]
            return inspect.Signature()
        _, *others = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
        return inspect.Signature(others)


if TYPE_CHECKING:  # type checkers shall see the constructors themselves
    _Made = Configurable
else:

    class _Made(Configurable, metaclass=_Making):
        """A configurable object that knows when it is complete."""


class Checked(_Made):
    """An object whose settings can be changed later, and are checked then as when it was made.

    Setting an attribute that is an argument of the constructor makes another object with it, so
    that all checks are those of the constructor, and takes over what came out different. A public
    attribute that there is not is an error. Classes from outside xpcnn may do as they like.
    """

    spellings: ClassVar[Mapping[str, str]] = {}
    """What attributes are called elsewhere, and here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] == "_" or "_is_made" not in vars(self) or not _is_ours(type(self)):
            object.__setattr__(self, name, value)
        elif name in _accepted(type(self)):
            vars(self).update(self._changes(name, value))
        elif self._knows(name):
            object.__setattr__(self, name, value)
        else:
            raise self._unknown(name)

    def _changes(self, name: str, value: Any) -> dict[str, Any]:
        """Return the attributes that an object with another setting has different."""
        arguments = self.arguments()
        before = vars(type(self).from_arguments(arguments))
        after = vars(type(self).from_arguments({**arguments, name: value}))
        return {key: new for key, new in after.items() if not _same(before.get(key), new)}

    def _knows(self, name: str) -> bool:
        noted = any(name in vars(cls).get("__annotations__", ()) for cls in type(self).__mro__)
        return noted or hasattr(self, name)

    def _unknown(self, name: str) -> AttributeError:
        cls, settings = type(self).__name__, list(_accepted(type(self)))
        near = difflib.get_close_matches(name, settings, 1)
        meant = self.spellings.get(name) or (near[0] if near else None)
        fix = f"the name here is {meant!r}" if meant else f"it has {', '.join(settings) or 'none'}"
        return AttributeError(f"{cls} has no setting {name!r}; {fix}")


def _same(old: Any, new: Any) -> bool:
    """Whether two values are surely the same."""
    if old is new:
        return True
    if type(old) is not type(new) or not isinstance(new, (int, float, str, tuple, list, dict)):
        return False
    return repr(old) == repr(new)


C = TypeVar("C", bound=Configurable)


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("xpcnn.")


def _accepted(cls: type) -> dict[str, inspect.Parameter]:
    """Return what the constructor takes; a class without one of its own takes nothing."""
    found = _ACCEPTED.get(cls)
    if found is None:
        found = _ACCEPTED[cls] = dict(inspect.signature(cls).parameters)
    return found


_ACCEPTED: WeakKeyDictionary[type, dict[str, inspect.Parameter]] = WeakKeyDictionary()


def _to_json(value: Any) -> Any:
    if isinstance(value, Configurable):
        return to_config(value)
    if isinstance(value, (np.ndarray, np.generic)):
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
