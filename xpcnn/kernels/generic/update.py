"""Updates of parameters that are worth a kernel of their own."""

from __future__ import annotations

from types import ModuleType

from xpcnn._xp import Array


def adam(
    xp: ModuleType,
    p: Array,
    g: Array,
    mean: Array | None,
    square: Array | None,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    step: int,
) -> tuple[tuple[Array, Array, Array], None]:
    """Make update number `step` of Adam; means that are not there yet count as zeros.

    Returns
    -------
    ((p, mean, square), None)
        The new values; there is no backward.
    """
    beta1, beta2 = betas
    mean = average(mean, g, beta1)
    square = average(square, g * g, beta2)
    size, eps = adam_numbers(lr, betas, eps, step)
    return (p - size * mean / (xp.sqrt(square) + eps), mean, square), None


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
