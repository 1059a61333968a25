"""Arithmetic, comparisons, logic and matrix products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Handler
from xpcnn.interop.onnx.node import OnnxNode
from xpcnn.layers import GlobalAvgPool1d, GlobalAvgPool2d, GlobalAvgPool3d, Linear, ReLU6
from xpcnn.layers.layer import Layer

_SAME: dict[str, Callable[[], Layer]] = {
    "Abs": op.Absolute,
    "Add": op.Add,
    "And": op.And,
    "Ceil": op.Ceil,
    "Cos": op.Cos,
    "Div": op.Divide,
    "Equal": op.Equal,
    "Erf": op.Erf,
    "Exp": op.Exp,
    "Floor": op.Floor,
    "Greater": op.Greater,
    "GreaterOrEqual": op.GreaterEqual,
    "IsNaN": op.IsNaN,
    "Less": op.Less,
    "LessOrEqual": op.LessEqual,
    "Log": op.Log,
    "MatMul": op.MatMul,
    "Max": op.Maximum,
    "Min": op.Minimum,
    "Mul": op.Multiply,
    "Neg": op.Negative,
    "Not": op.Not,
    "Or": op.Or,
    "Pow": op.Power,
    "Reciprocal": op.Reciprocal,
    "Round": op.Round,
    "Sign": op.Sign,
    "Sin": op.Sin,
    "Sqrt": op.SquareRoot,
    "Sub": op.Subtract,
    "Sum": op.Add,
    "Where": op.Where,
    "Xor": op.Xor,
}


def _same(make: Callable[[], Layer], b: Builder, node: OnnxNode) -> None:
    b.emit(make(), node.inputs, node.outputs)


def _mean(b: Builder, node: OnnxNode) -> None:
    total = b.apply(op.Add(), *node.inputs)
    b.emit(op.Affine(1.0 / len(node.inputs)), [total], node.outputs)


def _mod(b: Builder, node: OnnxNode) -> None:
    sign = "dividend" if node.int("fmod", 0) else "divisor"
    b.emit(op.Modulo(sign), node.inputs, node.outputs)


def _cast(b: Builder, node: OnnxNode) -> None:
    dtype = b.numpy_dtype(node.int("to"))
    b.emit(op.Cast(dtype, follows=dtype == b.dtype), node.inputs[:1], node.outputs)
    b.dtypes[node.outputs[0]] = dtype


def _cast_like(b: Builder, node: OnnxNode) -> None:
    b.emit(op.Cast(), node.inputs, node.outputs)


def _clip(b: Builder, node: OnnxNode) -> None:
    if node.version < 11:
        _limit(b, node, node.float("min"), node.float("max"))
        return
    limits = [b.array(name) if name else None for name in (node.input(1), node.input(2))]
    if any(name and limit is None for name, limit in zip(node.inputs[1:3], limits, strict=False)):
        b.emit(op.Clip(), node.inputs, node.outputs)
        return
    low, high = (None if limit is None else limit.item() for limit in limits)
    _limit(b, node, low, high)


def _limit(b: Builder, node: OnnxNode, low: float | None, high: float | None) -> None:
    is_relu6 = (low, high) == (0.0, 6.0) and b.dtype_of(node.input(0)) in (None, b.dtype)
    layer: Layer = ReLU6() if is_relu6 else op.Clip(low, high)
    b.emit(layer, node.inputs[:1], node.outputs)


def _gemm(b: Builder, node: OnnxNode) -> None:
    """Alpha A B + beta C: a linear layer, if B and C come with the file."""
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    weight = b.weight(node.input(1))
    bias = b.weight(node.input(2), shared=True) if node.input(2) else None
    plain = alpha == 1.0 and not node.int("transA", 0) and weight is not None and weight.ndim == 2
    if plain and weight is not None and (not node.input(2) or (bias is not None and beta == 1.0)):
        weight = weight if node.int("transB", 0) else weight.T
        if bias is None or bias.reshape(-1).shape == weight.shape[:1]:
            _linear(b, node, weight, bias)
            return
    left = b.apply(op.Transpose(), node.input(0)) if node.int("transA", 0) else node.input(0)
    right = b.apply(op.Transpose(), node.input(1)) if node.int("transB", 0) else node.input(1)
    outputs = node.outputs if not node.input(2) and alpha == 1.0 else [b.fresh("product")]
    b.emit(op.MatMul(), [left, right], outputs)
    value = outputs[0]
    if alpha != 1.0:
        outputs = [b.fresh("scaled")] if node.input(2) else node.outputs
        b.emit(op.Affine(alpha), [value], outputs)
        value = outputs[0]
    if node.input(2):
        added = node.input(2) if beta == 1.0 else b.apply(op.Affine(beta), node.input(2))
        b.emit(op.Add(), [value, added], node.outputs)


def _linear(b: Builder, node: OnnxNode, weight: np.ndarray, bias: np.ndarray | None) -> None:
    layer = Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    state = {"weight": np.ascontiguousarray(weight)}
    if bias is not None:
        state["bias"] = bias.reshape(-1)
    b.layer(node, layer, state, {"weight": node.input(1), "bias": node.input(2)})
    b.ranks[node.outputs[0]] = 2


_GLOBAL_POOLS = {3: GlobalAvgPool1d, 4: GlobalAvgPool2d, 5: GlobalAvgPool3d}


def _reduce(kind: type, b: Builder, node: OnnxNode) -> None:
    attribute_until = 13 if node.op == "ReduceSum" else 18
    keep = bool(node.int("keepdims", 1))
    empty_is_all = not node.int("noop_with_empty_axes", 0)
    runtime = False
    if node.version < attribute_until:
        dims = node.ints("axes")
    else:
        dims = b.ints(node.input(1)) if node.input(1) else None
        runtime = bool(node.input(1)) and dims is None
    layer: Layer = kind(dims, keep, empty_is_all)
    rank = b.rank(node.input(0))
    if node.op == "ReduceMean" and rank in _GLOBAL_POOLS:
        # the mean of all positions of a channel is a pooling, which has kernels of its own
        whole = list(range(2, rank))
        if sorted(dim % rank for dim in dims or ()) == whole:
            layer = _GLOBAL_POOLS[rank](keepdims=keep)
    b.emit(layer, node.inputs if runtime else node.inputs[:1], node.outputs)
    if rank is not None and keep:
        b.ranks[node.outputs[0]] = rank


def _arg(kind: type, b: Builder, node: OnnxNode) -> None:
    last = bool(node.int("select_last_index", 0))
    layer = kind(node.int("axis", 0), bool(node.int("keepdims", 1)), last)
    b.emit(layer, node.inputs, node.outputs)


_REDUCTIONS = {
    "ReduceL1": op.ReduceL1,
    "ReduceL2": op.ReduceL2,
    "ReduceLogSum": op.ReduceLogSum,
    "ReduceLogSumExp": op.ReduceLogSumExp,
    "ReduceMax": op.ReduceMax,
    "ReduceMean": op.ReduceMean,
    "ReduceMin": op.ReduceMin,
    "ReduceProd": op.ReduceProd,
    "ReduceSum": op.ReduceSum,
    "ReduceSumSquare": op.ReduceSumSquare,
}

HANDLERS: dict[str, Handler] = {
    **{name: partial(_same, make) for name, make in _SAME.items()},
    "Mean": _mean,
    "Mod": _mod,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _clip,
    "Gemm": _gemm,
}
REDUCTIONS: dict[str, Handler] = {
    **{name: partial(_reduce, kind) for name, kind in _REDUCTIONS.items()},
    "ArgMax": partial(_arg, op.ArgMax),
    "ArgMin": partial(_arg, op.ArgMin),
}
