"""Check everything on a GPU: what it computes, how it behaves, and how fast it is.

    PYTHONPATH=. python benchmarks/gpu_check.py [--only 'conv/*,network/*'] [--seconds 90] [--list]

The most important checks come first, and each is printed, and written to gpu-check.jsonl, as soon
as it ends: a command that is killed has shown all that was known. gpu-check.json and gpu-check.md
come at the end, to benchmarks/results as well. The checks run in a process of their own, which is
started anew where one hangs, ends it or breaks the GPU's context, as an illegal address does: in a
broken context all that comes later fails. Ends with 0 if all passed, 1 if not, 2 if the device does
not work. On other devices, such as "cpu" and "torch:cpu", times are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.gpu import (  # noqa: E402
    behaviour,
    contact,
    networks,
    operations,
    report,
    timing,
    training,
)
from benchmarks.gpu.checks import Check, Context, SkipError  # noqa: E402
from xpcnn.device import resolve  # noqa: E402
from xpcnn.errors import DeviceError  # noqa: E402

Result = dict[str, Any]


def choose(patterns: Sequence[str], with_timing: bool) -> list[Check]:
    """Return the checks whose names fit one of the patterns, the most important first.

    Raises
    ------
    ValueError
        If a pattern fits none.
    """
    modules = [contact, behaviour, operations, networks, training, *([timing] * with_timing)]
    found = sorted((check for module in modules for check in module.checks()), key=_place)
    for pattern in patterns:
        if not any(fnmatchcase(check.name, pattern) for check in found):
            raise ValueError(f"there is no check {pattern!r}; --list shows all")
    return [check for check in found if any(fnmatchcase(check.name, p) for p in patterns)]


def _place(check: Check) -> int:
    places = (i for i, p in enumerate(contact.ORDER) if fnmatchcase(check.name, p))
    return next(places, len(contact.ORDER))


# -- The process that checks ---------------------------------------------------------------------


def work(device: str, checks: Sequence[Check], path: Path) -> None:
    """Make checks and write a line when each begins and ends; stop if one breaks the device."""
    context = Context(resolve(device))
    with path.open("a", encoding="utf-8") as file:
        for check in checks:
            _write(file, {"begin": check.name})
            began = time.perf_counter()
            result = _make(check, context)
            result["seconds"] = round(time.perf_counter() - began, 3)
            _write(file, {"end": check.name, "result": result})
            if "traceback" in result and not _still_works(context):
                return


def _still_works(context: Context) -> bool:
    """Whether the device computes after an error."""
    try:
        xp = context.device.xp
        return float(xp.sum(xp.ones(3, device=context.device.physical))) == 3.0
    except Exception:
        return False


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


Say = Callable[[str, Result], None]


def run_all(
    device: str, names: Sequence[str], limit: float, seconds: float, say: Say
) -> dict[str, Result]:
    """Make the checks in processes, as many as it takes, and say each result at once.

    What is not begun within `seconds` is skipped; no check may take longer than `limit`.
    """
    results: dict[str, Result] = {}
    until = time.monotonic() + seconds

    def done(name: str, result: Result) -> None:
        results[name] = result
        say(name, result)

    waiting = list(names)
    while waiting and time.monotonic() < until:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lines"
            path.touch()
            begun, ended = _watch(device, waiting, path, limit, until, done)
        # Whatever broke the process, it was at the one that has no end, or at the first.
        if begun is None and not any(name in results for name in waiting):
            begun = waiting[0]
        if begun is not None:
            done(begun, {"status": "failed", "message": ended})
        waiting = [name for name in waiting if name not in results]
    for name in waiting:
        results[name] = {"status": "skipped", "message": f"the {seconds:.0f} s were over"}
    return results


def _watch(
    device: str, names: Sequence[str], path: Path, limit: float, until: float, done: Say
) -> tuple[str | None, str]:
    """Run a process until it ends, one check takes too long, or the time is over.

    Returns the check that was begun and has no end, which is none when the time was over, and how
    the process ended.
    """
    command = [sys.executable, __file__, "--device", device, "--worker", str(path)]
    begun: str | None = None
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process,
        path.open() as file,
    ):
        assert process.stdin is not None
        process.stdin.write("\n".join(names))
        process.stdin.close()
        rest, since, alive = "", time.monotonic(), True
        while alive:
            alive = process.poll() is None
            *lines, rest = (rest + file.read()).split("\n")
            for line in map(json.loads, lines):
                since, begun = time.monotonic(), line.get("begin")
                if "end" in line:
                    done(line["end"], line["result"])
            if alive and time.monotonic() > until:
                process.kill()
                return None, "the time was over"
            if alive and time.monotonic() - since > limit:
                process.kill()
                return begun, f"took more than {limit:.0f} s"
            if alive:
                time.sleep(0.05)
    return begun, f"the process ended with code {process.returncode}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help='"cuda" (CuPy), "torch:cuda", "cpu", ...')
    parser.add_argument("--only", default="*", help="names of checks, or patterns, with commas")
    parser.add_argument("--no-timing", action="store_true", help="leave the times out")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--limit", type=float, default=40, help="most seconds of one check")
    parser.add_argument("--seconds", type=float, default=3600, help="most seconds of all checks")
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
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "gpu-check.jsonl").open("w", encoding="utf-8") as file:

        def say(name: str, result: Result) -> None:
            print(report.line(name, result), flush=True)
            _write(file, {"name": name} | result)

        names = [check.name for check in checks]
        results = run_all(options.device, names, options.limit, options.seconds, say)
    ordered = {check.name: results[check.name] for check in checks}
    for path in report.write(environment, ordered, options.output):
        print(path)
    print(report.summary(ordered))
    return 1 if any(result["status"] == "failed" for result in ordered.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
