"""Where the checks ran, and what came of them, as JSON and Markdown."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.gpu.checks import Context
from xpcnn.bench import environment
from xpcnn.device import resolve

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = (
    "cupy-cuda13x",
    "cupy-cuda12x",
    "nvidia-cudnn-frontend",
    "nvidia-cudnn-cu13",
    "nvidia-cudnn-cu12",
    "nvidia-cuda-nvrtc",
    "nvidia-cublas",
    "array-api-compat",
    "ml-dtypes",
    "torch",
)

Results = dict[str, dict[str, Any]]


def describe(device: str) -> dict[str, Any]:
    """Return what there is: machine, versions, GPU.

    Raises
    ------
    DeviceError
        If the device does not work.
    """
    context = Context(resolve(device))
    found = environment.describe() | {"device": context.device.name, "commit": _commit()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found["versions"][package] = metadata.version(package)
    if context.library == "cupy":
        found["gpu"] = _gpu()
    return found


def _gpu() -> dict[str, Any]:
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    found = {
        "name": properties["name"].decode(),
        "compute capability": cupy.cuda.Device().compute_capability,
        "memory GiB": round(properties["totalGlobalMem"] / 2**30, 1),
        "multiprocessors": properties["multiProcessorCount"],
        "driver": runtime.driverGetVersion(),
        "CUDA runtime": runtime.runtimeGetVersion(),
    }
    from xpcnn.kernels.cuda import cudnn

    reason = cudnn.unavailable()
    found["cuDNN"] = sys.modules["cudnn"].backend_version() if reason is None else reason
    return found


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def line(name: str, result: dict[str, Any]) -> str:
    """Return what is printed of a check."""
    details = [result["status"].upper() if result["status"] == "failed" else result["status"], name]
    worst = worst_error(result)
    if worst is not None:
        details.append(f"{worst:.1e} of {result['tolerance']:.0e}")
    details += [f"{key} {value:.4g}" for key, value in result.get("figures", {}).items()]
    details += [text for text in (result.get("how"), result.get("message")) if text]
    return "  ".join(details)


def worst_error(result: dict[str, Any]) -> float | None:
    """Return the largest relative error; infinite if there is a NaN."""
    errors = result.get("errors") or {}
    return max((math.inf if math.isnan(e) else e for e in errors.values()), default=None)


def summary(results: Results) -> str:
    """Count."""
    counts = Counter(result["status"] for result in results.values())
    return ", ".join(f"{counts[status]} {status}" for status in ("passed", "failed", "skipped"))


def write(where: dict[str, Any], results: Results, folder: Path) -> list[Path]:
    """Write gpu-check.json and gpu-check.md."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"gpu-check.json": _as_json(where, results), "gpu-check.md": markdown(where, results)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _as_json(where: dict[str, Any], results: Results) -> str:
    checks = []
    for name, result in results.items():
        errors = {
            key: error if math.isfinite(error) else str(error)
            for key, error in result.get("errors", {}).items()
        }
        checks.append({"name": name} | result | {"errors": errors})
    passed = all(result["status"] != "failed" for result in results.values())
    content = {"environment": where, "passed": passed, "checks": checks}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def markdown(where: dict[str, Any], results: Results) -> str:
    """Return the whole report."""
    versions = ", ".join(f"{k} {v}" for k, v in where["versions"].items() if v is not None)
    lines = ["# GPU check", "", f"- {summary(results)}", f"- device {where['device']}"]
    lines += [f"- {key} {value}" for key, value in where.get("gpu", {}).items()]
    lines += [
        f"- {where['cpu']}, {where['cores']} cores, {where['system']}, Python {where['python']}",
        f"- {versions}",
        f"- {where['date']}, commit {where['commit']}",
        "",
    ]
    times = {name: result for name, result in results.items() if result.get("figures")}
    if times:
        columns = sorted({key for result in times.values() for key in result["figures"]})
        lines += _table(
            ["timing", *columns, ""],
            [
                [name, *(_number(r["figures"].get(c)) for c in columns), r.get("how", "")]
                for name, r in times.items()
            ],
        )
    rows = [
        [name, _status(result), _error(result), _how(result)]
        for name, result in results.items()
        if name not in times
    ]
    lines += _table(["check", "", "largest error, of", ""], rows) if rows else []
    return "\n".join(lines)


def _table(titles: list[str], rows: list[list[str]]) -> list[str]:
    rule = "|" + "---|" * len(titles)
    return [_row(titles), rule, *map(_row, rows), ""]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _status(result: dict[str, Any]) -> str:
    return f"**{result['status']}**" if result["status"] == "failed" else str(result["status"])


def _error(result: dict[str, Any]) -> str:
    worst = worst_error(result)
    return "" if worst is None else f"{worst:.1e}, {result['tolerance']:.0e}"


def _how(result: dict[str, Any]) -> str:
    return "; ".join(text for text in (result.get("how"), result.get("message")) if text)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
