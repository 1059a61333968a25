"""Losses: predictions and targets to one number, and its gradient."""

from __future__ import annotations

import numpy as np

from xpcnn.explaining.common import work
from xpcnn.explaining.cross_entropy import CLASS_LOSSES, explain_class_loss
from xpcnn.explaining.loss_runs import LossRun
from xpcnn.explaining.numbers import written
from xpcnn.explaining.parts import Formula, Made, Part, Section, Text, array_tables, places, table
from xpcnn.explaining.words import Words

ELEMENTWISE: dict[str, tuple[str, str]] = {
    "MSELoss": ("(p - t)²", "2·(p - t)"),
    "L1Loss": ("|p - t|", "sign(p - t)"),
    "HuberLoss": (
        "½·(p - t)² if |p - t| ≤ {delta}, else {delta}·(|p - t| - ½·{delta})",
        "min(max(p - t, -{delta}), {delta})",
    ),
    "SmoothL1Loss": (
        "½·(p - t)² / {beta} if |p - t| < {beta}, else |p - t| - ½·{beta}",
        "min(max((p - t) / {beta}, -1), 1)",
    ),
    "BCELoss": ("-t·log(p) - (1 - t)·log(1 - p)", "(p - t) / (p·(1 - p))"),
    "BCEWithLogitsLoss": ("-t·log(σ(p)) - (1 - t)·log(1 - σ(p))", "σ(p) - t"),
    "MeanSquaredLoss": ("½·(p - t)²", "p - t"),
}
"""Losses that are a mean over elements: the term, and its slope."""

WEIGHTED_YES = (
    "-c·t·log(σ(p)) - (1 - t)·log(1 - σ(p))",
    "(1 - t)·σ(p) - c·t·(1 - σ(p))",
)
"""BCEWithLogitsLoss with `pos_weight`, c."""


def explain_loss(run: LossRun, say: Words, limit: int) -> list[Section]:
    """Explain a loss, forward and backward."""
    parts: list[Part] = [Text(say("shape", name="p", shape=run.p.shape))]
    parts += array_tables(run.p, limit, say("tables_left_out"))
    parts += array_tables(run.target, limit, say("tables_left_out"))
    if run.labels:
        parts.append(Text(say("labels_as_rows")))
    given = Section(say("scores"), parts)
    explained = explain_class_loss if run.who in CLASS_LOSSES else _by_elements
    forward, back = explained(run, say, limit)
    return [given, *forward, reduced(run, say), back]


def reduced(run: LossRun, say: Words) -> Section:
    """Show the sum of the terms, and what it is divided by."""
    terms = [(float(v),) for v in run.terms.reshape(-1)]
    over = {"over": run.divisor} if run.is_mean else {}
    line = work("L", terms, run.value, say, **over)
    return Section(say("reduce_mean" if run.is_mean else "reduce_sum"), [Formula(line)])


def _by_elements(run: LossRun, say: Words, limit: int) -> tuple[list[Section], Section]:
    term, slope = _formulas(run)
    p, t = run.p.values, run.target.values.astype(float)
    factors = {
        letter: np.broadcast_to(np.asarray(run.settings[name], dtype="float64"), p.shape)
        for letter, name in (("w", "weight"), ("c", "pos_weight"))
        if run.settings.get(name) is not None
    }
    columns = {"p": p, "t": t, "p - t": p - t, **factors, "L": run.terms}
    order = places(p.shape)
    names = Made(len(order), lambda k: run.p.at(*order[k]))
    matrix = np.stack([a.reshape(-1) for a in columns.values()], axis=1)
    shown = table("", matrix, names, list(columns), limit, by_column=True)
    forward: list[Part] = [Formula(f"L = {term}")]
    if run.who == "BCEWithLogitsLoss":
        forward.append(Formula("σ(p) = 1 / (1 + exp(-p))"))
    forward += [Text(say(f"loss_factor_{letter}")) for letter in factors]
    divisor = run.divisor
    key = "elementwise_back_sum" if not run.is_mean else "elementwise_back"
    if run.who == "MeanSquaredLoss":
        key = "elementwise_back_samples"
    pair = np.stack([(run.gradient * divisor).reshape(-1), run.gradient.reshape(-1)], axis=1)
    back: list[Part] = [
        Text(say(key, count=written(divisor))),
        Formula(f"dp = ({slope}) / {written(divisor)}" if run.is_mean else f"dp = {slope}"),
        table("", pair, names, [say("slope"), "dp"], limit, by_column=True),
    ]
    return [Section(say("terms_heading"), [*forward, shown])], Section(
        say("loss_back_heading"), back
    )


def _formulas(run: LossRun) -> tuple[str, str]:
    """Return term and slope with the settings of the loss put in."""
    settings = run.settings
    kind = "L1Loss" if run.who == "SmoothL1Loss" and not settings["beta"] else run.who
    pair = WEIGHTED_YES if settings.get("pos_weight") is not None else ELEMENTWISE[kind]
    numbers = {name: written(settings.get(name, 0.0)) for name in ("delta", "beta")}
    term, slope = (formula.format(**numbers) for formula in pair)
    if settings.get("weight") is not None:
        term, slope = f"w·({term})", f"w·({slope})"
    return term, slope
