"""One training step of the course networks, against PyTorch, in one run.

    python benchmarks/training_step.py [--networks simple,oned] [--kernels generic] [--rounds 9]

A step is forward, backward and an Adam update in float32. The libraries take turns, each in a
process of its own that is asked to run a few steps at a time, so that neither's idle threads
disturb the other and both see the same noise. Printed are medians in milliseconds, the ratio to
PyTorch (above 1: xpcnn is faster), and the peak resident memory of each process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHAPES = {
    "simple": (100, 1, 28, 28),
    "oned": (1000, 1, 784),
    "deep": (100, 1, 28, 28),
    "mlp": (20, 784),
}
STEPS = {"simple": 10, "oned": 2, "deep": 2, "mlp": 100}


def data(network: str) -> tuple[np.ndarray, np.ndarray]:
    """Return random inputs and labels."""
    rng = np.random.default_rng(0)
    x = rng.random(SHAPES[network], dtype=np.float32)
    return x, rng.integers(0, 10, len(x))


def xpcnn_step(network: str) -> Callable[[], object]:
    """Return a training step of xpcnn on the CPU."""
    import xpcnn

    x, y = data(network)
    layers = build(network, xpcnn, out_features=True)
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.compile(xpcnn.optim.Adam(), xpcnn.CrossEntropyLoss())
    return lambda: model.train_on_batch(x, y)


def torch_step(network: str) -> Callable[[], object]:
    """Return a training step of PyTorch in its default layout."""
    import torch

    x, y = (torch.from_numpy(a) for a in data(network))
    model = torch.nn.Sequential(*build(network, torch.nn, out_features=False))
    optimizer = torch.optim.Adam(model.parameters())
    criterion = torch.nn.CrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def build(network: str, nn: object, *, out_features: bool) -> list:
    """Make the layers of a network; both libraries use the same names."""
    conv2, relu, linear, flat = nn.Conv2d, nn.ReLU, nn.Linear, nn.Flatten
    if network == "mlp":
        return [linear(784, 400), relu(), linear(400, 200), relu(), linear(200, 10)]
    if network == "oned":
        body = [nn.Conv1d(1, 30, 5), relu(), nn.MaxPool1d(2), flat()]
        return [*body, linear(11700, 100), relu(), linear(100, 10)]
    if network == "simple":
        body = [conv2(1, 30, 5), relu(), nn.MaxPool2d(2), flat()]
        return [*body, linear(4320, 100), relu(), linear(100, 10)]
    body, channels = [], 1
    for out, padding, pool in (
        (16, 1, False),
        (16, 1, True),
        (32, 1, False),
        (32, 2, True),
        (64, 1, False),
        (64, 1, True),
    ):
        body += [conv2(channels, out, 3, padding=padding), relu()]
        body += [nn.MaxPool2d(2)] if pool else []
        channels = out
    return [*body, flat(), linear(64 * 4 * 4, 50), relu(), linear(50, 10)]


def worker(library: str, network: str, kernel_set: str | None) -> None:
    """Make the steps of one library and run them when asked to."""
    if library == "xpcnn":
        from xpcnn import kernels

        with kernels.force(kernel_set):
            answer(xpcnn_step(network), STEPS[network])
    else:
        answer(torch_step(network), STEPS[network])


def answer(step: Callable[[], object], count: int) -> None:
    """Run `count` steps for every line of standard input, and print time and memory."""
    for _ in range(3):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(count):
            step()
        milliseconds = (time.perf_counter() - start) / count * 1e3
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([milliseconds, peak]), flush=True)


def compare(network: str, rounds: int, kernel_set: str | None) -> dict[str, float]:
    """Let both libraries take turns; return medians, ratio and memory."""
    command = [sys.executable, __file__]
    command += ["--kernels", kernel_set] if kernel_set else []
    workers = {
        library: subprocess.Popen(
            [*command, "--worker", library, "--networks", network],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for library in ("torch", "xpcnn")
    }
    times: dict[str, list[float]] = {library: [] for library in workers}
    peaks: dict[str, float] = {}
    for process in workers.values():
        process.stdout.readline()
    for _ in range(rounds):
        for library, process in workers.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            milliseconds, peaks[library] = json.loads(process.stdout.readline())
            times[library].append(milliseconds)
    for process in workers.values():
        process.stdin.close()
        process.wait()
    ratios = [t / x for t, x in zip(times["torch"], times["xpcnn"], strict=True)]
    return {
        "torch_ms": statistics.median(times["torch"]),
        "xpcnn_ms": statistics.median(times["xpcnn"]),
        "ratio": statistics.median(ratios),
        "torch_mib": peaks["torch"],
        "xpcnn_mib": peaks["xpcnn"],
    }


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="simple,oned,deep,mlp")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--kernels", choices=("generic",), help="leave the compiled kernels out")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--worker", choices=("xpcnn", "torch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.networks, options.kernels)
        return
    from importlib.metadata import version

    lines = [
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"PyTorch {version('torch')}; kernels: {options.kernels or 'all that are installed'}",
        "",
        "| network | PyTorch ms | xpcnn ms | ratio | PyTorch MiB | xpcnn MiB |",
        "|---|---|---|---|---|---|",
    ]
    for network in options.networks.split(","):
        r = compare(network, options.rounds, options.kernels)
        lines.append(
            f"| {network} | {r['torch_ms']:.2f} | {r['xpcnn_ms']:.2f} | {r['ratio']:.2f} "
            f"| {r['torch_mib']:.0f} | {r['xpcnn_mib']:.0f} |"
        )
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
