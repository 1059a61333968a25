"""Schedules: the learning rate as a function of the epoch or of the step, both from 0."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from xpcnn._registry import Checked
from xpcnn.errors import check_choice
from xpcnn.window import as_flag, is_sequence


class Schedule(Checked):
    """Turns the base learning rate into the one of an epoch or step.

    Attributes
    ----------
    counts : "epochs" or "steps"
        What the schedule goes by.
    monitor : str or None
        Which value of the training log :meth:`observe` wants after every epoch, if any.

    Examples
    --------
    >>> import xpcnn
    >>> class Halved(xpcnn.optim.Schedule):
    ...     def __init__(self, after):
    ...         self.after = after
    ...     def lr(self, base_lr, *, epoch, step):
    ...         return base_lr if epoch < self.after else base_lr / 2
    >>> [Halved(2).lr(0.5, epoch=i, step=0) for i in range(4)]
    [0.5, 0.5, 0.25, 0.25]
    """

    counts: Literal["epochs", "steps"] = "epochs"
    monitor: str | None = None
    mode: str | None = None
    """Whether less ("min") or more ("max") of what is monitored is better; "auto" where whoever
    trains shall say it by :meth:`settle`."""
    sets_lr: bool = False
    """Whether :meth:`lr` has no use for the base learning rate."""
    _owner: object = None
    """The optimizer that it belongs to, if it watches a value."""

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate.

        Parameters
        ----------
        base_lr : float
            The optimizer's own.
        epoch, step : int
            Epochs and updates done before this one.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement lr")

    def observe(self, value: float) -> None:
        """Take note of a monitored value after an epoch; most schedules have no use for it."""

    def settle(self, mode: str) -> None:
        """Learn whether lower or higher is better, where the mode is "auto"."""

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`observe` has changed, as JSON has it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            If the state is not one of this schedule.
        """
        expected = self.state_dict()
        if not isinstance(state, Mapping) or set(state) != set(expected):
            raise ValueError(
                f"{type(self).__name__}: expected a state with the keys {sorted(expected)}, got "
                f"{state!r:.200}"
            )

    def reset(self) -> None:
        """Forget what :meth:`observe` has changed."""

    def _count(self, name: str, value: Any, least: int = 1) -> int:
        good = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not good or value < least:
            raise ValueError(
                f"{type(self).__name__}: {name} must be a whole number of at least {least}, got "
                f"{value!r}"
            )
        return int(value)

    def _number(self, name: str, value: Any, *, above: bool = False) -> float:
        """Return a finite number of at least 0, or above 0."""
        good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
            value, bool
        )
        if not good or not 0.0 <= value < math.inf or (above and value == 0.0):
            least = "above 0" if above else "at least 0"
            raise ValueError(
                f"{type(self).__name__}: {name} must be a finite number {least}, got {value!r}"
            )
        return float(value)

    def _share(self, name: str, value: Any, *, above: bool = False) -> float:
        """Return a number from 0, or above 0, to 1."""
        number = self._number(name, value, above=above)
        if number > 1.0:
            raise ValueError(f"{type(self).__name__}: {name} must be from 0 to 1, got {value!r}")
        return number


