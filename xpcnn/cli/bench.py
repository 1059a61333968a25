"""``xpcnn bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from xpcnn.bench import configurations, report, workloads
from xpcnn.bench.compare import Settings, compare
from xpcnn.bench.environment import cores
from xpcnn.bench.layers import cases
from xpcnn.bench.layers import compare as layer_compare
from xpcnn.bench.layers import report as layer_report

ROUNDS, SECONDS = 9, 0.35
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.1
LAYER_SECONDS = 0.02
LAYER_SUBJECTS = {"best": "xpcnn", "generic": "xpcnn-generic", "torch": "xpcnn-torch"}


def run(args: argparse.Namespace) -> None:
    """Measure what was asked for: workloads, or layers."""
    check_options(args)
    base = prepare_output(args)
    if args.layers:
        run_layers(args, base)
    else:
        run_workloads(args, base)


def run_workloads(args: argparse.Namespace, base: Path | None) -> None:
    """Measure, print a line for each workload as it is ready, and write the files."""
    settings = make_settings(args)
    names = [workload.name for workload in settings.workloads]
    printed = Table(names)
    results = compare(settings, printed.add)
    if settings.rounds:
        print("", report.legend(results), sep="\n")
    for text in report.left_out(results):
        print(f"- {text}")
    write(args, base, report.as_json(results), report.markdown(results))
    end(report.problems(results))
    if len(settings.configurations) > 1:
        print(f"the libraries agree in all {len(names)} workloads")


def run_layers(args: argparse.Namespace, base: Path | None) -> None:
    """Measure layers and losses, print a table with the worst first, and write the files."""
    from tqdm import tqdm

    subject = configurations.CONFIGURATIONS[LAYER_SUBJECTS[args.kernels]]
    if not layer_compare.RIVAL.is_installed:
        raise RuntimeError(configurations.MISSING["torch"])
    settings = layer_compare.Settings(
        cases=args.only or list(cases.CASES.values()),
        subject=subject,
        rounds=number_of_rounds(args),
        seconds=LAYER_SECONDS,
        threads=args.threads or cores(),
    )
    calls = len(settings.cases) * len(layer_compare.KINDS)
    with tqdm(total=calls, disable=None, leave=False) as bar:
        results = layer_compare.compare(settings, lambda _: bar.update())
    if settings.rounds:
        print(*report.setting(results), "", *layer_report.table(results), sep="\n")
        print("", layer_report.LEGEND, "", layer_report.summary(results), sep="\n")
    write(args, base, layer_report.as_json(results), layer_report.markdown(results))
    end(layer_report.problems(results))
    print(f"the libraries agree in all {calls} calls but those that draw numbers")


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that would do nothing."""
    if args.only and not args.layers:
        args.usage_error("--only names layers: give it with --layers, or use --workloads")
    if not args.layers:
        return
    for option, given in {
        "--workloads": args.workloads is not None,
        "--batch-size": args.batch_size is not None,
        "--jax": args.jax,
        "--no-torch-compile": not args.torch_compile,
        "--kernels both": args.kernels == "both",
    }.items():
        if given:
            args.usage_error(f"{option} does nothing with --layers")


def write(args: argparse.Namespace, base: Path | None, as_json: str, markdown: str) -> None:
    """Write the files that were asked for, and name them."""
    written = [] if base is None else report.write_files(as_json, markdown, base)
    if args.json is not None:
        args.json.write_text(as_json, encoding="utf-8")
        written.append(args.json)
    for path in written:
        print(f"written: {path}")


def end(problems: list[str]) -> None:
    """Raise if there are problems."""
    if problems:
        raise RuntimeError("\n  ".join(["not everything went well:", *problems]))


def layer_list(text: str) -> list[cases.Case]:
    """Read the option --only."""
    try:
        return cases.choose(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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
    chosen = args.workloads or list(workloads.WORKLOADS.values())
    if args.batch_size is not None:
        chosen = [workload.with_batch(args.batch_size) for workload in chosen]
    ways, notes = configurations.choose(
        args.kernels, with_jax=args.jax, torch_compile=args.torch_compile
    )
    ways = [way for way in ways if any(way.takes(workload) for workload in chosen)]
    return Settings(
        workloads=chosen,
        configurations=ways,
        rounds=number_of_rounds(args),
        seconds=QUICK_SECONDS if args.quick else SECONDS,
        threads=args.threads or cores(),
        notes=notes,
    )


def number_of_rounds(args: argparse.Namespace) -> int:
    """Return how many turns each library has."""
    if args.check:
        return 0
    rounds: int = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    return rounds


def prepare_output(args: argparse.Namespace) -> Path | None:
    """Return the path of --output without suffix; folders are made now, not after minutes of work.

    ``None`` without that option.
    """
    output: Path | None = args.output
    if output is not None and output.is_dir():
        output = output / "bench"
    for path in (output, args.json):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    return output
