"""Compare gradients that a layer or loss computes with differences of its outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.layers.layer import Layer
from xpcnn.losses import Loss

__all__ = ["gradcheck"]

DIRECTIONS = 3


def gradcheck(
    module: Layer | Loss,
    x: Array,
    target: Array | None = None,
    *,
    training: bool = True,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    seed: int = 0,
    **options: Any,
) -> bool:
    """Check every gradient of a layer or loss in a few random directions.

    For a direction u and a random weighting r of the outputs, the derivative
    ``sum(gradient * u)`` is compared with ``sum(r * (f(x + eps u) - f(x - eps u))) / (2 eps)``.
    Random numbers of a layer are held, and its state is left as it was found.

    Parameters
    ----------
    module : Layer or Loss
    x : array
        Input (prediction, for a loss) of float64, on any device. At a kink, such as 0 for ReLU,
        there is no derivative to compare with.
    target : array, optional
        For a loss.
    training : bool
        Passed on to the layer's forward.
    eps : float
        Length of the step to either side.
    rtol : float
        Largest difference, as a share of the length of the gradient.
    seed : int
        Of the directions.
    **options
        Passed on to the loss's forward, such as ``sample_weight``.

    Returns
    -------
    bool
        ``True``.

    Raises
    ------
    ValueError
        If a gradient differs; the message says which and by how much.
    TypeError
        If `x` or a parameter is not of float64.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import Linear
    >>> gradcheck(Linear(3, 2), np.array([[0.5, -1.0, 2.0]]))
    True
    """
    x = _float64(x, "x")
    if isinstance(module, Loss):
        if target is None:
            raise ValueError(f"gradcheck: {type(module).__name__} needs a target")
        subject: _Subject = _LossSubject(module, target, options)
    else:
        if target is not None or options:
            raise TypeError("gradcheck: target and further options are for losses only")
        subject = _LayerSubject(module, training)
    generator = np.random.default_rng(seed)
    try:
        _compare(subject, x, generator, eps, rtol)
    finally:
        subject.restore()
    return True


def _float64(x: Array, what: str) -> Array:
    if _xp.is_array(x) and _xp.dtype_name(x) == "float64":
        return x
    got = _xp.dtype_name(x) if _xp.is_array(x) else type(x).__name__
    raise TypeError(
        f"gradcheck: {what} must be an array of float64, because differences of float32 are too "
        f"coarse; got {got}"
    )


class _Subject:
    """What is checked: a function of named arrays, and the gradients it claims."""

    name: str

    def forward(self, x: Array) -> Array:
        """Compute the output from the same state every time."""
        raise NotImplementedError

    def gradients(self, x: Array, dy: Array) -> dict[str, Array | None]:
        """Run forward and backward; return the gradients by name, the input's as "x"."""
        raise NotImplementedError

    def value(self, name: str, x: Array) -> Array:
        """Return the array with that name."""
        return x

    def at(self, name: str, x: Array, value: Array) -> Array:
        """Compute the output with one array replaced."""
        return self.forward(value)

    def restore(self) -> None:
        """Put the state back."""


class _LossSubject(_Subject):
    def __init__(self, loss: Loss, target: Array, options: dict[str, Any]) -> None:
        self.loss, self.target, self.options = loss, target, options
        self.name = type(loss).__name__

    def forward(self, x: Array) -> Array:
        return self.loss.forward(x, self.target, **self.options)

    def gradients(self, x: Array, dy: Array) -> dict[str, Array | None]:
        self.forward(x)
        return {"x": self.loss.backward(dy)}


class _LayerSubject(_Subject):
    def __init__(self, layer: Layer, training: bool) -> None:
        self.layer, self.training = layer, training
        self.name = layer.who
        self.undo: list[Callable[[], None]] = []

    def forward(self, x: Array) -> Array:
        if not self.undo:
            self._remember(x)
        self.restore()
        return self.layer.forward(x, training=self.training)

    def _remember(self, x: Array) -> None:
        """Build the layer, and note how to put back its buffers, gradients and counters."""
        if not self.layer.is_built:
            self.layer.build(tuple(x.shape), device=Device.of(x), dtype="float64")
        for tensor in self.layer.buffers().values():
            self.undo.append(_setter(tensor, "data", tensor.data))
        for name, parameter in self.layer.parameters().items():
            _float64(parameter.data, name)
            self.undo.append(_setter(parameter, "grad", parameter.grad))
        for _, inner in self.layer.layers_within():
            if hasattr(inner, "step"):  # what dropout draws its masks from
                self.undo.append(_setter(inner, "step", inner.step))
        self.undo.append(lambda: None)

    def gradients(self, x: Array, dy: Array) -> dict[str, Array | None]:
        self.forward(x)
        self.layer.zero_grad()
        found: dict[str, Array | None] = {"x": self.layer.backward(dy)}
        return found | {name: p.grad for name, p in self.layer.parameters().items()}

    def value(self, name: str, x: Array) -> Array:
        return x if name == "x" else self.layer.parameters()[name].data

    def at(self, name: str, x: Array, value: Array) -> Array:
        if name == "x":
            return self.forward(value)
        parameter = self.layer.parameters()[name]
        own = parameter.data
        parameter.data = value
        try:
            return self.forward(x)
        finally:
            parameter.data = own

    def restore(self) -> None:
        for step in self.undo:
            step()


def _setter(obj: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(obj, name, value)


def _compare(
    subject: _Subject, x: Array, generator: np.random.Generator, eps: float, rtol: float
) -> None:
    """Raise for the first gradient that differs."""
    device = Device.of(x)
    y = _xp.to_numpy(subject.forward(x))
    weighting = generator.normal(size=y.shape)
    gradients = subject.gradients(x, device.asarray(weighting))
    # Rounding of the outputs, about 1e-16 of their size, is divided by eps.
    noise = 1e-14 / eps * float(np.linalg.norm(y * weighting))
    for name, gradient in gradients.items():
        value = subject.value(name, x)
        claimed = np.zeros(value.shape) if gradient is None else _xp.to_numpy(gradient)
        if claimed.shape != tuple(value.shape):
            raise ValueError(
                f"gradcheck: {subject.name}: the gradient of {name} has shape {claimed.shape}, "
                f"expected {tuple(value.shape)}"
            )
        allowed = rtol * float(np.linalg.norm(claimed)) + noise
        for _ in range(DIRECTIONS):
            u = generator.normal(size=claimed.shape)
            step = device.asarray(eps * u)
            above = _xp.to_numpy(subject.at(name, x, value + step))
            below = _xp.to_numpy(subject.at(name, x, value - step))
            expected = float(np.sum(weighting * (above - below))) / (2.0 * eps)
            got = float(np.sum(claimed * u))
            if not abs(got - expected) <= allowed:
                raise ValueError(
                    f"gradcheck: {subject.name}: the gradient of {name} is wrong: in a random "
                    f"direction it gives {got:.9g}, differences give {expected:.9g} "
                    f"(off by {abs(got - expected):.2g}, allowed {allowed:.2g})"
                )
