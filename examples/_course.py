"""What the course examples share: arguments, data, and the table of figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import xpcnn
from xpcnn.data import load_digits_subset, load_mnist

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
    parser.add_argument(
        "--epochs", type=positive, default=epochs, help=f"{unit} (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=seed, help="default %(default)s")
    parser.add_argument("--device", default="cpu", help="see xpcnn.devices() (default %(default)s)")
    parser.add_argument("--dtype", default="float32", help="default %(default)s")
    parser.add_argument(
        "--data",
        help="folder with the four IDX files of MNIST, or 'digits' for the 6,000 in the package "
        "(default: MNIST where it is found or can be downloaded, else the digits)",
    )
    if more is not None:
        more(parser)
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a number of at least 1 from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def run(main: Callable[[], None]) -> None:
    """Run a script; what is wrong with its arguments or data is a line, and no traceback."""
    try:
        main()
    except (OSError, ValueError, TypeError, xpcnn.DeviceError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def read(data: str | None) -> tuple[str, tuple[tuple, tuple]]:
    """Return the name of a data set and its parts: MNIST, or the digits if it cannot be had."""
    if data == "digits":
        return "digits", load_digits_subset()
    if data is not None:
        return "MNIST", load_mnist(data)
    try:
        return "MNIST", load_mnist(FULL_MNIST if FULL_MNIST.is_dir() else None)
    except FileNotFoundError as error:
        print(f"Running on the digits in the package, a part of MNIST, because {error}", flush=True)
        return "digits", load_digits_subset()


def load(arguments: argparse.Namespace) -> tuple[tuple, tuple]:
    """Return ((x_train, t_train), (x_test, t_test)): images (N, 1, 28, 28), labels (N,)."""
    device = xpcnn.device.resolve(arguments.device)
    name, (train, test) = read(arguments.data)
    parts = [(device.asarray(x, arguments.dtype), t) for x, t in (train, test)]
    np.random.seed(arguments.seed)
    print(
        f"{name}: {len(parts[0][1])} training and {len(parts[1][1])} test images; device "
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
