"""Arithmetic, comparisons, logic and matrix products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Call, Handler, UnsupportedError
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


def _same(make: Callable[[], Layer], b: Builder, call: Call) -> None:
    b.emit(make(), call.inputs, call.outputs)


def _mean(b: Builder, call: Call) -> None:
    total = b.apply(op.Add(), *call.inputs)
    b.emit(op.Affine(1.0 / len(call.inputs)), [total], call.outputs)


def _mod(b: Builder, call: Call) -> None:
    sign = "dividend" if call.int("fmod", 0) else "divisor"
    b.emit(op.Modulo(sign), call.inputs, call.outputs)


def _cast(b: Builder, call: Call) -> None:
    dtype = b.numpy_dtype(call.int("to"))
    b.emit(op.Cast(dtype, follows=dtype == b.dtype), call.inputs[:1], call.outputs)
    b.dtypes[call.outputs[0]] = dtype


def _cast_like(b: Builder, call: Call) -> None:
    b.emit(op.Cast(), call.inputs, call.outputs)


def _clip(b: Builder, call: Call) -> None:
    if call.version < 11:
        _limit(b, call, call.float("min"), call.float("max"))
        return
    limits = [b.array(name) if name else None for name in (call.input(1), call.input(2))]
    if any(name and limit is None for name, limit in zip(call.inputs[1:3], limits, strict=False)):
        b.emit(op.Clip(), call.inputs, call.outputs)
        return
    low, high = (None if limit is None else limit.item() for limit in limits)
    _limit(b, call, low, high)


def _limit(b: Builder, call: Call, low: float | None, high: float | None) -> None:
    is_relu6 = (low, high) == (0.0, 6.0) and b.dtype_of(call.input(0)) in (None, b.dtype)
    layer: Layer = ReLU6() if is_relu6 else op.Clip(low, high)
    b.emit(layer, call.inputs[:1], call.outputs)


def _gemm(b: Builder, call: Call) -> None:
    """Alpha A B + beta C: a linear layer, if B and C come with the file."""
    alpha, beta = call.float("alpha", 1.0), call.float("beta", 1.0)
    weight = b.weight(call.input(1))
    bias = b.weight(call.input(2), shared=True) if call.input(2) else None
    plain = alpha == 1.0 and not call.int("transA", 0) and weight is not None and weight.ndim == 2
    if plain and weight is not None and (not call.input(2) or (bias is not None and beta == 1.0)):
        weight = weight if call.int("transB", 0) else weight.T
        if bias is None or bias.reshape(-1).shape == weight.shape[:1]:
            _linear(b, call, weight, bias)
            return
    left = b.apply(op.Transpose(), call.input(0)) if call.int("transA", 0) else call.input(0)
    right = b.apply(op.Transpose(), call.input(1)) if call.int("transB", 0) else call.input(1)
    outputs = call.outputs if not call.input(2) and alpha == 1.0 else [b.fresh("product")]
    b.emit(op.MatMul(), [left, right], outputs)
    value = outputs[0]
    if alpha != 1.0:
        outputs = [b.fresh("scaled")] if call.input(2) else call.outputs
        b.emit(op.Affine(alpha), [value], outputs)
        value = outputs[0]
    if call.input(2):
        added = call.input(2) if beta == 1.0 else b.apply(op.Affine(beta), call.input(2))
        b.emit(op.Add(), [value, added], call.outputs)


def _linear(b: Builder, call: Call, weight: np.ndarray, bias: np.ndarray | None) -> None:
    layer = Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    state = {"weight": np.ascontiguousarray(weight)}
    if bias is not None:
        state["bias"] = bias.reshape(-1)
    b.layer(call, layer, state, {"weight": call.input(1), "bias": call.input(2)})
    b.ranks[call.outputs[0]] = 2


_GLOBAL_POOLS = {3: GlobalAvgPool1d, 4: GlobalAvgPool2d, 5: GlobalAvgPool3d}


def _reduce(kind: type, b: Builder, call: Call) -> None:
    attribute_until = 13 if call.op == "ReduceSum" else 18
    keep = bool(call.int("keepdims", 1))
    empty_is_all = not call.int("noop_with_empty_axes", 0)
    runtime = False
    if call.version < attribute_until:
        dims = call.ints("axes")
    else:
        dims = b.ints(call.input(1)) if call.input(1) else None
        runtime = bool(call.input(1)) and dims is None
    layer: Layer = kind(dims, keep, empty_is_all)
    rank = b.rank(call.input(0))
    if call.op == "ReduceMean" and rank in _GLOBAL_POOLS:
        # the mean of all positions of a channel is a pooling, which has kernels of its own
        whole = list(range(2, rank))
        if sorted(dim % rank for dim in dims or ()) == whole:
            layer = _GLOBAL_POOLS[rank](keepdims=keep)
    b.emit(layer, call.inputs if runtime else call.inputs[:1], call.outputs)
    if rank is not None and keep:
        b.ranks[call.outputs[0]] = rank


def _arg(kind: type, b: Builder, call: Call) -> None:
    last = bool(call.int("select_last_index", 0))
    layer = kind(call.int("axis", 0), bool(call.int("keepdims", 1)), last)
    b.emit(layer, call.inputs, call.outputs)


def _hardmax(b: Builder, call: Call) -> None:
    if call.version < 13 and call.int("axis", 1) != -1:
        raise UnsupportedError("before version 13 of the operators, Hardmax works on merged axes")
    b.emit(op.Hardmax(call.int("axis", -1)), call.inputs, call.outputs)


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
    "Hardmax": _hardmax,
}
REDUCTIONS: dict[str, Handler] = {
    **{name: partial(_reduce, kind) for name, kind in _REDUCTIONS.items()},
    "ArgMax": partial(_arg, op.ArgMax),
    "ArgMin": partial(_arg, op.ArgMin),
}
