"""Learning curves: losses and metrics, epoch by epoch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn.errors import check_choice
from xpcnn.plot import canvas
from xpcnn.training import History, Model
from xpcnn.window import is_sequence

WHO = "plot.history"
_MARKED = 40
"""Up to so many epochs each has a marker."""

Columns = dict[str, np.ndarray]


def history(
    history: Any,
    names: str | Sequence[str] | None = None,
    *,
    best: str | None = "auto",
    mode: str | None = None,
    ax: Any = None,
) -> Any:
    """Draw losses and metrics over the epochs: training and validation in one panel for each.

    Parameters
    ----------
    history : History, Model, mapping, or sequence of mappings
        What :meth:`~xpcnn.Model.fit` returns; or a model, whose history is that of all its calls
        of ``fit``; or a dict of lists, one number an epoch, as Keras has; or a list of the logs of
        epochs, as callbacks are given them. Epochs count from 1 unless there is an ``"epoch"``.
    names : str or sequence of str, optional
        Quantities to draw, such as ``["loss", "accuracy", "lr"]``, each with its validation. All
        but the learning rate ``"lr"`` if left out.
    best : str or None
        The quantity of which the best epoch is marked in all panels; "auto" is the least
        ``"val_loss"``, or the least ``"loss"`` where nothing was validated.
    mode : "min" or "max", optional
        Which way is better for `best`; needed for everything but a loss of these two names.
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    Axes or array of Axes
        One if `names` is a single name; otherwise an array with one for each quantity.

    Raises
    ------
    ValueError, TypeError
        If there is no epoch, no such quantity, or an argument is none.
    ImportError
        If matplotlib is not installed.

    Notes
    -----
    Epochs that were not validated, as with ``validation_freq``, are passed over: a line joins those
    before and behind. A figure of training that is NaN or infinite leaves a gap, and a cross at the
    foot of the panel.

    Examples
    --------
    >>> import xpcnn
    >>> log = {"loss": [0.9, 0.5, 0.4], "val_loss": [1.0, 0.7, 0.8], "accuracy": [0.6, 0.8, 0.9]}
    >>> axes = xpcnn.plot.history(log)
    >>> [panel.get_title() for panel in axes]
    ['loss', 'accuracy']
    """
    epochs, columns = read_history(history)
    single = isinstance(names, str)
    chosen = _chosen(columns, names)
    marked = _best(columns, epochs, best, mode)
    with canvas.panels(
        ax, len(chosen), WHO, size=(4.2, 3.2), title=None, columns=min(3, len(chosen))
    ) as axes:
        for panel, name in zip(axes, chosen, strict=True):
            _draw(panel, name, epochs, columns, marked, labelled=panel is axes[0])
    return axes[0] if single else axes


def read_history(given: Any, who: str = WHO) -> tuple[np.ndarray, Columns]:
    """Return the epochs and the quantities of whatever a history can be."""
    if isinstance(given, Model):
        given = given.history
    epochs: Any = None
    if isinstance(given, History):
        epochs, given = given.epoch, given.history
    elif is_sequence(given) and len(given) and all(isinstance(row, Mapping) for row in given):
        seen = History()
        for number, row in enumerate(given, start=1):
            logs = {str(k): _number(v, str(k), who) for k, v in row.items() if k != "epoch"}
            seen.append(row.get("epoch", number), logs)
        epochs, given = seen.epoch, seen.history
    elif isinstance(getattr(given, "history", None), Mapping):  # Keras' History
        epochs, given = getattr(given, "epoch", None), given.history
        epochs = None if epochs is None else [epoch + 1 for epoch in epochs]  # counted from 0
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{who}: a history must be a History, a Model, a dict of lists or a list of dicts, got "
            f"{type(given).__name__}"
        )
    columns = {str(name): _column(values, str(name), who) for name, values in given.items()}
    if "epoch" in columns:
        epochs = columns.pop("epoch")
    lengths = {name: len(column) for name, column in columns.items()}
    if not columns or not max(lengths.values()):
        raise ValueError(f"{who}: there is no epoch in the history yet; call fit first")
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"{who}: quantities must have one number for each epoch, got lists of "
            + ", ".join(f"{length} ({name})" for name, length in lengths.items())
        )
    count = next(iter(lengths.values()))
    at = np.arange(1, count + 1) if epochs is None else np.asarray(epochs, np.float64)
    if at.shape != (count,):
        raise ValueError(f"{who}: there are {len(at)} epochs and {count} numbers of each")
    return at, columns


def _column(values: Any, name: str, who: str) -> np.ndarray:
    if not is_sequence(values):
        raise TypeError(
            f"{who}: {name!r} must be a list of numbers, one for each epoch, got {values!r:.100}"
        )
    return np.array([_number(value, name, who) for value in values], np.float64)


def _number(value: Any, name: str, who: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{who}: {name!r} must be numbers, got {value!r:.100}") from None


def _chosen(columns: Columns, names: Any) -> list[str]:
    """Return the names of panels: those of training, for quantities of which there is any."""
    there = list(dict.fromkeys(name.removeprefix("val_") for name in columns))
    if names is None:
        return [name for name in there if name != "lr"] or there
    given = [names] if isinstance(names, str) else names
    if not is_sequence(given) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"{WHO}: names must be a name, or a list of names, got {names!r:.100}")
    for name in given:
        _check_known(name.removeprefix("val_"), there, "names")
    if not given:
        raise ValueError(f"{WHO}: names is empty; leave it out for all of {canvas.listed(there)}")
    return list(dict.fromkeys(name.removeprefix("val_") for name in given))


def _check_known(name: str, there: Sequence[str], argument: str) -> None:
    if name in there:
        return
    near = difflib.get_close_matches(name, there, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"{WHO}: {argument}: the history has no {name!r}, only {canvas.listed(there)}{hint}"
    )


def _best(
    columns: Columns, epochs: np.ndarray, best: Any, mode: str | None
) -> tuple[str, float] | None:
    """Return which quantity is best at which epoch; ``None`` if nothing is to be marked."""
    check_choice(WHO, "mode", mode, ("min", "max", None))
    if best is None:
        if mode is not None:
            raise ValueError(f"{WHO}: mode={mode!r} is for a quantity, and best is None; give it")
        return None
    if not isinstance(best, str):
        raise TypeError(f"{WHO}: best must be the name of a quantity or None, got {best!r:.100}")
    if best == "auto":
        if mode is not None:
            raise ValueError(f"{WHO}: mode={mode!r} needs best='...' to say of which quantity")
        best = next((name for name in ("val_loss", "loss") if name in columns), None)
        if best is None:
            return None
    _check_known(best, list(columns), "best")
    if mode is None and best not in ("val_loss", "loss"):
        raise ValueError(
            f"{WHO}: best={best!r} needs mode='max' or mode='min', to say which way is better"
        )
    finite = np.isfinite(columns[best])
    if not finite.any():
        return None
    worst = -np.inf if mode == "max" else np.inf
    values = np.where(finite, columns[best], worst)
    at = int(values.argmax() if mode == "max" else values.argmin())
    return best, float(epochs[at])


def _draw(
    ax: Any,
    name: str,
    epochs: np.ndarray,
    columns: Columns,
    marked: tuple[str, float] | None,
    *,
    labelled: bool,
) -> None:
    """Draw one quantity; `labelled` says whether the legend tells what the best epoch is."""
    marker = "o" if len(epochs) <= _MARKED else ""
    lines = (
        (name, "training", canvas.TRAINING, False),
        (f"val_{name}", "validation", canvas.VALIDATION, True),
    )
    for key, label, color, joined in lines:
        if key not in columns:
            continue
        values = columns[key]
        # Not every epoch is validated, and those that are not have NaN.
        kept = ~np.isnan(values) if joined else np.ones(len(values), bool)
        shown = np.where(np.isfinite(values), values, np.nan)
        single = "o" if np.isfinite(values).sum() == 1 else marker
        ax.plot(epochs[kept], shown[kept], color=color, marker=single, ms=3.5, label=label)
        lost = epochs[kept & ~np.isfinite(values)]
        if len(lost):
            foot = ax.get_xaxis_transform()
            ax.plot(
                lost, np.full(len(lost), 0.03), "x", color=color, transform=foot, clip_on=False,
                label=f"{label}: not finite",
            )  # fmt: skip
    if marked is not None:
        told = f"best {marked[0]}: epoch {marked[1]:g}" if labelled else None
        ax.axvline(marked[1], color="0.5", linestyle=":", linewidth=1.2, label=told, zorder=0)
    written = "learning rate" if name == "lr" else name
    ax.set_title(written, **canvas.fonts(name))
    ax.set_xlabel("epoch")
    ax.set_ylabel(written, **canvas.fonts(name))
    if name == "lr":
        ax.set_ylim(bottom=0)
    canvas.whole_numbers(ax.xaxis)
    if len(epochs) == 1:
        ax.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)
    ax.grid(alpha=0.25)
    if name != "lr" or labelled:
        ax.legend(fontsize="small")
