"""From what was asked for to what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xpcnn.bench import environment
from xpcnn.bench.configurations import Configuration
from xpcnn.bench.own import write_onnx
from xpcnn.bench.program import Digest, difference
from xpcnn.bench.turns import FreshWorker, Worker, WorkerError, take_turns
from xpcnn.bench.worker import SGEMM_SIZE
from xpcnn.bench.workloads import Workload

LATER_LOSS = "loss after updates"
TOLERANCE = 1e-3
TOLERANCES = {"gradients": 5e-2, LATER_LOSS: 1e-1}
"""How far results may lie apart, relative to their size.

That is for telling different computations from the same: two runs of one library in two memory
layouts differ by 2e-2 in the gradients of deep networks with batch normalisation, and Adam turns
rounding about zero into steps of full size.
"""
PEAK_SECONDS = 0.3

Results = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What to measure and how.

    Attributes
    ----------
    workloads : sequence of Workload
    configurations : sequence of Configuration
        Ratios are about the first.
    rounds : int
        Turns of each configuration; 0 compares results only.
    seconds : float
        Length of a turn, which has one step at least.
    threads : int
        For each library.
    notes : sequence of str
        What the reader of the report has to know.
    """

    workloads: Sequence[Workload]
    configurations: Sequence[Configuration]
    rounds: int
    seconds: float
    threads: int
    notes: Sequence[str] = ()


def compare(settings: Settings, show: Callable[[Results, dict[str, Any] | None], None]) -> Results:
    """Measure all workloads.

    `show` is called with the results so far and ``None`` at the beginning, and with the results
    and the new entry after each workload.
    """
    results: Results = {
        "environment": environment.describe(),
        "threads": settings.threads,
        "rounds": settings.rounds,
        "seconds_per_turn": settings.seconds,
        "configurations": {each.name: each.title for each in settings.configurations},
        "subject": settings.configurations[0].name,
        "notes": list(settings.notes),
        "peak_gflops": 0.0,
        "workloads": [],
    }
    show(results, None)
    with Worker(None, None, settings.threads) as sgemm:
        sgemm.ready()
        for workload in settings.workloads:
            if settings.rounds:
                speed = 2 * SGEMM_SIZE**3 / sgemm.turn(PEAK_SECONDS)["least_ms"] / 1e6
                results["peak_gflops"] = max(results["peak_gflops"], speed)
            entry = measure(workload, settings)
            results["workloads"].append(entry)
            show(results, entry)
    return results


def measure(workload: Workload, settings: Settings) -> dict[str, Any]:
    """Run one workload in all configurations that take it."""
    chosen = [each for each in settings.configurations if each.takes(workload)]
    runs: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker | FreshWorker] = {}
    digests: dict[str, list[Digest]] = {}
    with ExitStack() as stack:
        onnx = None
        if any(configuration.reads_onnx for configuration in chosen):
            onnx = Path(stack.enter_context(TemporaryDirectory())) / "workload.onnx"
            write_onnx(workload, onnx)
        for configuration in chosen:
            run = runs[configuration.name] = {}
            try:
                if configuration.library == "xpcnn" and configuration.kernels != "generic":
                    run |= _prepare(configuration, workload, settings)
                worker = _worker(configuration, workload, settings, onnx)
                stack.enter_context(worker)
                ready = worker.ready()
            except WorkerError as error:
                run["left_out" if configuration.may_fail else "error"] = str(error)
                continue
            run["first_step_s"] = ready["first_step_s"]
            digests[configuration.name] = ready["digests"]
            workers[configuration.name] = worker
        try:
            turns = take_turns(list(workers.values()), settings.rounds, settings.seconds)
        except WorkerError as error:
            for name in workers:
                runs[name]["error"] = f"one of the libraries failed while measured: {error}"
            turns = []
    for name, answers in zip(workers, turns, strict=False):
        runs[name] |= _summary(answers)
    return {
        "name": workload.name,
        "kind": workload.kind,
        "shape": list(workload.shape),
        "gflop": None if workload.fresh else 2 * workload.multiply_adds() / 1e9,
        "runs": runs,
        "differences": _differences(settings.configurations[0].name, digests),
    }


def _worker(
    configuration: Configuration, workload: Workload, settings: Settings, onnx: Path | None
) -> Worker | FreshWorker:
    if workload.fresh:
        return FreshWorker(configuration, workload, settings.threads)
    return Worker(configuration, workload, settings.threads, onnx=onnx)


def _prepare(
    configuration: Configuration, workload: Workload, settings: Settings
) -> dict[str, float]:
    """Run one step in a process of its own, so that what is measured finds compiled kernels."""
    if workload.fresh:
        return {}
    with Worker(configuration, workload, settings.threads, warm_up=1) as worker:
        return {"first_step_maybe_compiling_s": worker.ready()["first_step_s"]}


def _summary(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not answers:
        return {}
    rounds = [answer["ms"] for answer in answers]
    return {
        "ms": statistics.median(rounds),
        "round_ms": rounds,
        "least_ms": min(answer["least_ms"] for answer in answers),
        "steps": sum(answer["steps"] for answer in answers),
        "peak_mib": answers[-1]["peak_mib"],
    }


def _differences(subject: str, digests: dict[str, list[Digest]]) -> dict[str, dict[str, float]]:
    """Compare what every other library gave with the first configuration."""
    found: dict[str, dict[str, float]] = {}
    for name, steps in digests.items():
        if name == subject or subject not in digests:
            continue
        own = digests[subject]
        found[name] = difference(own[0], steps[0])
        if "loss" in steps[0]:
            found[name][LATER_LOSS] = difference(own[-1], steps[-1])["loss"]
    return found


def disagreements(differences: dict[str, dict[str, float]]) -> list[tuple[str, str, float]]:
    """List what is further apart than rounding explains: configuration, result, difference."""
    return [
        (configuration, result, far)
        for configuration, results in differences.items()
        for result, far in results.items()
        if not far <= TOLERANCES.get(result, TOLERANCE)
    ]
