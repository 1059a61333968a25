"""Losses: predictions and targets to one number, and its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.explaining.common import lines
from xpcnn.explaining.numbers import factor, shortened, written
from xpcnn.explaining.parts import (
    Formula,
    Index,
    Made,
    Numbers,
    Part,
    Section,
    Text,
    array_tables,
    places,
    table,
)
from xpcnn.explaining.running import WHO
from xpcnn.explaining.softmax import softmax_tables
from xpcnn.explaining.words import Words
from xpcnn.losses.loss import Loss

ELEMENTWISE: dict[str, tuple[str, str]] = {
    "MSELoss": ("(p - t)²", "2·(p - t)"),
    "L1Loss": ("|p - t|", "sign(p - t)"),
    "BCELoss": ("-t·log(p) - (1 - t)·log(1 - p)", "(p - t) / (p·(1 - p))"),
    "BCEWithLogitsLoss": ("-t·log(σ(p)) - (1 - t)·log(1 - σ(p))", "σ(p) - t"),
}
"""Losses that are a mean over elements: the term, and its slope."""


@dataclass(frozen=True)
class LossRun:
    """A loss after its forward and backward; `factor` multiplies the value, as courses have ½."""

    who: str
    kind: str
    p: Numbers
    target: Numbers
    value: float
    gradient: np.ndarray
    reduction: str
    labels: bool


def run_loss(loss: Loss, prediction: np.ndarray, target: Any) -> LossRun:
    """Run a copy of a loss in float64."""
    who = type(loss).__name__
    for name, value in loss.arguments().items():
        if name == "reduction":
            if value == "none":
                raise ValueError(
                    f"{WHO}: {who}(reduction='none') has no one number to explain; give one with "
                    "reduction='mean' or 'sum'"
                )
        elif not _is_default(type(loss), name, value):
            raise ValueError(
                f"{WHO}: {who} is explained without {name}, got {name}={value!r:.80}; give one "
                "without it"
            )
    given = _target(target)
    if who == "CrossEntropyLoss" and prediction.ndim == 1:  # one sample
        prediction = prediction[None]
        given = given[None] if given.shape != (1,) else given
    twin = type(loss).from_arguments(loss.arguments())
    prepared = twin.prepare_target(prediction.shape, given, "float64")
    if who == "CrossEntropyLoss" and given.ndim == 1 and (given < 0).any():
        raise ValueError(
            f"{WHO}: target has labels {loss.arguments()['ignore_index']}, which do not count; "
            "leave these samples out"
        )
    value = float(twin.forward(prediction, prepared))
    gradient = np.asarray(twin.backward())
    labels = given.shape != prediction.shape
    return LossRun(
        who,
        who,
        Numbers("p", prediction, tuple(range(prediction.ndim))),
        Numbers("t", given, tuple(range(given.ndim))),
        value,
        gradient,
        loss.reduction,
        labels,
    )


def _target(target: Any) -> np.ndarray:
    if target is None:
        raise TypeError(
            f"{WHO}: a loss needs target=, the right answers, beside the predictions; got none"
        )
    if isinstance(target, (str, bytes)) or callable(target):
        raise TypeError(f"{WHO}: target must hold numbers, got {target!r}")
    return np.asarray(_xp.to_numpy(target))


def _is_default(kind: type, name: str, value: Any) -> bool:
    plain = {"weight": None, "pos_weight": None, "label_smoothing": 0.0, "ignore_index": -100}
    return name in plain and (value is None if plain[name] is None else value == plain[name])


def explain_loss(run: LossRun, say: Words, limit: int) -> list[Section]:
    """Explain a loss, forward and backward."""
    parts: list[Part] = [Text(say("shape", name="p", shape=run.p.shape))]
    parts += array_tables(run.p, limit, say("tables_left_out"))
    parts += array_tables(run.target, limit, say("tables_left_out"))
    if run.labels:
        parts.append(Text(say("labels_as_rows")))
    given = Section(say("scores"), parts)
    if run.kind == "CrossEntropyLoss":
        return [given, *_cross_entropy(run, say, limit)]
    return [given, *_by_elements(run, say, limit)]


def _cross_entropy(run: LossRun, say: Words, limit: int) -> list[Section]:
    if run.p.values.ndim != 2:
        raise ValueError(
            f"{WHO}: {run.who} is explained for scores of shape (N, classes), got "
            f"{run.p.values.shape}; give the scores of one place"
        )
    x = run.p.values
    n, classes = x.shape
    t = np.eye(classes)[run.target.values.astype(int)] if run.labels else run.target.values
    names = [f"n{i}" for i in range(n)]
    shifted = x - x.max(axis=1, keepdims=True)
    log_y = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    y = np.exp(log_y)
    terms = -np.sum(t * log_y, axis=1)

    def line(index: Index) -> str:
        i = index[0]
        shown = [
            (f"{factor(t[i, k])}·" if t[i, k] != 1 else "") + f"log({written(y[i, k])})"
            for k in range(classes)
            if t[i, k]
        ]
        inside = " + ".join(shown) or "0"
        inside = f"({inside})" if len(shown) > 1 else inside
        return f"L[{i}] = -{inside} ≈ {written(terms[i])}"

    softmax: list[Part] = [Text(say("softmax_text")), Formula("y = exp(p - m) / Σ exp(p - m)")]
    softmax += softmax_tables(x, names, limit, "p")
    logs: list[Part] = [Text(say("ce_log_text")), Formula("L[n] = -Σ t[n, k]·log(y[n, k])")]
    logs.append(lines([(i,) for i in range(n)], line, limit, say))
    columns = [str(k) for k in range(classes)]
    mean = run.reduction == "mean"
    back: list[Part] = [Text(say("ce_back_text" if mean else "ce_back_sum"))]
    back.append(Formula(f"dp = (y - t) / N,  N = {n}" if mean else "dp = y - t"))
    back.append(table("y - t", y - t, names, columns, limit))
    back.append(table("dp", run.gradient, names, columns, limit))
    return [
        Section(say("ce_softmax_heading"), softmax),
        Section(say("ce_log_heading"), logs),
        _reduced(run, terms, say),
        Section(say("loss_back_heading"), back),
    ]


def _by_elements(run: LossRun, say: Words, limit: int) -> list[Section]:
    term, slope = ELEMENTWISE[run.kind]
    p, t = run.p.values, run.target.values.astype(float)
    terms = _terms(run.kind, p, t)
    count = p.size if run.reduction == "mean" else 1
    order = places(p.shape)
    names = Made(len(order), lambda k: run.p.at(*order[k]))
    matrix = np.stack([a.reshape(-1) for a in (p, t, p - t, terms)], axis=1)
    shown = table("", matrix, names, ["p", "t", "p - t", "L"], limit, by_column=True)
    slopes = run.gradient * count
    text = say("elementwise_back", count=count) if run.reduction == "mean" else ""
    back: list[Part] = [Text(text or say("elementwise_back_sum"))]
    back.append(Formula(f"dp = {slope}" if count == 1 else f"dp = ({slope}) / {count}"))
    pair = np.stack([slopes.reshape(-1), run.gradient.reshape(-1)], axis=1)
    back.append(table("", pair, names, [say("slope"), "dp"], limit, by_column=True))
    forward: list[Part] = [Formula(f"L = {term}"), shown]
    if run.kind == "BCEWithLogitsLoss":
        forward.insert(1, Formula("σ(p) = 1 / (1 + exp(-p))"))
    return [
        Section(say("terms_heading"), forward),
        _reduced(run, terms.reshape(-1), say),
        Section(say("loss_back_heading"), back),
    ]


def _terms(kind: str, p: np.ndarray, t: np.ndarray) -> np.ndarray:
    if kind == "MSELoss":
        return (p - t) ** 2
    if kind == "L1Loss":
        return np.abs(p - t)
    if kind == "BCELoss":
        with np.errstate(divide="ignore"):
            yes, no = np.maximum(np.log(p), -100.0), np.maximum(np.log1p(-p), -100.0)
        return -t * yes - (1.0 - t) * no
    return np.logaddexp(0.0, p) - t * p


def _reduced(run: LossRun, terms: np.ndarray, say: Words) -> Section:
    shown = shortened([factor(v) for v in terms], say("terms_left_out"))
    total = " + ".join(shown)
    exact = all(float(written(v)) == v for v in [*terms, run.value])
    sign = "=" if exact else "≈"
    if run.reduction == "mean":
        line = f"L = ({total}) / {len(terms)} {sign} {written(run.value)}"
    else:
        line = f"L = {total} {sign} {written(run.value)}"
    heading = say("reduce_mean" if run.reduction == "mean" else "reduce_sum")
    return Section(heading, [Formula(line)])
