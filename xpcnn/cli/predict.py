"""``xpcnn predict IMAGE...``."""

from __future__ import annotations

import argparse
import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._files import read_whole
from xpcnn.cli.common import load_model
from xpcnn.layers import LogSoftmax, Softmax
from xpcnn.training.model import Model

MOST_PIXELS = 50_000_000
"""Pixels of an image; unpacked they take a few bytes each, however small the file is."""


def run(args: argparse.Namespace) -> None:
    """Print class and probability of each image."""
    if importlib.util.find_spec("PIL") is None:
        raise RuntimeError('reading images needs Pillow; run: pip install "xpcnn[images]"')
    model = load_model(args.model, args.device, args.precision)
    size = _image_size(model, args.model)
    images, names, failures = [], [], 0
    for path in args.images:
        try:
            images.append(read_image(path, size, invert=args.invert))
            names.append(path)
        # Pillow's plug-ins fail in many ways on damaged files; the other images are still wanted.
        except Exception as error:
            failures += 1
            print(f"xpcnn predict: cannot read {path}: {error}", file=sys.stderr)
    if images:
        found = probabilities(model, np.stack(images))
        if not np.isfinite(found).all():
            raise ValueError(f"the model in {args.model} gives NaN or infinity, no probabilities")
        for name, row in zip(names, found, strict=True):
            print(f"{name}: class {row.argmax()}, probability {row.max():.4f}")
    if failures:
        raise RuntimeError(f"{failures} of {len(args.images)} images could not be read")


def _image_size(model: Model, path: Path) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images a model takes."""
    shape = model.input_shape
    if shape is None or len(shape) != 4 or shape[1] not in (1, 3):
        found = None if shape is None else ("N", *shape[1:])
        raise ValueError(
            f"the model in {path} takes input of shape {found}, not grey or colour images of "
            "shape (N, 1, height, width) or (N, 3, height, width)"
        )
    channels, height, width = (n or 1 for n in shape[1:])
    return channels, height, width


def read_image(path: Path, size: tuple[int, int, int], *, invert: bool = False) -> np.ndarray:
    """Read an image file as float32 of shape (channels, height, width), 0 (dark) to 1 (light).

    What is transparent counts as paper: dark, or light with `invert`.
    """
    from PIL import Image

    channels, height, width = size
    # from memory, since reading a file makes room for as much as a damaged one asks for
    with Image.open(io.BytesIO(read_whole(path))) as file:
        if file.width * file.height > MOST_PIXELS:
            raise ValueError(
                f"it has {file.width:,} x {file.height:,} pixels, and images of up to "
                f"{MOST_PIXELS:,} are read; make it smaller first"
            )
        picture: Any = file
        if picture.mode.startswith("I"):  # 16 bits per pixel, which convert() would cut off
            levels = np.array(picture, np.int32)
            levels.clip(0, 65535, out=levels)
            levels *= 255
            levels += 32767  # to round
            levels //= 65535
            picture = Image.fromarray(levels.astype(np.uint8))
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            paper = Image.new("RGBA", picture.size, "white" if invert else "black")
            picture = Image.alpha_composite(paper, picture)
        picture = picture.convert("L" if channels == 1 else "RGB")
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        pixels = np.asarray(picture, dtype=np.float32) / np.float32(255)
    pixels = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    return 1 - pixels if invert else pixels


def probabilities(model: Model, images: np.ndarray) -> np.ndarray:
    """Return the probability of each class, (N, classes), whatever the network ends in."""
    outputs = model.predict(images).astype(np.float64)
    last = model.layers[-1]
    if isinstance(last, Softmax):
        return outputs
    if not isinstance(last, LogSoftmax):
        outputs = outputs - outputs.max(axis=1, keepdims=True)
    e = np.exp(outputs)
    return e / e.sum(axis=1, keepdims=True)
