"""Updates of parameters that are worth a kernel of their own."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Op


def adam(
    xp: ModuleType,
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    means: Sequence[Array | None],
    squares: Sequence[Array | None],
    steps: Sequence[int],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    decay: tuple[float, float],
    numbers: Array | None = None,
) -> tuple[tuple[list[Array], list[Array], list[Array]], None]:
    """Make one update of Adam to every parameter; means that are not there yet count as zeros.

    Parameters
    ----------
    steps : sequence of int
        Number of the update, from 1, of each parameter.
    decay : (float, float)
        What of a parameter is added to its gradient, and what share of it is taken away.
    numbers : array of shape (3,), optional
        On the device, in the place of all that follows from `steps` and `lr`: the two of
        :func:`adam_numbers`, and the share of a parameter that is kept.

    Returns
    -------
    ((parameters, means, squares), None)
        The new values; there is no backward.
    """
    new: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
    for p, g, mean, square, step in zip(parameters, gradients, means, squares, steps, strict=True):
        g = g + decay[0] * p if decay[0] else g
        size, small = (
            adam_numbers(lr, betas, eps, step) if numbers is None else (numbers[0], numbers[1])
        )
        if decay[1]:
            p = (1.0 - decay[1] if numbers is None else numbers[2]) * p
        mean = average(mean, g, betas[0])
        square = average(square, g * g, betas[1])
        values = p - size * mean / (xp.sqrt(square) + small), mean, square
        for row, value in zip(new, values, strict=True):
            row.append(value)
    return new, None


def sgd(
    xp: ModuleType,
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    buffers: Sequence[Array | None],
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    decay: float,
    numbers: Array | None = None,
) -> tuple[tuple[list[Array], list[Array | None]], None]:
    """Make one update of gradient descent to every parameter; a first gradient fills its buffer.

    Parameters
    ----------
    numbers : array of shape (1,), optional
        The learning rate on the device, in the place of `lr`.

    Returns
    -------
    ((parameters, buffers), None)
        The new values; without momentum the buffers are ``None``.
    """
    new_parameters, new_buffers = [], []
    for p, g, buffer in zip(parameters, gradients, buffers, strict=True):
        g = g + decay * p if decay else g
        if momentum:
            if buffer is None:
                buffer = xp.asarray(g, copy=True)  # whoever made the gradient may use it again
            else:
                buffer = momentum * buffer + (1.0 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        new_parameters.append(p - (lr if numbers is None else numbers[0]) * g)
        new_buffers.append(buffer)
    return (new_parameters, new_buffers), None


def adam_numbers(
    lr: float, betas: tuple[float, float], eps: float, step: int
) -> tuple[float, float]:
    """Return step size and epsilon with the corrections for the start at zero.

    The corrections are numbers, so they are applied to numbers, not to arrays:
    ``m / c1 / (sqrt(v) / c2 + eps) = (c2 / c1) * m / (sqrt(v) + c2 * eps)``.
    """
    correction1, correction2 = 1.0 - betas[0] ** step, (1.0 - betas[1] ** step) ** 0.5
    return lr * correction2 / correction1, correction2 * eps


def average(old: Array | None, new: Array, keep: float) -> Array:
    """Return ``keep * old + (1 - keep) * new``; an `old` that is not there counts as zeros."""
    new = (1.0 - keep) * new
    return new if old is None else keep * old + new


def no_backward() -> None:
    """Stand in for the backward of an update, which has none."""


ADAM = Op("adam", adam, no_backward)
SGD = Op("sgd", sgd, no_backward)
