"""The process that runs one workload in one library, a few steps at a time, when asked to.

On standard input it gets a number of seconds a line, and answers with a line of JSON on what was
its standard output; whatever a library prints goes to standard error. Where it is to run layers, a
line may also be the name of one and what to do with it, to be made ready.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from xpcnn.bench.configurations import CONFIGURATIONS, Configuration
from xpcnn.bench.program import Digest, Program, digest
from xpcnn.bench.workloads import WORKLOADS, Workload

SGEMM = "sgemm"
"""Stands for library and workload where the speed of NumPy's matrix product is measured."""
SGEMM_SIZE = 1536
LAYERS = "layers"
"""Stands for the workload where layers are named one by one."""
WARM_UP = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Make a workload ready, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("configuration", choices=[*CONFIGURATIONS, SGEMM])
    parser.add_argument("workload", choices=[*WORKLOADS, SGEMM, LAYERS])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--warm-up", type=int, default=WARM_UP)
    parser.add_argument("--onnx", type=Path)
    args = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        _serve(args, sys.stdin, answers)
    except BrokenPipeError:  # nobody waits for the answer any more
        return 1
    except Exception as error:
        _say(answers, {"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


def _serve(args: argparse.Namespace, questions: Iterable[str], answers: TextIO) -> None:
    if args.configuration == SGEMM:
        return _answer(_sgemm(), args.warm_up, questions, answers)
    configuration = CONFIGURATIONS[args.configuration]
    if args.workload == LAYERS:
        return _serve_layers(configuration, args, questions, answers)
    workload = WORKLOADS[args.workload]
    if args.batch_size is not None:
        workload = workload.with_batch(args.batch_size)
    if configuration.library != "xpcnn":
        program = _baseline(configuration, workload, args.threads, args.onnx)
        return _answer(program, args.warm_up, questions, answers)
    import xpcnn
    from xpcnn.bench import own

    xpcnn.set_num_threads(args.threads)
    with xpcnn.kernels.force(configuration.kernels):
        made = own.make(workload, configuration.device)
        return _answer(made, args.warm_up, questions, answers)


def _serve_layers(
    configuration: Configuration,
    args: argparse.Namespace,
    questions: Iterable[str],
    answers: TextIO,
) -> None:
    from xpcnn.bench.layers.cases import CASES

    if configuration.library != "xpcnn":
        from xpcnn.bench.baselines import torch_layers

        def make(name: str, kind: str) -> Program:
            return torch_layers.make(CASES[name], kind, args.threads)

        return _answer_layers(make, questions, answers)
    import xpcnn
    from xpcnn.bench.layers import own

    xpcnn.set_num_threads(args.threads)
    with xpcnn.kernels.force(configuration.kernels):
        return _answer_layers(
            lambda name, kind: own.make(CASES[name], kind, configuration.device), questions, answers
        )


def _answer_layers(
    make: Callable[[str, str], Program], questions: Iterable[str], answers: TextIO
) -> None:
    """Make ready what is named, and run it; what fails is told, and the next one asked for."""
    program = None
    for question in questions:
        asked = json.loads(question)
        try:
            if isinstance(asked, list):
                program = make(*asked)
                _say(answers, {"digest": _warm_up(program)})
            elif program is None:
                _say(answers, {"error": "no layer was made ready"})
            else:
                _say(answers, _turn(program, asked))
        except Exception as error:
            program = None
            _say(answers, {"error": f"{type(error).__name__}: {error}"})


def _warm_up(program: Program) -> Digest:
    found = digest(program.arrays(program.step()))
    for _ in range(WARM_UP - 1):
        program.step()
    return found


def _baseline(
    configuration: Configuration, workload: Workload, threads: int, onnx: Path
) -> Program:
    from xpcnn.bench.baselines.jax import make_jax
    from xpcnn.bench.baselines.pytorch import make_torch
    from xpcnn.bench.baselines.runtimes import make_onnxruntime, make_openvino

    if configuration.library == "jax":
        return make_jax(workload, threads)
    if configuration.library == "onnxruntime":
        return make_onnxruntime(workload, threads, onnx)
    if configuration.library == "openvino":
        return make_openvino(workload, threads, onnx)
    return make_torch(
        workload,
        threads,
        channels_last=configuration.channels_last,
        compiled=configuration.compiled,
    )


def _sgemm() -> Program:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, SGEMM_SIZE, SGEMM_SIZE), dtype=np.float32)
    c = np.empty_like(a)
    return Program(lambda: np.matmul(a, b, out=c), lambda _: {})


def _answer(program: Program, warm_up: int, questions: Iterable[str], answers: TextIO) -> None:
    """Warm up, tell what came out, then run for as many seconds as each question says."""
    start = time.perf_counter()
    result = program.step()
    first, now = time.perf_counter() - start, time.time()
    digests = [digest(program.arrays(result))]
    for _ in range(warm_up - 1):
        digests.append(digest(program.arrays(program.step())))
    del result
    ready = {"first_step_s": first, "first_step_at": now, "digests": digests}
    _say(answers, ready | {"peak_mib": peak_mib()})
    for question in questions:
        _say(answers, _turn(program, float(question)) | {"peak_mib": peak_mib()})


def _turn(program: Program, seconds: float) -> dict[str, Any]:
    times: list[float] = []
    while not times or sum(times) < seconds:
        start = time.perf_counter()
        program.step()
        times.append(time.perf_counter() - start)
    milliseconds = statistics.median(times) * 1e3
    return {"ms": milliseconds, "least_ms": min(times) * 1e3, "steps": len(times)}


def _say(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def peak_mib() -> float | None:
    """Return the most memory this process ever had, or ``None`` where nobody knows.

    ``getrusage`` is the second choice: on Linux it starts with the peak of the parent process.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    sys.exit(main())
