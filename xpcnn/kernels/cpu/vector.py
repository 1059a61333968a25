"""Eight float32 numbers at once: a vector type for Numba, and what can be done with it.

Loops over these vectors become SIMD instructions as written (AVX on x86, pairs of NEON operations
on ARM); nothing depends on the compiler guessing. Only Numba's public extension interface is used.

Loads and stores do not check bounds: ``load(a, i)`` touches ``a[i]`` to ``a[i + 7]``. `a` is a
one-dimensional contiguous array, or a pointer to its numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDTH = 8

_FLOAT = ir.FloatType()
_BYTE = ir.IntType(8)
_VECTOR = ir.VectorType(_FLOAT, WIDTH)
_BYTES = ir.VectorType(_BYTE, WIDTH)
_HALF = ir.VectorType(_FLOAT, WIDTH // 2)
_LANES = ir.VectorType(ir.IntType(32), WIDTH)
_WIDE = ir.VectorType(ir.DoubleType(), WIDTH)


class _Vector(types.Type):
    """Several numbers in one register."""

    def __init__(self, name: str, register: ir.VectorType) -> None:
        super().__init__(name=name)
        self.register = register


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Vector) -> None:
        super().__init__(manager, kind, kind.register)


vec8, vec4, wide8 = (
    _Vector("float32x8", _VECTOR), _Vector("float32x4", _HALF), _Vector("float64x8", _WIDE),
)  # fmt: skip

_ARRAY = None
"""Stands for an argument that is an array or a pointer."""


def _operation(result: Any, *kinds: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a function for kernels of one that writes its instructions; a decorator.

    Parameters
    ----------
    result, *kinds
        Numba's types of what it returns and of its arguments. For an :data:`_ARRAY`, the decorated
        function gets the pointer to its numbers.
    """

    def decorate(write: Callable[..., Any]) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            values = [
                _data(context, builder, given, value) if kind is _ARRAY else value
                for kind, given, value in zip(kinds, signature.args, args, strict=True)
            ]
            written = write(builder, *values)
            return context.get_dummy_value() if result == types.void else written

        def define(typing: Any, *given: Any) -> Any:
            arguments = [
                own if kind is _ARRAY else kind for kind, own in zip(kinds, given, strict=True)
            ]
            return result(*arguments), generate

        define.__name__, define.__doc__ = write.__name__, write.__doc__
        # Numba reads the number of arguments there; the first is not one of the kernel's.
        setattr(define, "__signature__", inspect.signature(write))  # noqa: B010
        return intrinsic(define)

    return decorate


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Return the pointer to the numbers of an array, or the pointer that is given instead."""
    if isinstance(kind, types.CPointer):
        return value
    return context.make_array(kind)(context, builder, value).data


def _at(builder: Any, array: Any, index: Any, element: Any) -> Any:
    """Return a pointer to array[index], seen as `element`."""
    return builder.bitcast(builder.gep(array, [index]), element.as_pointer())


def _splat(builder: Any, number: Any, width: int = WIDTH) -> Any:
    """Put a number into all places of a vector."""
    undefined = ir.Constant(ir.VectorType(number.type, width), ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    return builder.shuffle_vector(first, undefined, places)


def _nothing() -> Any:
    return ir.Constant(_VECTOR, [0.0] * WIDTH)


def _call(builder: Any, name: str, result: Any, *values: Any) -> Any:
    """Call one of LLVM's own functions."""
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


# -- Memory ----------------------------------------------------------------------------------------


@_operation(vec8, _ARRAY, types.intp)
def load(builder: Any, array: Any, index: Any) -> Any:
    """Read a[i] to a[i + 7]."""
    return builder.load(_at(builder, array, index, _VECTOR), align=4)


@_operation(vec8, _ARRAY, types.intp)
def load_splat(builder: Any, array: Any, index: Any) -> Any:
    """Read a[i] into all eight places."""
    return _splat(builder, builder.load(_at(builder, array, index, _FLOAT), align=4))


@_operation(types.int64, _ARRAY, types.intp)
def load_index(builder: Any, array: Any, index: Any) -> Any:
    """Read one int64 number, without Numba's provision for negative indices."""
    return builder.load(_at(builder, array, index, ir.IntType(64)), align=8)


@_operation(types.int64, _ARRAY, types.intp)
def load_whole(builder: Any, array: Any, index: Any) -> Any:
    """Read one int32 number, without Numba's provision for negative indices."""
    number = builder.load(_at(builder, array, index, ir.IntType(32)), align=4)
    return builder.sext(number, ir.IntType(64))


@_operation(vec8, _ARRAY, types.intp)
def load_bytes(builder: Any, array: Any, index: Any) -> Any:
    """Read eight uint8 numbers as float32."""
    return builder.uitofp(builder.load(_at(builder, array, index, _BYTES), align=1), _VECTOR)


@_operation(types.void, _ARRAY, types.intp, vec8)
def store(builder: Any, array: Any, index: Any, value: Any) -> None:
    """Write a[i] to a[i + 7]."""
    builder.store(value, _at(builder, array, index, _VECTOR), align=4)


