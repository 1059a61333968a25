"""What each kind of layer becomes in ONNX: a function that appends nodes to a writer."""

from __future__ import annotations

from xpcnn.interop.onnx.emitters import (
    containers,
    indexing,
    normalization,
    pads,
    resize,
    training,
    windows,
)
from xpcnn.interop.onnx.ops import WRITES
from xpcnn.interop.onnx.writer import Write

EMITTERS: dict[type, Write] = {
    **WRITES,
    **containers.EMITTERS,
    **indexing.EMITTERS,
    **normalization.EMITTERS,
    **pads.EMITTERS,
    **resize.EMITTERS,
    **training.EMITTERS,
    **windows.EMITTERS,
}
