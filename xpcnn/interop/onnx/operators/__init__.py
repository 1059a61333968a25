"""What each ONNX operator becomes: a function that appends nodes to a builder."""

from __future__ import annotations

from xpcnn.interop.onnx.builder import Handler
from xpcnn.interop.onnx.operators import (
    activations,
    arithmetic,
    indexing,
    normalization,
    shapes,
    training,
    windows,
)

HANDLERS: dict[str, Handler] = {
    **activations.HANDLERS,
    **arithmetic.HANDLERS,
    **indexing.HANDLERS,
    **normalization.HANDLERS,
    **shapes.HANDLERS,
    **training.HANDLERS,
    **windows.HANDLERS,
}
"""By operator; a handler asks the version of the operator set where that matters."""

TRAINING_HANDLERS: dict[str, Handler] = training.PREVIEW
"""The same for the domain "ai.onnx.preview.training"."""

# The output has as many axes as the first input, or as the input with most of them.
KEEP_RANK = {
    *activations.HANDLERS,
    *arithmetic.HANDLERS,
    *[
        "AveragePool",
        "BatchNormalization",
        "Clip",
        "Concat",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "Dropout",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GroupNormalization",
        "InstanceNormalization",
        "LRN",
        "LayerNormalization",
        "LpPool",
        "MaxPool",
        "Pad",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Transpose",
        "Upsample",
    ],
} - {"Size", "MatMul", "Gemm"}
