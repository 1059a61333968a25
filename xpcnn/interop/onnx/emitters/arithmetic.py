"""Arithmetic, comparisons, logic, matrix products, sums along axes."""

from __future__ import annotations

from functools import partial

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.emitters.shapes import steered
from xpcnn.interop.onnx.node import UnsupportedError
from xpcnn.interop.onnx.tensors import number_of
from xpcnn.interop.onnx.writer import LayerCall, Write, Writer


def _plain(name: str, w: Writer, call: LayerCall) -> str:
    return w.node(name, *call.inputs)


def _test(name: str, w: Writer, call: LayerCall) -> str:
    call.dtypes = ["bool"]
    return w.node(name, *call.inputs)


def _or_equal(name: str, w: Writer, call: LayerCall) -> str:
    call.dtypes = ["bool"]
    if w.opset >= 12:
        return w.node(f"{name}OrEqual", *call.inputs)
    return w.node("Or", w.node(name, *call.inputs), w.node("Equal", *call.inputs))


def _add(w: Writer, call: LayerCall) -> str:
    if len(call.inputs) > 2 and "float" in call.x.dtype:
        return w.node("Sum", *call.inputs)
    total = call.x.name
    for other in call.inputs[1:]:
        total = w.node("Add", total, other)
    return total


def _floats_at_first(w: Writer, call: LayerCall) -> None:
    if w.opset < 12 and "float" not in call.x.dtype:
        raise UnsupportedError("of whole numbers it needs version 12 of ONNX's operators")


def _extremum(name: str, w: Writer, call: LayerCall) -> str:
    _floats_at_first(w, call)
    return w.node(name, *call.inputs)


def _power(w: Writer, call: LayerCall) -> str:
    """The operator takes exponents of another dtype from version 12 on."""
    base, exponent = call.x, call.inputs[1]
    assert exponent is not None, "a power has an exponent"
    if w.opset >= 12 or base.dtype == exponent.dtype:
        return w.node("Pow", base, exponent)
    return w.node("Pow", base, w.node("Cast", exponent, to=number_of(base.dtype)))


def _modulo(w: Writer, call: LayerCall) -> str:
    """Of floats the operator takes the sign of the dividend only."""
    x, y = call.inputs
    is_float = "float" in call.x.dtype
    if call.layer.sign == "dividend":
        return w.node("Mod", x, y, fmod=1)
    if not is_float:
        return w.node("Mod", x, y)
    rest = w.node("Mod", x, y, fmod=1)
    signs = w.node("Mul", w.node("Sign", rest), w.node("Sign", y))
    differ = w.node("Less", signs, w.number(0.0, call.x))
    return w.node("Where", differ, w.node("Add", rest, y), rest)


def _affine(w: Writer, call: LayerCall) -> str:
    scale, shift = call.layer.scale, call.layer.shift
    y = call.x.name
    if scale != 1.0:
        y = w.node("Mul", y, w.number(scale, call.x))
    return w.node("Add", y, w.number(shift, call.x)) if shift else y


def _cast(w: Writer, call: LayerCall) -> str:
    dtype = call.layer.dtype
    if dtype is None:
        like = call.inputs[1]
        assert like is not None, "without a dtype there is an input that has it"
        dtype = like.dtype
    call.dtypes = [dtype]
    return w.node("Cast", call.x, to=number_of(dtype))


def _clip(w: Writer, call: LayerCall) -> str:
    _floats_at_first(w, call)
    limits = [
        w.number(own, call.x) if own is not None else call.input_at(position)
        for position, own in ((1, call.layer.min), (2, call.layer.max))
    ]
    if limits == [None, None]:
        return call.x.name
    return w.node("Clip", call.x, *limits)


def _reduce(name: str, w: Writer, call: LayerCall) -> str:
    layer, x = call.layer, call.x
    given = call.input_at(1)
    since = 13 if name == "ReduceSum" else 18
    if layer.dims or given is None:
        if not layer.dims and not layer.empty_is_all:
            if w.opset < since:
                raise UnsupportedError(f"without axes it needs version {since} of the operators")
            return w.node(name, x, keepdims=int(layer.keepdim), noop_with_empty_axes=1)
        return w.reduce(name, x, layer.dims or None, layer.keepdim)
    return w.node(
        name,
        x,
        steered(w, call, None, since),
        keepdims=int(layer.keepdim),
        noop_with_empty_axes=int(not layer.empty_is_all),
    )


