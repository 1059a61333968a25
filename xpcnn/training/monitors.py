"""Names in the logs of an epoch, and which way each of them is better."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from xpcnn.losses.loss import Loss
from xpcnn.losses.per_output import LossPerOutput
from xpcnn.metrics import Metric


def known_log(name: str, names: Sequence[str], who: str) -> None:
    """Raise unless there is such a name in the logs."""
    if name in names:
        return
    near = difflib.get_close_matches(name, names, 1)
    if name.removeprefix("val_") in names:
        fix = "give validation_data or validation_split"
    elif near:
        fix = f"did you mean {near[0]!r}?"
    else:
        fix = "monitor one of these"
    raise ValueError(f"{who}: there is no {name!r} to monitor, only {', '.join(names)}; {fix}")


def loss_names(loss: Loss | None, outputs: Sequence[str]) -> list[str]:
    """Name the losses in the logs: the whole, and that of each output where each has one."""
    several = isinstance(loss, LossPerOutput)
    return ["loss", *(f"{output}_loss" for output in outputs if several)]


def better_way(
    metrics: Sequence[Metric], name: str, mode: str | None, who: str, losses: Sequence[str]
) -> str:
    """Return "min" or "max", whichever is better for a quantity in the logs.

    `losses` names those that are losses, which fall.

    Raises
    ------
    ValueError
        If the mode is "auto", and the quantity is neither a loss nor a metric that says it.
    """
    if mode in ("min", "max"):
        return str(mode)
    plain = name.removeprefix("val_")
    by_name = {metric.name: metric for metric in metrics}
    metric = by_name.get(name, by_name.get(plain))
    if metric is not None and metric.higher_is_better is not None:
        return "max" if metric.higher_is_better else "min"
    if metric is None and plain in losses:
        return "min"
    raise ValueError(
        f"{who}: cannot tell whether more or less is better for {name!r}; give mode='max' or "
        "mode='min'"
    )
