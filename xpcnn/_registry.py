"""Objects from names and from JSON-able descriptions, out of a fixed list of classes."""

from __future__ import annotations

import difflib
import functools
import inspect
from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

T = TypeVar("T")
_OURS: dict[str, type] = {}


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("xpcnn.")


ELSEWHERE = {
    "filters": "out_channels",
    "units": "out_features",
    "kernel": "kernel_size",
    "filter_size": "kernel_size",
    "n_filters": "out_channels",
    "n_channels": "in_channels",
    "pad": "padding",
    "pool_size": "kernel_size",
    "strides": "stride",
    "dilation_rate": "dilation",
    "axis": "dim",
    "rate": "p",
    "learning_rate": "lr",
}
"""What arguments are called in Keras and in courses, and here."""
_OTHER_SPELLINGS = {
    "categorical_crossentropy": "cross_entropy",
    "sparse_categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "bce",
    "mean_squared_error": "mse",
    "mean_absolute_error": "l1",
    "mae": "l1",
}
"""What losses are called in Keras, and here."""


class Named:
    """A class whose constructor lists its arguments when it is given unknown ones.

    Python's own message names the function that failed, which may be that of a base class
    nobody has heard of.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            init = _naming(vars(cls)["__init__"], super(cls, cls).__init__)
            cls.__init__ = init  # type: ignore[method-assign]


def _naming(init: Callable[..., None], inherited: Any) -> Callable[..., None]:
    signature = _whole_signature(init, inherited)

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807
        try:
            init(self, *args, **options)
        except TypeError:
            # the class that was called, or the one whose constructor a class from outside calls
            constructors = {c: inspect.getattr_static(c, "__init__") for c in type(self).__mro__}
            cls = next(c for c, constructor in constructors.items() if constructor is __init__)
            problem = _misfit(cls, signature, args, options)
            if problem is not None:
                raise TypeError(problem) from None
            raise

    setattr(__init__, "__signature__", signature)  # noqa: B010
    return __init__


def _whole_signature(init: Callable[..., None], inherited: Any) -> inspect.Signature:
    """Return a constructor's signature, where ``**common: Unpack[...]`` stands for its base's."""
    signature = inspect.signature(init)
    *own, last = signature.parameters.values()
    if not str(last.annotation).startswith("Unpack["):
        return signature
    for name, parameter in inspect.signature(inherited).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name not in signature.parameters:
            own.append(parameter)
    return signature.replace(parameters=own)


def _misfit(
    cls: type, signature: inspect.Signature, args: tuple[Any, ...], options: dict[str, Any]
) -> str | None:
    """Say how arguments do not fit a constructor, or return None if they do."""
    try:
        signature.bind(None, *args, **options)
    except TypeError as error:
        problem = str(error)
    else:
        return None
    names = list(signature.parameters)[1:]
    unknown = [name for name in options if name not in names]
    if unknown:
        problem = f"there is no argument {unknown[0]!r}{_meant(cls, unknown[0], names)}"
    return f"{cls.__name__}: {problem}; it takes {', '.join(names) or 'no arguments'}"


def _meant(cls: type, name: str, names: list[str]) -> str:
    """Say what to write in place of an unknown argument."""
    if name == "activation":
        return " (add a layer after it, such as ReLU())"
    meant = getattr(cls, "spellings", {}).get(name) or ELSEWHERE.get(name)
    if meant not in names:
        meant = next(iter(difflib.get_close_matches(name, names, 1, 0.75)), None)
    return f" (here it is {meant!r})" if meant else ""


class Configurable(Named):
    """An object that keeps its constructor's arguments as attributes of the same names."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if _is_ours(cls):
            _OURS.setdefault(cls.__name__, cls)

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
        try:
            chosen = chosen_arguments(self)
        except AttributeError:  # a class of somebody who keeps them otherwise
            return f"{type(self).__name__}(...)"
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in chosen.items())})"


def chosen_arguments(made: Configurable) -> dict[str, Any]:
    """Return those of the arguments that an object was made with that are not the default."""
    accepted = _accepted(type(made))
    found = {}
    for name, value in made.arguments().items():
        if name not in accepted:
            continue
        default = accepted[name].default
        if isinstance(value, tuple) and isinstance(default, int) and set(value) == {default}:
            continue  # one number given, and kept for each dimension
        if default is inspect.Parameter.empty or _to_json(value) != _to_json(default):
            found[name] = value
    return found


class _Making(ABCMeta):
    """Metaclass of classes whose objects know when they are complete."""

    # Every step asks many times; ABCMeta's own, which knows of registered classes, takes long.
    __instancecheck__ = type.__instancecheck__

    def __call__(cls, *args: Any, **options: Any) -> Any:
        made = super().__call__(*args, **options)
        made._complete()
        vars(made)["_is_made"] = True
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        if cls.__init__ is object.__init__:  # type: ignore[misc]
            return inspect.Signature()
        _, *others = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
        return inspect.Signature(others)