class StepLR(Schedule):
    """Multiply by `gamma` every `step_size` epochs.

    Examples
    --------
    >>> StepLR(30).lr(0.1, epoch=29, step=0), round(StepLR(30).lr(0.1, epoch=30, step=0), 6)
    (0.1, 0.01)
    """

    def __init__(self, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = self._count("step_size", step_size)
        self.gamma = self._number("gamma", gamma)

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of an epoch."""
        return base_lr * self.gamma ** (epoch // self.step_size)


class MultiStepLR(Schedule):
    """Multiply by `gamma` at each of the epochs in `milestones`.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.optim import MultiStepLR
    >>> [MultiStepLR([2, 4], gamma=0.5).lr(1.0, epoch=i, step=0) for i in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, milestones: Sequence[int], gamma: float = 0.1) -> None:
        if not is_sequence(milestones):
            raise TypeError(f"MultiStepLR: milestones must be a list of epochs, got {milestones!r}")
        self.milestones = sorted(self._count("milestones", m, least=0) for m in milestones)
        self.gamma = self._number("gamma", gamma)

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of an epoch."""
        return base_lr * self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(Schedule):
    """Multiply by `gamma` after every epoch.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.optim import ExponentialLR
    >>> [ExponentialLR(0.5).lr(1.0, epoch=i, step=0) for i in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, gamma: float) -> None:
        self.gamma = self._number("gamma", gamma)

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of an epoch."""
        return base_lr * self.gamma**epoch


class CosineAnnealingLR(Schedule):
    """Half a cosine wave from the base learning rate to `eta_min` in `T_max` epochs.

    It rises again in the following `T_max` epochs (Loshchilov & Hutter, 2017).

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.optim import CosineAnnealingLR
    >>> schedule = CosineAnnealingLR(T_max=3, eta_min=1.0)
    >>> [round(schedule.lr(5.0, epoch=i, step=0), 4) for i in range(4)]  # 3 + 2 cos(60 degrees i)
    [5.0, 4.0, 2.0, 1.0]
    """

    def __init__(self, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = self._count("T_max", T_max)
        self.eta_min = self._number("eta_min", eta_min)

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of an epoch."""
        return _cosine(base_lr, self.eta_min, epoch / self.T_max)


class OneCycleLR(Schedule):
    """Rise from ``max_lr / div_factor`` to `max_lr`, then fall to near zero (Smith, 2018).

    Counts steps. The base learning rate of the optimizer is not used, and momentum is left alone
    (PyTorch's ``cycle_momentum=False``). After the last step the learning rate stays.

    Parameters
    ----------
    max_lr : float
    total_steps : int, optional
        Length of the cycle; or give `epochs` and `steps_per_epoch`.
    epochs, steps_per_epoch : int, optional
    pct_start : float
        Share of the cycle in which the learning rate rises.
    anneal_strategy : "cos" or "linear"
    div_factor : float
        ``max_lr`` over the first learning rate.
    final_div_factor : float
        The first learning rate over the last.
    three_phase : bool
        Fall to the first learning rate in the time of the rise, and only then to the last.

    Raises
    ------
    ValueError
        If the length is not given, or a setting is out of range.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.optim import OneCycleLR
    >>> schedule = OneCycleLR(1.0, 5, pct_start=0.4, anneal_strategy="linear", div_factor=10.0)
    >>> [round(schedule.lr(0.0, epoch=0, step=i), 3) for i in range(5)]  # up, down in three steps
    [0.1, 1.0, 0.667, 0.333, 0.0]
    """

    counts = "steps"
    sets_lr = True

    def __init__(
        self,
        max_lr: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        self.max_lr = self._number("max_lr", max_lr)
        self.epochs = None if epochs is None else self._count("epochs", epochs)
        self.steps_per_epoch = (
            None if steps_per_epoch is None else self._count("steps_per_epoch", steps_per_epoch)
        )
        if total_steps is None:
            if self.epochs is None or self.steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = self.epochs * self.steps_per_epoch
        self.total_steps = self._count("total_steps", total_steps)
        self.pct_start = self._share("pct_start", pct_start)
        check_choice("OneCycleLR", "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.anneal_strategy = anneal_strategy
        self.div_factor = self._number("div_factor", div_factor, above=True)
        self.final_div_factor = self._number("final_div_factor", final_div_factor, above=True)
        self.three_phase = as_flag(three_phase, "OneCycleLR", "three_phase")

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of a step."""
        low = self.max_lr / self.div_factor
        last = low / self.final_div_factor
        peak = self.pct_start * self.total_steps - 1
        end = self.total_steps - 1
        phases = [(peak, low, self.max_lr), (end, self.max_lr, last)]
        if self.three_phase:
            phases[1:] = [(2 * peak, self.max_lr, low), (end, low, last)]
        blend = _cosine if self.anneal_strategy == "cos" else _line
        start = 0.0
        step = min(step, end)
        for stop, _, _ in phases[:-1]:
            if step <= stop:
                break
            start = stop
            phases = phases[1:]
        stop, first, final = phases[0]
        return blend(first, final, (step - start) / (stop - start) if stop != start else 1.0)


class Warmup(Schedule):
    """Rise linearly in the first `steps` updates, then follow another schedule.

    Counts steps. A schedule `after` that counts steps starts when the warm-up ends; one that counts
    epochs counts all of them.

    Parameters
    ----------
    steps : int
        Updates until the full learning rate is reached.
    after : Schedule, optional
        What the learning rate follows then; without it, it stays at the base.
    start_factor : float
        Share of the learning rate in the first update.

    Examples
    --------
    >>> warm = Warmup(4, start_factor=0.2)
    >>> [round(warm.lr(1.0, epoch=0, step=i), 3) for i in range(6)]
    [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    """

    counts = "steps"

    def __init__(
        self, steps: int, after: Schedule | None = None, start_factor: float = 0.01
    ) -> None:
        self.steps = self._count("steps", steps)
        if after is not None and not isinstance(after, Schedule):
            raise TypeError(f"Warmup: after must be a Schedule such as StepLR(30), got {after!r}")
        self.after = after
        self._then = Schedule() if after is None else after
        self.monitor, self.mode = self._then.monitor, self._then.mode
        self.sets_lr = self._then.sets_lr
        self.start_factor = self._share("start_factor", start_factor)

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of a step."""
        if self.after is not None:
            base_lr = self.after.lr(base_lr, epoch=epoch, step=max(step - self.steps, 0))
        return _line(self.start_factor * base_lr, base_lr, min(step / self.steps, 1.0))

    def observe(self, value: float) -> None:
        """Pass the value on to the schedule that follows."""
        self._then.observe(value)

    def settle(self, mode: str) -> None:
        """Pass it on to the schedule that follows."""
        self._then.settle(mode)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule that follows."""
        return self._then.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the state of the schedule that follows."""
        if self.after is None:
            super().load_state_dict(state)
        else:
            self.after.load_state_dict(state)

    def reset(self) -> None:
        """Reset the schedule that follows."""
        self._owner = None
        self._then.reset()


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1.0 + math.cos(math.pi * share)) / 2.0


def _line(first: float, last: float, share: float) -> float:
    return first + (last - first) * share
