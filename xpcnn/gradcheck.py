"""Compare gradients that a layer or loss computes with differences of its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._checked import Arrays, NetworkSubject, ObjectSubject, Subject, as_tuple, object_subject
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.losses import Loss
from xpcnn.training.network import PlacedNetwork

__all__ = ["gradcheck"]

DIRECTIONS = 3
STEPS = (1.0, 0.1, 0.03)
"""Shares of eps that are tried in turn: a kink is met by chance, and less often by less."""


def gradcheck(
    module: Any,
    x: Any,
    target: Any = None,
    *,
    training: bool = True,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    seed: int = 0,
    verbose: bool = False,
    **options: Any,
) -> bool:
    """Check every gradient of a layer or loss in a few random directions.

    For a direction u and a random weighting r of the outputs, the derivative
    ``sum(gradient * u)`` is compared with ``sum(r * (f(x + eps u) - f(x - eps u))) / (2 eps)``.
    Random numbers are held, and whatever is checked is left as it was found.

    Parameters
    ----------
    module : Layer, Loss, Model of float64, or an object of your own class
        Of your own class ``forward(x)`` and ``backward(dout)`` are called, or ``forward(x, t)``
        and ``backward()`` for a loss; see the notes.
    x : array, tuple of arrays, or dict of arrays for a graph
        Input (prediction, for a loss) of float64, on any device; a tuple for a module that takes
        several. An input of integers, such as the indices of an embedding, has no gradient. At a
        kink, such as 0 for ReLU, there is no derivative to compare with.
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
    verbose : bool
        Whether to print a line for each gradient: its name and what was compared.
    **options
        Passed on to the loss's forward, such as ``sample_weight``.

    Returns
    -------
    bool
        ``True``.

    Raises
    ------
    ValueError
        If gradients differ; the message says which and by how much.
    TypeError
        If `x` or a parameter of a layer is not of float64, or `module` has no forward and
        backward.

    Notes
    -----
    Of an object of your own, the parameters are the arrays that have a gradient beside them after
    ``backward``: ``W`` and ``dW``, ``gamma`` and ``dgamma``, ``W`` and ``W_grad``, or entries of
    ``params`` and ``grads`` of the same key or place. Layers that it holds are looked through as
    well. Only copies of the object are run; in these, parameters are of float64. A network with
    ``params``, ``loss(x, t)`` and ``gradient(x, t)`` is checked in its parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import Linear
    >>> gradcheck(Linear(3, 2), np.array([[0.5, -1.0, 2.0]]))
    True

    A class of one's own, with a gradient twice too large:

    >>> class Scale:
    ...     def __init__(self, W):
    ...         self.W, self.dW = W, None
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * self.W
    ...     def backward(self, dout):
    ...         self.dW = 2 * (dout * self.x).sum(axis=0)
    ...         return dout * self.W
    >>> gradcheck(Scale(np.array([2.0, 3.0])), np.array([[0.5, -1.0]]))
    Traceback (most recent call last):
    ...
    ValueError: gradcheck: Scale: the gradient of W is wrong: in a random direction it gives ...,
    differences give ... (off by ..., allowed ...); it is 2 times what differences give; right: x
    """
    if isinstance(module, type):
        raise TypeError(
            f"gradcheck: got the class {module.__name__}; make an object of it first, such as "
            f"{module.__name__}(...)"
        )
    if isinstance(x, Mapping) and isinstance(module, Graph):
        names, inputs = tuple(module.inputs), tuple(module.arrange((), x))
    else:
        inputs = tuple(x) if isinstance(x, (tuple, list)) and len(x) and _all_arrays(x) else (x,)
        names = ("x",) if len(inputs) == 1 else tuple(f"x[{i}]" for i in range(len(inputs)))
    for name, array in zip(names, inputs, strict=True):
        if not _is_integers(array):
            _float64(array, name)
    random = np.random.get_state()
    subject: Subject | None = None
    try:
        subject = _subject(module, inputs, target, training, options)
        _compare(subject, names, inputs, np.random.default_rng(seed), eps, rtol, verbose)
    finally:
        np.random.set_state(random)
        if subject is not None:
            subject.restore()
    return True


def _subject(
    module: Any, inputs: Arrays, target: Any, training: bool, options: dict[str, Any]
) -> Subject:
    if isinstance(module, Loss):
        if target is None:
            raise ValueError(f"gradcheck: {type(module).__name__} needs a target")
        return _LossSubject(module, target, options)
    network = module.network if isinstance(module, PlacedNetwork) else module
    if isinstance(network, Layer):
        if target is not None or options:
            raise TypeError("gradcheck: target and further options are for losses only")
        if network is not module and not network.is_built:
            raise ValueError("gradcheck: the model is not built yet; call model.build first")
        return _LayerSubject(network, training)
    return object_subject(module, inputs, target, training, options)


def _all_arrays(values: Sequence[Any]) -> bool:
    return all(hasattr(value, "ndim") and _xp.is_array(value) for value in values)


def _is_integers(x: Any) -> bool:
    return _xp.is_array(x) and _xp.dtype_name(x).startswith(("int", "uint", "bool"))


def _float64(x: Any, what: str) -> Array:
    if _xp.is_array(x) and _xp.dtype_name(x) == "float64":
        return x
    got = _xp.dtype_name(x) if _xp.is_array(x) else type(x).__name__
    raise TypeError(
        f"gradcheck: {what} must be an array of float64, because differences of float32 are too "
        f"coarse; got {got}"
    )


class _LossSubject(Subject):
    def __init__(self, loss: Loss, target: Array, options: dict[str, Any]) -> None:
        self.loss, self.target, self.options = loss, target, options
        self.name = type(loss).__name__

    def forward(self, inputs: Arrays) -> Arrays:
        prediction = inputs[0] if len(inputs) == 1 else inputs
        return (self.loss.forward(prediction, self.target, **self.options),)

    def gradients(self, inputs: Arrays, dys: Arrays) -> tuple[Arrays, dict[str, Any]]:
        self.forward(inputs)
        return as_tuple(self.loss.backward(dys[0])), {}


class _LayerSubject(Subject):
    def __init__(self, layer: Layer, training: bool) -> None:
        self.layer, self.training = layer, training
        self.name = layer.who
        self.undo: list[Callable[[], None]] = []

    def forward(self, inputs: Arrays) -> Arrays:
        if not self.undo:
            self._remember(inputs)
        self.restore()
        return as_tuple(self.layer.forward(*inputs, training=self.training))

    def _remember(self, inputs: Arrays) -> None:
        """Build the layer, and note how to put back its buffers, gradients and counters."""
        if not self.layer.is_built:
            shapes: Any = [tuple(x.shape) for x in inputs]
            device = Device.of(inputs[0])
            self.layer.build(
                shapes if len(shapes) > 1 else shapes[0], device=device, dtype="float64"
            )
        for tensor in self.layer.buffers().values():
            self.undo.append(_setter(tensor, "data", tensor.data))
        for name, parameter in self.layer.parameters().items():
            _float64(parameter.data, name)
            self.undo.append(_setter(parameter, "grad", parameter.grad))
        for _, inner in self.layer.layers_within():
            if hasattr(inner, "step"):  # what dropout draws its masks from
                self.undo.append(_setter(inner, "step", inner.step))
        self.undo.append(lambda: None)

    def gradients(self, inputs: Arrays, dys: Arrays) -> tuple[Arrays, dict[str, Any]]:
        self.forward(inputs)
        self.layer.zero_grad()
        found = as_tuple(self.layer.backward(*dys))
        trained = {n: p for n, p in self.layer.parameters().items() if p.requires_grad}
        return found, {name: p.grad for name, p in trained.items()}

    def value(self, name: str) -> Array:
        return self.layer.parameters()[name].data

    def at(self, name: str, value: Array, inputs: Arrays) -> Arrays:
        parameter = self.layer.parameters()[name]
        own = parameter.data
        parameter.data = value
        try:
            return self.forward(inputs)
        finally:
            parameter.data = own

    def restore(self) -> None:
        for step in self.undo:
            step()


def _setter(obj: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(obj, name, value)


# -- The comparison ----------------------------------------------------------------------------


def _compare(
    subject: Subject,
    names: tuple[str, ...],
    inputs: Arrays,
    generator: np.random.Generator,
    eps: float,
    rtol: float,
    verbose: bool,
) -> None:
    """Raise if gradients differ, and say which."""
    device = Device.of(inputs[0])
    ys = [_host(y) for y in subject.forward(inputs)]
    weightings = [subject.weighting(generator, y) for y in ys]
    of_inputs, of_parameters = subject.gradients(
        inputs, tuple(device.asarray(weighting) for weighting in weightings)
    )
    # Rounding of the outputs, about 1e-16 of their size, is divided by the step.
    size = sum(float(np.linalg.norm(y * w)) for y, w in zip(ys, weightings, strict=True))

    def functional(outputs: Arrays) -> list[np.ndarray]:
        return [w * _host(y) for y, w in zip(outputs, weightings, strict=True)]

    problems: list[str] = []
    right: list[str] = []

    def check(name: str, value: Array, gradient: Any, at: Callable[[Array], Arrays]) -> None:
        claimed = np.zeros(value.shape) if gradient is None else _host(gradient)
        if claimed.shape != tuple(value.shape):
            problems.append(
                f"the gradient of {name} has shape {claimed.shape}, expected {tuple(value.shape)}"
            )
            return
        length, where = float(np.linalg.norm(claimed)), Device.of(value)
        found = []
        for _ in range(DIRECTIONS):
            u = generator.normal(size=claimed.shape)
            got = float(np.sum(claimed * u))
            for step in (eps * share for share in STEPS):
                move = where.asarray(step * u)
                above, below = functional(at(value + move)), functional(at(value - move))
                total = sum(float(np.sum(a - b)) for a, b in zip(above, below, strict=True))
                expected, allowed = total / (2.0 * step), rtol * length + 1e-14 / step * size
                if abs(got - expected) <= allowed:
                    break
            found.append((got, expected, allowed))
        got, expected, allowed = max(found, key=lambda numbers: _excess(*numbers))
        if verbose:
            print(f"{subject.name}: {name}: backward {got:.9g}, differences {expected:.9g}")
        if abs(got - expected) <= allowed:
            right.append(name)
            return
        problems.append(
            f"the gradient of {name} is wrong: in a random direction it gives {got:.9g}, "
            f"differences give {expected:.9g} (off by {abs(got - expected):.2g}, allowed "
            f"{allowed:.2g}){_multiple(found)}"
        )

    if len(of_inputs) != len(inputs) and not isinstance(subject, NetworkSubject):
        raise ValueError(
            f"gradcheck: {subject.name}: backward returned {len(of_inputs)} gradients for "
            f"{len(inputs)} inputs"
        )
    for i, (name, x) in enumerate(zip(names, inputs, strict=True)):
        if not of_inputs:
            break
        if _is_integers(x):
            if of_inputs[i] is not None:
                raise TypeError(
                    f"gradcheck: {name} holds integers but has a gradient; give it as float64, "
                    f"e.g. {name}.astype('float64')"
                )
            continue
        if of_inputs[i] is None and isinstance(subject, ObjectSubject):
            raise ValueError(
                f"gradcheck: {subject.name}: backward returned None, expected the gradient of "
                f"{name}"
            )

        def with_input(value: Array, i: int = i) -> Arrays:
            return subject.forward((*inputs[:i], value, *inputs[i + 1 :]))

        check(name, x, of_inputs[i], with_input)
    for name, gradient in of_parameters.items():

        def with_parameter(value: Array, name: str = name) -> Arrays:
            return subject.at(name, value, inputs)

        check(name, subject.value(name), gradient, with_parameter)
    if not problems and not right:
        raise ValueError(f"gradcheck: {subject.name}: there is nothing that has a gradient")
    if problems:
        others = f"; right: {', '.join(right)}" if right else ""
        raise ValueError(f"gradcheck: {subject.name}: {'; '.join(problems)}{others}")


def _excess(got: float, expected: float, allowed: float) -> float:
    """Return by how much a difference is more than allowed; NaN is infinitely far off."""
    excess = abs(got - expected) - allowed
    return math.inf if math.isnan(excess) else excess


def _host(y: Any) -> np.ndarray:
    return _xp.to_numpy(y) if _xp.is_array(y) else np.asarray(y)


def _multiple(found: list[tuple[float, float, float]]) -> str:
    """Say so if the gradient is the right one times a number: a sign or a mean forgotten."""
    if any(expected == 0.0 or got == 0.0 for got, expected, _ in found):
        return ""
    ratios = [got / expected for got, expected, _ in found]
    if not max(ratios) - min(ratios) <= 1e-4 * abs(ratios[0]):
        return ""
    return f"; it is {ratios[0]:.5g} times what differences give"
