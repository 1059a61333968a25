"""Data sets, and mini-batches of them."""

from xpcnn.data.batches import batches

__all__ = ["batches"]
