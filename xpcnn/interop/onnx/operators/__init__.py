"""What each ONNX operator becomes: a function that appends nodes to a builder."""

from __future__ import annotations

from xpcnn.interop.onnx import shape_tracker
from xpcnn.interop.onnx.builder import Handler
from xpcnn.interop.onnx.operators import (
    normalization,
    signatures,
    training,
)
from xpcnn.interop.onnx.ops import OPERATORS
from xpcnn.interop.onnx.table import Earlier, operator

HANDLERS: dict[str, Handler] = {
    **normalization.HANDLERS,
    **training.HANDLERS,
}
"""By operator; a handler asks the version of the operator set where that matters."""

TRAINING_HANDLERS: dict[str, Handler] = training.PREVIEW
"""The same for the domain "ai.onnx.preview.training"."""

# The output has as many axes as the first input, or as the input with most of them.
KEEP_RANK = {
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


FOLDED = {
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "Div", "Equal", "Floor", "Gather", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or",
    "Pow", "Reciprocal", "ReduceProd", "ReduceSum", "Reshape", "Round", "Slice", "Sqrt", "Squeeze",
    "Sub", "Sum", "Transpose", "Unsqueeze", "Where", "Exp", "Sign", "Shape", "Size",
}  # fmt: skip
BROADCAST = {
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean",
    "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor",
}  # fmt: skip


def _add(name: str, handler: Handler, domain: str) -> None:
    """Bring an operator of the old tables to the new one."""
    keeps = "rank" if name in KEEP_RANK else ""
    keeps = "samples" if name in shape_tracker.KEEP_SAMPLES else keeps
    keeps = "broadcast" if name in BROADCAST else keeps
    now, earlier = signatures.SIGNATURES.get(name, signatures.ONE), None
    if name in signatures.CHANGED:
        until, before, now = signatures.CHANGED[name]
        earlier = Earlier(until, (before.fewest, before.most), before.needed)
    row = operator(
        name,
        inputs=(now.fewest, now.most),
        required=now.needed,
        earlier=earlier,
        outputs=signatures.OUTPUTS.get(name, 1),
        keeps=keeps,
        folds=name in FOLDED,
        domain=domain,
    )
    row.reads(handler)


for _name, _handler in HANDLERS.items():
    _add(_name, _handler, "")
for _name, _handler in TRAINING_HANDLERS.items():
    _add(_name, _handler, "ai.onnx.preview.training")

__all__ = ["HANDLERS", "OPERATORS", "TRAINING_HANDLERS"]
