"""The courses' optimizers: ``update(params, grads)`` on dicts of arrays of the same keys.

New values are written into the arrays of `params` where the library can write, so layers that
hold those arrays see them; otherwise the entries of the dict are replaced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.scratch._shared import CourseClass, as_array, as_floats, as_number, store

Slots = dict[str, Array]


class Optimizer(CourseClass):
    """What all have in common: checks, one step per parameter, and per-parameter memory."""

    def __init__(self, lr: float) -> None:
        self.lr = as_number(lr, type(self).__name__, "lr")
        self.iter = 0

    def update(self, params: MutableMapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Take one step: change every array of `params` against its gradient.

        Raises
        ------
        ValueError
            If a parameter has no gradient, or one of another shape.
        """
        who = f"{type(self).__name__}.update"
        for name, value in (("params", params), ("grads", grads)):
            if not isinstance(value, Mapping):
                raise TypeError(
                    f"{who}: {name} must be a dict of arrays, such as {{'W1': ...}}, got "
                    f"{type(value).__name__}"
                )
        missing = [key for key in params if key not in grads]
        if missing:
            raise ValueError(f"{who}: no gradient for {', '.join(map(repr, missing))} in grads")
        self.iter += 1
        for key in params:
            old = as_array(params[key])
            p, g = as_floats(who, old, grads[key])
            if tuple(g.shape) != tuple(p.shape):
                raise ValueError(
                    f"{who}: parameter {key!r} has shape {tuple(p.shape)} but its gradient "
                    f"{tuple(g.shape)}"
                )
            new = self._new_value(_xp.namespace(p), key, p, g)
            params[key] = store(old, new) if _xp.is_floating(old) and old.ndim else new

    def _new_value(self, xp: ModuleType, key: str, p: Array, g: Array) -> Array:
        raise NotImplementedError

    def _slot(self, name: str, key: str, like: Array) -> Array:
        """Return what was remembered for a parameter, zeros at first."""
        table: Slots | None = getattr(self, name)
        if table is None:
            table = {}
            setattr(self, name, table)
        if key not in table:
            table[key] = _xp.namespace(like).zeros_like(like)
        return table[key]


class SGD(Optimizer):
    """Stochastic gradient descent: ``p -= lr * g``."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__(lr)

    def _new_value(self, xp: ModuleType, key: str, p: Array, g: Array) -> Array:
        return p - self.lr * g


class Momentum(Optimizer):
    """Gradient descent with momentum: ``v = momentum * v - lr * g; p += v``."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr)
        self.momentum = as_number(momentum, type(self).__name__, "momentum", 0.0, 1.0)
        self.v: Slots | None = None

    def _new_value(self, xp: ModuleType, key: str, p: Array, g: Array) -> Array:
        v = self.momentum * self._slot("v", key, p) - self.lr * g
        self.v[key] = v  # type: ignore[index]
        return p + v


class AdaGrad(Optimizer):
    """AdaGrad (Duchi et al., 2011): ``h += g * g; p -= lr * g / (sqrt(h) + 1e-7)``."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__(lr)
        self.h: Slots | None = None

    def _new_value(self, xp: ModuleType, key: str, p: Array, g: Array) -> Array:
        h = self._slot("h", key, p) + g * g
        self.h[key] = h  # type: ignore[index]
        return p - self.lr * g / (xp.sqrt(h) + 1e-7)


class RMSProp(Optimizer):
    """RMSProp (Hinton, 2012) with epsilon inside the root.

    ``h = rho * h + (1 - rho) * g * g; p -= lr * g / sqrt(h + 1e-6)``
    """

    def __init__(self, lr: float = 0.01, rho: float = 0.9) -> None:
        super().__init__(lr)
        self.rho = as_number(rho, type(self).__name__, "rho", 0.0, 1.0)
        self.epsilon = 1e-6
        self.h: Slots | None = None

    def _new_value(self, xp: ModuleType, key: str, p: Array, g: Array) -> Array:
        h = self.rho * self._slot("h", key, p) + (1.0 - self.rho) * g * g
        self.h[key] = h  # type: ignore[index]
        return p - self.lr * g / xp.sqrt(h + self.epsilon)


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012), which needs no learning rate.

    With ``h`` the moving average of ``g * g`` and ``r`` that of the squared steps before:
    ``step = -sqrt(r + 1e-6) / sqrt(h + 1e-6) * g; p += step``.
    """

    def __init__(self, rho: float = 0.95) -> None:
        super().__init__(lr=1.0)
        self.rho = as_number(rho, type(self).__name__, "rho", 0.0, 1.0)
        self.epsilon = 1e-6
        self.h: Slots | None = None
        self.r: Slots | None = None

    def _new_value(self, xp: ModuleType, key: str, p: Array, g: Array) -> Array:
        r = self._slot("r", key, p)
        h = self.rho * self._slot("h", key, p) + (1.0 - self.rho) * g * g
        step = -self.lr * xp.sqrt((r + self.epsilon) / (h + self.epsilon)) * g
        self.h[key] = h  # type: ignore[index]
        self.r[key] = self.rho * r + (1.0 - self.rho) * step * step  # type: ignore[index]
        return p + step


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015), with the bias correction in the learning rate.

    ``m += (1 - beta1) * (g - m); v += (1 - beta2) * (g * g - v)``, then
    ``p -= lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + 1e-7)`` in step t.
    """

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        super().__init__(lr)
        self.beta1 = as_number(beta1, type(self).__name__, "beta1", 0.0, 1.0)
        self.beta2 = as_number(beta2, type(self).__name__, "beta2", 0.0, 1.0)
        self.m: Slots | None = None
        self.v: Slots | None = None

    def _new_value(self, xp: ModuleType, key: str, p: Array, g: Array) -> Array:
        m, v = self._moments(key, p, g, self.beta1, self.beta2)
        correction = math.sqrt(1.0 - self.beta2**self.iter) / (1.0 - self.beta1**self.iter)
        return p - self.lr * correction * m / (xp.sqrt(v) + 1e-7)

    def _moments(
        self, key: str, p: Array, g: Array, decay1: float, decay2: float
    ) -> tuple[Array, Array]:
        m = decay1 * self._slot("m", key, p) + (1.0 - decay1) * g
        v = decay2 * self._slot("v", key, p) + (1.0 - decay2) * g * g
        self.m[key], self.v[key] = m, v  # type: ignore[index]
        return m, v


def make_optimizer(
    optimizer: Any,
    settings: Mapping[str, Any] | None,
    known: Mapping[str, type[Optimizer]],
    who: str,
) -> Any:
    """Return an optimizer from its name, its class, or itself."""
    if isinstance(optimizer, str):
        if optimizer.lower() not in known:
            raise choice_error(who, "optimizer", optimizer, tuple(known))
        optimizer = known[optimizer.lower()]
    if settings is not None and not isinstance(settings, Mapping):
        raise TypeError(
            f"{who}: optimizer_param must be a dict such as {{'lr': 0.001}}, got {settings!r}"
        )
    if isinstance(optimizer, type):
        return optimizer(**(settings or {}))
    if settings:
        raise ValueError(
            f"{who}: optimizer_param is for an optimizer given by its name or class; the "
            f"{type(optimizer).__name__} object has its settings already"
        )
    if not hasattr(optimizer, "update"):
        raise TypeError(
            f"{who}: optimizer must be one of {', '.join(map(repr, known))}, a class or an object "
            f"with update(params, grads); got {optimizer!r}"
        )
    return optimizer
