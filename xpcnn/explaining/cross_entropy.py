"""Losses of classes: cross-entropy of scores, and of logarithms of probabilities."""

from __future__ import annotations

import numpy as np

from xpcnn.explaining.common import lines
from xpcnn.explaining.loss_runs import LossRun
from xpcnn.explaining.numbers import factor, first_and_last, written
from xpcnn.explaining.parts import Formula, Index, Part, Section, Text, table
from xpcnn.explaining.softmax import softmax_tables
from xpcnn.explaining.words import Words

CLASS_LOSSES = ("CrossEntropyLoss", "NLLLoss")


def explain_class_loss(run: LossRun, say: Words, limit: int) -> tuple[list[Section], Section]:
    """Explain a loss of classes: what comes before the sum, and the backward."""
    story = _ClassLoss(run, say, limit)
    return story.forward(), story.backward()


class _ClassLoss:
    """The numbers of one loss, a row for each sample and place: (rows, classes)."""

    def __init__(self, run: LossRun, say: Words, limit: int) -> None:
        self.run, self.say, self.limit = run, say, limit
        shape = run.p.values.shape
        self.classes = shape[1]
        self.of_scores = run.who == "CrossEntropyLoss"
        self.x, self.gradient = self._rows(run.p.values), self._rows(run.gradient)
        self.spots = list(np.ndindex(shape[0], *shape[2:]))
        self.names = [_row_name(spot) for spot in self.spots]
        self.log_y = self.x
        if self.of_scores:
            shifted = self.x - self.x.max(axis=1, keepdims=True)
            self.log_y = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        settings = run.settings
        self.smoothing = settings.get("label_smoothing", 0.0)
        self.w = None if settings["weight"] is None else np.asarray(settings["weight"], "float64")
        self.letter = "t′" if self.smoothing else "t"
        self.ignored = np.zeros(len(self.x), bool)
        self.t = self._shares()
        self.wt = self.t if self.w is None else self.t * self.w

    @property
    def is_plain(self) -> bool:
        return self.w is None and not self.smoothing and not self.ignored.any()

    def _rows(self, values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values, 1, -1).reshape(-1, self.classes)

    def _shares(self) -> np.ndarray:
        """Return the targets as rows, smoothed, with zeros for what does not count."""
        given = self.run.target.values
        if self.run.labels:
            labels = given.astype(int).reshape(-1)
            self.ignored = labels == self.run.settings["ignore_index"]
            t = np.eye(self.classes)[np.where(self.ignored, 0, labels)]
        else:
            t = self._rows(given.astype("float64"))
        t = (1.0 - self.smoothing) * t + self.smoothing / self.classes
        return np.where(self.ignored[:, None], 0.0, t)

    def forward(self) -> list[Section]:
        say = self.say
        sections: list[Section] = []
        if self.of_scores:
            softmax: list[Part] = [
                Text(say("softmax_text")),
                Formula("y = exp(p - m) / Σ exp(p - m)"),
                *softmax_tables(self.x, self.names, self.limit, "p"),
            ]
            sections.append(Section(say("ce_softmax_heading"), softmax))
        if not self.is_plain:
            sections.append(Section(say("ce_settings_heading"), self._settings()))
        log = "log(y[n, k])" if self.of_scores else "p[n, k]"
        weight = "" if self.w is None else "w[k]·"
        logs: list[Part] = [Text(say("ce_log_text" if self.of_scores else "nll_text"))]
        logs.append(Formula(f"L[n] = -Σ {weight}{self.letter}[n, k]·{log}"))
        rows = [(i,) for i in range(len(self.x))]
        logs.append(lines(rows, self._line, self.limit, say))
        heading = "ce_log_heading" if self.of_scores else "nll_heading"
        return [*sections, Section(say(heading), logs)]

    def _line(self, index: Index) -> str:
        i = index[0]
        shown = []
        for k in range(self.classes):
            if self.wt[i, k]:
                share = f"{factor(self.wt[i, k])}·" if self.wt[i, k] != 1 else ""
                number = self.log_y[i, k]
                log = f"log({written(np.exp(number))})" if self.of_scores else factor(number)
                shown.append(share + log)
        inside = " + ".join(shown) or "0"
        inside = f"({inside})" if len(shown) > 1 else inside
        result = self.run.terms.reshape(-1)[i]
        exact = not self.of_scores and float(written(result)) == result
        sign = "=" if exact or not shown else "≈"
        return f"L[{', '.join(map(str, self.spots[i]))}] = -{inside} {sign} {written(result)}"

    def _settings(self) -> list[Part]:
        say = self.say
        parts: list[Part] = []
        if self.ignored.any():
            label = self.run.settings["ignore_index"]
            parts.append(Text(say("ce_ignored", label=label, count=int(self.ignored.sum()))))
        if self.smoothing:
            rest, each = written(1.0 - self.smoothing), written(self.smoothing)
            parts.append(Text(say("ce_smoothed", share=each)))
            parts.append(Formula(f"t′ = {rest}·t + {each} / {self.classes}"))
        if self.w is not None:
            kept = first_and_last(self.classes, self.limit)
            numbers = ", ".join("…" if k is None else written(self.w[k]) for k in kept)
            parts.append(Text(say("ce_weighted", numbers=numbers)))
        columns = [str(k) for k in range(self.classes)]
        title = ("" if self.w is None else "w[k]·") + f"{self.letter}[n, k]"
        parts.append(table(title, self.wt, self.names, columns, self.limit))
        if self.run.is_mean:
            key = "ce_divisor_rows"
            if self.run.labels:
                key = "ce_divisor_count" if self.w is None else "ce_divisor_weights"
            parts.append(Text(say(key, divisor=written(self.run.divisor))))
        return parts

    def backward(self) -> Section:
        say, columns = self.say, [str(k) for k in range(self.classes)]
        mean = self.run.is_mean
        divided = f" / N,  N = {written(self.run.divisor)}" if mean else ""
        parts: list[Part] = []
        if not self.of_scores:
            weight = "" if self.w is None else "w·"
            parts += [Text(say("nll_back_text")), Formula(f"dp = -{weight}t{divided}")]
        elif self.is_plain:
            parts.append(Text(say("ce_back_text" if mean else "ce_back_sum")))
            parts.append(Formula(f"dp = (y - t){divided}" if mean else "dp = y - t"))
            parts.append(table("y - t", self._slopes(), self.names, columns, self.limit))
        else:
            target = self.letter if self.w is None else f"w·{self.letter}"
            slope = f"y·Σ {target} - {target}"
            parts.append(Text(say("ce_back_general")))
            parts.append(Formula(f"dp = ({slope}){divided}" if mean else f"dp = {slope}"))
            parts.append(table(slope, self._slopes(), self.names, columns, self.limit))
        parts.append(table("dp", self.gradient, self.names, columns, self.limit))
        return Section(say("loss_back_heading"), parts)

    def _slopes(self) -> np.ndarray:
        return np.exp(self.log_y) * self.wt.sum(axis=1, keepdims=True) - self.wt


def _row_name(spot: Index) -> str:
    return f"n{spot[0]}" + (f" ({','.join(map(str, spot[1:]))})" if spot[1:] else "")
