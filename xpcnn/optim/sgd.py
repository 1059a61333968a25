"""Stochastic gradient descent, plain, with momentum, and with Nesterov's look-ahead."""

from __future__ import annotations

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.optim.optimizer import Optimizer, Task
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

    def _update_all(self, tasks: list[Task], lr: float) -> list[Array]:
        return self._update_by(tasks, lr, None)

    def _numbers(self, lr: float, step: int) -> tuple[float, ...]:
        return (lr,)

    def _update_by(self, tasks: list[Task], lr: float, numbers: Array | None) -> list[Array]:
        if not tasks:
            return []
        result = kernels.run(
            _xp.namespace(*(task.p for task in tasks)), "sgd", [task.p for task in tasks],
            [task.g for task in tasks], [task.slots.get("momentum_buffer") for task in tasks], lr,
            self.momentum, self.dampening, self.nesterov, self.weight_decay,
            numbers=numbers,
        )  # fmt: skip
        assert result is not None, "the generic kernels have sgd"
        values, buffers = result[0]
        for task, buffer in zip(tasks, buffers, strict=True):
            if buffer is not None:
                task.slots["momentum_buffer"] = buffer
        return list(values)
