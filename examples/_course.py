"""What the course examples share: arguments, data, and the table of figures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import xpcnn
from xpcnn.data import load_mnist

FULL_MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"


def parse_arguments(
    description: str,
    epochs: int,
    seed: int,
    unit: str,
    more: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """Read the arguments that all scripts have, and those that `more` adds."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=epochs, help=f"{unit} (default %(default)s)")
    parser.add_argument("--seed", type=int, default=seed, help="default %(default)s")
    parser.add_argument("--device", default="cpu", help="see xpcnn.devices() (default %(default)s)")
    parser.add_argument("--dtype", default="float32", help="default %(default)s")
    parser.add_argument("--data", help="folder with the four IDX files of MNIST")
    if more is not None:
        more(parser)
    return parser.parse_args()


def load(arguments: argparse.Namespace) -> tuple[tuple, tuple]:
    """Return ((x_train, t_train), (x_test, t_test)): images (N, 1, 28, 28), labels (N,)."""
    root = arguments.data or (FULL_MNIST if FULL_MNIST.is_dir() else None)
    device = xpcnn.device.resolve(arguments.device)
    parts = []
    for x, t in load_mnist(root):
        parts.append((device.asarray(x, arguments.dtype), t))
    np.random.seed(arguments.seed)
    print(
        f"MNIST: {len(parts[0][1])} training and {len(parts[1][1])} test images; device "
        f"{device}, {arguments.dtype}, seed {arguments.seed}, xpcnn {xpcnn.__version__}",
        flush=True,
    )
    return parts[0], parts[1]


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self.start:.0f} s"


def report(rows: list[tuple[str, float, float]], clock: Clock) -> None:
    """Print reached and expected figures side by side."""
    width = max(len(name) for name, _, _ in rows)
    print(f"\n{'':{width}}   reached  expected")
    for name, reached, expected in rows:
        mark = "" if reached >= expected else "   below"
        print(f"{name:{width}}   {reached:7.4f}   {expected:7.4f}{mark}")
    print(f"after {clock}")
