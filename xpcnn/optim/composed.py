"""Schedules in lines and waves, of functions, and of several schedules one after the other."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Literal

from xpcnn._registry import function_name
from xpcnn.errors import check_choice
from xpcnn.optim.schedules import Schedule
from xpcnn.window import is_sequence

Counts = Literal["epochs", "steps"]


class _Counting(Schedule):
    """A schedule that goes by epochs or by updates, as it is told."""

    def __init__(self, counts: Counts) -> None:
        check_choice(type(self).__name__, "counts", counts, ("epochs", "steps"))
        self.counts = counts

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of an epoch, or of a step."""
        return self._rate(base_lr, step if self.counts == "steps" else epoch)

    def _rate(self, base_lr: float, done: int) -> float:
        """Return the learning rate after so many epochs, or updates."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _rate")


class ConstantLR(_Counting):
    """Multiply by `factor` for the first `total_iters` epochs.

    Parameters
    ----------
    factor : float
        From 0 to 1.
    total_iters : int
    counts : {"epochs", "steps"}
        What `total_iters` counts.

    Examples
    --------
    >>> [ConstantLR(0.5, total_iters=2).lr(0.1, epoch=i, step=0) for i in range(4)]
    [0.05, 0.05, 0.1, 0.1]
    """

    def __init__(
        self, factor: float = 1.0 / 3.0, total_iters: int = 5, counts: Counts = "epochs"
    ) -> None:
        super().__init__(counts)
        self.factor = self._share("factor", factor)
        self.total_iters = self._count("total_iters", total_iters, least=0)

    def _rate(self, base_lr: float, done: int) -> float:
        return base_lr * self.factor if done < self.total_iters else base_lr


class LinearLR(_Counting):
    """From one share of the learning rate to another in a line, in `total_iters` epochs.

    Parameters
    ----------
    start_factor : float
        Above 0, and at most 1.
    end_factor : float
        From 0 to 1.
    total_iters : int
        After so many, the learning rate stays.
    counts : {"epochs", "steps"}
        What `total_iters` counts.

    Examples
    --------
    >>> [LinearLR(0.5, 1.0, total_iters=2).lr(1.0, epoch=i, step=0) for i in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        start_factor: float = 1.0 / 3.0,
        end_factor: float = 1.0,
        total_iters: int = 5,
        counts: Counts = "epochs",
    ) -> None:
        super().__init__(counts)
        self.start_factor = self._share("start_factor", start_factor, above=True)
        self.end_factor = self._share("end_factor", end_factor)
        self.total_iters = self._count("total_iters", total_iters)

    def _rate(self, base_lr: float, done: int) -> float:
        share = min(done / self.total_iters, 1.0)
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * share)


class PolynomialLR(_Counting):
    """Fall to 0 in `total_iters` epochs, as a power of what is left of them.

    Parameters
    ----------
    total_iters : int
    power : float
        With 1 it is a line.
    counts : {"epochs", "steps"}
        What `total_iters` counts.

    Examples
    --------
    >>> [PolynomialLR(4, power=2.0).lr(1.6, epoch=i, step=0) for i in range(6)]
    [1.6, 0.9, 0.4, 0.1, 0.0, 0.0]
    """

    def __init__(self, total_iters: int = 5, power: float = 1.0, counts: Counts = "epochs") -> None:
        super().__init__(counts)
        self.total_iters = self._count("total_iters", total_iters)
        self.power = self._number("power", power)

    def _rate(self, base_lr: float, done: int) -> float:
        return base_lr * (1.0 - min(done / self.total_iters, 1.0)) ** self.power


class CosineAnnealingWarmRestarts(_Counting):
    """Half a cosine wave down, again and again, from the base rate each time.

    This is SGDR of Loshchilov & Hutter (2017).

    Parameters
    ----------
    T_0 : int
        Epochs of the first wave.
    T_mult : int
        How many times as long each wave is as the one before.
    eta_min : float
        What the learning rate falls to.
    counts : {"epochs", "steps"}
        What `T_0` counts.

    Examples
    --------
    >>> waves = CosineAnnealingWarmRestarts(2, T_mult=2)
    >>> [round(waves.lr(1.0, epoch=i, step=0), 3) for i in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """

    def __init__(
        self, T_0: int, T_mult: int = 1, eta_min: float = 0.0, counts: Counts = "epochs"
    ) -> None:
        super().__init__(counts)
        self.T_0 = self._count("T_0", T_0)
        self.T_mult = self._count("T_mult", T_mult)
        self.eta_min = self._number("eta_min", eta_min)

    def _rate(self, base_lr: float, done: int) -> float:
        length, place = self.T_0, done % self.T_0
        if self.T_mult > 1:
            place = done
            while place >= length:
                place -= length
                length *= self.T_mult
        wave = (1.0 + math.cos(math.pi * place / length)) / 2.0
        return self.eta_min + (base_lr - self.eta_min) * wave


