"""ONNX files, read and written with nothing but NumPy."""

from xpcnn.interop.onnx.loading import load
from xpcnn.interop.onnx.writing import save, to_bytes

__all__ = ["load", "save", "to_bytes"]
