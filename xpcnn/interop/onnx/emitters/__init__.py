"""What each kind of layer becomes in ONNX: a function that appends nodes to a writer."""

from __future__ import annotations

from xpcnn.interop.onnx.emitters import (
    activations,
    arithmetic,
    containers,
    indexing,
    normalization,
    pads,
    resize,
    shapes,
    training,
    windows,
)
from xpcnn.interop.onnx.writer import Emitter

EMITTERS: dict[type, Emitter] = {
    **activations.EMITTERS,
    **arithmetic.EMITTERS,
    **containers.EMITTERS,
    **indexing.EMITTERS,
    **normalization.EMITTERS,
    **pads.EMITTERS,
    **resize.EMITTERS,
    **shapes.EMITTERS,
    **training.EMITTERS,
    **windows.EMITTERS,
}
