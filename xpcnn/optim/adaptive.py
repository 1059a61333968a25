"""Optimizers that give every element its own step from the size of its past gradients.

A slot that would start as zeros is written from the first gradient directly.
"""

from __future__ import annotations

from types import ModuleType
from typing import Unpack

from xpcnn._xp import Array
from xpcnn.ops.update import adam_numbers, average
from xpcnn.optim.optimizer import Common, Optimizer, Task, update_together
from xpcnn.window import as_flag


class Adagrad(Optimizer):
    """``p -= lr * g / (sqrt(sum of g^2) + eps)`` (Duchi et al., 2011).

    Parameters
    ----------
    lr : float
        Learning rate.
    lr_decay : float
        Divides the learning rate of update t (from 0) by ``1 + t * lr_decay``.
    weight_decay : float
        L2 penalty.
    initial_accumulator_value : float
        Where the sum of squares starts.
    eps : float
        Keeps the division finite.
    clip_norm, clip_value, schedule, groups
        See :class:`Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> p = xpcnn.Parameter((1,), xpcnn.initializers.ones())
    >>> p.data, p.grad = np.array([1.0]), np.array([0.5])
    >>> optimizer = xpcnn.optim.Adagrad(lr=0.1)
    >>> for update in range(2):
    ...     optimizer.step({"p": p})
    >>> p.data.round(4).tolist()  # 1 - 0.1 - 0.1 / sqrt(2)
    [0.8293]
    """

    _slots = ("sum",)

    def __init__(
        self,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, **common)
        self.lr_decay = self._number("lr_decay", lr_decay)
        self.initial_accumulator_value = self._number(
            "initial_accumulator_value", initial_accumulator_value
        )
        self.eps = self._number("eps", eps)

    def _update(
        self, xp: ModuleType, p: Array, g: Array, slots: dict[str, Array], lr: float, step: int
    ) -> Array:
        total = g * g + slots.get("sum", self.initial_accumulator_value)
        slots["sum"] = total
        lr = lr / (1.0 + (step - 1) * self.lr_decay)
        return p - lr * g / (xp.sqrt(total) + self.eps)


class RMSprop(Optimizer):
    """``p -= lr * g / (sqrt(mean of g^2) + eps)`` with a running mean (Hinton, 2012).

    Parameters
    ----------
    lr : float
        Learning rate.
    alpha : float
        Share of the running means that is kept in each update.
    eps : float
        Keeps the division finite.
    weight_decay : float
        L2 penalty.
    momentum : float
        Share of the last direction that is kept.
    centered : bool
        Divides by the standard deviation of the gradient (Graves, 2013).
    clip_norm, clip_value, schedule, groups
        See :class:`Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> p = xpcnn.Parameter((1,), xpcnn.initializers.ones())
    >>> p.data, p.grad = np.array([1.0]), np.array([0.5])
    >>> xpcnn.optim.RMSprop(lr=0.01).step({"p": p})  # the running mean is 0.01 * 0.5^2
    >>> p.data.round(4).tolist()  # 1 - 0.01 / sqrt(0.01)
    [0.9]
    """

    _slots = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, **common)
        self.alpha = self._number("alpha", alpha)
        self.eps = self._number("eps", eps)
        self.momentum = self._number("momentum", momentum)
        self.centered = as_flag(centered, "RMSprop", "centered")

    def _update(
        self, xp: ModuleType, p: Array, g: Array, slots: dict[str, Array], lr: float, step: int
    ) -> Array:
        square = slots["square_avg"] = average(slots.get("square_avg"), g * g, self.alpha)
        if self.centered:
            mean = slots["grad_avg"] = average(slots.get("grad_avg"), g, self.alpha)
            square = square - mean * mean
        direction = g / (xp.sqrt(square) + self.eps)
        if self.momentum:
            if "momentum_buffer" in slots:
                direction = self.momentum * slots["momentum_buffer"] + direction
            slots["momentum_buffer"] = direction
        return p - lr * direction


class Adadelta(Optimizer):
    """Steps in proportion to the size of past steps over that of past gradients (Zeiler, 2012).

    Parameters
    ----------
    lr : float
        Factor on the step.
    rho : float
        Share of the running means that is kept in each update.
    eps : float
        Keeps the division finite and the first steps above zero.
    weight_decay : float
        L2 penalty.
    clip_norm, clip_value, schedule, groups
        See :class:`Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> p = xpcnn.Parameter((1,), xpcnn.initializers.ones())
    >>> p.data, p.grad = np.array([1.0]), np.array([0.5])
    >>> xpcnn.optim.Adadelta(rho=0.75, eps=0.01).step({"p": p})
    >>> p.data.round(4).tolist()  # 1 - 0.5 * sqrt(0.01) / sqrt(0.25 * 0.5^2 + 0.01)
    [0.8143]
    """

    _slots = ("square_avg", "acc_delta")

    def __init__(
        self,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, **common)
        self.rho = self._number("rho", rho)
        if self.rho > 1.0:
            raise ValueError(f"Adadelta: rho must be between 0 and 1, got {rho!r}")
        self.eps = self._number("eps", eps)

    def _update(
        self, xp: ModuleType, p: Array, g: Array, slots: dict[str, Array], lr: float, step: int
    ) -> Array:
        square = slots["square_avg"] = average(slots.get("square_avg"), g * g, self.rho)
        past = slots.get("acc_delta")
        size = self.eps**0.5 if past is None else xp.sqrt(past + self.eps)
        delta = size * g / xp.sqrt(square + self.eps)
        slots["acc_delta"] = average(past, delta * delta, self.rho)
        return p - lr * delta


