"""What :func:`xpcnn.gradcheck` compares: a function of named arrays, and the gradients it claims.

The base class, and how objects of any class are run: learners' own layers, losses and networks.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.parameter import Parameter

Arrays = tuple[Any, ...]


class Subject:
    """What is checked: a function of named arrays, and the gradients it claims."""

    name: str

    def forward(self, inputs: Arrays) -> Arrays:
        """Compute the outputs from the same state every time."""
        raise NotImplementedError

    def gradients(self, inputs: Arrays, dys: Arrays) -> tuple[Arrays, dict[str, Any]]:
        """Run forward and backward; return gradients of the inputs, and of parameters by name."""
        raise NotImplementedError

    def weighting(self, generator: np.random.Generator, y: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to an output that backward is to start from."""
        return generator.normal(size=y.shape)

    def value(self, name: str) -> Array:
        """Return the parameter with that name."""
        raise NotImplementedError

    def at(self, name: str, value: Array, inputs: Arrays) -> Arrays:
        """Compute the outputs with one parameter replaced."""
        raise NotImplementedError

    def restore(self) -> None:
        """Put the state back."""


def as_tuple(value: Any) -> Arrays:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


Path = tuple[tuple[str, Any], ...]
"""How to come from an object to an array inside: attributes and items."""

FLAGS = ("training", "train_flg", "train_flag", "is_training", "train")
PARAMETER = re.compile(r"(w|b|weights?|bias(es)?|gamma|beta|kernels?|filters?)\d*", re.IGNORECASE)
"""Names of attributes that must have a gradient; with other names an array may be a constant."""


def object_subject(
    obj: Any, inputs: Arrays, target: Any, training: bool, options: dict[str, Any]
) -> Subject:
    has = {name for name in ("forward", "backward") if callable(getattr(obj, name, None))}
    if len(has) == 2:
        return ObjectSubject(obj, inputs, target, training, options)
    if not has and all(hasattr(obj, name) for name in ("params", "loss", "gradient")):
        if target is None:
            raise ValueError(f"gradcheck: {type(obj).__name__} has a loss, which needs a target")
        return NetworkSubject(obj, inputs, target, training, options)
    missing = " and no ".join(name for name in ("forward", "backward") if name not in has)
    raise TypeError(
        f"gradcheck: expected a layer, a loss, or an object with forward(x) and backward(dout); "
        f"{type(obj).__name__} has no {missing}"
    )


