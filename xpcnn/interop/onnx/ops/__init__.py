"""ONNX's operators by family: each file adds its own to the table."""

from __future__ import annotations

from xpcnn.interop.onnx.ops import (  # noqa: F401 - they fill the table
    activation,
    arithmetic,
    containers,
    conv,
    indexing,
    linear,
    norm,
    pad,
    pool,
    preprocessing,
    reduce,
    resize,
    shape,
    sources,
    training,
)
from xpcnn.interop.onnx.table import OPERATORS, WRITES, Operator

__all__ = ["OPERATORS", "WRITES", "Operator"]
