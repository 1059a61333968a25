"""What each kind of layer becomes in ONNX: a function that appends nodes to a writer."""

from __future__ import annotations

from xpcnn.interop.onnx.emitters import (
    containers,
    normalization,
    training,
)
from xpcnn.interop.onnx.ops import WRITES
from xpcnn.interop.onnx.writer import Write

EMITTERS: dict[type, Write] = {
    **WRITES,
    **containers.EMITTERS,
    **normalization.EMITTERS,
    **training.EMITTERS,
}