class ObjectSubject(Subject):
    """Runs copies of an object, which is never touched itself."""

    def __init__(
        self, obj: Any, inputs: Arrays, target: Any, training: bool, options: dict[str, Any]
    ) -> None:
        self.name = type(obj).__name__
        self.target, self.options = target, options
        self.random = np.random.get_state()
        self.base = _copy(obj)
        self.flags = self._flags(training)
        self._check_arguments(inputs)
        self._widen()
        # what the first forward sets up is there, what the second replaces is no parameter
        self._run(self.base, inputs)
        self._widen()
        for path, _ in list(_arrays(self.base)):
            if path[-1] == ("attribute", "data"):  # gradients of the library's layers add up
                _put(self.base, (*path[:-1], ("attribute", "grad")), None)
        self.kept = self._find_kept(inputs)

    def _flags(self, training: bool) -> dict[str, bool]:
        accepted = _parameters(self.base.forward)
        return {flag: training for flag in FLAGS if flag in accepted}

    def _check_arguments(self, inputs: Arrays) -> None:
        given = len(inputs) + (self.target is not None)
        parameters = [
            p
            for p in _parameters(self.base.forward).values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name not in FLAGS
        ]
        required = sum(p.default is p.empty for p in parameters)
        if given < required:
            names = ", ".join(p.name for p in parameters)
            raise TypeError(
                f"gradcheck: {self.name}.forward({names}) needs {required} arguments, got {given}; "
                "give a target for a loss, or a tuple of inputs"
            )

    def _widen(self) -> None:
        """Make float64 of arrays of other numbers that have, or should have, a gradient."""
        for path, array in list(_arrays(self.base)):
            has_gradient = _gradient_path(self.base, path) is not None
            if (has_gradient or PARAMETER.fullmatch(str(path[-1][1]))) and _xp.dtype_name(
                array
            ) != "float64":
                xp = _xp.namespace(array)
                _put(self.base, path, xp.astype(array, xp.float64))

    def _find_kept(self, inputs: Arrays) -> dict[str, list[Path]]:
        """Return the paths to what a forward does not replace, those to one array together."""
        probe = _copy(self.base)
        before = dict(_arrays(probe))
        self._run(probe, inputs)
        after = dict(_arrays(probe))
        together: dict[int, list[Path]] = {}
        for path, array in before.items():
            if after.get(path) is array:
                together.setdefault(id(array), []).append(path)
        return {_written(paths[0]): paths for paths in together.values()}

    def _run(self, obj: Any, inputs: Arrays) -> Arrays:
        np.random.set_state(self.random)
        inputs = tuple(_own_copy(x) for x in inputs)
        given = inputs if self.target is None else (*inputs, copy.deepcopy(self.target))
        outputs = as_tuple(obj.forward(*given, **self.flags, **self.options))
        for y in outputs:
            if y is None:
                raise ValueError(f"gradcheck: {self.name}.forward returned None")
        return outputs

    def forward(self, inputs: Arrays) -> Arrays:
        return self._run(_copy(self.base), inputs)

    def weighting(self, generator: np.random.Generator, y: np.ndarray) -> np.ndarray:
        if self.target is not None and y.ndim == 0:
            return np.ones(())  # a learner's loss may take no gradient from behind
        return super().weighting(generator, y)

    def gradients(self, inputs: Arrays, dys: Arrays) -> tuple[Arrays, dict[str, Any]]:
        obj = _copy(self.base)
        self._run(obj, inputs)
        accepted = _parameters(obj.backward).values()
        if self.target is not None and all(p.default is not p.empty for p in accepted):
            found = obj.backward()
        elif self.target is not None:
            found = obj.backward(1.0)
        else:
            found = obj.backward(*(_own_copy(dy) for dy in dys))
        return as_tuple(found), self._claimed(obj)

    def _claimed(self, obj: Any) -> dict[str, Any]:
        claimed = {}
        for name, paths in self.kept.items():
            found = [path for p in paths if (path := _gradient_path(obj, p)) is not None]
            if found:
                claimed[name] = next((g for p in found if (g := _get(obj, p)) is not None), None)
            elif any(PARAMETER.fullmatch(str(path[-1][1])) for path in paths):
                last = paths[0][-1][1]
                raise ValueError(
                    f"gradcheck: {self.name}: {name} has no gradient: after backward there is no "
                    f"attribute d{last} beside it"
                )
        return claimed

    def value(self, name: str) -> Array:
        return _get(self.base, self.kept[name][0])

    def _with(self, name: str, value: Array) -> Any:
        obj = _copy(self.base)
        for path in self.kept[name]:
            _put(obj, path, value)
        return obj

    def at(self, name: str, value: Array, inputs: Arrays) -> Arrays:
        return self._run(self._with(name, value), inputs)


class NetworkSubject(ObjectSubject):
    """A network with ``params``, ``loss`` and ``gradient``; its input has no gradient."""

    def _flags(self, training: bool) -> dict[str, bool]:
        return {}

    def _check_arguments(self, inputs: Arrays) -> None:
        pass

    def _find_kept(self, inputs: Arrays) -> dict[str, list[Path]]:
        by_array: dict[int, list[Path]] = {}
        for path, array in _arrays(self.base):
            by_array.setdefault(id(array), []).append(path)
        return {str(key): by_array[id(array)] for key, array in self.base.params.items()}

    def _run(self, obj: Any, inputs: Arrays) -> Arrays:
        np.random.set_state(self.random)
        return (obj.loss(*map(_own_copy, inputs), copy.deepcopy(self.target), **self.options),)

    def gradients(self, inputs: Arrays, dys: Arrays) -> tuple[Arrays, dict[str, Any]]:
        np.random.set_state(self.random)
        obj = _copy(self.base)
        found = obj.gradient(*map(_own_copy, inputs), copy.deepcopy(self.target), **self.options)
        return (), {name: found.get(name) for name in self.kept}


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def copied(obj: Any) -> Any:
    """Copy an object and what is in it; modules that it refers to are no part of it."""
    return copy.deepcopy(obj, {id(m): m for m in list(sys.modules.values())})


