"""Runs a learner's class, object or function as one layer: made, forward, backward, gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.grading.calling import NotOfferedError, TheirError, UnrecognisedError, guarded, to_host
from xpcnn.grading.dialects import (
    FLAGS,
    ROLES,
    Layout,
    Signed,
    Stub,
    arguments,
    copied,
    get,
    held_gradient,
    method,
    name_of,
    places,
    plain,
    put,
    roles_of,
    set_mode,
    signature,
    with_flag,
)
from xpcnn.grading.trials import Trial


class Player:
    """A learner's layer, made anew for each trial.

    Parameters
    ----------
    theirs : class, object or function
    make : callable or None
        Makes the object, by arguments of the names in ROLES.
    preferred : tuple of str
        Roles that the family of layers has.
    """

    def __init__(
        self, theirs: Any, make: Callable[..., Any] | None, preferred: tuple[str, ...]
    ) -> None:
        self.theirs, self.make, self.preferred = theirs, make, preferred
        self.name = name_of(theirs)
        is_layer = method(theirs, "forward", "backward", "fwd") is not None
        self.is_class = isinstance(theirs, type)
        self.is_function = make is None and not self.is_class and not is_layer
        self.is_object = make is None and not self.is_class and not self.is_function

    def constructor(self) -> Callable[..., Any]:
        return self.make or self.theirs

    def made(self, trial: Trial, layout: Layout) -> Run:
        """Make the layer for a trial."""
        values = trial.values(layout)
        if not layout.has_bias:
            if not self.is_object and "b" in roles_of(self.constructor(), self.preferred).values():
                raise UnrecognisedError("it takes a bias")
            values.pop("b", None)
        stub = Stub()
        values |= dict.fromkeys(("initializer", "optimizer", "activation"), stub)
        if self.is_function:
            return FunctionRun(self, trial, layout, values)
        if self.is_object:
            obj = copied(self.theirs)
        else:
            build = self.constructor()
            chosen = arguments(build, values, self.preferred, trial.asked, f"{self.name}(...)")
            obj = guarded(f"{self.name}(...)", build, **chosen)
            if not self.is_class and method(obj, "forward", "__call__", "fwd") is None:
                raise UnrecognisedError(
                    "make must return an object with forward(x) and backward(dout)"
                )
        run = ObjectRun(self, trial, layout, obj)
        run.set_parameters(values)
        return run


class Run:
    """One layer of a learner, made for one trial."""

    has_backward = False

    def __init__(self, player: Player, trial: Trial, layout: Layout) -> None:
        self.player, self.trial, self.layout = player, trial, layout

    def set_parameters(self, values: dict[str, Any]) -> None:
        """Put the trial's numbers where a constructor has made its own."""

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters that it holds."""
        return {}

    def forward(self, x: Array, training: bool = True) -> Array:
        raise NotImplementedError

    def backward(self, dout: Array) -> dict[str, Array]:
        raise NotImplementedError

    def _output(self, y: Any, what: str) -> Array:
        if isinstance(y, tuple) and len(y):
            y = y[0]  # (out, cache)
        array = to_host(y)
        if array is None:
            kind = f" of {y.dtype}" if hasattr(y, "dtype") else ""
            kind = f"{type(y).__name__}{kind}"
            raise TheirError(f"{what} returned {kind} instead of an array of numbers")
        return self.layout.ours("y", array, self.trial.right["y"].shape)


class ObjectRun(Run):
    """Of an object with forward and backward."""

    def __init__(self, player: Player, trial: Trial, layout: Layout, obj: Any) -> None:
        super().__init__(player, trial, layout)
        self.obj = obj
        self._forward = method(obj, "forward", "fwd", "forward_pass", "forward_prop", "__call__")
        self._backward = method(
            obj, "backward", "bwd", "backprop", "backward_pass", "backward_prop"
        )
        self.has_backward = self._backward is not None

    def set_parameters(self, values: dict[str, Any]) -> None:
        """Put the trial's numbers where a constructor has made its own."""
        for role in self.trial.params:
            for owner, key, _ in places(self.obj, role):
                if role not in values:
                    raise UnrecognisedError("it holds a bias")
                held, wanted = np.asarray(get(owner, key)), np.asarray(values[role])
                if held.shape == wanted.shape:
                    put(owner, key, wanted.copy())
                elif role not in ("W",) and held.size == wanted.size:
                    put(owner, key, wanted.reshape(held.shape).copy())
                elif held.ndim or wanted.ndim:
                    raise UnrecognisedError(
                        f"its {key} has shape {held.shape}, tried was {wanted.shape}"
                    )
                break

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters that it holds."""
        found = {}
        for role in self.trial.params:
            for owner, key, _ in places(self.obj, role):
                found[role] = np.array(get(owner, key))
                break
        return found

    def forward(self, x: Array, training: bool = True) -> Array:
        if self._forward is None:
            raise UnrecognisedError(f"{self.player.name} has no forward(x)")
        flags = with_flag(self._forward, training)
        if not flags:
            set_mode(self.obj, training)
        return self._output(guarded("forward(x)", self._forward, x, **flags), "forward(x)")

    def backward(self, dout: Array) -> dict[str, Array]:
        if self._backward is None:
            raise NotOfferedError("backward")
        takes = [p for p in signature(self._backward).values() if p.name not in FLAGS]
        takes = [p for p in takes if p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)]
        extra = {}
        for parameter in takes[1:]:
            if (
                parameter.default is inspect.Parameter.empty
                and parameter.kind != parameter.VAR_POSITIONAL
            ):
                if "lr" not in plain_roles(parameter.name):
                    raise UnrecognisedError(
                        f"backward needs an argument {parameter.name!r} behind dout"
                    )
                extra[parameter.name] = 0.0
        result = guarded("backward(dout)", self._backward, dout, **extra)
        return self._gradients(result)

    def _gradients(self, result: Any) -> dict[str, Array]:
        found = named(result, self.trial, self.layout)
        for role in self.trial.params:
            key = f"d{role}"
            if key not in found and (held := held_gradient(self.obj, role)) is not None:
                shape = self.trial.params[role].shape
                found[key] = np.array(self.layout.ours(key, held, shape))
        if "dx" not in found and (held := to_host(getattr(self.obj, "dx", None))) is not None:
            found["dx"] = self.layout.ours("dx", held, self.trial.x.shape)
        return found


def plain_roles(name: str) -> list[str]:
    """Return all that a parameter of that name may mean."""
    return [role for role, names in ROLES.items() if plain(name) in names.split()]


def named(result: Any, trial: Trial, layout: Layout) -> dict[str, Array]:
    """Name what backward returned: one array is dx; several are known by name or by shape."""
    if isinstance(result, dict):
        items = {
            ("d" + k.removeprefix("d")).replace("_", ""): to_host(v) for k, v in result.items()
        }
        wanted = {"dx": ("dx", "dX"), "dW": ("dW", "dw"), "db": ("db",)}
        return {
            name: layout.ours(name, array, trial.right[name].shape)
            for name, spellings in wanted.items()
            for spelling in spellings
            if (array := items.get(spelling)) is not None and name in trial.right
        }
    if not isinstance(result, (tuple, list)):
        array = to_host(result)
        return {} if array is None else {"dx": layout.ours("dx", array, trial.x.shape)}
    found: dict[str, Array] = {}
    arrays = [array for part in result if (array := to_host(part)) is not None]
    order = ["dx", *(f"d{role}" for role in trial.params)]
    left = []
    for array in arrays:
        shaped = {name: layout.ours(name, array, trial.right[name].shape) for name in order}
        fits = [n for n, a in shaped.items() if a.shape == trial.right[n].shape and n not in found]
        if fits:
            found[fits[0]] = shaped[fits[0]]
        else:
            left.append(array)
    for array in left:  # of a wrong shape: what is not there yet, in the usual order
        name = next((n for n in order if n not in found), None)
        if name is not None:
            found[name] = layout.ours(name, array, trial.right[name].shape)
    return found


class FunctionRun(Run):
    """Of a function of an array, and of weights and settings; there is no backward."""

    def __init__(
        self, player: Player, trial: Trial, layout: Layout, values: dict[str, Any]
    ) -> None:
        super().__init__(player, trial, layout)
        names = list(signature(player.theirs))
        if not names:
            self.chosen: dict[str, Any] = {}
            self.first: str | None = None
            return
        self.first = names[0]
        given = values | {"x": None}
        rest = dict(list(signature(player.theirs).items())[1:])
        # roles by name; what is left over takes W and b in their order
        proxy = Signed(rest)
        waiting = list(trial.params)
        roles = roles_of(proxy, (*player.preferred, "W"))
        for role in roles.values():
            if role in waiting:
                waiting.remove(role)
        for name, role in roles.items():
            unset = rest[name].default is inspect.Parameter.empty
            if waiting and unset and role not in values:
                given[f"?{name}"] = values[waiting.pop(0)]
        self.chosen = {n: given[f"?{n}"] for n in rest if f"?{n}" in given}
        for name in self.chosen:
            rest.pop(name)
        who = f"{player.name}(...)"
        self.chosen |= arguments(Signed(rest), given, (*player.preferred, "W"), trial.asked, who)

    def forward(self, x: Array, training: bool = True) -> Array:
        what = f"{self.player.name}(x)"
        return self._output(guarded(what, self.player.theirs, x, **self.chosen), what)
