"""Data sets of image files: folders of classes, and tables of names and labels."""

from __future__ import annotations

import copy
import operator
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.data.images import SUFFIXES, ImageReader, check_pillow
from xpcnn.data.label_files import class_names_of, read_labels
from xpcnn.kernels.threads import get_num_threads

_NAMED = 5  # files that a message names


class ImageFolder:
    """A data set of the images in a folder.

    Each class is a folder of its own, and each image file in it, or in folders inside it, is a
    sample::

        photos/cat/tom.jpg
        photos/cat/more/kitty.png
        photos/dog/rex.jpg

    Or the images lie anywhere in the folder, and a table says what they are. Nothing is read
    before it is asked for. ``model.fit(folder)`` reads batch by batch, ``folder.load()`` all
    at once.

    Parameters
    ----------
    path : path
    size : int or (height, width), optional
        Of the arrays; see :class:`ImageReader`, as for `mode` and `resize`.
    classes : sequence of str, optional
        Which classes there are, and their order, which is that of their labels from 0. Without it
        all, sorted by name.
    labels : path, optional
        A CSV file with the name of an image and its label in each line, relative to the folder as
        the names in it are. A header is optional, and so are commas: semicolons and tabs do too.
        Images that the table does not name are left out.
    mode : {"RGB", "L"}
    resize : {"squash", "crop", "pad"}, optional
    image_reader : ImageReader, optional
        In place of `size`, `mode` and `resize`, such as ``model.image_input``.

    Attributes
    ----------
    class_names : tuple of str
    files : list of pathlib.Path
    targets : numpy.ndarray (N,)
        The labels, int64: places in `class_names`.
    ignored : list of pathlib.Path
        Files that are no images by their names. Hidden files are not among them.
    image_reader : ImageReader

    Raises
    ------
    OSError
        If there is no such folder or table.
    ValueError
        If a class has no images, an image belongs to no class, or the table does not fit.
    TypeError
        If an argument is of another type.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from xpcnn.data import ImageFolder
    >>> photos = pathlib.Path(tempfile.mkdtemp())
    >>> for name, color in (("night", "black"), ("day", "white")):
    ...     (photos / name).mkdir()
    ...     Image.new("RGB", (40, 30), color).save(photos / name / "1.png")
    >>> folder = ImageFolder(photos, size=8)
    >>> folder.class_names, folder.targets
    (('day', 'night'), array([0, 1]))
    >>> image, label = folder[0]
    >>> image.shape, int(image.max()), int(label)
    ((3, 8, 8), 255, 0)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int | tuple[int, int] | None = None,
        *,
        classes: Sequence[str] | None = None,
        labels: str | os.PathLike[str] | None = None,
        mode: str | None = None,
        resize: str | None = None,
        image_reader: ImageReader | None = None,
    ) -> None:
        check_pillow("ImageFolder")
        self.image_reader = _reader(size, mode, resize, image_reader)
        self.path = _as_path(path, "path").expanduser()
        if not self.path.is_dir():
            raise NotADirectoryError(f"ImageFolder: path: {str(path)!r} is no folder")
        chosen = None if classes is None else as_class_names(classes, "ImageFolder: classes")
        found: list[tuple[Path, int]]
        if labels is None:
            names, found, self.ignored = _by_folder(self.path, chosen)
        else:
            table = self.path / _as_path(labels, "labels")
            if not table.is_file():
                raise FileNotFoundError(
                    f"ImageFolder: labels must be a table of file names and labels, and there is "
                    f"no file {str(table)!r}"
                )
            names, found = _by_table(self.path, table, chosen)
            self.ignored = []
        self.class_names = tuple(names)
        self.files = [file for file, _ in found]
        self.targets = np.array([label for _, label in found], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        """Read one image: uint8 of shape (channels, height, width), and its label."""
        at = operator.index(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"ImageFolder: there are {len(self)} images, and no number {at}")
        return self.image_reader.read(self.files[at]), self.targets[at]

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.class_names[:10]))
        more = ", ..." if len(self.class_names) > 10 else ""
        return f"ImageFolder({str(self.path)!r}, {len(self):,} images of {names}{more})"

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Read all images.

        Returns
        -------
        x : numpy.ndarray (N, channels, height, width)
            uint8.
        y : numpy.ndarray (N,)
            Labels, int64.

        Raises
        ------
        ValueError
            If images cannot be read, of which it names the first, or differ in size because the
            folder was made without one.
        """
        from concurrent.futures import ThreadPoolExecutor  # here, since importing it takes time

        if self.image_reader.size is None:
            return _stacked([self[i][0] for i in range(len(self))], self.files), self.targets.copy()
        shape = (self.image_reader.channels, *self.image_reader.size)
        x = np.empty((len(self), *shape), np.uint8)

        def read(at: int) -> str | None:
            try:
                x[at] = self.image_reader.read(self.files[at])
            except (ValueError, OSError) as error:
                return str(error)
            return None

        with ThreadPoolExecutor(get_num_threads()) as pool:
            try:
                problems = [problem for problem in pool.map(read, range(len(self))) if problem]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if problems:
            more = f"; and {len(problems) - _NAMED:,} more" if len(problems) > _NAMED else ""
            raise ValueError(
                f"{len(problems):,} of {len(self):,} images cannot be read; remove or replace "
                f"them: {'; '.join(problems[:_NAMED])}{more}"
            )
        return x, self.targets.copy()

    def subset(self, indices: Any) -> ImageFolder:
        """Return the data set of some of the images, in the order of `indices`."""
        chosen = np.arange(len(self))[indices]
        other = copy.copy(self)
        other.files, other.targets = [self.files[i] for i in chosen], self.targets[chosen]
        return other

    def with_class_names(self, class_names: Sequence[str]) -> ImageFolder:
        """Return the same images with labels that are places in another list of classes.

        So a folder with some of the classes that a model knows is evaluated:
        ``folder.with_class_names(model.class_names)``.

        Raises
        ------
        ValueError
            If the folder has a class that is not in the list.
        """
        names = as_class_names(class_names, "with_class_names")
        unknown = [name for name in self.class_names if name not in names]
        if unknown:
            raise ValueError(
                f"the classes of {self.path} are {', '.join(self.class_names)}, and "
                f"{', '.join(unknown)} is not among the expected {', '.join(names)}"
            )
        other = copy.copy(self)
        places = np.array([names.index(name) for name in self.class_names], dtype=np.int64)
        other.class_names, other.targets = names, places[self.targets]
        return other