def _copy(obj: Any) -> Any:
    try:
        return copied(obj)
    except TypeError as error:
        raise TypeError(
            f"gradcheck: it works on copies, and {type(obj).__name__} cannot be copied: {error}"
        ) from error


def _own_copy(x: Any) -> Any:
    return np.array(x) if isinstance(x, np.ndarray) else x


def _arrays(obj: Any) -> Iterator[tuple[Path, Array]]:
    """Yield the arrays in an object, in its lists and dicts, and in the layers it holds."""
    seen: set[int] = set()

    def walk(value: Any, path: Path) -> Iterator[tuple[Path, Array]]:
        if isinstance(value, Parameter):  # of a layer of the library
            if value.is_built and value.requires_grad:
                yield (*path, ("attribute", "data")), value.value
            return
        if hasattr(value, "ndim") and _xp.is_array(value):
            if value.ndim or isinstance(value, np.ndarray):
                yield path, value
            return
        if isinstance(value, (str, bytes, int, float, ModuleType, type)) or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Mapping):
            inside: list[tuple[tuple[str, Any], Any]] = [(("item", k), v) for k, v in value.items()]
        elif isinstance(value, (list, tuple)):
            inside = [(("item", i), v) for i, v in enumerate(value)]
        elif not path or hasattr(value, "forward") or hasattr(value, "backward"):
            inside = [(("attribute", name), v) for name, v in _attributes(value)]
        else:
            return
        for step, part in inside:
            yield from walk(part, (*path, step))

    yield from walk(obj, ())


def _attributes(obj: Any) -> Iterator[tuple[str, Any]]:
    yield from vars(obj).items() if hasattr(obj, "__dict__") else ()
    for cls in type(obj).__mro__:
        for name in getattr(cls, "__slots__", ()):
            if hasattr(obj, name):
                yield name, getattr(obj, name)


def _get(obj: Any, path: Path) -> Any:
    for kind, key in path:
        obj = getattr(obj, key) if kind == "attribute" else obj[key]
    return obj


def _put(obj: Any, path: Path, value: Any) -> None:
    owner = _get(obj, path[:-1])
    kind, key = path[-1]
    if kind == "attribute":
        setattr(owner, key, value)
    elif not isinstance(owner, tuple):
        owner[key] = value


def _gradient_path(obj: Any, path: Path) -> Path | None:
    """Return where the gradient of the array at a path lies, by its name; None if nowhere."""
    kind, key = path[-1]
    if kind == "attribute":
        owner = _get(obj, path[:-1])
        if isinstance(owner, Parameter):
            return (*path[:-1], ("attribute", "grad"))
        wanted = {f"d{key}", f"d_{key}", f"grad_{key}", f"{key}_grad", f"g{key}", f"grad{key}"}
        wanted = {name.lower() for name in wanted}
        for name, _ in _attributes(owner):
            if name.lower() in wanted and name != key:
                return (*path[:-1], ("attribute", name))
        return None
    if len(path) < 2 or path[-2][0] != "attribute":
        return None
    owner = _get(obj, path[:-2])
    names = {"params": ("grads", "gradients", "grad"), "parameters": ("gradients", "grads")}
    for name in names.get(path[-2][1], ()):
        grads = getattr(owner, name, None)
        try:
            grads[key]  # type: ignore[index]
        except (TypeError, KeyError, IndexError):
            continue
        return (*path[:-2], ("attribute", name), ("item", key))
    return None


def _written(path: Path) -> str:
    """Write a path as one reaches it: ``layers[0].W``; of a Parameter, its own name."""
    text = ""
    path = path[:-1] if path[-1] == ("attribute", "data") else path
    for kind, key in path:
        text += f".{key}" if kind == "attribute" else f"[{key!r}]"
    return text.removeprefix(".")
