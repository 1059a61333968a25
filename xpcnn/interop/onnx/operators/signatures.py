"""How many inputs and outputs operators have, and which attributes they cannot do without."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx.node import OnnxNode


class _Signature(NamedTuple):
    """The fewest and the most inputs, and attributes that have no default."""

    fewest: int
    most: float
    needed: tuple[str, ...] = ()


_ONE = _Signature(1, 1)
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_BINARY = (
    "Add", "And", "CastLike", "Div", "Equal", "Expand", "Gather", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "MatMul", "Mod", "Mul", "Or", "PRelu", "Pow", "Reshape", "Sub", "Tile",
    "Xor",
)  # fmt: skip
_SIGNATURES = {
    "AveragePool": _Signature(1, 1, ("kernel_shape",)),
    "BatchNormalization": _Signature(5, 5),
    "Cast": _Signature(1, 1, ("to",)),
    "Clip": _Signature(1, 3),
    "Col2Im": _Signature(3, 3),
    "Concat": _Signature(1, inf, ("axis",)),
    "Constant": _Signature(0, 0),
    "Conv": _Signature(2, 3),
    "ConvTranspose": _Signature(2, 3),
    "DepthToSpace": _Signature(1, 1, ("blocksize",)),
    "Dropout": _Signature(1, 3),
    "Gemm": _Signature(2, 3),
    "GroupNormalization": _Signature(3, 3, ("num_groups",)),
    "InstanceNormalization": _Signature(3, 3),
    "LRN": _Signature(1, 1, ("size",)),
    "LayerNormalization": _Signature(2, 3),
    "LpPool": _Signature(1, 1, ("kernel_shape",)),
    "MaxPool": _Signature(1, 1, ("kernel_shape",)),
    "NegativeLogLikelihoodLoss": _Signature(2, 3),
    "Range": _Signature(3, 3),
    "SoftmaxCrossEntropyLoss": _Signature(2, 3),
    "SpaceToDepth": _Signature(1, 1, ("blocksize",)),
    "Where": _Signature(3, 3),
    **{name: _Signature(1, inf) for name in ("Max", "Mean", "Min", "Sum")},
    **dict.fromkeys(_REDUCTIONS, _Signature(1, 2)),
    **dict.fromkeys(_BINARY, _Signature(2, 2)),
}
# What became an input: the version it did in, and the signatures before and from then on.
_CHANGED = {
    "Pad": (11, _Signature(1, 1, ("pads",)), _Signature(2, 4)),
    "Resize": (11, _Signature(2, 2), _Signature(1, 4)),
    "Slice": (10, _Signature(1, 1, ("starts", "ends")), _Signature(3, 5)),
    "Split": (13, _Signature(1, 1), _Signature(1, 2)),
    "Squeeze": (13, _Signature(1, 1), _Signature(1, 2)),
    "Unsqueeze": (13, _Signature(1, 1, ("axes",)), _Signature(2, 2)),
    "Upsample": (9, _Signature(1, 1, ("scales",)), _Signature(2, 2)),
}
_OUTPUTS = {
    "BatchNormalization": 5,
    "Dropout": 2,
    "LayerNormalization": 3,
    "MaxPool": 2,
    "SoftmaxCrossEntropyLoss": 2,
    "Split": inf,
}


def check(node: OnnxNode) -> None:
    """Refuse a node that lacks what its operator needs, or has more than that takes.

    Raises
    ------
    ModelFileError
    """
    if node.op in _CHANGED:
        since, before, after = _CHANGED[node.op]
        expected = after if node.version >= since else before
    else:
        expected = _SIGNATURES.get(node.op, _ONE)
    count = len(node.inputs)
    if not expected.fewest <= count <= expected.most:
        fewest, most = expected[:2]
        right = f"{fewest}" if fewest == most else f"at least {fewest}"
        right = f"{fewest} to {most}" if fewest < most < inf else right
        raise ModelFileError(f"{node.who}: expected {right} inputs, got {count}")
    if not all(node.inputs if expected.most == inf else node.inputs[: expected.fewest]):
        missing = node.inputs.index("")
        raise ModelFileError(f"{node.who}: input {missing} is left out, and it is needed")
    for name in expected.needed:
        if not node.has(name):
            raise ModelFileError(f"{node.who}: the attribute {name!r} is missing")
    outputs = sum(map(bool, node.outputs))
    if outputs > _OUTPUTS.get(node.op, 1):
        raise ModelFileError(
            f"{node.who}: has {outputs} outputs, and the operator gives {_OUTPUTS.get(node.op, 1)}"
        )
