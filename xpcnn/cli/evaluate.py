"""``xpcnn evaluate``."""

from __future__ import annotations

import argparse

from xpcnn.cli.common import load_model, score
from xpcnn.cli.image_data import load_arrays


def run(args: argparse.Namespace) -> None:
    """Print loss and accuracy of a saved model."""
    model = load_model(args.model, args.device, args.precision)
    _, test = load_arrays(args.data)
    print(score(model, test))