if TYPE_CHECKING:  # type checkers shall see the constructors themselves

    class _Made:
        pass

else:

    class _Made(metaclass=_Making):
        """An object that knows when it is complete."""


class Closed(_Made):
    """An object that refuses to set unknown public attributes, which would have no effect.

    Classes from outside xpcnn may do as they like, but for names of `spellings`.
    """

    spellings: ClassVar[Mapping[str, str]] = {}
    """What attributes are called elsewhere, and here, or a sentence that says what to do."""
    read_only: ClassVar[Mapping[str, str]] = {}
    """Attributes that are not to be set, and what to do in place of it."""

    def _complete(self) -> None:
        """Check what depends on all settings; called when the constructor is through."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] != "_":
            own = vars(self)
            if "_is_made" in own and (name not in own or name in self.read_only):
                self._check_name(name)
        object.__setattr__(self, name, value)

    def _check_name(self, name: str) -> None:
        if name in self.read_only:
            cls = type(self).__name__
            raise AttributeError(f"{cls}.{name} cannot be set; {self.read_only[name]}")
        if (name in self.spellings or _is_ours(type(self))) and not self._knows(name):
            raise self._unknown(name)

    @contextmanager
    def _completing(self) -> Iterator[None]:
        """Let a method set settings that were left open, as the constructor does."""
        made = vars(self).pop("_is_made", None)
        try:
            yield
        finally:
            if made is not None:
                vars(self)["_is_made"] = made

    def _knows(self, name: str) -> bool:
        noted = any(name in vars(cls).get("__annotations__", ()) for cls in type(self).__mro__)
        return noted or hasattr(type(self), name) or hasattr(self, name)

    def _names(self) -> list[str]:
        """List what can be set."""
        of_class = {name: item for cls in type(self).__mro__ for name, item in vars(cls).items()}
        names = [*vars(self), *(n for n, item in of_class.items() if getattr(item, "fset", None))]
        return [name for name in names if name[0] != "_" and name not in self.read_only]

    def _unknown(self, name: str) -> AttributeError:
        cls, settings = type(self).__name__, self._names()
        near = difflib.get_close_matches(name, settings, 1)
        meant = self.spellings.get(name) or (near[0] if near else None)
        if meant and " " in meant:
            fix = meant
        elif meant:
            fix = f"the name here is {meant!r}"
        else:
            fix = f"it has {', '.join(settings) or 'none'}"
        return AttributeError(f"{cls} has no setting {name!r}; {fix}")


class Checked(Closed, Configurable):
    """An object whose settings can be changed later, and are checked then as when it was made.

    Setting an attribute that is an argument of the constructor makes another object with it, so
    that all checks are those of the constructor, and takes over what came out different.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] == "_":
            object.__setattr__(self, name, value)
            return
        made = "_is_made" in vars(self)
        if made and _is_ours(type(self)) and name in _accepted(type(self)):
            vars(self).update(self._changes(name, value))
        else:
            super().__setattr__(name, value)

    def _names(self) -> list[str]:
        return list(_accepted(type(self)))

    def _changes(self, name: str, value: Any) -> dict[str, Any]:
        """Return the attributes that change with a setting."""
        arguments = self.arguments()
        before = vars(type(self).from_arguments(arguments))
        after = vars(type(self).from_arguments({**arguments, name: value}))
        return {key: new for key, new in after.items() if not same(before.get(key), new)}


def same(old: Any, new: Any) -> bool:
    """Whether two values are known to be the same."""
    if old is new:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(new, (tuple, list)):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(new, dict):
        return list(old) == list(new) and all(map(same, old.values(), new.values()))
    return isinstance(new, (int, float, str)) and repr(old) == repr(new)


C = TypeVar("C", bound=Configurable)


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
    if callable(value) and not isinstance(value, type):
        return {FUNCTION: function_name(value)}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value


FUNCTION = "function"
"""The only key of what stands in JSON for a function of a user."""
_CUSTOM = "custom:"
"""Stands before the name of a user's class where xpcnn has a class of that name."""


def function_name(function: Any) -> str:
    """Return the name by which a function is saved, and asked for when it is loaded."""
    return str(getattr(function, "__name__", type(function).__name__))


def class_name(cls: type) -> str:
    """Return the name by which a class is saved."""
    ours = cls.__name__ in _OURS and not _is_ours(cls)
    return _CUSTOM + cls.__name__ if ours else cls.__name__


def customs_of(obj: Any) -> Iterator[Any]:
    """Yield the classes and functions from outside xpcnn that an object is made of."""
    if isinstance(obj, Configurable):
        if not _is_ours(type(obj)):
            yield type(obj)
        for value in obj.arguments().values():
            yield from customs_of(value)
    elif isinstance(obj, (list, tuple)):
        for value in obj:
            yield from customs_of(value)
    elif callable(obj) and not isinstance(obj, type):
        yield obj