class LambdaLR(_Counting):
    """Multiply by what a function returns.

    Parameters
    ----------
    lr_lambda : callable
        Takes the number of the epoch, from 0, and returns a factor of at least 0. A model's file
        has the function's name; give the function to :meth:`xpcnn.Model.load` as one of the
        `custom_objects`.
    counts : {"epochs", "steps"}
        What the function is given.

    Raises
    ------
    TypeError
        If it is no function.
    ValueError
        When the learning rate is asked for, if the function returned something else.

    Examples
    --------
    >>> def halved(epoch):
    ...     return 0.5**epoch
    >>> [LambdaLR(halved).lr(0.4, epoch=i, step=0) for i in range(3)]
    [0.4, 0.2, 0.1]
    """

    def __init__(self, lr_lambda: Callable[[int], float], counts: Counts = "epochs") -> None:
        super().__init__(counts)
        if not callable(lr_lambda) or isinstance(lr_lambda, type):
            raise TypeError(f"LambdaLR: lr_lambda must be a function, got {lr_lambda!r}")
        self.lr_lambda = lr_lambda

    def _rate(self, base_lr: float, done: int) -> float:
        name = f"what {function_name(self.lr_lambda)}({done}) returns"
        return base_lr * self._number(name, self.lr_lambda(done))


class SequentialLR(_Counting):
    """Several schedules, one after the other, each of which counts from its own beginning.

    Parameters
    ----------
    schedulers : sequence of Schedule
        None that watches a value.
    milestones : sequence of int
        After how many epochs each of the second and further ones begins.
    counts : {"epochs", "steps"}
        What `milestones` count; the schedules must count the same.

    Raises
    ------
    ValueError, TypeError
        If the numbers of both do not go together, milestones do not rise, or a schedule watches a
        value or counts something else.

    Examples
    --------
    >>> both = SequentialLR([LinearLR(0.5, total_iters=2), PolynomialLR(2)], [2])
    >>> [both.lr(1.0, epoch=i, step=0) for i in range(5)]
    [0.5, 0.75, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        schedulers: Sequence[Schedule],
        milestones: Sequence[int],
        counts: Counts = "epochs",
    ) -> None:
        super().__init__(counts)
        self.schedulers = self._list("schedulers", schedulers)
        self.milestones = [
            self._count("milestones", m) for m in self._list("milestones", milestones)
        ]
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                f"SequentialLR: milestones: {len(self.schedulers)} schedulers need one milestone "
                f"less, got {len(self.milestones)}"
            )
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"SequentialLR: milestones must rise, got {self.milestones}")
        for schedule in self.schedulers:
            if not isinstance(schedule, Schedule):
                raise TypeError(f"SequentialLR: schedulers must be schedules, got {schedule!r}")
            if schedule.monitor is not None:
                raise ValueError(f"SequentialLR: {schedule!r} watches a value, and cannot be moved")
            if schedule.counts != counts:
                raise ValueError(
                    f"SequentialLR: {schedule!r} counts {schedule.counts}, and milestones count "
                    f"{counts}; give counts={schedule.counts!r}"
                )

        self.sets_lr = any(schedule.sets_lr for schedule in self.schedulers)

    def _rate(self, base_lr: float, done: int) -> float:
        place = bisect_right(self.milestones, done)
        done -= self.milestones[place - 1] if place else 0
        return self.schedulers[place].lr(base_lr, epoch=done, step=done)

    def _list(self, name: str, given: Any) -> list[Any]:
        if not is_sequence(given):
            raise TypeError(f"SequentialLR: {name} must be a list, got {given!r}")
        return list(given)


class SWALR(_Counting):
    """Go over to a constant rate, at which :class:`xpcnn.callbacks.SWA` averages the weights.

    Parameters
    ----------
    swa_lr : float
        The learning rate in the end.
    start : int
        Epochs before.
    anneal_epochs : int
        How many epochs it takes from the learning rate of then.
    anneal_strategy : {"cos", "linear"}
    before : Schedule, optional
        What the learning rate follows until then; without it, it stays at the base.

    Examples
    --------
    >>> schedule = SWALR(0.05, start=2, anneal_epochs=2, anneal_strategy="linear")
    >>> [round(schedule.lr(0.1, epoch=i, step=0), 4) for i in range(6)]
    [0.1, 0.1, 0.1, 0.075, 0.05, 0.05]
    """

    def __init__(
        self,
        swa_lr: float,
        start: int,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        before: Schedule | None = None,
    ) -> None:
        super().__init__("epochs")
        self.swa_lr = self._number("swa_lr", swa_lr)
        self.start = self._count("start", start, least=0)
        self.anneal_epochs = self._count("anneal_epochs", anneal_epochs, least=0)
        check_choice("SWALR", "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.anneal_strategy = anneal_strategy
        if before is not None and not isinstance(before, Schedule):
            raise TypeError(f"SWALR: before must be a Schedule such as StepLR(30), got {before!r}")
        if before is not None and before.monitor is not None:
            raise ValueError(f"SWALR: before={before!r} watches a value, which ends at start")
        self.before = before
        self.sets_lr = before is not None and before.sets_lr

    def lr(self, base_lr: float, *, epoch: int, step: int) -> float:
        """Return the learning rate of an epoch."""
        if self.before is not None:
            base_lr = self.before.lr(base_lr, epoch=min(epoch, self.start), step=step)
        if epoch < self.start:
            return base_lr
        share = min((epoch - self.start) / self.anneal_epochs, 1.0) if self.anneal_epochs else 1.0
        if self.anneal_strategy == "cos":
            share = (1.0 - math.cos(math.pi * share)) / 2.0
        return base_lr + (self.swa_lr - base_lr) * share
