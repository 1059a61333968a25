"""How many inputs and outputs operators have, and which attributes they cannot do without."""

from __future__ import annotations

from math import inf
from typing import NamedTuple


class Signature(NamedTuple):
    """The fewest and the most inputs, and attributes that have no default."""

    fewest: int
    most: float
    needed: tuple[str, ...] = ()


ONE = Signature(1, 1)
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_BINARY = (
    "Add", "And", "CastLike", "Div", "Equal", "Expand", "Gather", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "MatMul", "Mod", "Mul", "Or", "PRelu", "Pow", "Reshape", "Sub", "Tile",
    "Xor",
)  # fmt: skip
SIGNATURES = {
    "AveragePool": Signature(1, 1, ("kernel_shape",)),
    "BatchNormalization": Signature(5, 5),
    "Cast": Signature(1, 1, ("to",)),
    "Clip": Signature(1, 3),
    "Col2Im": Signature(3, 3),
    "Concat": Signature(1, inf, ("axis",)),
    "Constant": Signature(0, 0),
    "Conv": Signature(2, 3),
    "ConvTranspose": Signature(2, 3),
    "DepthToSpace": Signature(1, 1, ("blocksize",)),
    "Dropout": Signature(1, 3),
    "Gemm": Signature(2, 3),
    "GroupNormalization": Signature(3, 3, ("num_groups",)),
    "InstanceNormalization": Signature(3, 3),
    "LRN": Signature(1, 1, ("size",)),
    "LayerNormalization": Signature(2, 3),
    "LpPool": Signature(1, 1, ("kernel_shape",)),
    "MaxPool": Signature(1, 1, ("kernel_shape",)),
    "NegativeLogLikelihoodLoss": Signature(2, 3),
    "Range": Signature(3, 3),
    "SoftmaxCrossEntropyLoss": Signature(2, 3),
    "SpaceToDepth": Signature(1, 1, ("blocksize",)),
    "Where": Signature(3, 3),
    **{name: Signature(1, inf) for name in ("Max", "Mean", "Min", "Sum")},
    **dict.fromkeys(_REDUCTIONS, Signature(1, 2)),
    **dict.fromkeys(_BINARY, Signature(2, 2)),
}
# What became an input: the version it did in, and the signatures before and from then on.
CHANGED = {
    "Pad": (11, Signature(1, 1, ("pads",)), Signature(2, 4)),
    "Resize": (11, Signature(2, 2), Signature(1, 4)),
    "Slice": (10, Signature(1, 1, ("starts", "ends")), Signature(3, 5)),
    "Split": (13, Signature(1, 1), Signature(1, 2)),
    "Squeeze": (13, Signature(1, 1), Signature(1, 2)),
    "Unsqueeze": (13, Signature(1, 1, ("axes",)), Signature(2, 2)),
    "Upsample": (9, Signature(1, 1, ("scales",)), Signature(2, 2)),
}
OUTPUTS = {
    "BatchNormalization": 5,
    "Dropout": 2,
    "LayerNormalization": 3,
    "MaxPool": 2,
    "SoftmaxCrossEntropyLoss": 2,
    "Split": inf,
}
