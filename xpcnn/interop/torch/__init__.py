"""PyTorch's modules as xpcnn's models, and back.

`torch` is imported when a function is called, and only there.
"""

from xpcnn.interop.torch.convert import from_torch, to_layer
from xpcnn.interop.torch.export import to_torch

__all__ = ["from_torch", "to_layer", "to_torch"]
