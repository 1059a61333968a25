"""Batch normalisation, in training and in inference."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.explaining.common import (
    gradient_section,
    in_shape,
    lines,
    plain_input,
    plain_output,
    work,
)
from xpcnn.explaining.numbers import first_and_last, written
from xpcnn.explaining.parts import Formula, Index, Numbers, Part, Section, Text, table
from xpcnn.explaining.running import Run
from xpcnn.explaining.words import Words


def explain_batch_norm(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain BatchNorm1d, BatchNorm2d and BatchNorm3d, forward and backward."""
    story = _BatchNorm(run, say, limit)
    return [
        plain_input(run, say, limit),
        story.channels(),
        *([story.mean_section(), story.variance_section()] if story.own else []),
        story.normalised(),
        plain_output(run, say, limit),
        *([story.tracking()] if story.tracks else []),
        gradient_section(run, say, limit),
        *([story.parameter_gradients()] if run.training and run.grads else []),
        story.input_gradient(),
    ]


class _BatchNorm:
    """The numbers of one batch normalisation, by channels: (C, m)."""

    def __init__(self, run: Run, say: Words, limit: int) -> None:
        self.run, self.say, self.limit = run, say, limit
        layer: Any = run.layer
        self.layer: Any = layer
        self.x, self.dy = _by_channel(run.x.values), _by_channel(run.dy.values)
        tracks: bool = layer.track_running_stats
        self.own = run.training or not tracks
        self.tracks = run.training and tracks
        if self.own:
            self.mean = self.x.mean(axis=1)
            self.var = ((self.x - self.mean[:, None]) ** 2).mean(axis=1)
        else:
            self.mean, self.var = self._running()
        self.std = np.sqrt(self.var + layer.eps)
        self.x_hat = (self.x - self.mean[:, None]) / self.std[:, None]
        weight = run.params.get("weight")
        self.gamma = np.ones(len(self.x)) if weight is None else weight.values
        self.names = [f"c{c}" for c in range(len(self.x))]
        places = run.x.values.shape[:1] + run.x.values.shape[2:]
        self.columns = [
            f"n{i[0]}" + (f" {','.join(map(str, i[1:]))}" if i[1:] else "")
            for i in np.ndindex(*places)
        ]

    def _running(self) -> tuple[np.ndarray, np.ndarray]:
        layer = self.layer
        return _xp.to_numpy(layer.running_mean.value), _xp.to_numpy(layer.running_var.value)

    def _table(self, title: str, values: np.ndarray) -> Part:
        return table(title, values, self.names, self.columns, self.limit)

    def _each_channel(self, line: Any) -> Part:
        return lines([(c,) for c in range(len(self.x))], line, self.limit, self.say)

    def channels(self) -> Section:
        say = self.say
        places = say("bn_places") if self.run.x.values.ndim > 2 else ""
        text = Text(say("bn_rows", places=places, count=self.x.shape[1]))
        parts: list[Part] = [text, self._table("x", self.x)]
        if not self.own:
            shown = [
                "…" if c is None else f"c{c}: {written(self.mean[c])}, {written(self.var[c])}"
                for c in first_and_last(len(self.x), self.limit)
            ]
            parts.append(Text(say("bn_running_used", numbers="; ".join(shown))))
        return Section(say("bn_channels"), parts)

    def mean_section(self) -> Section:
        def line(index: Index) -> str:
            c = index[0]
            terms = [(v,) for v in self.x[c]]
            return work(f"μ[{c}]", terms, self.mean[c], self.say, over=len(terms))

        parts = [Formula("μ = Σ x / m"), self._each_channel(line)]
        return Section(self.say("bn_mean_heading"), parts)

    def variance_section(self) -> Section:
        def line(index: Index) -> str:
            c = index[0]
            terms = [(v,) for v in self.x[c] - self.mean[c]]
            return work(f"v[{c}]", terms, self.var[c], self.say, over=len(terms), squared=True)

        text = Text(self.say("bn_var_text"))
        parts: list[Part] = [text, Formula("v = Σ (x - μ)² / m"), self._each_channel(line)]
        return Section(self.say("bn_var_heading"), parts)

    def normalised(self) -> Section:
        say, layer = self.say, self.layer
        text = say("bn_norm_text" if self.own else "bn_norm_running", eps=written(layer.eps))
        roots = [f"√(v[{c}] + ε) ≈ {written(s)}" for c, s in enumerate(self.std)]
        kept = ["…" if c is None else roots[c] for c in first_and_last(len(roots), self.limit)]
        parts: list[Part] = [Formula("x̂ = (x - μ) / √(v + ε)"), Text(text), Text(", ".join(kept))]
        parts.append(self._table("x̂", self.x_hat))
        if "weight" in self.run.params:
            names = [
                self.run.params[n].name if n in self.run.params else "0" for n in ("weight", "bias")
            ]
            gamma = ", ".join(map(written, self.gamma[: self.limit]))
            bias = self.run.params.get("bias")
            values = np.zeros(len(self.x)) if bias is None else bias.values
            beta = ", ".join(map(written, values[: self.limit]))
            parts += [
                Formula("y = γ·x̂ + β"),
                Text(say("bn_affine", names=names, gamma=gamma, beta=beta)),
            ]
        else:
            parts.append(Text(say("bn_plain")))
        parts.append(self._table("y", _by_channel(self.run.y.values)))
        return Section(say("bn_norm_heading"), parts)

    def tracking(self) -> Section:
        rule, count = self.run.subject.rule, self.x.shape[1]
        new = self._running() if rule is None else None
        old: list[np.ndarray | None]
        if rule is None:
            text, share, before = "bn_tracking", self._share(), self.run.before
            names = ("running_mean", "running_var")
            old = [before[name] for name in names]
            batch = [self.mean, self.var * count / (count - 1)]
        else:
            text, share, names = "bn_tracking_course", 1.0 - rule.rho, ("moving_mean", "moving_var")
            old = [rule.moving_mean, rule.moving_var]
            batch = [self.mean, self.var]

        def line(index: Index) -> str:
            k, c = index
            terms = [(share, float(batch[k][c]))]
            earlier = old[k]
            if earlier is not None:
                terms.insert(0, (1.0 - share, float(earlier[c])))
            result = sum(a * b for a, b in terms) if new is None else new[k][c]
            return work(f"{names[k]}[{c}]", terms, result, self.say)

        rows = [(k, c) for k in range(2) for c in range(len(self.x))]
        parts: list[Part] = [Text(self.say(text))]
        parts.append(lines(rows, line, self.limit, self.say))
        return Section(self.say("bn_tracking_heading"), parts)

    def _share(self) -> float:
        """Return the share of the new batch in the running statistics."""
        momentum = self.layer.momentum
        return 1.0 / int(self.layer.num_batches_tracked.value) if momentum is None else momentum

    def parameter_gradients(self) -> Section:
        grads = self.run.grads
        parts: list[Part] = []

        def add(grad: Numbers, other: np.ndarray | None) -> None:
            def line(index: Index) -> str:
                c = index[0]
                factors = [self.dy[c]] if other is None else [self.dy[c], other[c]]
                terms = list(zip(*factors, strict=True))
                return work(grad.at(c), terms, grad.values[c], self.say)

            parts.append(self._each_channel(line))

        if "bias" in grads:
            parts.append(Formula("dβ = Σ dy"))
            add(grads["bias"], None)
        parts.append(Formula("dγ = Σ dy·x̂"))
        add(grads["weight"], self.x_hat)
        return Section(self.say("bn_beta_heading"), parts)

    def input_gradient(self) -> Section:
        say, dx = self.say, self.run.dx
        scale = self.gamma / self.std
        if not self.own:
            dx = Numbers("dx", self._from_channels(self.dy * scale[:, None]), dx.axes)
            parts: list[Part] = [Text(say("bn_dx_running")), Formula("dx = γ / √(v + ε) · dy")]
        else:
            first = self.dy.mean(axis=1)
            second = (self.dy * self.x_hat).mean(axis=1)
            text = Formula("dx = γ / √(v + ε) · (dy - Σ dy / m - x̂ · Σ (dy·x̂) / m)")
            matrix = np.stack([scale, first, second], axis=1)
            heads = ["γ / √(v + ε)", "Σ dy / m", "Σ (dy·x̂) / m"]
            means = table("", matrix, self.names, heads, self.limit, by_column=True)
            parts = [Text(say("bn_dx_text")), text, means]
            inside = self.dy - first[:, None] - self.x_hat * second[:, None]
            parts.append(self._table("dy - Σ dy / m - x̂ · Σ (dy·x̂) / m", inside))
            if not self.run.training:
                dx = Numbers("dx", self._from_channels(inside * scale[:, None]), dx.axes)
        parts.append(self._table("dx", _by_channel(dx.values)))
        parts += in_shape(dx, say, self.limit)
        return Section(say("dx_heading"), parts)

    def _from_channels(self, rows: np.ndarray) -> np.ndarray:
        shape = self.run.x.values.shape
        return np.moveaxis(rows.reshape(shape[1], shape[0], *shape[2:]), 0, 1)


def _by_channel(values: np.ndarray) -> np.ndarray:
    """Lay (N, C, *spatial) out as (C, m)."""
    return np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
