"""Check everything on a GPU: what it computes, how it behaves, and how fast it is.

    PYTHONPATH=. python benchmarks/gpu_check.py [--only 'conv/*,network/*'] [--no-timing] [--list]

Writes gpu-check.json and gpu-check.md to benchmarks/results. The checks run in a process of their
own, which is started anew after a failure, since an error on a GPU may spoil all that comes after
it. Ends with 0 if all passed, 1 if not, 2 if the device does not work. On other devices, such as
"cpu" and "torch:cpu", times are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.gpu import behaviour, networks, operations, report, timing, training  # noqa: E402
from benchmarks.gpu.checks import Check, Context, SkipError  # noqa: E402
from xpcnn.device import resolve  # noqa: E402
from xpcnn.errors import DeviceError  # noqa: E402

Result = dict[str, Any]


def choose(patterns: Sequence[str], with_timing: bool) -> list[Check]:
    """Return the checks whose names fit one of the patterns.

    Raises
    ------
    ValueError
        If a pattern fits none.
    """
    found = [*behaviour.checks(), *operations.checks(), *networks.checks(), *training.checks()]
    if with_timing:
        found += timing.checks()
    for pattern in patterns:
        if not any(fnmatchcase(check.name, pattern) for check in found):
            raise ValueError(f"there is no check {pattern!r}; --list shows all")
    return [check for check in found if any(fnmatchcase(check.name, p) for p in patterns)]


# -- The process that checks ---------------------------------------------------------------------


def work(device: str, checks: Sequence[Check], path: Path) -> None:
    """Make checks and write a line when each begins and ends; stop after one that breaks."""
    context = Context(resolve(device))
    with path.open("a", encoding="utf-8") as file:
        for check in checks:
            _write(file, {"begin": check.name})
            began = time.perf_counter()
            result = _make(check, context)
            result["seconds"] = round(time.perf_counter() - began, 3)
            _write(file, {"end": check.name, "result": result})
            if "traceback" in result:
                return


def _make(check: Check, context: Context) -> Result:
    device: Any = context.device
    try:
        with device.active() if hasattr(device, "active") else nullcontext():
            outcome = check.run(context)
            if context.library == "cupy":
                sys.modules["cupy"].cuda.Device().synchronize()
    except SkipError as reason:
        return {"status": "skipped", "message": str(reason)}
    except Exception as error:
        return {
            "status": "failed",
            "message": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }
    return {
        "status": "passed" if outcome.passed else "failed",
        "errors": outcome.errors,
        "tolerance": outcome.tolerance,
        "how": outcome.how,
        "message": outcome.wrong,
        "figures": outcome.figures,
    }


def _write(file: Any, line: dict[str, Any]) -> None:
    file.write(json.dumps(line) + "\n")
    file.flush()


# -- The process that watches --------------------------------------------------------------------


def run_all(device: str, names: Sequence[str], limit: float) -> dict[str, Result]:
    """Make the checks in processes, as many as it takes."""
    results: dict[str, Result] = {}
    waiting = list(names)
    while waiting:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lines"
            path.touch()
            ended = _watch(device, waiting, path, limit)
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        finished = {line["end"]: line["result"] for line in lines if "end" in line}
        begun = [line["begin"] for line in lines if "begin" in line]
        # Whatever broke the process, it was at the one that has no end, or at the first.
        broken = next((name for name in begun if name not in finished), None)
        if broken is None and not finished:
            broken = waiting[0]
        if broken is not None:
            finished[broken] = {"status": "failed", "message": ended}
        for name, result in finished.items():
            _say(name, result)
        results |= finished
        waiting = [name for name in waiting if name not in results]
    return results


def _watch(device: str, names: Sequence[str], path: Path, limit: float) -> str:
    """Run a process until it ends or one check takes too long; returns how it ended."""
    command = [sys.executable, __file__, "--device", device, "--worker", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("\n".join(names))
        process.stdin.close()
        size, since = -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.05)
            if path.stat().st_size != size:
                size, since = path.stat().st_size, time.monotonic()
            elif time.monotonic() - since > limit:
                process.kill()
                return f"took more than {limit:.0f} s"
    return f"the process ended with code {process.returncode}"


def _say(name: str, result: Result) -> None:
    print(report.line(name, result), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help='"cuda" (CuPy), "torch:cuda", "cpu", ...')
    parser.add_argument("--only", default="*", help="names of checks, or patterns, with commas")
    parser.add_argument("--no-timing", action="store_true", help="leave the times out")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--limit", type=float, default=300, help="most seconds of one check")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker is not None:
        known = {check.name: check for check in choose(["*"], with_timing=True)}
        work(options.device, [known[name] for name in sys.stdin.read().split()], options.worker)
        return 0
    with_timing = not options.no_timing and "cuda" in options.device
    try:
        checks = choose(options.only.split(","), with_timing)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        print("\n".join(check.name for check in checks))
        return 0
    try:
        environment = report.describe(options.device)
    except DeviceError as error:
        print(f"nothing can be checked here: {error}", file=sys.stderr)
        return 2
    results = run_all(options.device, [check.name for check in checks], options.limit)
    ordered = {check.name: results[check.name] for check in checks}
    for path in report.write(environment, ordered, options.output):
        print(path)
    print(report.summary(ordered))
    return 1 if any(result["status"] == "failed" for result in ordered.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
