"""Normalisation of each sample by itself: of groups of channels, of channels, of the last axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.explaining.common import (
    gradient_section,
    in_shape,
    lines,
    plain_input,
    plain_output,
    work,
)
from xpcnn.explaining.numbers import written
from xpcnn.explaining.parts import Formula, Index, Part, Section, Text, table
from xpcnn.explaining.running import WHO, Run
from xpcnn.explaining.words import Words
from xpcnn.layers.group_norm import LayerNorm
from xpcnn.layers.instance_norm import InstanceNorm


def explain_sample_norm(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain GroupNorm, InstanceNorm and LayerNorm, forward and backward."""
    story = _SampleNorm(run, say, limit)
    return [
        plain_input(run, say, limit),
        story.statistics(),
        story.normalised(),
        plain_output(run, say, limit),
        gradient_section(run, say, limit),
        *([story.parameter_gradients()] if run.grads else []),
        story.input_gradient(),
    ]


class _SampleNorm:
    """The numbers of one normalisation, a row for what is normalised together: (rows, m)."""

    def __init__(self, run: Run, say: Words, limit: int) -> None:
        self.run, self.say, self.limit = run, say, limit
        layer: Any = run.layer
        if isinstance(layer, InstanceNorm) and layer.track_running_stats:
            raise ValueError(
                f"{WHO}: {run.subject.who} is explained without running statistics; give one with "
                "track_running_stats=False"
            )
        shape = run.x.values.shape
        if isinstance(layer, LayerNorm):
            lead = shape[: len(shape) - len(layer.normalized_shape)]
            self.names = [run.x.slice_name(index) for index in np.ndindex(*lead)]
            spread: Index = layer.normalized_shape
        else:
            is_instance = isinstance(layer, InstanceNorm)
            groups, letter = (shape[1], "c") if is_instance else (layer.num_groups, "g")
            self.names = [f"n{n} {letter}{g}" for n, g in np.ndindex(shape[0], groups)]
            spread = (shape[1], *(1,) * (len(shape) - 2))
        self.eps = layer.eps
        self.x = run.x.values.reshape(len(self.names), -1)
        self.mean = self.x.mean(axis=1)
        self.var = ((self.x - self.mean[:, None]) ** 2).mean(axis=1)
        self.std = np.sqrt(self.var + self.eps)
        self.x_hat = (self.x - self.mean[:, None]) / self.std[:, None]
        weight = run.params.get("weight")
        gamma = np.ones(spread) if weight is None else weight.values.reshape(spread)
        self.h = (run.dy.values * gamma).reshape(self.x.shape)

    def _rows(self, name: str, values: np.ndarray) -> Part:
        columns = [str(k) for k in range(values.shape[1])]
        return table(name, values, self.names, columns, self.limit)

    def statistics(self) -> Section:
        say, every = self.say, [(i,) for i in range(len(self.x))]

        def mean_line(index: Index) -> str:
            i = index[0]
            terms = [(v,) for v in self.x[i]]
            return work(f"μ[{self.names[i]}]", terms, self.mean[i], say, over=len(terms))

        def variance_line(index: Index) -> str:
            i = index[0]
            terms = [(v,) for v in self.x[i] - self.mean[i]]
            name = f"v[{self.names[i]}]"
            return work(name, terms, self.var[i], say, over=len(terms), squared=True)

        parts: list[Part] = [Text(say("sn_rows", count=self.x.shape[1])), self._rows("x", self.x)]
        parts += [Formula("μ = Σ x / m"), lines(every, mean_line, self.limit, say)]
        parts += [Formula("v = Σ (x - μ)² / m"), lines(every, variance_line, self.limit, say)]
        return Section(say("sn_heading"), parts)

    def normalised(self) -> Section:
        say, run = self.say, self.run
        parts: list[Part] = [
            Formula("x̂ = (x - μ) / √(v + ε)"),
            Text(say("bn_norm_running", eps=written(self.eps))),
            self._rows("x̂", self.x_hat),
        ]
        if "weight" in run.params:
            shifted = " + β" if "bias" in run.params else ""
            parts += [Formula(f"y = γ·x̂{shifted}"), Text(say("sn_affine"))]
            for numbers in run.params.values():
                parts += in_shape(numbers, say, self.limit)
        else:
            parts.append(Text(say("bn_plain")))
        return Section(say("bn_norm_heading"), parts)

    def parameter_gradients(self) -> Section:
        parts: list[Part] = [Text(self.say("sn_sums"))]
        for name, formula in (("bias", "dβ = Σ dy"), ("weight", "dγ = Σ dy·x̂")):
            if name in self.run.grads:
                parts.append(Formula(formula))
                parts += in_shape(self.run.grads[name], self.say, self.limit)
        return Section(self.say("bn_beta_heading"), parts)

    def input_gradient(self) -> Section:
        first, second = self.h.mean(axis=1), (self.h * self.x_hat).mean(axis=1)
        heads = ["1 / √(v + ε)", "Σ h / m", "Σ (h·x̂) / m"]
        means = np.stack([1.0 / self.std, first, second], axis=1)
        inside = self.h - first[:, None] - self.x_hat * second[:, None]
        parts: list[Part] = [
            Text(self.say("bn_dx_text")),
            Formula("dx = (h - Σ h / m - x̂ · Σ (h·x̂) / m) / √(v + ε),  h = γ·dy"),
            table("", means, self.names, heads, self.limit, by_column=True),
            self._rows("h - Σ h / m - x̂ · Σ (h·x̂) / m", inside),
            self._rows("dx", inside / self.std[:, None]),
            *in_shape(self.run.dx, self.say, self.limit),
        ]
        return Section(self.say("dx_heading"), parts)