def by_name(customs: Iterable[Any]) -> dict[str, Any]:
    """Return classes and functions by the names by which they are saved.

    Raises
    ------
    ValueError
        If two of them have one name.
    """
    found: dict[str, Any] = {}
    for custom in customs:
        name = custom.__name__ if isinstance(custom, type) else function_name(custom)
        if found.setdefault(name, custom) is not custom:
            raise ValueError(
                f"two different classes or functions are called {name!r}, and a file knows them by "
                "their names; rename one"
            )
    return found


def to_config(obj: Configurable) -> dict[str, Any]:
    """Describe an object: ``{"class": name, "config": constructor's arguments}``.

    A function among the arguments is described as ``{"function": name}``.

    Examples
    --------
    >>> from xpcnn import optim
    >>> optim.to_config(optim.StepLR(30))
    {'class': 'StepLR', 'config': {'step_size': 30, 'gamma': 0.1}}
    """
    try:
        config = obj.config()
    except AttributeError as error:
        raise AttributeError(
            f"{type(obj).__name__} cannot be described: {error}; keep the arguments of the "
            "constructor as attributes of the same names, or override arguments()"
        ) from error
    return {"class": class_name(type(obj)), "config": config}


def from_config(
    description: Any,
    classes: Mapping[str, type[C]],
    kind: str,
    custom: Mapping[str, Any] | None = None,
    bases: tuple[type, ...] = (object,),
) -> C:
    """Make the object that :func:`to_config` described; only the listed classes are made.

    Parameters
    ----------
    description : mapping
    classes : mapping of str to class
        Those of xpcnn.
    kind : str
        What is made, for messages.
    custom : mapping of str to class or function, optional
        Those of the user, which come first.
    bases : tuple of type
        What the object must be one of.

    Raises
    ------
    ValueError
        If the description is not of that form, names another class, or has arguments the class
        does not take.
    """
    custom = custom or {}
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
    name = description["class"].removeprefix(_CUSTOM)
    ours = classes if name == description["class"] else {}
    made: Any = custom.get(name, ours.get(name))
    if not isinstance(made, type):
        raise ValueError(
            f"{kind}: unknown class {name!r:.80}; a class of your own must be given, as in "
            f"custom_objects={{{name!r:.80}: {name:.80}}}; known are {', '.join(classes)}"
        )
    config = {
        key: _from_json(value, classes, kind, custom)
        for key, value in description["config"].items()
    }
    allowed = _accepted(made)
    unexpected = [key for key in config if key not in allowed]
    if unexpected and not any(p.kind is p.VAR_KEYWORD for p in allowed.values()):
        raise ValueError(
            f"{kind}: {name} has no argument {unexpected[0]!r:.80}; it takes "
            + (", ".join(allowed) or "none")
        )
    try:
        result: C = made.from_arguments(config)  # type: ignore[attr-defined]
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{kind}: {name} cannot be made from {config!r:.200}: {error}") from error
    if not isinstance(result, bases):
        wanted = "neither" if " or " in kind else f"not a {kind}"
        raise ValueError(f"{kind}: {type(result).__name__} is {wanted}")
    return result


def _from_json(
    value: Any, classes: Mapping[str, type[C]], kind: str, custom: Mapping[str, Any]
) -> Any:
    if isinstance(value, Mapping) and set(value) == {FUNCTION}:
        function = custom.get(value[FUNCTION]) if isinstance(value[FUNCTION], str) else None
        if not callable(function):
            raise ValueError(
                f"{kind}: unknown function {value[FUNCTION]!r:.80}; it must be given, as in "
                f"custom_objects={{{value[FUNCTION]!r:.80}: {value[FUNCTION]!s:.80}}}"
            )
        return function
    if isinstance(value, Mapping):
        return from_config(value, classes, kind, custom)
    if isinstance(value, list):
        return [_from_json(item, classes, kind, custom) for item in value]
    return value


def public(module: Mapping[str, Any], *bases: type[T]) -> dict[str, type[T]]:
    """Return the classes in a module's ``__all__`` that derive from others, which are left out."""
    names = {name: module.get(name) for name in module["__all__"]}  # functions may come later
    classes = {name: cls for name, cls in names.items() if isinstance(cls, type)}
    return {n: cls for n, cls in classes.items() if issubclass(cls, bases) and cls not in bases}


def snake_case(name: str) -> str:
    """Write the name of a class in lower case: BCEWithLogits becomes bce_with_logits."""
    words = ""
    for i, letter in enumerate(name):
        starts = letter.isupper() and i > 0
        if starts and (name[i - 1].islower() or name[i + 1 : i + 2].islower()):
            words += "_"
        words += letter.lower()
    return words


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
        meant = _OTHER_SPELLINGS.get(key, key)
        near = [meant] if meant in names else difflib.get_close_matches(key, names, 1, 0.75)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(
            f"unknown {kind} {spec!r}{hint}; choose one of {listing}, or pass an object"
        )
    return names[key]()
