"""What several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.cli.image_data import Samples
from xpcnn.device import Device
from xpcnn.layers.preprocessing import takes_bytes
from xpcnn.training.data_adapter import host_dtype
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


def network_input(model: Model, x: Any) -> Any:
    """Return images as a model takes them: bytes become numbers from 0 to 1 where it must be."""
    if getattr(x, "dtype", None) != np.uint8 or all(takes_bytes(model.network)):
        return x
    scaled = x.astype(host_dtype(model.dtype))
    scaled /= scaled.dtype.type(255)
    return scaled


def with_network_input(model: Model, samples: Samples) -> Samples:
    """Return images as a model takes them, where they have been read."""
    return Samples(network_input(model, samples.x), samples.labels)


def score(model: Model, test: Samples) -> dict[str, float]:
    """Return loss and accuracy of a classifier."""
    # A file may come without a loss; the accuracy is wanted in any case.
    model.compile(model.optimizer or "adam", model.loss or "cross_entropy", ["accuracy"])
    if model.loss is not None and model.loss.answers == "columns":
        test = Samples(test.x, _as_column(model, test.labels))
    result = model.evaluate(*test.given)
    return {name: result[name] for name in ("accuracy", "loss")}


def _as_column(model: Model, labels: np.ndarray) -> np.ndarray:
    """Return classes, no and yes, as the targets of a network with a single column."""
    shape = model.output_shape()
    if len(shape) > 1 and shape[1] != 1:
        raise ValueError(
            f"the model gives {shape[1]} answers of their own (its loss is "
            f"{type(model.loss).__name__}), and the images have one class each; measure it with "
            "model.evaluate and targets of your own"
        )
    return labels.reshape((-1,) + (1,) * (len(shape) - 1))


def score_in_words(result: Mapping[str, float], count: int) -> str:
    """Put loss and accuracy on so many images in words."""
    accuracy = result["accuracy"]
    return (
        f"test accuracy {accuracy:.4f} ({round(accuracy * count)} of {count} images), "
        f"loss {result['loss']:.4f}"
    )
