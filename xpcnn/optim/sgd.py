"""Stochastic gradient descent, plain, with momentum, and with Nesterov's look-ahead."""

from __future__ import annotations

from typing import Unpack

from xpcnn._xp import Array
from xpcnn.optim.optimizer import Common, Optimizer, Task, update_together
from xpcnn.window import as_flag


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
    clip_norm, clip_value, schedule, groups
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
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, **common)
        self.momentum = self._number("momentum", momentum)
        self.dampening = self._number("dampening", dampening)
        self.nesterov = as_flag(nesterov, "SGD", "nesterov")
        if self.nesterov and (self.momentum == 0.0 or self.dampening != 0.0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and no dampening, got "
                f"momentum={momentum!r}, dampening={dampening!r}"
            )

    def _numbers(self, lr: float, step: int) -> tuple[float, ...]:
        return (lr,)

    def _update_all(self, tasks: list[Task], lr: float, numbers: Array = None) -> list[Array]:
        settings = (lr, self.momentum, self.dampening, self.nesterov, self.weight_decay)
        return update_together("sgd", tasks, self._slots, *settings, numbers=numbers)