@_operation(types.void, _ARRAY, types.intp, vec8)
def store_bytes(builder: Any, array: Any, index: Any, value: Any) -> None:
    """Write whole numbers from 0 to 255 as eight uint8."""
    numbers = builder.fptoui(value, _BYTES)
    builder.store(numbers, _at(builder, array, index, _BYTES), align=1)


@_operation(types.void, _ARRAY, types.intp, vec8)
def store_whole(builder: Any, array: Any, index: Any, value: Any) -> None:
    """Write eight whole numbers below 2**24 as int32."""
    numbers = builder.fptosi(value, _LANES)
    builder.store(numbers, _at(builder, array, index, _LANES), align=4)


@_operation(types.void, _ARRAY, types.intp, vec8, types.intp)
def store_first(builder: Any, array: Any, index: Any, value: Any, count: Any) -> None:
    """Write the first `count` of eight numbers (all, if it is more); slower than :func:`store`."""
    _store_masked(builder, value, _at(builder, array, index, _VECTOR), count)


@_operation(types.void, _ARRAY, types.intp, vec4, types.float32, types.intp)
def store_half(
    builder: Any, array: Any, index: Any, value: Any, floor: Any, count: Any
) -> None:  # fmt: skip
    """Write the first `count` of four numbers, or `floor` where they are below it; NaN stays."""
    limit = _splat(builder, floor, WIDTH // 2)
    value = builder.select(builder.fcmp_ordered("<", value, limit), limit, value)
    _store_masked(builder, value, _at(builder, array, index, _HALF), count)


def _store_masked(builder: Any, value: Any, pointer: Any, count: Any) -> None:
    """Write the first `count` numbers of a vector."""
    width, alignment = value.type.count, ir.Constant(ir.IntType(32), 4)
    counts = _splat(builder, builder.trunc(count, ir.IntType(32)), width)
    mask = builder.icmp_signed("<", ir.Constant(counts.type, list(range(width))), counts)
    name = f"llvm.masked.store.v{width}f32.p0"
    _call(builder, name, ir.VoidType(), value, pointer, alignment, mask)


@_operation(types.CPointer(types.float32), types.int64)
def pointer_to(builder: Any, address: Any) -> Any:
    """Turn an address into a pointer to float32 numbers."""
    return builder.inttoptr(address, _FLOAT.as_pointer())


@_operation(types.CPointer(types.int64), types.CPointer(types.int64), types.intp)
def behind(builder: Any, pointer: Any, count: Any) -> Any:
    """Return the pointer to the number `count` places on."""
    return builder.gep(pointer, [count])


@_operation(types.CPointer(types.float32))
def room(builder: Any) -> Any:
    """Return a pointer to memory for 64 numbers, good until the function returns."""
    return cgutils.alloca_once(builder, _FLOAT, size=64)


@_operation(types.void, _ARRAY, types.intp, types.intp, _ARRAY, types.intp, types.intp)
def copy_transposed(
    builder: Any, source: Any, at: Any, row: Any, target: Any, to: Any, target_row: Any
) -> None:
    """Write target[to + j * target_row + i] = source[at + i * row + j], for i and j from 0 to 7."""
    rows = []
    for i in range(WIDTH):
        place = builder.add(at, builder.mul(row, row.type(i)))
        rows.append(builder.load(_at(builder, source, place, _VECTOR), align=4))
    # Neighbours are merged by ones, by twos and by fours.
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    ones = [_pick(builder, rows[i], rows[i + 1], m) for i in (0, 2, 4, 6) for m in (low, high)]
    low, high = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    twos = [_pick(builder, ones[i], ones[i + 2], m) for i in (0, 1, 4, 5) for m in (low, high)]
    for half, lanes in enumerate(([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15])):
        for i in range(4):
            place = builder.add(to, builder.mul(target_row, target_row.type(4 * half + i)))
            pointer = _at(builder, target, place, _VECTOR)
            builder.store(_pick(builder, twos[i], twos[i + 4], lanes), pointer, align=4)


def _pick(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    kind = ir.VectorType(ir.IntType(32), len(lanes))
    return builder.shuffle_vector(a, b, ir.Constant(kind, lanes))


# -- Arithmetic ------------------------------------------------------------------------------------


@_operation(vec8, types.float32)
def splat(builder: Any, number: Any) -> Any:
    """Put one number into all eight places."""
    return _splat(builder, number)


@_operation(vec8)
def zero(builder: Any) -> Any:
    """Return eight zeros."""
    return _nothing()


@_operation(vec8, vec8, vec8, vec8)
def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c; fused where the processor can, and never a library call."""
    return _call(builder, f"llvm.fmuladd.v{WIDTH}f32", _VECTOR, a, b, c)


@_operation(vec8, vec8, vec8)
def add(builder: Any, a: Any, b: Any) -> Any:
    """Return a + b."""
    return builder.fadd(a, b)


@_operation(vec8, vec8, vec8)
def multiply(builder: Any, a: Any, b: Any) -> Any:
    """Return a * b."""
    return builder.fmul(a, b)


@_operation(vec8, vec8, vec8)
def divide(builder: Any, a: Any, b: Any) -> Any:
    """Return a / b."""
    return builder.fdiv(a, b)


@_operation(vec8, vec8)
def square_root(builder: Any, a: Any) -> Any:
    """Return the square root of a."""
    return _call(builder, f"llvm.sqrt.v{WIDTH}f32", _VECTOR, a)


@_operation(vec8, vec8, vec8, vec8, vec8)
def beats(builder: Any, value: Any, best: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where `value` is larger than `best` or NaN, and `no` elsewhere."""
    larger = builder.fcmp_ordered(">", value, best)
    missing = builder.fcmp_unordered("uno", value, value)
    return builder.select(builder.or_(larger, missing), yes, no)


@_operation(vec8, vec8)
def relu(builder: Any, value: Any) -> Any:
    """Return 0 where `value` is negative, and `value` (NaN too) elsewhere."""
    return builder.select(builder.fcmp_ordered("<", value, _nothing()), _nothing(), value)


@_operation(vec8, vec8, vec8, vec8, vec8)
def where_equal(builder: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where a == b, and `no` elsewhere."""
    return builder.select(builder.fcmp_ordered("==", a, b), yes, no)


@_operation(vec8, vec8, vec8, vec8)
def where_open(builder: Any, a: Any, yes: Any, no: Any) -> Any:
    """Return `no` where a <= 0, and `yes` elsewhere: the gate of ReLU, which NaN opens."""
    return builder.select(builder.fcmp_ordered("<=", a, _nothing()), no, yes)


@_operation(vec4, vec8, vec8, vec8, vec8, _ARRAY, types.intp)
def sums(builder: Any, a: Any, b: Any, c: Any, d: Any, base: Any, index: Any) -> Any:
    """Return four numbers: the sum of each vector, plus base[i] to base[i + 3]."""
    low, high = _pairs(builder, a, b), _pairs(builder, c, d)
    both = builder.fadd(
        _pick(builder, low, high, [0, 1, 8, 9, 4, 5, 12, 13]),
        _pick(builder, low, high, [2, 3, 10, 11, 6, 7, 14, 15]),
    )
    total = builder.fadd(
        _pick(builder, both, both, [0, 1, 2, 3]), _pick(builder, both, both, [4, 5, 6, 7])
    )
    return builder.fadd(total, builder.load(_at(builder, base, index, _HALF), align=4))


def _pairs(builder: Any, a: Any, b: Any) -> Any:
    """Add neighbours: a0 + a1, b0 + b1, a2 + a3, ..."""
    even = _pick(builder, a, b, [0, 8, 2, 10, 4, 12, 6, 14])
    return builder.fadd(even, _pick(builder, a, b, [1, 9, 3, 11, 5, 13, 7, 15]))


# -- Long sums -------------------------------------------------------------------------------------

RUN = 32
"""Terms that are added up in float32 before the result goes into a sum of float64: a longer run
loses digits, a shorter one time."""


@_operation(wide8)
def wide_zero(builder: Any) -> Any:
    """Return eight zeros of float64."""
    return ir.Constant(_WIDE, [0.0] * WIDTH)


@_operation(wide8, wide8, vec8)
def widen(builder: Any, total: Any, value: Any) -> Any:
    """Return a sum of float64 with eight float32 numbers added."""
    return builder.fadd(total, builder.fpext(value, _WIDE))


@_operation(vec8, wide8)
def narrow(builder: Any, total: Any) -> Any:
    """Round eight float64 numbers to float32."""
    return builder.fptrunc(total, _VECTOR)


@_operation(wide8, _ARRAY, types.intp)
def load_wide(builder: Any, array: Any, index: Any) -> Any:
    """Read eight float64 numbers."""
    return builder.load(_at(builder, array, index, _WIDE), align=8)


@_operation(types.void, _ARRAY, types.intp, wide8)
def store_wide(builder: Any, array: Any, index: Any, total: Any) -> None:
    """Write eight float64 numbers."""
    builder.store(total, _at(builder, array, index, _WIDE), align=8)


# -- Along a row -----------------------------------------------------------------------------------


@_operation(vec8, vec8, types.intp)
def keep_last(builder: Any, value: Any, count: Any) -> Any:
    """Return a vector with zeros before its last `count` numbers; all stay if it is more.

    For the end of a row that does not fill its vectors: the last vector ends with the row, and
    what the one before has done already does not count.
    """
    first = builder.sub(count.type(WIDTH), count)
    limits = _splat(builder, builder.trunc(first, ir.IntType(32)))
    places = ir.Constant(limits.type, list(range(WIDTH)))
    return builder.select(builder.icmp_signed(">=", places, limits), value, _nothing())


@_operation(types.float64, wide8)
def sum_of(builder: Any, total: Any) -> Any:
    """Return the sum of eight float64 numbers, added in pairs."""
    parts = [builder.extract_element(total, ir.IntType(32)(place)) for place in range(WIDTH)]
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [builder.fadd(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
    return parts[0]
