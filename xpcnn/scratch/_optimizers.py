"""The courses' optimizers: ``update(params, grads)`` on dicts of arrays of the same keys.

New values are written into the arrays of `params` where the library can write, so layers that
hold those arrays see them; otherwise the entries of the dict are replaced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from types import ModuleType
from typing import Any, ClassVar

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.scratch._shared import CourseClass, as_array, as_floats, as_number, store


class Optimizer(CourseClass):
    """What all have in common: checks, one step per parameter, and per-parameter memory."""

    slots: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold an array for each parameter: dicts, or None before the first update."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = as_number(lr, type(self).__name__, "lr")
        self.iter = 0
        for name in self.slots:
            setattr(self, name, None)

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
            kept = [self._slot(name, key, p) for name in self.slots]
            new, *kept = self._new_values(_xp.namespace(p), p, g, *kept)
            for name, array in zip(self.slots, kept, strict=True):
                getattr(self, name)[key] = array
            params[key] = store(old, new) if _xp.is_floating(old) and old.ndim else new

    def _new_values(self, xp: ModuleType, p: Array, g: Array, *kept: Array) -> tuple[Array, ...]:
        """Return the new parameter, and the new arrays of the slots."""
        raise NotImplementedError

    def _slot(self, name: str, key: str, like: Array) -> Array:
        """Return what is kept for a parameter; zeros at first."""
        if getattr(self, name) is None:
            setattr(self, name, {})
        kept: dict[str, Array] = getattr(self, name)
        return kept[key] if key in kept else _xp.namespace(like).zeros_like(like)


class SGD(Optimizer):
    """Stochastic gradient descent: ``p -= lr * g``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import SGD
    >>> optimizer = SGD(lr=0.1)
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # 1 - 0.1 * 2
    array([0.8])
    """

    def _new_values(self, xp: ModuleType, p: Array, g: Array, *kept: Array) -> tuple[Array, ...]:
        return (p - self.lr * g,)


class Momentum(Optimizer):
    """Gradient descent with momentum: ``v = momentum * v - lr * g; p += v``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import Momentum
    >>> optimizer = Momentum(lr=0.1, momentum=0.5)
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # v = -0.1 * 2
    array([0.8])
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # v = 0.5 * -0.2 - 0.1 * 2
    array([0.5])
    """

    slots = ("v",)

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr)
        self.momentum = as_number(momentum, type(self).__name__, "momentum", 0.0, 1.0)

    def _new_values(self, xp: ModuleType, p: Array, g: Array, *kept: Array) -> tuple[Array, ...]:
        (v,) = kept
        v = self.momentum * v - self.lr * g
        return p + v, v


class AdaGrad(Optimizer):
    """AdaGrad (Duchi et al., 2011): ``h += g * g; p -= lr * g / (sqrt(h) + 1e-7)``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import AdaGrad
    >>> optimizer = AdaGrad(lr=0.1)
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # 1 - 0.1 * 2 / sqrt(4)
    array([0.9])
    """

    slots = ("h",)

    def _new_values(self, xp: ModuleType, p: Array, g: Array, *kept: Array) -> tuple[Array, ...]:
        (h,) = kept
        h = h + g * g
        return p - self.lr * g / (xp.sqrt(h) + 1e-7), h


class RMSProp(Optimizer):
    """RMSProp (Hinton, 2012) with epsilon inside the root.

    ``h = rho * h + (1 - rho) * g * g; p -= lr * g / sqrt(h + 1e-6)``

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import RMSProp
    >>> optimizer = RMSProp(lr=0.1, rho=0.75)
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # 1 - 0.1 * 2 / sqrt(0.25 * 4)
    array([0.8])
    """

    slots = ("h",)

    def __init__(self, lr: float = 0.01, rho: float = 0.9) -> None:
        super().__init__(lr)
        self.rho = as_number(rho, type(self).__name__, "rho", 0.0, 1.0)
        self.epsilon = 1e-6

    def _new_values(self, xp: ModuleType, p: Array, g: Array, *kept: Array) -> tuple[Array, ...]:
        (h,) = kept
        h = self.rho * h + (1.0 - self.rho) * g * g
        return p - self.lr * g / xp.sqrt(h + self.epsilon), h


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012), which needs no learning rate.

    With ``h`` the moving average of ``g * g`` and ``r`` that of the squared steps before:
    ``step = -sqrt(r + 1e-6) / sqrt(h + 1e-6) * g; p += step``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import Adadelta
    >>> optimizer = Adadelta(rho=0.75)
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # 1 - sqrt(1e-6) / sqrt(0.25 * 4 + 1e-6) * 2
    array([0.998])
    """

    slots = ("h", "r")

    def __init__(self, rho: float = 0.95) -> None:
        super().__init__(lr=1.0)
        self.rho = as_number(rho, type(self).__name__, "rho", 0.0, 1.0)
        self.epsilon = 1e-6

    def _new_values(self, xp: ModuleType, p: Array, g: Array, *kept: Array) -> tuple[Array, ...]:
        h, r = kept
        h = self.rho * h + (1.0 - self.rho) * g * g
        step = -self.lr * xp.sqrt((r + self.epsilon) / (h + self.epsilon)) * g
        return p + step, h, self.rho * r + (1.0 - self.rho) * step * step


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015), with the bias correction in the learning rate.

    ``m += (1 - beta1) * (g - m); v += (1 - beta2) * (g * g - v)``, then
    ``p -= lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + 1e-7)`` in step t.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.simple_conv_net import Adam
    >>> optimizer = Adam(lr=0.1)
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> optimizer.update(params, grads)
    >>> params["W"].round(4)  # the first step is lr, whatever the gradient
    array([0.9])
    """

    slots = ("m", "v")

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        super().__init__(lr)
        self.beta1 = as_number(beta1, type(self).__name__, "beta1", 0.0, 1.0)
        self.beta2 = as_number(beta2, type(self).__name__, "beta2", 0.0, 1.0)

    def _new_values(self, xp: ModuleType, p: Array, g: Array, *kept: Array) -> tuple[Array, ...]:
        m, v = kept
        m = self.beta1 * m + (1.0 - self.beta1) * g
        v = self.beta2 * v + (1.0 - self.beta2) * g * g
        correction = math.sqrt(1.0 - self.beta2**self.iter) / (1.0 - self.beta1**self.iter)
        return p - self.lr * correction * m / (xp.sqrt(v) + 1e-7), m, v


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
