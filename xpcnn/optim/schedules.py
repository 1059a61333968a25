"""Schedules: the learning rate as a function of the epoch or of the step, both from 0."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from xpcnn._registry import Configurable
from xpcnn.errors import choice_error


class Schedule(Configurable):
    """Turns the base learning rate into the one of an epoch or step.

    Attributes
    ----------
    counts : "epochs" or "steps"
        What the schedule goes by.
    monitor : str or None
        Which value of the training log :meth:`observe` wants after every epoch, if any.
    """

    counts: ClassVar[Literal["epochs", "steps"]] = "epochs"
    monitor: str | None = None

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

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`observe` has changed, as JSON has it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

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
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"{type(self).__name__}: {name} must be a whole number of at least {least}, got "
                f"{value!r}"
            )
        return value

    def _number(self, name: str, value: Any, *, above: bool = False) -> float:
        """Return a finite number of at least 0, or above 0."""
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not 0.0 <= value < math.inf or (above and value == 0.0):
            least = "above 0" if above else "at least 0"
            raise ValueError(
                f"{type(self).__name__}: {name} must be a finite number {least}, got {value!r}"
            )
        return float(value)


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
    """Multiply by `gamma` at each of the epochs in `milestones`."""

    def __init__(self, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(self._count("milestones", m, least=0) for m in milestones)
        self.gamma = self._number("gamma", gamma)

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of an epoch."""
        return base_lr * self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(Schedule):
    """Multiply by `gamma` after every epoch."""

    def __init__(self, gamma: float) -> None:
        self.gamma = self._number("gamma", gamma)

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of an epoch."""
        return base_lr * self.gamma**epoch


class CosineAnnealingLR(Schedule):
    """Half a cosine wave from the base learning rate to `eta_min` in `T_max` epochs.

    It rises again in the following `T_max` epochs (Loshchilov & Hutter, 2017).
    """

    def __init__(self, T_max: int, eta_min: float = 0.0) -> None:  # noqa: N803 (PyTorch's name)
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
    """

    counts = "steps"

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
        self.pct_start = self._number("pct_start", pct_start)
        if self.pct_start > 1.0:
            raise ValueError(f"OneCycleLR: pct_start must be from 0 to 1, got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise choice_error("OneCycleLR", "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.anneal_strategy = anneal_strategy
        self.div_factor = self._number("div_factor", div_factor, above=True)
        self.final_div_factor = self._number("final_div_factor", final_div_factor, above=True)
        self.three_phase = bool(three_phase)

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


class ReduceLROnPlateau(Schedule):
    """Multiply by `factor` when a monitored value has not improved for `patience` epochs.

    Whoever trains calls :meth:`observe` after every epoch.

    Parameters
    ----------
    mode : "min" or "max"
        Whether smaller or larger values are better.
    factor : float
        Below 1.
    patience : int
        Epochs without improvement that are tolerated.
    threshold : float
        What counts as an improvement.
    threshold_mode : "rel" or "abs"
        Whether `threshold` is a share of the best value or a difference.
    cooldown : int
        Epochs after a reduction in which nothing is counted.
    min_lr : float
        The learning rate never falls below it.
    eps : float
        A reduction by no more than this is left out.
    monitor : str
        Which value of the training log is observed.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    def __init__(
        self,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        monitor: str = "val_loss",
    ) -> None:
        if mode not in ("min", "max"):
            raise choice_error("ReduceLROnPlateau", "mode", mode, ("min", "max"))
        if threshold_mode not in ("rel", "abs"):
            raise choice_error(
                "ReduceLROnPlateau", "threshold_mode", threshold_mode, ("rel", "abs")
            )
        self.mode = mode
        self.factor = self._number("factor", factor)
        if self.factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor!r}")
        self.patience = self._count("patience", patience, least=0)
        self.threshold = self._number("threshold", threshold)
        self.threshold_mode = threshold_mode
        self.cooldown = self._count("cooldown", cooldown, least=0)
        self.min_lr = self._number("min_lr", min_lr)
        self.eps = self._number("eps", eps)
        self.monitor = str(monitor)
        self.reset()

    def reset(self) -> None:
        """Forget all values observed."""
        self.best: float | None = None
        self.bad_epochs = 0
        self.cooldown_left = 0
        self.reductions = 0

    def observe(self, value: float) -> None:
        """Take note of the monitored value of an epoch."""
        value = float(value)
        if self._is_better(value):
            self.best = value
            self.bad_epochs = 0
        else:
            self.bad_epochs += 1
        if self.cooldown_left > 0:
            self.cooldown_left -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            self.reductions += 1
            self.cooldown_left = self.cooldown
            self.bad_epochs = 0

    def _is_better(self, value: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.best is None:
            return sign * value > -math.inf  # never for NaN
        if self.threshold_mode == "abs":
            return sign * value > sign * (self.best + sign * self.threshold)
        return sign * value > sign * (self.best * (1.0 + sign * self.threshold))

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate after the reductions so far."""
        for _ in range(self.reductions):
            reduced = max(base_lr * self.factor, self.min_lr)
            if base_lr - reduced <= self.eps:
                break
            base_lr = reduced
        return base_lr

    def state_dict(self) -> dict[str, Any]:
        """Return what was observed, as JSON has it."""
        names = ("best", "bad_epochs", "cooldown_left", "reductions")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        best = state["best"]
        if best is not None and (isinstance(best, bool) or not isinstance(best, (int, float))):
            raise ValueError(f"ReduceLROnPlateau: best must be a number or null, got {best!r:.80}")
        counts = {name: state[name] for name in state if name != "best"}
        for name, value in counts.items():
            self._count(name, value, least=0)
        self.best = None if best is None else float(best)
        for name, value in counts.items():
            setattr(self, name, value)


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
        self.monitor = None if after is None else after.monitor
        self.start_factor = self._number("start_factor", start_factor)
        if self.start_factor > 1.0:
            raise ValueError(f"Warmup: start_factor must be from 0 to 1, got {start_factor!r}")

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of a step."""
        if self.after is not None:
            base_lr = self.after.lr(base_lr, epoch=epoch, step=max(step - self.steps, 0))
        return _line(self.start_factor * base_lr, base_lr, min(step / self.steps, 1.0))

    def observe(self, value: float) -> None:
        """Pass the value on to the schedule that follows."""
        if self.after is not None:
            self.after.observe(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule that follows."""
        return {} if self.after is None else self.after.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the state of the schedule that follows."""
        if self.after is None:
            super().load_state_dict(state)
        else:
            self.after.load_state_dict(state)

    def reset(self) -> None:
        """Reset the schedule that follows."""
        if self.after is not None:
            self.after.reset()


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1.0 + math.cos(math.pi * share)) / 2.0


def _line(first: float, last: float, share: float) -> float:
    return first + (last - first) * share
