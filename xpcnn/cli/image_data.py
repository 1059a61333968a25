"""What ``--data FOLDER`` stands for: IDX files, folders of classes, or a table of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.data import ImageFolder, ImageReader, load_digits_subset, load_mnist, train_test_split
from xpcnn.data.datasets import FILES, find_file
from xpcnn.data.folders import is_hidden, is_image

TEST_SIZE = 0.2
KEPT = 1 << 30
"""Bytes of images that are read once and kept; more are read anew in every epoch."""
_TESTS = ("test", "val", "valid", "validation")


@dataclass(frozen=True)
class Samples:
    """Images with their labels: arrays, or a folder that is read batch by batch."""

    x: Any
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def given(self) -> tuple[Any, ...]:
        """What ``fit`` and ``evaluate`` are given."""
        return (self.x,) if isinstance(self.x, ImageFolder) else (self.x, self.labels)

    def part(self, start: int, stop: int) -> Samples:
        """Return some of them, read."""
        if isinstance(self.x, ImageFolder):
            return Samples(*self.x.subset(slice(start, stop)).load())
        return Samples(self.x[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class Parts:
    """Folders to train on, to validate and to test with."""

    training: ImageFolder
    validation: ImageFolder | None
    test: ImageFolder


def load_arrays(name: str) -> tuple[Samples, Samples]:
    """Load the arrays that a user named: "digits", "mnist", or a folder of IDX files."""
    if name == "digits":
        training, test = load_digits_subset()
    else:
        training, test = load_mnist(None if name == "mnist" else name)
    return Samples(*training), Samples(*test)


def holds_images(name: str) -> bool:
    """Whether what a user named is a folder of image files.

    Raises
    ------
    FileNotFoundError
        If it is a folder with nothing of use in it.
    """
    folder = Path(name)
    if not folder.is_dir() or any(find_file(folder, file) for file in FILES):
        return False
    if not _folders(folder) and not _table(folder) and not any(map(_is_image, folder.iterdir())):
        raise FileNotFoundError(
            f"{folder} has neither images, in a folder for each class such as {folder}/cat, nor "
            f"IDX files such as {FILES[0].name}.gz"
        )
    return True


def find_parts(
    folder: Path,
    reader: ImageReader,
    labels: Path | None = None,
    test_size: float | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> Parts:
    """Find the images of a folder to train on and to test with.

    Parameters
    ----------
    folder : Path
        With folders "train" and "test" (or "val"), or to be split.
    reader : ImageReader
    labels : Path, optional
        A table of labels, relative to the folder.
    test_size : float, optional
        Share of the images to test with, where they are to be split.
    seed : int
        Of that split.
    class_names : sequence of str, optional
        Those of a model that was trained before.

    Raises
    ------
    ValueError
        If the folder has no such classes, or too few images.
    """
    names = [] if labels is not None else _tests_in(folder)
    if names:
        if test_size is not None:
            raise ValueError(
                f"--test-size has no effect: {folder} has a folder {names[0]!r} to test with"
            )
        training = _named(ImageFolder(folder / "train", image_reader=reader), class_names)
        tests = [
            ImageFolder(folder / name, image_reader=reader).with_class_names(training.class_names)
            for name in names[:2]
        ]
        return Parts(training, tests[1] if len(tests) > 1 else None, tests[0])
    everything = whole_folder(folder, reader, labels, class_names)
    tested = _test_count(everything, TEST_SIZE if test_size is None else test_size)
    training, test = train_test_split(everything, test_size=tested, seed=seed)
    return Parts(training, None, test)


def whole_folder(
    folder: Path,
    reader: ImageReader,
    labels: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFolder:
    """Find all images of a folder; a table in it is used where there are no folders of classes.

    Raises
    ------
    ValueError
        If it has parts to train on and to test with.
    """
    parts = [] if labels is not None else _tests_in(folder)
    if parts:
        raise ValueError(f"--all has no effect: {folder} has a folder {parts[0]!r} to test with")
    if labels is None and len(_folders(folder)) < 2:
        labels = _table(folder)
    return _named(ImageFolder(folder, labels=labels, image_reader=reader), class_names)


def read(folder: ImageFolder) -> Samples:
    """Read images if they do not take too much memory; otherwise they are read batch by batch."""
    reader = folder.image_reader
    if reader.size is None or len(folder) * reader.channels * math.prod(reader.size) <= KEPT:
        return Samples(*folder.load())
    return Samples(folder, folder.targets)


def _named(folder: ImageFolder, class_names: Sequence[str] | None) -> ImageFolder:
    return folder if class_names is None else folder.with_class_names(class_names)


def _test_count(folder: ImageFolder, test_size: float) -> int:
    """Return how many images to test with: a share, and at least as many as there are classes."""
    counts = np.bincount(folder.targets, minlength=len(folder.class_names))
    present = np.flatnonzero(counts)
    few = [folder.class_names[label] for label in present if counts[label] < 2]
    if few:
        raise ValueError(
            f"the class {few[0]!r} in {folder.path} has one image, and needs one to train on and "
            "one to test with; add some (or evaluate with --all)"
        )
    wanted = max(math.ceil(test_size * len(folder)), len(present))
    return min(wanted, len(folder) - len(present))


def _tests_in(folder: Path) -> list[str]:
    """Name the folders to test with, if there is one to train on too."""
    inside = _folders(folder)
    if "train" not in inside or not _folders(folder / "train"):
        return []
    return [name for name in _TESTS if name in inside]


def _folders(folder: Path) -> list[str]:
    return sorted(e.name for e in folder.iterdir() if e.is_dir() and not is_hidden(e.name))


def _is_image(path: Path) -> bool:
    return is_image(path.name)


def _table(folder: Path) -> Path | None:
    """Return the name of the only table in a folder, if there is just one."""
    found = [e for e in folder.iterdir() if e.suffix.lower() == ".csv" and not is_hidden(e.name)]
    return Path(found[0].name) if len(found) == 1 else None
