"""Eight float32 numbers at once: a vector type for Numba, and what can be done with it.

Loops over these vectors become SIMD instructions as written (AVX on x86, pairs of NEON operations
on ARM); nothing depends on the compiler guessing. Only Numba's public extension interface is used.

Loads and stores do not check bounds: ``load(a, i)`` touches ``a[i]`` to ``a[i + 7]``. `a` is a
one-dimensional contiguous array, or a pointer to its numbers.
"""

from __future__ import annotations

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

Generate = Callable[[Any, Any, Any, Any], Any]


class _Vec8(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x8")


class _Vec4(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x4")


class _Wide8(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float64x8")


vec8, vec4, wide8 = _Vec8(), _Vec4(), _Wide8()


@register_model(_Vec8)
class _Vec8Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


@register_model(_Vec4)
class _Vec4Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _HALF)


@register_model(_Wide8)
class _Wide8Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _WIDE)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Return the pointer to the numbers of an array, or the pointer that is given instead."""
    if isinstance(kind, types.CPointer):
        return value
    return context.make_array(kind)(context, builder, value).data


def _pointer(context: Any, builder: Any, signature: Any, args: Any, element: Any) -> Any:
    """Return a pointer to args[0][args[1]], seen as `element`."""
    data = _data(context, builder, signature.args[0], args[0])
    return builder.bitcast(builder.gep(data, [args[1]]), element.as_pointer())


def _splat(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_LANES, [0] * WIDTH))


@intrinsic
def load(typing: Any, array: Any, index: Any) -> tuple[Any, Generate]:
    """Read a[i] to a[i + 7]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args, _VECTOR), align=4)

    return vec8(array, types.intp), generate


@intrinsic
def load_splat(typing: Any, array: Any, index: Any) -> tuple[Any, Generate]:
    """Read a[i] into all eight places."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = builder.load(_pointer(context, builder, signature, args, _FLOAT), align=4)
        return _splat(builder, number)

    return vec8(array, types.intp), generate


@intrinsic
def load_index(typing: Any, array: Any, index: Any) -> tuple[Any, Generate]:
    """Read one int64 number, without Numba's provision for negative indices."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args, ir.IntType(64)), align=8)

    return types.int64(array, types.intp), generate


@intrinsic
def load_bytes(typing: Any, array: Any, index: Any) -> tuple[Any, Generate]:
    """Read eight uint8 numbers as float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = builder.load(_pointer(context, builder, signature, args, _BYTES), align=1)
        return builder.uitofp(numbers, _VECTOR)

    return vec8(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> tuple[Any, Generate]:
    """Write a[i] to a[i + 7]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature, args, _VECTOR), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vec8), generate


@intrinsic
def store_bytes(typing: Any, array: Any, index: Any, value: Any) -> tuple[Any, Generate]:
    """Write whole numbers from 0 to 255 as eight uint8."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = builder.fptoui(args[2], _BYTES)
        builder.store(numbers, _pointer(context, builder, signature, args, _BYTES), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, vec8), generate


@intrinsic
def splat(typing: Any, number: Any) -> tuple[Any, Generate]:
    """Put one number into all eight places."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return vec8(types.float32), generate


@intrinsic
def zero(typing: Any) -> tuple[Any, Generate]:
    """Return eight zeros."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_VECTOR, [0.0] * WIDTH)

    return vec8(), generate


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> tuple[Any, Generate]:
    """Return a * b + c; fused where the processor can, and never a library call."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fmuladd.v{WIDTH}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return vec8(vec8, vec8, vec8), generate


@intrinsic
def add(typing: Any, a: Any, b: Any) -> tuple[Any, Generate]:
    """Return a + b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return vec8(vec8, vec8), generate


@intrinsic
def beats(typing: Any, value: Any, best: Any, yes: Any, no: Any) -> tuple[Any, Generate]:
    """Return `yes` where `value` is larger than `best` or NaN, and `no` elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, best, yes, no = args
        larger = builder.fcmp_ordered(">", value, best)
        missing = builder.fcmp_unordered("uno", value, value)
        return builder.select(builder.or_(larger, missing), yes, no)

    return vec8(vec8, vec8, vec8, vec8), generate


