"""One process for each library, which take turns."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xpcnn.bench.configurations import Configuration
from xpcnn.bench.program import Digest
from xpcnn.bench.worker import LAYERS, SGEMM
from xpcnn.bench.workloads import Workload

PAUSE = 0.05
"""Seconds between turns: threads that wait for more work spin for a while before they sleep."""

_PACKAGE = Path(__file__).parents[1]

# For the baselines: xpcnn.bench without the rest of xpcnn, so that the memory is theirs alone.
_LIGHT = """\
import sys, types
package = types.ModuleType("xpcnn")
package.__path__ = [sys.argv.pop(1)]
sys.modules["xpcnn"] = package
from xpcnn.bench.worker import main
sys.exit(main())
"""


class WorkerError(RuntimeError):
    """A process that could not run its workload."""


class Worker:
    """A process that runs one workload in one configuration; a context manager.

    Without a workload it runs layers, one by one; without a configuration too, a matrix product.
    """

    def __init__(
        self,
        configuration: Configuration | None,
        workload: Workload | None,
        threads: int,
        *,
        warm_up: int | None = None,
        onnx: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if configuration is not None and configuration.library == "xpcnn":
            command = [sys.executable, "-m", "xpcnn.bench.worker"]
        else:
            command = [sys.executable, "-c", _LIGHT, str(_PACKAGE)]
        if configuration is None:
            command += [SGEMM, SGEMM]
        else:
            command += [configuration.name, LAYERS if workload is None else workload.name]
        command += ["--threads", str(threads)]
        if workload is not None:
            command += ["--batch-size", str(workload.shape[0])]
        command += [] if warm_up is None else ["--warm-up", str(warm_up)]
        command += [] if onnx is None else ["--onnx", str(onnx)]
        self.process = subprocess.Popen(
            command,
            env=_environment(threads) | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> dict[str, Any]:
        """Wait for the warm-up; returns the time of the first step and what the steps gave."""
        return self._read()

    def turn(self, seconds: float) -> dict[str, Any]:
        """Let it run; returns milliseconds a step, and the peak of its memory so far."""
        return self._ask(seconds)

    def make_layer(self, name: str, kind: str) -> Digest:
        """Make a case of a layer ready, to run "forward" or "gradients"; returns what came out."""
        digest: Digest = self._ask([name, kind])["digest"]
        return digest

    def _ask(self, question: float | list[str]) -> dict[str, Any]:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why it ended is read next
            self.process.stdin.write(f"{json.dumps(question)}\n")
            self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the process ended with exit code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class FreshWorker:
    """Runs the first step of a workload in a new process each time, which has nothing to go by.

    To be used as a :class:`Worker`.
    """

    def __init__(self, configuration: Configuration, workload: Workload, threads: int) -> None:
        self.configuration = configuration
        self.workload = workload
        self.threads = threads

    def ready(self) -> dict[str, Any]:
        """Run it once; what is measured afterwards finds the files of the libraries in memory."""
        return self._run()

    def turn(self, _: float) -> dict[str, Any]:
        """Run it once; returns the milliseconds from the start of the process, and its peak."""
        started = time.time()
        answer = self._run()
        milliseconds = (answer["first_step_at"] - started) * 1e3
        peak = answer["peak_mib"]
        return {"ms": milliseconds, "least_ms": milliseconds, "steps": 1, "peak_mib": peak}

    def _run(self) -> dict[str, Any]:
        with TemporaryDirectory() as folder:
            environment = {"NUMBA_CACHE_DIR": folder, "XPCNN_QUIET": "1"}
            with Worker(
                self.configuration,
                self.workload,
                self.threads,
                warm_up=1,
                environment=environment,
            ) as worker:
                return worker.ready()

    def __enter__(self) -> FreshWorker:
        return self

    def __exit__(self, *_: object) -> None:
        """There is no process between turns."""


def take_turns(
    workers: Sequence[Worker | FreshWorker], rounds: int, seconds: float
) -> list[list[dict]]:
    """Let every worker run once a round, each round begun by another one.

    Returns
    -------
    list of list of dict
        For every worker its answers, one a round.
    """
    answers: list[list[dict]] = [[] for _ in workers]
    for start in range(rounds):
        for step in range(len(workers)):
            number = (start + step) % len(workers)
            time.sleep(PAUSE)
            answers[number].append(workers[number].turn(seconds))
    return answers


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker: the same threads for everybody, and this xpcnn."""
    path = [str(_PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")
    return (
        os.environ
        | {f"{library}_NUM_THREADS": str(threads) for library in settings}
        | {"PYTHONPATH": os.pathsep.join(path), "JAX_PLATFORMS": "cpu"}
        | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # no more processes, which would stay
    )
