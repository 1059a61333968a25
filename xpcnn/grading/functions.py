"""Learners' functions as layers: ``conv(x, w, b)``, and pairs of forward and backward."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.grading.calling import UnrecognisedError, guarded, to_host
from xpcnn.grading.dialects import (
    FLAGS,
    Layout,
    Signed,
    arguments,
    name_of,
    roles_of,
    signature,
    with_flag,
)
from xpcnn.grading.runs import Run, named
from xpcnn.grading.trials import Trial

CACHES = ["cache", "caches", "saved", "ctx", "context", "memory", "mem", "stored", "tmp", "store"]
OUTPUTS = ["y", "out", "output", "yhat", "outputs"]
BEHIND = re.compile(r"(?!data)(d_?(out|y|z|l|a|h|s|next)\w*|\w*grad\w*|delta\w*|upstream\w*|g)$")
"""Names of the gradient that comes from behind."""


class FunctionRun(Run):
    """Of a function of an array, and of weights and settings; there is no backward.

    `preferred` are the roles that the family of layers has.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        trial: Trial,
        layout: Layout,
        values: Mapping[str, Any],
        preferred: tuple[str, ...],
    ) -> None:
        super().__init__(name_of(function), trial, layout)
        self.function, self.values, self.preferred = function, values, preferred
        parameters = signature(function)
        rest = {n: p for n, p in list(parameters.items())[1:] if n not in FLAGS}
        self.chosen = self._chosen(rest)

    def _chosen(self, rest: dict[str, Any]) -> dict[str, Any]:
        """Choose by names; what is left over takes W and b in their order."""
        preferred = (*self.preferred, "W")
        given = {**self.values, "x": None}
        waiting = list(self.trial.params)
        roles = roles_of(Signed(rest), preferred)
        for role in roles.values():
            if role in waiting:
                waiting.remove(role)
        chosen = {}
        for name, role in roles.items():
            unset = rest[name].default is rest[name].empty
            if waiting and unset and role not in self.values:
                chosen[name] = self.values[waiting.pop(0)]
        left = {n: p for n, p in rest.items() if n not in chosen}
        who = f"{self.name}(...)"
        return chosen | arguments(Signed(left), given, preferred, self.trial.asked, who)

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters that are handed over."""
        return {n: np.array(v) for n, v in self.values.items() if n in self.trial.params}

    def tells_modes(self) -> bool:
        """Whether training and inference are told apart by an argument or by a dict's "mode"."""
        roles = roles_of(self.function, self.preferred).values()
        return "param" in roles or bool(with_flag(self.function, True))

    def _mode(self, function: Callable[..., Any], training: bool) -> dict[str, Any]:
        pooling = self.trial.settings.get("pooling")
        if pooling is not None:
            return {"mode": pooling} if "mode" in signature(function) else {}
        self.values["param"]["mode"] = "train" if training else "test"
        return with_flag(function, training)

    def forward(self, x: Array, training: bool = True) -> Array:
        what = f"{self.name}(x)"
        flags = self._mode(self.function, training)
        return self._output(guarded(what, self.function, x, **self.chosen, **flags), what)


class PairRun(FunctionRun):
    """Of two functions: ``forward(x, ...) -> out, cache`` and ``backward(dout, cache)``.

    Instead of a cache, backward may take what forward was given: ``backward(dout, x, w, b)``.
    """

    has_backward = True

    def __init__(
        self,
        pair: tuple[Callable[..., Any], Callable[..., Any]],
        trial: Trial,
        layout: Layout,
        values: Mapping[str, Any],
        preferred: tuple[str, ...],
    ) -> None:
        super().__init__(pair[0], trial, layout, values, preferred)
        self.back = pair[1]
        self._kept: tuple[Any, Any, list[Any]] = (None, None, [])

    def _output(self, y: Any, what: str) -> Array:
        out, *others = y if isinstance(y, tuple) and len(y) else (y,)
        self._kept = (self._kept[0], out, others)
        return super()._output(y, what)

    def forward(self, x: Array, training: bool = True) -> Array:
        self._kept = (x, None, [])
        return super().forward(x, training)

    def backward(self, dout: Array) -> dict[str, Array]:
        what = f"{name_of(self.back)}(dout, cache)"
        given = operands(self.back, dout, self._kept, self.values, self.preferred)
        return named(guarded(what, self.back, **given, **self._mode(self.back, True)), self.trial,
                     self.layout)  # fmt: skip