@intrinsic
def relu(typing: Any, value: Any) -> tuple[Any, Generate]:
    """Return 0 where `value` is negative, and `value` (NaN too) elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nothing = ir.Constant(_VECTOR, [0.0] * WIDTH)
        return builder.select(builder.fcmp_ordered("<", args[0], nothing), nothing, args[0])

    return vec8(vec8), generate


@intrinsic
def where_equal(typing: Any, a: Any, b: Any, yes: Any, no: Any) -> tuple[Any, Generate]:
    """Return `yes` where a == b, and `no` elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("==", args[0], args[1]), args[2], args[3])

    return vec8(vec8, vec8, vec8, vec8), generate


@intrinsic
def where_open(typing: Any, a: Any, yes: Any, no: Any) -> tuple[Any, Generate]:
    """Return `no` where a <= 0, and `yes` elsewhere: the gate of ReLU, which NaN opens."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nothing = ir.Constant(_VECTOR, [0.0] * WIDTH)
        return builder.select(builder.fcmp_ordered("<=", args[0], nothing), args[2], args[1])

    return vec8(vec8, vec8, vec8), generate


@intrinsic
def multiply(typing: Any, a: Any, b: Any) -> tuple[Any, Generate]:
    """Return a * b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return vec8(vec8, vec8), generate


@intrinsic
def divide(typing: Any, a: Any, b: Any) -> tuple[Any, Generate]:
    """Return a / b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return vec8(vec8, vec8), generate


@intrinsic
def square_root(typing: Any, a: Any) -> tuple[Any, Generate]:
    """Return the square root of a."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        name = f"llvm.sqrt.v{WIDTH}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return vec8(vec8), generate


def _pick(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    kind = ir.VectorType(ir.IntType(32), len(lanes))
    return builder.shuffle_vector(a, b, ir.Constant(kind, lanes))


def _pairs(builder: Any, a: Any, b: Any) -> Any:
    """Add neighbours: a0 + a1, b0 + b1, a2 + a3, ..."""
    even = _pick(builder, a, b, [0, 8, 2, 10, 4, 12, 6, 14])
    return builder.fadd(even, _pick(builder, a, b, [1, 9, 3, 11, 5, 13, 7, 15]))


@intrinsic
def sums(
    typing: Any, a: Any, b: Any, c: Any, d: Any, base: Any, index: Any
) -> tuple[Any, Generate]:  # fmt: skip
    """Return four numbers: the sum of each vector, plus base[i] to base[i + 3]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b, c, d = args[:4]
        low, high = _pairs(builder, a, b), _pairs(builder, c, d)
        both = builder.fadd(
            _pick(builder, low, high, [0, 1, 8, 9, 4, 5, 12, 13]),
            _pick(builder, low, high, [2, 3, 10, 11, 6, 7, 14, 15]),
        )
        total = builder.fadd(
            _pick(builder, both, both, [0, 1, 2, 3]), _pick(builder, both, both, [4, 5, 6, 7])
        )
        data = _data(context, builder, signature.args[4], args[4])
        pointer = builder.bitcast(builder.gep(data, [args[5]]), _HALF.as_pointer())
        return builder.fadd(total, builder.load(pointer, align=4))

    return vec4(vec8, vec8, vec8, vec8, base, types.intp), generate


@intrinsic
def store_half(
    typing: Any, array: Any, index: Any, value: Any, floor: Any, count: Any
) -> tuple[Any, Generate]:  # fmt: skip
    """Write the first `count` of four numbers, or `floor` where they are below it; NaN stays."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, value, floor, count = args
        limit = _pick(builder, _splat(builder, floor), _splat(builder, floor), [0, 1, 2, 3])
        value = builder.select(builder.fcmp_ordered("<", value, limit), limit, value)
        _store_masked(builder, value, _pointer(context, builder, signature, args, _HALF), count)
        return context.get_dummy_value()

    return types.void(array, types.intp, vec4, types.float32, types.intp), generate


def _store_masked(builder: Any, value: Any, pointer: Any, count: Any) -> None:
    """Write the first `count` numbers of a vector."""
    width = value.type.count
    lanes = ir.VectorType(ir.IntType(32), width)
    undefined = ir.Constant(lanes, ir.Undefined)
    count = builder.trunc(count, ir.IntType(32))
    first = builder.insert_element(undefined, count, ir.Constant(ir.IntType(32), 0))
    counts = builder.shuffle_vector(first, undefined, ir.Constant(lanes, [0] * width))
    mask = builder.icmp_signed("<", ir.Constant(lanes, list(range(width))), counts)
    kinds = [value.type, pointer.type, ir.IntType(32), mask.type]
    kind = ir.FunctionType(ir.VoidType(), kinds)
    store = cgutils.get_or_insert_function(
        builder.module, kind, f"llvm.masked.store.v{width}f32.p0"
    )
    builder.call(store, [value, pointer, ir.Constant(ir.IntType(32), 4), mask])


@intrinsic
def store_first(
    typing: Any, array: Any, index: Any, value: Any, count: Any
) -> tuple[Any, Generate]:
    """Write the first `count` of eight numbers (all, if it is more); slower than :func:`store`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature, args, _VECTOR)
        _store_masked(builder, args[2], pointer, args[3])
        return context.get_dummy_value()

    return types.void(array, types.intp, vec8, types.intp), generate


@intrinsic
def pointer_to(typing: Any, address: Any) -> tuple[Any, Generate]:
    """Turn an address into a pointer to float32 numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], _FLOAT.as_pointer())

    return types.CPointer(types.float32)(types.int64), generate


