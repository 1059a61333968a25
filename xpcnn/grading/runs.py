"""One layer of a learner, made for one trial: forward, backward, and the gradients it keeps."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.grading.calling import NotOfferedError, TheirError, UnrecognisedError, guarded, to_host
from xpcnn.grading.dialects import (
    FLAGS,
    ROLES,
    Layout,
    get,
    held_gradient,
    method,
    places,
    plain,
    put,
    set_mode,
    signature,
    with_flag,
)
from xpcnn.grading.trials import Settings, Trial


class Run:
    """One layer of a learner, made for one trial."""

    has_backward = False
    settings: Settings | None = None
    in_settings: frozenset[str] | set[str] = frozenset()
    """What must be read from the settings, if they are handed over in a dict."""

    def __init__(self, name: str, trial: Trial, layout: Layout) -> None:
        self.name, self.trial, self.layout = name, trial, layout

    def set_parameters(self, values: dict[str, Any]) -> None:
        """Put the trial's numbers where a constructor has made its own."""

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters that it holds."""
        return {}

    def unread(self) -> str | None:
        """Return a setting that was asked for, and was never read from the dict of settings."""
        read = set() if self.settings is None else self.settings.read
        return min((s for s in self.in_settings if s not in read), default=None)

    def tells_modes(self) -> bool:
        """Whether it can tell training from inference."""
        return False

    def forward(self, x: Array, training: bool = True) -> Array:
        """Return the output, laid out as ours."""
        raise NotImplementedError

    def backward(self, dout: Array) -> dict[str, Array]:
        """Return all gradients, laid out as ours."""
        raise NotImplementedError

    def _output(self, y: Any, what: str) -> Array:
        if isinstance(y, tuple) and len(y):
            y = y[0]  # (out, cache)
        array = to_host(y)
        if array is None:
            kind = f" of {y.dtype}" if hasattr(y, "dtype") else ""
            kind = f"{type(y).__name__}{kind}"
            hint = "; is there a return at its end?" if y is None else ""
            raise TheirError(f"{what} returned {kind} instead of an array of numbers{hint}")
        return self.layout.ours("y", array, self.trial.right["y"].shape)


class ObjectRun(Run):
    """Of an object with forward and backward."""

    def __init__(self, name: str, trial: Trial, layout: Layout, obj: Any) -> None:
        super().__init__(name, trial, layout)
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

    def tells_modes(self) -> bool:
        """Whether forward has a flag, or the object an attribute or methods for the mode."""
        if self._forward is None:
            return False
        return bool(with_flag(self._forward, True)) or set_mode(self.obj, True)

    def forward(self, x: Array, training: bool = True) -> Array:
        if self._forward is None:
            raise UnrecognisedError(f"{self.name} has no forward(x)")
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
        spelled = {"dx": ("dx", "dX"), "dW": ("dW", "dw"), "db": ("db",)}
        wanted = {n: spelled.get(n, (n,)) for n in ("dx", *(f"d{role}" for role in trial.params))}
        return {
            name: layout.ours(name, array, trial.right[name].shape)
            for name, spellings in wanted.items()
            for spelling in spellings
            if (array := items.get(spelling)) is not None and name in trial.right
        }
    if isinstance(result, list) and not any(hasattr(part, "shape") for part in result):
        result = to_host(result)  # an array as lists of numbers
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