def _arg(name: str, w: Writer, call: LayerCall) -> str:
    layer = call.layer
    call.dtypes = ["int64"]
    if layer.last and w.opset < 12:
        raise UnsupportedError("the last of equal elements needs version 12 of the operators")
    last = 1 if layer.last else None
    return w.node(name, call.x, axis=layer.dim, keepdims=int(layer.keepdim), select_last_index=last)


def _where(w: Writer, call: LayerCall) -> str:
    other = call.inputs[1]
    assert other is not None, "there is something to choose"
    call.dtypes = [other.dtype]
    return w.node("Where", *call.inputs)


def _linear(w: Writer, call: LayerCall) -> str:
    """Rows through Gemm, so that the weight is in the file as it is."""
    layer, x = call.layer, call.x
    weights = [w.state(call, "weight")] + ([w.state(call, "bias")] if layer.bias else [])
    if x.rank == 2:
        return w.node("Gemm", x, *weights, transB=1)
    if call.output().shape[:-1].count(None) > 1:
        y = w.node("MatMul", x, w.transpose(weights[0], (1, 0)))
        return w.node("Add", y, weights[1]) if layer.bias else y
    rows = w.node("Gemm", w.reshape(x, (-1, layer.in_features)), *weights, transB=1)
    return w.reshape(rows, [-1 if n is None else n for n in call.output().shape])


def _bilinear(w: Writer, call: LayerCall) -> str:
    """x1 W x2 for each matrix W of the weight, as products with rows and columns."""
    first, second = call.inputs
    rank = call.x.rank
    row = w.unsqueeze(first, [rank - 1, rank])
    column = w.unsqueeze(second, [rank - 1, rank + 1])
    y = w.node("MatMul", w.node("MatMul", row, w.state(call, "weight")), column)
    y = w.squeeze(y, [rank, rank + 1])
    return w.node("Add", y, w.state(call, "bias")) if call.layer.bias else y


_PLAIN = {
    op.Absolute: "Abs",
    op.Ceil: "Ceil",
    op.Cos: "Cos",
    op.Divide: "Div",
    op.Erf: "Erf",
    op.Exp: "Exp",
    op.Floor: "Floor",
    op.Log: "Log",
    op.MatMul: "MatMul",
    op.Multiply: "Mul",
    op.Negative: "Neg",
    op.Reciprocal: "Reciprocal",
    op.Round: "Round",
    op.Sign: "Sign",
    op.Sin: "Sin",
    op.SquareRoot: "Sqrt",
    op.Subtract: "Sub",
}
_TESTS = {
    op.And: "And",
    op.Equal: "Equal",
    op.Greater: "Greater",
    op.IsNaN: "IsNaN",
    op.Less: "Less",
    op.Not: "Not",
    op.Or: "Or",
    op.Xor: "Xor",
}
_REDUCTIONS = (
    op.ReduceL1,
    op.ReduceL2,
    op.ReduceLogSum,
    op.ReduceLogSumExp,
    op.ReduceMax,
    op.ReduceMean,
    op.ReduceMin,
    op.ReduceProd,
    op.ReduceSum,
    op.ReduceSumSquare,
)

EMITTERS: dict[type, Write] = {
    **{cls: partial(_plain, name) for cls, name in _PLAIN.items()},
    **{cls: partial(_test, name) for cls, name in _TESTS.items()},
    **{cls: partial(_reduce, cls.__name__) for cls in _REDUCTIONS},
    op.Add: _add,
    op.Affine: _affine,
    op.ArgMax: partial(_arg, "ArgMax"),
    op.ArgMin: partial(_arg, "ArgMin"),
    op.Cast: _cast,
    op.Clip: _clip,
    op.GreaterEqual: partial(_or_equal, "Greater"),
    op.LessEqual: partial(_or_equal, "Less"),
    op.Maximum: partial(_extremum, "Max"),
    op.Minimum: partial(_extremum, "Min"),
    op.Modulo: _modulo,
    op.Power: _power,
    op.Where: _where,
    layers.Linear: _linear,
    layers.Bilinear: _bilinear,
}
