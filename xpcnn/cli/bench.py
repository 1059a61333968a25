"""``xpcnn bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from xpcnn.bench import configurations, report, workloads
from xpcnn.bench.compare import Settings, compare
from xpcnn.bench.environment import cores

ROUNDS, SECONDS = 9, 0.35
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.1


def run(args: argparse.Namespace) -> None:
    """Measure, print a line for each workload as it is ready, and write the files."""
    base = None if args.output is None else prepare_output(args.output)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
    settings = make_settings(args)
    names = [workload.name for workload in settings.workloads]
    printed = Table(names)
    results = compare(settings, printed.add)
    if settings.rounds:
        print("", report.legend(results), sep="\n")
    for text in report.left_out(results):
        print(f"- {text}")
    written = [] if base is None else report.write(results, base)
    if args.json is not None:
        args.json.write_text(report.as_json(results), encoding="utf-8")
        written.append(args.json)
    for path in written:
        print(f"written: {path}")
    wrong = report.problems(results)
    if wrong:
        raise RuntimeError("\n  ".join(["not everything went well:", *wrong]))
    if len(settings.configurations) > 1:
        print(f"the libraries agree in all {len(names)} workloads")


def workload_list(text: str) -> list[workloads.Workload]:
    """Read the option --workloads."""
    try:
        return workloads.choose(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class Table:
    """Prints the setting and the headings before the first row, then row by row."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def add(self, results: dict[str, Any], entry: dict[str, Any] | None) -> None:
        """Print the row of a workload, or what stands above all rows."""
        columns = report.widths(results, self.names)
        if entry is None:
            print(*report.setting(results), "", sep="\n", flush=True)
            if results["rounds"]:
                heading = report.line(report.headings(results), columns)
                print(heading, report.rule(columns), sep="\n", flush=True)
        elif results["rounds"]:
            print(report.line(report.cells(results, entry), columns), flush=True)
        else:
            print(report.agreement(results, entry), flush=True)


def make_settings(args: argparse.Namespace) -> Settings:
    """Turn the options of the command into what is to be measured."""
    chosen = args.workloads
    if args.batch_size is not None:
        chosen = [workload.with_batch(args.batch_size) for workload in chosen]
    ways, notes = configurations.choose(
        args.kernels, with_jax=args.jax, torch_compile=args.torch_compile
    )
    ways = [way for way in ways if any(way.takes(workload) for workload in chosen)]
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    return Settings(
        workloads=chosen,
        configurations=ways,
        rounds=0 if args.check else rounds,
        seconds=QUICK_SECONDS if args.quick else SECONDS,
        threads=args.threads or cores(),
        notes=notes,
    )


def prepare_output(output: Path) -> Path:
    """Return the files' path without suffix; its folder is made now, not after minutes of work."""
    if output.is_dir():
        output = output / "bench"
    output.parent.mkdir(parents=True, exist_ok=True)
    return output