def as_class_names(names: Any, who: str) -> tuple[str, ...]:
    """Check the names of classes, and write letters with accents as one character each.

    Raises
    ------
    TypeError
        If they are no strings.
    ValueError
        If there is none, one is empty, or two are the same.
    """
    if isinstance(names, (str, bytes)) or not hasattr(names, "__iter__"):
        raise TypeError(f"{who} must be a list of names, such as ['cat', 'dog'], got {names!r}")
    given = list(names)
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"{who} must be strings, got {name!r}; write str(name)")
        if not name.strip():
            raise ValueError(f"{who}: a name is empty")
    found = tuple(unicodedata.normalize("NFC", name) for name in given)
    if not found:
        raise ValueError(f"{who}: there is no name; give at least one")
    twice = [name for at, name in enumerate(found) if name in found[:at]]
    if twice:
        raise ValueError(f"{who}: {twice[0]!r} stands there twice")
    return found


def _reader(
    size: Any, mode: str | None, resize: str | None, reader: ImageReader | None
) -> ImageReader:
    if reader is None:
        return ImageReader(size, mode="RGB" if mode is None else mode, resize=resize)
    if not isinstance(reader, ImageReader):
        raise TypeError(f"ImageFolder: image_reader must be an ImageReader, got {reader!r}")
    for name, value in (("size", size), ("mode", mode), ("resize", resize)):
        if value is not None:
            raise ValueError(
                f"ImageFolder: give {name} or image_reader, not both; the reader has {name}="
                f"{getattr(reader, name)!r}"
            )
    return reader


