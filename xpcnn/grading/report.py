"""What a grading says: single checks, and the report of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from xpcnn._markup import escape
from xpcnn.grading.mistakes import MISTAKES
from xpcnn.grading.words import say

STATES = {
    "right": ("ok  ", "○", "right", "正しい"),
    "wrong": ("FAIL", "✕", "wrong", "誤り"),
    "not tested": ("--  ", "–", "not tested", "未確認"),
    "note": ("note", "i", "note", "注意"),
}


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes
    ----------
    name : str
        What was checked, such as ``"dW"`` or ``"stride 2"``.
    state : str
        ``"right"``, ``"wrong"``, ``"not tested"``, or ``"note"`` for what is right in some courses.
    message : str
        What was found; empty if all is right.
    mistake : str or None
        Name of the mistake in :data:`xpcnn.grading.MISTAKES`, if it was recognised.

    Examples
    --------
    >>> from xpcnn.grading import Check
    >>> Check("dW", "wrong", "dW is all zeros", "all_zero").mistake
    'all_zero'
    """

    name: str
    state: str
    message: str = ""
    mistake: str | None = None


@dataclass
class Report:
    """What :func:`xpcnn.check` found; ``print`` it, or let a notebook show it.

    Attributes
    ----------
    subject, like : str
        What was checked, and what it was compared with.
    checks : list of Check
        Everything that was run, and what could not be.
    lang : str
        Language of the messages: ``"en"`` or ``"ja"``.
    called : str
        How `subject` was made and called.

    Examples
    --------
    >>> import xpcnn
    >>> report = xpcnn.check(lambda x, W, b: x @ W, like="linear")
    >>> report.passed, report.mistakes
    (False, ['bias_missing'])
    """

    subject: str
    like: str
    checks: list[Check] = field(default_factory=list)
    lang: str = "en"
    called: str = ""

    @property
    def passed(self) -> bool:
        """Whether something was checked, and nothing was wrong."""
        states = [check.state for check in self.checks]
        return "right" in states and "wrong" not in states

    @property
    def mistakes(self) -> list[str]:
        """Names of the mistakes that were recognised, each once."""
        return list(dict.fromkeys(c.mistake for c in self.checks if c.mistake is not None))

    @property
    def text(self) -> str:
        """The report for a terminal."""
        lines = [self._title()]
        if self.called:
            lines.append(f"  {self.called}")
        lines += [
            f"  [{STATES[c.state][0]}] {c.name}{': ' if c.message else ''}{c.message}"
            for c in self.checks
        ]
        hints = [f"  - {MISTAKES[name].hint(self.lang)}" for name in self.mistakes]
        if hints:
            lines += ["", f"{say(self.lang, 'mend')}:", *hints]
        return "\n".join(lines)

    def _title(self) -> str:
        wrong = sum(check.state == "wrong" for check in self.checks)
        right = sum(check.state == "right" for check in self.checks)
        result = "passed" if self.passed else "not passed"
        values = {"subject": self.subject, "like": self.like, "right": right, "wrong": wrong}
        return say(self.lang, result, **values)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Report {self._title()}>"

    def __bool__(self) -> bool:
        return self.passed

    def _repr_html_(self) -> str:
        """The report as a table for notebooks."""
        colors = {"right": "#188a5b", "wrong": "#d55e00", "not tested": "#888", "note": "#0a84c6"}
        word = 3 if self.lang == "ja" else 2
        cell = "padding:3px 12px 3px 0;text-align:left;vertical-align:top;white-space:normal"
        rows = [
            f'<tr><td style="{cell};color:{colors[c.state]};font-weight:bold;white-space:nowrap">'
            f"{STATES[c.state][1]} {STATES[c.state][word]}</td>"
            f'<td style="{cell};white-space:nowrap">{escape(c.name)}</td>'
            f'<td style="{cell}">{escape(c.message)}</td></tr>'
            for c in self.checks
        ]
        hints = [f"<li>{escape(MISTAKES[m].hint(self.lang))}</li>" for m in self.mistakes]
        below = f"<p><b>{say(self.lang, 'mend')}</b></p><ul>{''.join(hints)}</ul>" if hints else ""
        called = f"<p><code>{escape(self.called)}</code></p>" if self.called else ""
        return (
            f'<div lang="{self.lang}"><p><b>{escape(self._title())}</b></p>{called}'
            f'<table style="border-collapse:collapse;margin:0 0 1em">{"".join(rows)}</table>'
            f"{below}</div>"
        )
