"""Options that several commands have, and what they take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from xpcnn.cli import augment
from xpcnn.cli.image_data import TEST_SIZE
from xpcnn.cli.train import DEFAULTS
from xpcnn.networks import NETWORKS
from xpcnn.training.scaling import PRECISIONS

_DATA_SETS = ("digits", "mnist")


def add_photos(command: argparse.ArgumentParser) -> None:
    """Add what is told of a folder of image files."""
    command.add_argument(
        "--size",
        type=_image_size,
        metavar="N or HxW",
        help="height and width that images are brought to, for a folder of image files (default "
        f"{DEFAULTS.size})",
    )
    command.add_argument(
        "--resize",
        choices=("squash", "crop", "pad"),
        help="how images of other proportions get that size (default squash)",
    )
    command.add_argument(
        "--augment",
        type=augment.names,
        metavar="NAME,...",
        help=f"change images at random in training: {', '.join(augment.NAMES)}",
    )
    add_split(command)


def add_split(command: argparse.ArgumentParser) -> None:
    """Add how the images of a folder are labelled, and split."""
    add_file(
        command,
        "--labels",
        "table (CSV) of file names and labels, in the folder (default the only one there, if there "
        "are no folders of classes)",
    )
    command.add_argument(
        "--test-size",
        type=_share,
        metavar="X",
        help="share of the images of a folder without 'train' and 'test' to test with (default "
        f"{TEST_SIZE})",
    )


def add_network(command: Any, name: str, help: str) -> None:
    """Add the choice of a small network."""
    command.add_argument(name, choices=list(NETWORKS), help=f"{help} (default {DEFAULTS.model})")


def add_file(command: Any, name: str, help: str, **options: Any) -> None:
    """Add the path of a file."""
    command.add_argument(name, type=Path, metavar="FILE", help=help, **options)


def add_count(
    command: argparse.ArgumentParser, name: str, help: str, least: int = 1, **options: Any
) -> None:
    """Add a whole number."""

    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {least}, got {text!r}"
            )
        return int(text)

    command.add_argument(name, type=whole_number, metavar="N", help=help, **options)


def add_trained_model(command: argparse.ArgumentParser) -> None:
    """Add the file of the model to use."""
    help = "file of a trained model (default %(default)s, which 'xpcnn train' writes)"
    add_file(command, "--model", help, default=DEFAULTS.file)


def add_data(command: argparse.ArgumentParser) -> None:
    """Add the images to use."""
    command.add_argument(
        "--data",
        type=_data_set,
        metavar="{digits,mnist,FOLDER}",
        default=DEFAULTS.data,
        help="images: the 6,000 digits that come with the package, MNIST (downloaded once), a "
        "folder with IDX files of the same names, or one with image files in a folder for each "
        "class (default %(default)s)",
    )


def add_device(command: argparse.ArgumentParser) -> None:
    """Add where and how to compute."""
    command.add_argument(
        "--device",
        default="auto",
        help="where to compute: auto, cpu, cuda, cuda:1, torch:cpu, ... as 'xpcnn info' lists them "
        "(default %(default)s)",
    )
    command.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="how to compute: in float16 and bfloat16 the weights stay float32, tf32 is for GPUs "
        "(default float32, or what the model was saved with)",
    )


def _data_set(text: str) -> str:
    if text not in _DATA_SETS and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'digits' nor 'mnist' nor an existing folder"
        )
    return text


def _image_size(text: str) -> tuple[int, int]:
    """Read a height and a width, or one number for both."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"expected a number such as 64 or 48x64, got {text!r}")
    return int(parts[0]), int(parts[-1])


def _share(text: str) -> float:
    number = positive_float(text)
    if number >= 1.0:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, got {text!r}")
    return number


def positive_float(text: str) -> float:
    """Read a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number
