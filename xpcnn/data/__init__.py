"""Data sets, and mini-batches of them."""

from xpcnn.data.batches import batches
from xpcnn.data.datasets import load_digits_subset, load_mnist
from xpcnn.data.idx import read_idx, write_idx

__all__ = ["batches", "load_digits_subset", "load_mnist", "read_idx", "write_idx"]