def _by_folder(
    root: Path, chosen: tuple[str, ...] | None
) -> tuple[Sequence[str], list[tuple[Path, int]], list[Path]]:
    """Return the classes, each image with its label, and the other files."""
    folders: dict[str, Path] = {}
    loose = []
    for entry in sorted(root.iterdir()):
        if is_hidden(entry.name):
            continue
        if entry.is_dir():
            name = unicodedata.normalize("NFC", entry.name)
            if name in folders:
                raise ValueError(f"ImageFolder: two folders in {root} are called {name!r}")
            folders[name] = entry
        elif is_image(entry.name):
            loose.append(entry)
    _check_folders(root, folders, loose, chosen)
    names = chosen or tuple(sorted(folders))
    found: list[tuple[Path, int]] = []
    ignored: list[Path] = []
    for label, name in enumerate(names):
        files = files_in(folders[name])
        images = [file for file in files if is_image(file.name)]
        if not images:
            raise ValueError(
                f"ImageFolder: there is no image in {folders[name]} ({len(files)} other files); "
                "remove the folder, or choose others with classes=[...]"
            )
        found += [(file, label) for file in images]
        ignored += [file for file in files if not is_image(file.name)]
    return names, found, ignored


def _as_path(path: Any, argument: str) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise TypeError(f"ImageFolder: {argument} must be a path, got {path!r}")
    return Path(path)


def _check_folders(
    root: Path, folders: dict[str, Path], loose: list[Path], chosen: tuple[str, ...] | None
) -> None:
    """Raise unless there is a folder for each class, and no image outside of them."""
    if chosen is not None:
        missing = [name for name in chosen if name not in folders]
        if missing:
            raise ValueError(
                f"ImageFolder: classes has {missing[0]!r}, and {root} has no such folder; it has "
                f"{', '.join(folders) or 'none'}"
            )
    elif not folders:
        what = f"{len(loose)} images and no folders" if loose else "neither folders nor images"
        raise ValueError(
            f"ImageFolder: {root} has {what} in it; put the images of each class in a folder of "
            "its own, or give labels='labels.csv', a table of file names and labels"
        )
    elif loose:
        more = f", as do {len(loose) - 1} other images" if len(loose) > 1 else ""
        raise ValueError(
            f"ImageFolder: {loose[0]} lies in no folder of a class{more}; move it into one, or "
            "choose the classes with classes=[...]"
        )


def _by_table(
    root: Path, path: Path, chosen: tuple[str, ...] | None
) -> tuple[Sequence[str], list[tuple[Path, int]]]:
    lines = [(n, f, unicodedata.normalize("NFC", label)) for n, f, label in read_labels(path, root)]
    names = class_names_of(lines) if chosen is None else chosen
    places = {name: place for place, name in enumerate(names)}
    for number, _, label in lines:
        if label not in places:
            raise ValueError(
                f"{path}, line {number}: the label {label!r} is none of the classes "
                f"{', '.join(names)}"
            )
    unused = places.keys() - {label for _, _, label in lines}
    if unused:
        raise ValueError(f"{path}: no line has the label {min(unused)!r}, which classes names")
    return names, [(root / file, places[label]) for _, file, label in lines]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that a system puts there for itself."""
    return name.startswith(".") or name == "__MACOSX"


def is_image(name: str) -> bool:
    """Whether a file is an image by the end of its name."""
    return name.lower().endswith(SUFFIXES)


def files_in(folder: Path) -> list[Path]:
    """List the files in a folder and in those inside it, links followed, hidden ones left out."""
    found: list[Path] = []
    seen: set[str] = set()
    for path, inside, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:  # links in a circle
            inside.clear()
            continue
        seen.add(real)
        inside[:] = sorted(name for name in inside if not is_hidden(name))
        found += [Path(path, name) for name in files if not is_hidden(name)]
    return sorted(found)


def _stacked(images: list[np.ndarray], files: list[Path]) -> np.ndarray:
    for image, file in zip(images, files, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"ImageFolder.load: {files[0]} is of shape {images[0].shape} and {file} of "
                f"{image.shape}; bring them to one size with ImageFolder(path, size=64)"
            )
    return np.stack(images)
