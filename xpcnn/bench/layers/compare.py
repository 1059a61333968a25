"""Two processes, xpcnn's and PyTorch's, that go through the layers together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpcnn.bench import environment
from xpcnn.bench.compare import disagreements
from xpcnn.bench.configurations import CONFIGURATIONS, Configuration
from xpcnn.bench.layers.cases import Case
from xpcnn.bench.program import difference
from xpcnn.bench.turns import Worker, WorkerError, take_turns

KINDS = ("forward", "gradients")
RIVAL = CONFIGURATIONS["torch"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What to measure and how.

    Attributes
    ----------
    cases : sequence of Case
    subject : Configuration
        How xpcnn is set.
    rounds : int
        Turns of each library; 0 compares results only.
    seconds : float
        Length of a turn, which has one call at least.
    threads : int
        For each library.
    """

    cases: Sequence[Case]
    subject: Configuration
    rounds: int
    seconds: float
    threads: int


def compare(settings: Settings, show: Callable[[Row], None]) -> dict[str, Any]:
    """Measure every case, forward alone and with gradients; `show` gets each row as it is ready."""
    rows: list[Row] = []
    where = environment.describe()  # before the machine is busy with this
    with (
        Worker(settings.subject, None, settings.threads) as ours,
        Worker(RIVAL, None, settings.threads) as theirs,
    ):
        for case in settings.cases:
            for kind in KINDS:
                rows.append(measure(case, kind, ours, theirs, settings))
                show(rows[-1])
    return {
        "environment": where,
        "threads": settings.threads,
        "rounds": settings.rounds,
        "seconds_per_turn": settings.seconds,
        "subject": settings.subject.title,
        "rival": RIVAL.title,
        "layers": rows,
    }


def measure(case: Case, kind: str, ours: Worker, theirs: Worker, settings: Settings) -> Row:
    """Compare what both libraries give for a case, and then time them in turns."""
    row: Row = {
        "name": case.name,
        "layer": case.layer,
        "kind": kind,
        "shape": list(case.inputs[0].shape),
    }
    digests = []
    for library, worker in ((settings.subject.title, ours), (RIVAL.title, theirs)):
        try:
            digests.append(worker.make_layer(case.name, kind))
        except WorkerError as error:
            return row | {"error": f"{library} failed: {error}"}
    if not case.random:
        far = disagreements({"rival": difference(*digests)})
        if far:
            told = ", ".join(f"{what} by {size:.1e}" for _, what, size in far)
            return row | {"error": f"the libraries differ in {told}, relative to its size"}
    try:
        turns = take_turns([ours, theirs], settings.rounds, settings.seconds)
    except WorkerError as error:
        return row | {"error": f"one of the libraries failed while measured: {error}"}
    if not settings.rounds:
        return row
    our_ms, their_ms = ([answer["ms"] for answer in answers] for answers in turns)
    ratios = [rival / own for own, rival in zip(our_ms, their_ms, strict=True)]
    return row | {
        "ms": statistics.median(our_ms),
        "rival_ms": statistics.median(their_ms),
        "round_ms": our_ms,
        "rival_round_ms": their_ms,
        "ratio": statistics.median(ratios),
    }
