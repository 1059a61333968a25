"""Networks and weights of other libraries, each imported when it is first needed."""

from xpcnn.interop import onnx
from xpcnn.interop.pickles import read_pickle
from xpcnn.interop.torch import from_torch, to_torch
from xpcnn.interop.weights import load_weights

__all__ = ["from_torch", "load_weights", "onnx", "read_pickle", "to_torch"]