class Adam(Optimizer):
    """Running means of the gradient and of its square, corrected for their start at zero.

    ``p -= lr * m / (sqrt(v) + eps)`` (Kingma & Ba, 2015).

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : (float, float)
        Shares of the two running means that are kept in each update.
    eps : float
        Keeps the division finite.
    weight_decay : float
        L2 penalty; see :class:`AdamW` for the decoupled one.
    amsgrad : bool
        Divides by the largest mean square so far (Reddi et al., 2018).
    clip_norm, clip_value, schedule, groups
        See :class:`Optimizer`.

    Examples
    --------
    >>> from xpcnn.optim import Adam
    >>> Adam(3e-4, betas=(0.9, 0.99))
    Adam(lr=0.0003, betas=(0.9, 0.99))
    """

    _slots = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, **common)
        self.betas = self._betas(betas)
        self.eps = self._number("eps", eps)
        self.amsgrad = as_flag(amsgrad, type(self).__name__, "amsgrad")

    def _numbers(self, lr: float, step: int) -> tuple[float, ...] | None:
        if self.amsgrad:
            return None
        kept = 1.0 - lr * self.weight_decay if self._decoupled_decay else 1.0
        return *adam_numbers(lr, self.betas, self.eps, step), kept

    def _update_all(self, tasks: list[Task], lr: float, numbers: Array = None) -> list[Array]:
        if self.amsgrad:
            return super()._update_all(tasks, lr)
        decay = (0.0, lr * self.weight_decay) if self._decoupled_decay else (self.weight_decay, 0.0)
        settings = ([task.step for task in tasks], lr, self.betas, self.eps, decay)
        return update_together("adam", tasks, self._slots[:2], *settings, numbers=numbers)

    def _update(
        self, xp: ModuleType, p: Array, g: Array, slots: dict[str, Array], lr: float, step: int
    ) -> Array:
        if self._decoupled_decay and self.weight_decay:
            p = (1.0 - lr * self.weight_decay) * p
        mean = slots["exp_avg"] = average(slots.get("exp_avg"), g, self.betas[0])
        square = slots["exp_avg_sq"] = average(slots.get("exp_avg_sq"), g * g, self.betas[1])
        if "max_exp_avg_sq" in slots:
            square = xp.maximum(slots["max_exp_avg_sq"], square)
        slots["max_exp_avg_sq"] = square
        size, eps = adam_numbers(lr, self.betas, self.eps, step)
        return p - size * mean / (xp.sqrt(square) + eps)


class AdamW(Adam):
    """:class:`Adam` whose weight decay shrinks the parameters directly.

    ``p *= 1 - lr * weight_decay`` before the step (Loshchilov & Hutter, 2019).

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : (float, float)
        Shares of the two running means that are kept in each update.
    eps : float
        Keeps the division finite.
    weight_decay : float
        Share of a parameter, times `lr`, that is taken away in each update.
    amsgrad : bool
        Divides by the largest mean square so far (Reddi et al., 2018).
    clip_norm, clip_value, schedule, groups
        See :class:`Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> p = xpcnn.Parameter((1,), xpcnn.initializers.ones())
    >>> p.data, p.grad = np.array([1.0]), np.array([0.5])
    >>> xpcnn.optim.AdamW(lr=0.1, weight_decay=0.5).step({"p": p})
    >>> p.data.round(4).tolist()  # 1 - 0.1 * 0.5 for the decay, and a first step of 0.1
    [0.85]
    """

    _decoupled_decay = True

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, amsgrad, **common)


class Adamax(Optimizer):
    """Adam with the largest recent gradient in the place of the root mean square.

    With m an average of the gradients and u the larger of ``beta2 * u`` and ``|g| + eps``, element
    by element, ``p -= lr / (1 - beta1^step) * m / u`` (Kingma & Ba, 2015).

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : (float, float)
        Decay rates of the average and of the largest gradient.
    eps : float
        Keeps the division finite.
    weight_decay : float
        L2 penalty.
    clip_norm, clip_value, schedule, groups
        See :class:`Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> p = xpcnn.Parameter((2,), xpcnn.initializers.ones())
    >>> p.data, p.grad = np.array([1.0, 1.0]), np.array([0.5, -200.0])
    >>> xpcnn.optim.Adamax(lr=0.1).step({"p": p})
    >>> p.data.round(4).tolist()  # a first step of 0.1, whatever the size of the gradient
    [0.9, 1.1]
    """

    _slots = ("exp_avg", "exp_inf")

    def __init__(
        self,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, **common)
        self.betas = self._betas(betas)
        self.eps = self._number("eps", eps)

    def _update(
        self, xp: ModuleType, p: Array, g: Array, slots: dict[str, Array], lr: float, step: int
    ) -> Array:
        mean = slots["exp_avg"] = average(slots.get("exp_avg"), g, self.betas[0])
        largest = xp.abs(g) + self.eps
        if "exp_inf" in slots:
            largest = xp.maximum(self.betas[1] * slots["exp_inf"], largest)
        slots["exp_inf"] = largest
        return p - lr / (1.0 - self.betas[0] ** step) * mean / largest
