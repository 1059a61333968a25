"""Learning rates: a search for one, a schedule, or what a history tells."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.optim import Optimizer, ReduceLROnPlateau, Schedule
from xpcnn.plot import canvas
from xpcnn.plot.learning_curves import read_history
from xpcnn.training.lr_finder import RateSearch
from xpcnn.window import as_int, as_number

WHO = "plot.learning_rate"


def learning_rate(
    what: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    base_lr: float | None = None,
    ax: Any = None,
) -> Any:
    """Draw a search for a learning rate, a schedule, or the learning rate of a training.

    Parameters
    ----------
    what : RateSearch, Schedule, Optimizer, History or Model
        What :meth:`~xpcnn.Model.find_lr` returns: the loss over the rates that were tried, which
        are on a logarithmic axis, and what it suggests. Or a schedule, or an optimizer that has
        one. Or what :func:`xpcnn.plot.history` takes, with the column ``"lr"``: the learning rate
        of each epoch's last update.
    epochs, steps : int, optional
        How long a schedule is drawn: `epochs` for one that counts epochs, `steps` for one that
        counts updates.
    base_lr : float, optional
        The learning rate that a schedule changes; an optimizer has its own, and some schedules,
        such as :class:`~xpcnn.optim.OneCycleLR`, set it themselves.
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If an argument is missing, or has no effect; or the schedule goes by a loss, which nobody
        knows beforehand.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xpcnn
    >>> ax = xpcnn.plot.learning_rate(xpcnn.optim.StepLR(2), epochs=3, base_lr=0.5)
    >>> [round(float(lr), 6) for lr in ax.lines[0].get_ydata()]
    [0.5, 0.5, 0.05]
    """
    if isinstance(what, (Schedule, Optimizer)):
        counts, rates = _scheduled(what, epochs, steps, base_lr)
        with canvas.one_axes(ax, WHO, (5.0, 3.4)) as place:
            _draw_schedule(place, counts, rates)
        return place
    for name, value in (("epochs", epochs), ("steps", steps), ("base_lr", base_lr)):
        if value is not None:
            raise ValueError(
                f"{WHO}: {name} is for schedules, and a {type(what).__name__} has none to draw; "
                "leave it out"
            )
    if isinstance(what, RateSearch):
        with canvas.one_axes(ax, WHO, (5.6, 3.6)) as place:
            _draw_search(place, what)
        return place
    at, columns = read_history(what, WHO)
    if "lr" not in columns:
        raise ValueError(
            f"{WHO}: the history has no 'lr', only {canvas.listed(columns)}; give what fit returns"
        )
    with canvas.one_axes(ax, WHO, (5.0, 3.4)) as place:
        _draw_rates(place, at, columns["lr"], "epoch")
    return place


def _scheduled(
    what: Schedule | Optimizer, epochs: Any, steps: Any, base_lr: Any
) -> tuple[str, np.ndarray]:
    """Return what a schedule counts, and its rates."""
    schedule = what
    if isinstance(what, Optimizer):
        if base_lr is not None:
            raise ValueError(f"{WHO}: base_lr is for schedules; an optimizer has its own, lr")
        if what.schedule is None:
            raise ValueError(
                f"{WHO}: {type(what).__name__} has no schedule, and its learning rate stays "
                f"{what.lr:g}; give it one, as in Adam(schedule=StepLR(30))"
            )
        base, schedule = what.lr, what.schedule
    assert isinstance(schedule, Schedule)
    kind = type(schedule).__name__
    if isinstance(schedule, ReduceLROnPlateau) or schedule.monitor is not None:
        raise ValueError(
            f"{WHO}: {kind} goes by {schedule.monitor!r} of a training; draw its history: "
            "learning_rate(model.history)"
        )
    if isinstance(what, Schedule):
        if schedule.sets_lr and base_lr is not None:
            raise ValueError(f"{WHO}: {kind} sets the learning rate itself; leave base_lr out")
        if not schedule.sets_lr and base_lr is None:
            raise ValueError(f"{WHO}: {kind} changes a learning rate; say which by base_lr")
        base = 0.0 if base_lr is None else as_number(base_lr, WHO, "base_lr", 0.0)
    given = {"epochs": epochs, "steps": steps}
    other = "steps" if schedule.counts == "epochs" else "epochs"
    if given[other] is not None or given[schedule.counts] is None:
        raise ValueError(
            f"{WHO}: {kind} counts {schedule.counts}; say how many by "
            f"{schedule.counts}={'' if given[other] is None else ', not by ' + other}"
        )
    count = as_int(given[schedule.counts], WHO, schedule.counts, 1)
    by = "epoch" if schedule.counts == "epochs" else "step"
    rest = {"epoch": 0, "step": 0}
    return schedule.counts, np.array(
        [schedule.lr(base, **{**rest, by: number}) for number in range(count)], np.float64
    )


def _draw_schedule(ax: Any, counts: str, rates: np.ndarray) -> None:
    _draw_rates(ax, np.arange(1, len(rates) + 1), rates, "epoch" if counts == "epochs" else "step")


def _draw_rates(ax: Any, at: np.ndarray, rates: np.ndarray, unit: str) -> None:
    marker = "o" if len(at) <= 40 else ""
    ax.plot(at, rates, color=canvas.TRAINING, marker=marker, ms=3.5)
    ax.set(xlabel=unit, ylabel="learning rate", title="Learning rate")
    canvas.whole_numbers(ax.xaxis)
    if len(at) == 1:
        ax.set_xlim(at[0] - 0.5, at[0] + 0.5)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)


def _draw_search(ax: Any, found: RateSearch) -> None:
    ax.set_xscale("log")
    ax.plot(
        found.lrs, found.losses, color=canvas.TRAINING, alpha=0.4, linewidth=1.0, marker=".", ms=3,
        label="loss of a batch",
    )  # fmt: skip
    ax.plot(found.lrs, found.smoothed, color=canvas.VALIDATION, label="moving average")
    if found.suggestion is not None:
        label = f"suggestion: {found.suggestion:.2g}"
        ax.axvline(found.suggestion, color="0.5", linestyle=":", linewidth=1.5, label=label)
    title = "Search for a learning rate"
    ax.set(
        xlabel="learning rate",
        ylabel="loss",
        title=title if found.suggestion else f"{title} (no suggestion)",
    )
    highest = max(found.smoothed)
    if max(found.losses) > 2.0 * highest:  # outliers would hide where the loss falls
        ax.set_ylim(top=1.5 * highest)
    ax.grid(alpha=0.25)
    ax.legend(fontsize="small")
