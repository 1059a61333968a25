"""What was measured, as tables, JSON and Markdown."""

from __future__ import annotations

import json
import math
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpcnn.bench.compare import disagreements

LEGEND = """\
ms: time of one step, median over the rounds. ratio: time of the fastest PyTorch configuration over
that of {subject}, median over the rounds; above 1, xpcnn is faster. to ORT: the same for
onnxruntime. floor: time of {subject} over that of the workload's operations at {peak:.0f} GFLOP/s,
NumPy's fastest matrix product in this run; Winograd needs fewer operations and may be below 1.
first-step: from the start of a process that finds nothing compiled, imports included, to the end
of its first step of "simple". MiB: peak memory of the whole process. memory: that of the smallest
PyTorch process over that of {subject}."""

NOTHING = "-"
AVX512 = {True: "there", False: "not there", None: "not known"}


def figures(entry: dict[str, Any], subject: str, peak_gflops: float) -> dict[str, Any]:
    """Derive the ratios of a workload; ``None`` where something to derive them from is missing.

    Parameters
    ----------
    entry : dict
        As :func:`xpcnn.bench.compare.measure` returns it.
    subject : str
        The configuration the ratios are about.
    peak_gflops : float
        Speed of a matrix product.
    """
    runs = entry["runs"]
    own = runs.get(subject, {})
    baselines = {n: run for n, run in runs.items() if n.startswith("torch") and "ms" in run}
    best = min(baselines, key=lambda name: baselines[name]["ms"], default=None)
    found: dict[str, Any] = dict.fromkeys(
        ("ratio", "onnxruntime_ratio", "floor_ms", "floor_ratio", "memory_ratio")
    )
    found["best_rival"] = best
    found["ratios"] = {}
    if "ms" not in own:
        return found
    for name, run in runs.items():
        if name != subject and "ms" in run:
            pairs = zip(run["round_ms"], own["round_ms"], strict=True)
            found["ratios"][name] = statistics.median(theirs / ours for theirs, ours in pairs)
    found["onnxruntime_ratio"] = found["ratios"].get("onnxruntime")
    if peak_gflops and entry["gflop"]:
        found["floor_ms"] = entry["gflop"] / peak_gflops * 1e3
        found["floor_ratio"] = own["ms"] / found["floor_ms"]
    if best is None:
        return found
    found["ratio"] = found["ratios"][best]
    peaks = [run["peak_mib"] for run in baselines.values()]
    if own["peak_mib"] and all(peaks):
        found["memory_ratio"] = min(peaks) / own["peak_mib"]
    return found


def headings(results: dict[str, Any]) -> list[str]:
    """Return the names of the columns."""
    titles = results["configurations"]
    baselines = [name for name in titles if name.startswith("torch")]
    columns = ["workload", *(f"{title} ms" for title in titles.values())]
    columns += ["ratio"] if baselines else []
    columns += ["to ORT"] if "onnxruntime" in titles else []
    columns += ["floor", f"{titles[results['subject']]} MiB"]
    return columns + (["PyTorch MiB", "memory"] if baselines else [])


def cells(results: dict[str, Any], entry: dict[str, Any]) -> list[str]:
    """Return the row of a workload."""
    subject, runs = results["subject"], entry["runs"]
    derived = figures(entry, subject, results["peak_gflops"])
    baselines = [name for name in results["configurations"] if name.startswith("torch")]
    row = [entry["name"]]
    for name in results["configurations"]:
        run = runs.get(name, {})
        failed = "error" in run or "left_out" in run
        row.append("failed" if failed else number(run.get("ms")))
    row += [number(derived["ratio"])] if baselines else []
    if "onnxruntime" in results["configurations"]:
        row.append(number(derived["onnxruntime_ratio"]))
    row += [number(derived["floor_ratio"]), number(runs.get(subject, {}).get("peak_mib"), 0)]
    if baselines:
        peaks = [run["peak_mib"] for n in baselines if (run := runs.get(n, {})).get("peak_mib")]
        row += [number(min(peaks, default=None), 0), number(derived["memory_ratio"])]
    return row


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with so many digits behind the point, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def widths(results: dict[str, Any], names: Sequence[str]) -> list[int]:
    """Return the widths of the columns, known before the first row is."""
    first, *others = headings(results)
    return [max(map(len, [first, *names])), *(max(len(title), 7) for title in others)]


def line(row: Sequence[str], columns: Sequence[int]) -> str:
    """Return a row of a table: Markdown that is aligned as it stands."""
    first, *others = [
        cell.ljust(width) if position == 0 else cell.rjust(width)
        for position, (cell, width) in enumerate(zip(row, columns, strict=True))
    ]
    return f"| {' | '.join([first, *others])} |"