@intrinsic
def copy_transposed(
    typing: Any, source: Any, at: Any, row: Any, target: Any, to: Any, target_row: Any
) -> tuple[Any, Generate]:
    """Write target[to + j * target_row + i] = source[at + i * row + j], for i and j from 0 to 7."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        rows = []
        for i in range(WIDTH):
            place = builder.add(args[1], builder.mul(args[2], args[2].type(i)))
            pointer = _pointer_to(context, builder, kinds[0], args[0], place)
            rows.append(builder.load(pointer, align=4))
        # Neighbours are merged by ones, by twos and by fours.
        low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
        ones = [_pick(builder, rows[i], rows[i + 1], m) for i in (0, 2, 4, 6) for m in (low, high)]
        low, high = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
        twos = [_pick(builder, ones[i], ones[i + 2], m) for i in (0, 1, 4, 5) for m in (low, high)]
        for half, lanes in enumerate(([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15])):
            for i in range(4):
                place = builder.mul(args[5], args[5].type(4 * half + i))
                pointer = _pointer_to(
                    context, builder, kinds[3], args[3], builder.add(args[4], place)
                )
                builder.store(_pick(builder, twos[i], twos[i + 4], lanes), pointer, align=4)
        return context.get_dummy_value()

    indices = (types.intp, types.intp)
    return types.void(source, *indices, target, *indices), generate


def _pointer_to(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = _data(context, builder, kind, array)
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


@intrinsic
def store_whole(typing: Any, array: Any, index: Any, value: Any) -> tuple[Any, Generate]:
    """Write eight whole numbers below 2**24 as int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = builder.fptosi(args[2], _LANES)
        builder.store(numbers, _pointer(context, builder, signature, args, _LANES), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vec8), generate


@intrinsic
def load_whole(typing: Any, array: Any, index: Any) -> tuple[Any, Generate]:
    """Read one int32 number, without Numba's provision for negative indices."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature, args, ir.IntType(32))
        return builder.sext(builder.load(pointer, align=4), ir.IntType(64))

    return types.int64(array, types.intp), generate


@intrinsic
def behind(typing: Any, pointer: Any, count: Any) -> tuple[Any, Generate]:
    """Return the pointer to the number `count` places on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), generate


@intrinsic
def room(typing: Any) -> tuple[Any, Generate]:
    """Return a pointer to memory for 64 numbers, good until the function returns."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.alloca_once(builder, _FLOAT, size=64)

    return types.CPointer(types.float32)(), generate


# -- Long sums -------------------------------------------------------------------------------------

RUN = 32
"""Terms that are added up in float32 before the result goes into a sum of float64: a longer run
loses digits, a shorter one time."""


@intrinsic
def wide_zero(typing: Any) -> tuple[Any, Generate]:
    """Return eight zeros of float64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_WIDE, [0.0] * WIDTH)

    return wide8(), generate


@intrinsic
def widen(typing: Any, total: Any, value: Any) -> tuple[Any, Generate]:
    """Return a sum of float64 with eight float32 numbers added."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(args[0], builder.fpext(args[1], _WIDE))

    return wide8(wide8, vec8), generate


@intrinsic
def narrow(typing: Any, total: Any) -> tuple[Any, Generate]:
    """Round eight float64 numbers to float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fptrunc(args[0], _VECTOR)

    return vec8(wide8), generate


@intrinsic
def load_wide(typing: Any, array: Any, index: Any) -> tuple[Any, Generate]:
    """Read eight float64 numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args, _WIDE), align=8)

    return wide8(array, types.intp), generate


@intrinsic
def store_wide(typing: Any, array: Any, index: Any, total: Any) -> tuple[Any, Generate]:
    """Write eight float64 numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature, args, _WIDE), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, wide8), generate
