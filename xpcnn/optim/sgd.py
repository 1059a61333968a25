"""Stochastic gradient descent, plain, with momentum, and with Nesterov's look-ahead."""

from __future__ import annotations

from types import ModuleType

from xpcnn._xp import Array
from xpcnn.optim.optimizer import Optimizer
from xpcnn.optim.schedules import Schedule


class SGD(Optimizer):
    """``p -= lr * b`` with ``b = momentum * b + (1 - dampening) * gradient``.

    Parameters
    ----------
    lr : float
        Learning rate.
    momentum : float
        Share of the last direction that is kept; 0 is plain gradient descent.
    dampening : float
        Reduces the share of the new gradient, except in the first update.
    weight_decay : float
        L2 penalty.
    nesterov : bool
        Takes the gradient one step ahead (Sutskever et al., 2013); needs momentum and no
        dampening.
    clip_norm, clip_value, schedule
        See :class:`Optimizer`.

    Examples
    --------
    >>> from xpcnn.optim import SGD, StepLR
    >>> SGD(0.1, momentum=0.9, schedule=StepLR(30))
    SGD(lr=0.1, momentum=0.9, schedule=StepLR(step_size=30))
    """

    _slots = ("momentum_buffer",)

    def __init__(
        self,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(
            lr,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
            schedule=schedule,
        )
        self.momentum = self._number("momentum", momentum)
        self.dampening = self._number("dampening", dampening)
        self.nesterov = bool(nesterov)
        if self.nesterov and (self.momentum == 0.0 or self.dampening != 0.0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and no dampening, got "
                f"momentum={momentum!r}, dampening={dampening!r}"
            )

    def _update(
        self, xp: ModuleType, p: Array, g: Array, slots: dict[str, Array], lr: float, step: int
    ) -> Array:
        if self.momentum:
            buffer = slots.get("momentum_buffer")
            if buffer is None:
                buffer = xp.asarray(g, copy=True)  # whoever made the gradient may use it again
            else:
                buffer = self.momentum * buffer + (1.0 - self.dampening) * g
            slots["momentum_buffer"] = buffer
            g = g + self.momentum * buffer if self.nesterov else buffer
        return p - lr * g