def operands(
    back: Callable[..., Any],
    dout: Any,
    kept: tuple[Any, Any, list[Any]],
    values: Mapping[str, Any],
    preferred: tuple[str, ...],
) -> dict[str, Any]:
    """Choose the arguments of a backward function.

    `kept` are the input of the forward, its output, and what it returned besides.
    """
    x, out, others = kept
    names = [n for n in signature(back) if n not in FLAGS]
    first, cached = _dout_and_cache(back, names)
    if len(names) == 2 and not cached and others:  # whatever it calls its cache
        cached = [n for n in names if n != first]
    behind_it = [n for n in names if n != first]
    if len(others) == len(behind_it) > 1:  # just what the forward returned
        return {first: dout, **dict(zip(behind_it, others, strict=True))}
    roles = roles_of(back, preferred)
    waiting = list(others)
    given = {}
    for name in names:
        role, low = roles.get(name), name.lower()
        if name == first:
            given[name] = dout
        elif name in cached:
            given[name] = others[0] if len(others) == 1 else tuple(others)
        elif low in OUTPUTS:
            given[name] = out
        elif role == "x":
            given[name] = x
        elif role in values:
            given[name] = values[str(role)]
        elif waiting:
            given[name] = waiting.pop(0)
        elif signature(back)[name].default is signature(back)[name].empty:
            why = f"{name_of(back)}(...) needs an argument {name!r}"
            hint = "" if others else f", and {out_of(out)} is all that the forward returned"
            raise UnrecognisedError(f"{why}{hint}")
    return given


def _dout_and_cache(back: Callable[..., Any], names: list[str]) -> tuple[str, list[str]]:
    """Return which argument is the gradient from behind, and which are caches by their names."""
    if not names:
        raise UnrecognisedError(f"{name_of(back)} tells nothing about its arguments")
    cached = [n for n in names if n.lower().strip("_") in CACHES]
    behind = [n for n in names if BEHIND.match(n.lower()) and n not in cached]
    first = behind[0] if behind else next((n for n in names if n not in cached), names[0])
    return first, cached


def out_of(out: Any) -> str:
    """Name what a forward returned."""
    return "out" if to_host(out) is not None else type(out).__name__


class LossPair:
    """Two functions as one loss: ``forward(x, t) -> loss, cache`` and ``backward(cache)``."""

    def __init__(self, pair: tuple[Callable[..., Any], Callable[..., Any]]) -> None:
        self.pair = pair
        self.__name__ = pair_name(pair)
        self._given: tuple[Any, Any] = (None, None)
        self._others: list[Any] = []

    def forward(self, x: Any, t: Any) -> Any:
        """Return the loss."""
        swapped = next(iter(roles_of(self.pair[0], ("y", "t", "x")).values()), None) == "t"
        self._given = (x, t)
        result = self.pair[0](*((t, x) if swapped else (x, t)))
        loss, *self._others = result if isinstance(result, tuple) and len(result) else (result,)
        return loss

    def backward(self) -> Any:
        """Return the gradient of what the loss was given."""
        roles = roles_of(self.pair[1], ("y", "t", "x"))
        x, t = self._given
        given = {}
        waiting = list(self._others)
        for name, role in roles.items():
            if name.lower() in CACHES:
                given[name] = self._others[0] if len(self._others) == 1 else tuple(self._others)
            elif BEHIND.match(name.lower()):
                given[name] = 1.0
            elif role in ("x", "y", "t"):
                given[name] = t if role == "t" else x
            elif waiting:
                given[name] = waiting.pop(0)
            else:
                raise UnrecognisedError(f"{name_of(self.pair[1])}(...) needs an argument {name!r}")
        result = self.pair[1](**given)
        return result[0] if isinstance(result, tuple) and len(result) else result


def is_pair(theirs: Any) -> bool:
    """Whether these are two functions."""
    return isinstance(theirs, tuple) and len(theirs) == 2 and all(map(callable, theirs))


def pair_name(pair: tuple[Any, Any]) -> str:
    """Name two functions."""
    return ", ".join(map(name_of, pair))
