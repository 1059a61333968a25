"""Data sets of images: a small one inside the package, and MNIST."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from xpcnn.data.download import RemoteFile, cache_folder, fetch
from xpcnn.data.idx import read_idx

Part = tuple[np.ndarray, np.ndarray]
"""Images and their labels."""

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)

_TRAIN_IMAGES = RemoteFile(
    "train-images-idx3-ubyte",
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    47_040_016,
)
_TRAIN_LABELS = RemoteFile(
    "train-labels-idx1-ubyte",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    60_008,
)
_TEST_IMAGES = RemoteFile(
    "t10k-images-idx3-ubyte",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    7_840_016,
)
_TEST_LABELS = RemoteFile(
    "t10k-labels-idx1-ubyte",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    10_008,
)
FILES = (_TRAIN_IMAGES, _TRAIN_LABELS, _TEST_IMAGES, _TEST_LABELS)


def load_digits_subset() -> tuple[Part, Part]:
    """Load the handwritten digits that come inside the package; needs no network.

    They are the first 5,000 training and the first 1,000 test images of the MNIST database of
    Y. LeCun, C. Cortes and C. J. C. Burges, which is under the licence CC BY-SA 3.0.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images, float32 of shape ``(N, 1, 28, 28)``, 0 (paper) to 1 (ink), and their labels 0 to
        9, int64 of shape ``(N,)``.

    Examples
    --------
    >>> from xpcnn.data import load_digits_subset
    >>> (x_train, y_train), (x_test, y_test) = load_digits_subset()
    >>> x_train.shape, x_test.shape
    ((5000, 1, 28, 28), (1000, 1, 28, 28))
    >>> y_train[:5].tolist()
    [5, 0, 4, 1, 9]
    """
    return load_mnist(Path(__file__).parent / "files")


def load_mnist(root: str | os.PathLike[str] | None = None) -> tuple[Part, Part]:
    """Load the MNIST database: 60,000 training and 10,000 test images of handwritten digits.

    Parameters
    ----------
    root : path, optional
        Folder with the four IDX files, compressed by gzip or not, such as
        ``train-images-idx3-ubyte.gz`` (the spelling ``train-images.idx3-ubyte`` is found too).
        Data sets in the same files, such as Fashion-MNIST, load in the same way. Without `root`
        the files are looked for in the cache folder, which is the environment variable
        ``XPCNN_DATA`` or the user's usual one, and its sub-folder ``mnist``, and downloaded to
        there if they are missing. Downloading needs pooch: ``pip install "xpcnn[data]"``.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images, float32 of shape ``(N, 1, 28, 28)``, 0 to 1, and labels, int64 of shape ``(N,)``.

    Raises
    ------
    FileNotFoundError
        If a file is missing and cannot be downloaded; the message says which file to put where.
    ValueError
        If a file is damaged, or images and labels do not belong together.

    Notes
    -----
    By Y. LeCun, C. Cortes and C. J. C. Burges, licence CC BY-SA 3.0.

    Examples
    --------
    A folder with files of the same form, here of a few images:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from xpcnn import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("train", "t10k"):
    ...         images = np.zeros((3, 28, 28), dtype="uint8")
    ...         data.write_idx(Path(folder) / f"{part}-images-idx3-ubyte", images)
    ...         data.write_idx(Path(folder) / f"{part}-labels-idx1-ubyte", images[:, 0, 0])
    ...     (x_train, y_train), (x_test, y_test) = data.load_mnist(folder)
    >>> x_train.shape, y_train.dtype
    ((3, 1, 28, 28), dtype('int64'))
    """
    if root is not None:
        folder = Path(root).expanduser()
        paths = [find_file(folder, file) or _missing(folder, file) for file in FILES]
    else:
        cache = cache_folder()
        home = cache / "mnist"
        paths = [
            find_file(cache, file) or find_file(home, file) or fetch(file, home, MIRRORS)
            for file in FILES
        ]
    train_images, train_labels, test_images, test_labels = paths
    return _load_part(train_images, train_labels), _load_part(test_images, test_labels)


def find_file(folder: Path, file: RemoteFile) -> Path | None:
    """Return the path of a file under any of the names it goes by, or None."""
    dotted = file.name.replace("-idx", ".idx")
    for name in (file.name, f"{file.name}.gz", dotted, f"{dotted}.gz"):
        if (folder / name).is_file():
            return folder / name
    return None


def _missing(folder: Path, file: RemoteFile) -> Path:
    names = ", ".join(f"{each.name}.gz" for each in FILES)
    state = "has no such file" if folder.is_dir() else "is no folder"
    raise FileNotFoundError(
        f"load_mnist: {file.name} (or {file.name}.gz) is missing: {folder} {state}; put {names} "
        "there, or call load_mnist() without root to download them"
    )


def _load_part(images_path: Path, labels_path: Path) -> Part:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape:
        raise ValueError(
            f"{images_path}: expected images of shape (N, height, width) and dtype uint8, got "
            f"shape {images.shape} and dtype {images.dtype}; is it a file of labels?"
        )
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise ValueError(
            f"{labels_path}: expected labels of shape (N,) and dtype uint8, got shape "
            f"{labels.shape} and dtype {labels.dtype}; is it a file of images?"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} has {len(images)} images but {labels_path} has {len(labels)} labels; "
            "they are not from the same set"
        )
    x = images[:, None].astype(np.float32)
    x /= np.float32(255)
    return x, labels.astype(np.int64)
