"""``xpcnn predict IMAGE...``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._columns import columns_of
from xpcnn.cli.common import load_model, network_input
from xpcnn.data import ImageReader
from xpcnn.data.images import check_pillow
from xpcnn.training.model import Model
from xpcnn.training.probabilities import class_probabilities, names_of_classes

AT_ONCE = 64
"""Images that are read before they are predicted together."""


@dataclass
class Found:
    """What there is to say of an image: the probability of each class, or why there is none."""

    path: Path
    probabilities: np.ndarray | None = None
    error: str | None = None


def run(args: argparse.Namespace) -> None:
    """Print the class of each image and its probability."""
    if args.json and args.top is not None:
        args.usage_error("argument --top: --json has the probabilities of all classes")
    check_pillow("xpcnn predict")
    model = load_model(args.model, args.device, args.precision)
    reader = reader_of(model, args.model, args.invert)
    found = list(_predicted(model, reader, args.images, args.model))
    names = None
    if any(one.error is None for one in found):
        names = names_of_classes(model, _columns(found))
    for one in found:
        if one.error is not None:
            print(f"xpcnn predict: {one.error}", file=sys.stderr)
    if args.json:
        print(json.dumps([_described(one, names or ()) for one in found], indent=2))
    elif model.class_names is None and args.top is None:
        for one in found:
            if one.probabilities is not None:
                label, most = one.probabilities.argmax(), one.probabilities.max()
                print(f"{shown(one.path)}: class {label}, probability {most:.4f}")
    elif names is not None:
        print("\n".join(_table(found, names, args.top or 1)))
    failures = sum(one.error is not None for one in found)
    if failures:
        raise RuntimeError(f"{failures} of {len(found)} images could not be read")


def reader_of(model: Model, path: Path, invert: bool = False) -> ImageReader:
    """Return what reads images for a model: its own reader, or one for its input."""
    if model.image_input is not None:
        if invert:
            raise ValueError(
                f"--invert has no effect: the model in {path} holds how its images are read, "
                f"{model.image_input!r}"
            )
        return model.image_input
    shape = model.input_shape
    if shape is None or len(shape) != 4 or shape[1] not in (1, 3):
        found = None if shape is None else ("N", *shape[1:])
        raise ValueError(
            f"the model in {path} takes input of shape {found}, not grey or colour images of "
            "shape (N, 1, height, width) or (N, 3, height, width)"
        )
    channels, height, width = (n or 1 for n in shape[1:])
    return ImageReader((height, width), mode="L" if channels == 1 else "RGB", invert=invert)


def _predicted(
    model: Model, reader: ImageReader, paths: Sequence[Path], file: Path
) -> Iterator[Found]:
    """Read and classify images, in their order; those that cannot be read keep no other from it."""
    for start in range(0, len(paths), AT_ONCE):
        group, images = [Found(path) for path in paths[start : start + AT_ONCE]], []
        for one in group:
            if one.path.is_dir():
                one.error = f"cannot read {one.path}: it is a folder; give the images in it"
                continue
            try:
                images.append((one, reader.read(one.path)))
            except (OSError, ValueError) as error:
                text = str(error)
                one.error = text if "cannot read" in text else f"cannot read {one.path}: {text}"
        for shape in dict.fromkeys(image.shape for _, image in images):
            alike = [(one, image) for one, image in images if image.shape == shape]
            x = network_input(model, np.stack([image for _, image in alike]))
            rows = class_probabilities(model, model.predict(x))
            if not np.isfinite(rows).all():
                raise ValueError(f"the model in {file} gives NaN or infinity, no probabilities")
            for (one, _), row in zip(alike, rows, strict=True):
                one.probabilities = row
        yield from group


def _columns(found: Sequence[Found]) -> int:
    return next(len(one.probabilities) for one in found if one.probabilities is not None)


def _described(one: Found, names: Sequence[str]) -> dict[str, Any]:
    """Return what ``--json`` says of an image."""
    if one.probabilities is None:
        return {"file": str(one.path), "error": one.error}
    label = int(one.probabilities.argmax())
    return {
        "file": str(one.path),
        "class": label,
        "name": names[label],
        "probability": float(one.probabilities[label]),
        "probabilities": dict(zip(names, map(float, one.probabilities), strict=True)),
    }


def _table(found: Sequence[Found], names: Sequence[str], top: int) -> list[str]:
    """Make the lines of a table, with the `top` most probable classes of each image."""
    rows = [("file", "class", "probability")]
    for one in found:
        if one.probabilities is None:
            continue
        best = np.argsort(-one.probabilities, kind="stable")[:top]
        for place, label in enumerate(best):
            file = shown(one.path) if place == 0 else ""
            rows.append((file, names[label], f"{one.probabilities[label]:.4f}"))
    first, second = (max(columns_of(row[column]) for row in rows) for column in (0, 1))
    return [
        f"{file}{' ' * (first - columns_of(file))}  "
        f"{name}{' ' * (second - columns_of(name))}  {p:>11}"
        for file, name, p in rows
    ]


def shown(path: Path) -> str:
    """Return a path that can be printed, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "replace")
