"""ONNX files, read and written with nothing but NumPy."""

from xpcnn.interop.onnx.loading import load

__all__ = ["load"]
