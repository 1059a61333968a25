"""``xpcnn evaluate``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from xpcnn.cli.common import load_model, score, score_in_words, with_network_input
from xpcnn.cli.image_data import Samples, find_parts, holds_images, load_arrays, read, whole_folder
from xpcnn.cli.predict import reader_of
from xpcnn.metrics import classification_report
from xpcnn.training.model import Model
from xpcnn.training.probabilities import class_probabilities, names_of_classes

AT_ONCE = 1024
"""Images of a large folder that are read before they are predicted together."""


def run(args: argparse.Namespace) -> None:
    """Print loss and accuracy of a saved model, and how well each class is told."""
    photos = holds_images(args.data)
    _check_options(args, photos)
    model = load_model(args.model, args.device, args.precision)
    test = _photos(args, model) if photos else load_arrays(args.data)[1]
    result = score(model, test)
    guessed, count = _classes(model, test)
    present = np.union1d(test.labels, guessed)
    names = names_of_classes(model, count)
    settings = {
        "labels": present.tolist(),
        "target_names": [names[label] for label in present],
        "zero_division": 0,
    }
    if args.json:
        report = classification_report(test.labels, guessed, output_dict=True, **settings)
        print(json.dumps({"images": len(test), **result, "report": report}, indent=2))
    else:
        print(score_in_words(result, len(test)))
        print()
        print(classification_report(test.labels, guessed, digits=4, **settings))


def _check_options(args: argparse.Namespace, photos: bool) -> None:
    """End with a message about an option that would have no effect."""
    given = {
        "--labels": args.labels is not None,
        "--test-size": args.test_size is not None,
        "--all": args.all,
    }
    for option in (name for name, is_given in given.items() if is_given and not photos):
        args.usage_error(
            f"argument {option}: only for a folder of image files, and --data is {args.data}"
        )
    if args.all and args.test_size is not None:
        args.usage_error("argument --test-size: not allowed with --all")


def _photos(args: argparse.Namespace, model: Model) -> Samples:
    """Read the images of a folder that are to test with."""
    folder, reader = Path(args.data), reader_of(model, args.model)
    shape = model.output_shape()
    columns = shape[1] if len(shape) > 1 else 1
    names = names_of_classes(model, columns if columns != 1 else 2)
    if args.all:
        return with_network_input(model, read(whole_folder(folder, reader, args.labels, names)))
    parts = find_parts(folder, reader, args.labels, args.test_size, model.seed, names)
    if parts.test.path == parts.training.path:
        everything = len(parts.training) + len(parts.test)
        print(
            f"xpcnn evaluate: {len(parts.test)} of the {everything} images in {folder} are "
            "measured, those that 'xpcnn train' keeps from training; --all measures all",
            file=sys.stderr,
        )
    return with_network_input(model, read(parts.test))


def _classes(model: Model, test: Samples) -> tuple[np.ndarray, int]:
    """Return the most probable class of each image, and how many classes there are."""
    found = []
    for start in range(0, len(test), AT_ONCE):
        part = with_network_input(model, test.part(start, start + AT_ONCE))
        found.append(class_probabilities(model, model.predict(part.x)))
    rows = np.concatenate(found)
    return rows.argmax(axis=1), rows.shape[1]
