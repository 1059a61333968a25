"""Data sets, images in files, and mini-batches."""

from xpcnn.data.batches import batches
from xpcnn.data.datasets import load_digits_subset, load_mnist
from xpcnn.data.folders import ImageFolder
from xpcnn.data.idx import read_idx, write_idx
from xpcnn.data.images import ImageReader
from xpcnn.data.splitting import Subset, train_test_split

__all__ = [
    "batches", "load_digits_subset", "load_mnist", "read_idx", "write_idx",
    "ImageFolder", "ImageReader", "Subset", "train_test_split",
]  # fmt: skip