def rule(columns: Sequence[int]) -> str:
    """Return the line below the headings."""
    first, *others = columns
    return f"|{'-' * (first + 2)}|{''.join('-' * (width + 1) + ':|' for width in others)}"


def setting(results: dict[str, Any]) -> list[str]:
    """Say where and how it was measured."""
    where = results["environment"]
    versions = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in where["versions"].items()
    )
    lines = [
        f"{where['cpu']}, {where['cores']} cores, {results['threads']} threads for each library",
        f"AVX-512: {AVX512[where['avx512']]}; {where['system']}, Python {where['python']}",
        versions,
        f"{where['date']}; {results['rounds']} rounds of turns of {results['seconds_per_turn']} s",
    ]
    if where["load"] is not None and where["load"] > 0.5:
        lines.append(
            f"busy: {where['load']} processes wanted to run before this began; do not trust figures"
        )
    return lines + results.get("notes", [])


def agreement(results: dict[str, Any], entry: dict[str, Any]) -> str:
    """Say how far the libraries' results lie apart, relative to their size."""
    titles, lines = results["configurations"], [entry["name"]]
    for name, far in entry["differences"].items():
        parts = (f"{what} {value:.1e}" for what, value in far.items())
        lines.append(f"  {titles[name]}: {', '.join(parts)}")
    return "\n".join(lines)


def problems(results: dict[str, Any]) -> list[str]:
    """List what failed, and where the libraries did not compute the same."""
    titles, found = results["configurations"], []
    for entry in results["workloads"]:
        for name, run in entry["runs"].items():
            if "error" in run:
                found.append(f"{entry['name']}: {titles[name]} failed: {run['error']}")
        for name, what, far in disagreements(entry["differences"]):
            found.append(
                f"{entry['name']}: {titles[name]} differs in {what} from "
                f"{titles[results['subject']]} (relative difference {far:.1e}); these times are "
                "not comparable"
            )
    return found


def left_out(results: dict[str, Any]) -> list[str]:
    """List what could not be run and need not be."""
    titles = results["configurations"]
    return [
        f"{entry['name']} without {titles[name]}: {run['left_out']}"
        for entry in results["workloads"]
        for name, run in entry["runs"].items()
        if "left_out" in run
    ]


def markdown(results: dict[str, Any]) -> str:
    """Return the whole report."""
    columns = widths(results, [entry["name"] for entry in results["workloads"]])
    lines = ["# xpcnn bench", "", *(f"- {text}" for text in setting(results)), ""]
    lines += [line(headings(results), columns), rule(columns)]
    lines += [line(cells(results, entry), columns) for entry in results["workloads"]]
    lines += ["", legend(results), "", *memory(results)]
    for title, texts in (("Problems", problems(results)), ("Left out", left_out(results))):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
    return "\n".join(lines) + "\n"


def memory(results: dict[str, Any]) -> list[str]:
    """Return the table of the peak memory of all processes."""
    titles = results["configurations"]
    ratio = f"PyTorch to {titles[results['subject']]}"
    columns = [max([8, *(len(entry["name"]) for entry in results["workloads"])])]
    columns += [max(len(title), 5) for title in (*titles.values(), ratio)]
    lines = ["MiB, peaks of whole processes:", ""]
    lines += [line(["workload", *titles.values(), ratio], columns), rule(columns)]
    for entry in results["workloads"]:
        peaks = [number(entry["runs"].get(name, {}).get("peak_mib"), 0) for name in titles]
        derived = figures(entry, results["subject"], results["peak_gflops"])
        lines.append(line([entry["name"], *peaks, number(derived["memory_ratio"])], columns))
    return lines


def legend(results: dict[str, Any]) -> str:
    """Explain the columns."""
    subject = results["configurations"][results["subject"]]
    return textwrap.fill(LEGEND.format(subject=subject, peak=results["peak_gflops"]), 100)


def as_json(results: dict[str, Any]) -> str:
    """Return everything that was measured and derived, as JSON without NaN."""
    subject, peak = results["subject"], results["peak_gflops"]
    entries = [entry | figures(entry, subject, peak) for entry in results["workloads"]]
    for entry in entries:
        entry["differences"] = {
            name: {what: far if math.isfinite(far) else None for what, far in found.items()}
            for name, found in entry["differences"].items()
        }
    return json.dumps(results | {"workloads": entries}, indent=1, allow_nan=False) + "\n"


def write(results: dict[str, Any], base: Path) -> list[Path]:
    """Write the JSON and Markdown files called `base` with their suffixes."""
    return write_files(as_json(results), markdown(results), base)


def write_files(as_json: str, markdown: str, base: Path) -> list[Path]:
    """Write these texts to the files called `base` with their suffixes."""
    paths = []
    for suffix, text in ((".json", as_json), (".md", markdown)):
        path = base.with_name(base.name + suffix)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
