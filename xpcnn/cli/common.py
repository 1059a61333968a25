"""What several commands share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from xpcnn.data import load_digits_subset, load_mnist
from xpcnn.data.datasets import Part
from xpcnn.device import Device
from xpcnn.training.model import Model


def say(line: str) -> None:
    """Print a line; if the reader is gone, go on without it."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        drop_output()


def drop_output() -> None:
    """Discard further output: the reader has gone, as in ``xpcnn info | head -1``."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def load_data(name: str) -> tuple[Part, Part]:
    """Load the data set a user named: "digits", "mnist", or a folder."""
    if name == "digits":
        return load_digits_subset()
    return load_mnist(None if name == "mnist" else name)


def load_model(path: Path, device: str, precision: str | None = None) -> Model:
    """Load a saved model, or say how to get one."""
    if not path.exists():
        raise FileNotFoundError(
            f"there is no model file {str(path)!r}; train one first: xpcnn train --save {path}"
        )
    return Model.load(path, device=device, precision=precision)


def describe_device(device: Device) -> str:
    """Name a device, and say why it was chosen where that is not obvious."""
    return f"{device.name} ({device.note})" if device.note else device.name


def score(model: Model, test: Part) -> str:
    """Evaluate a classifier, and put the result in words."""
    x, y = test
    # A file may come without a loss; the accuracy is wanted in any case.
    model.compile(model.optimizer or "adam", model.loss or "cross_entropy", ["accuracy"])
    result = model.evaluate(x, y)
    right = round(result["accuracy"] * len(y))
    return (
        f"test accuracy {result['accuracy']:.4f} ({right} of {len(y)} images), "
        f"loss {result['loss']:.4f}"
    )
