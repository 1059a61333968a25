"""Eight float32 numbers at once: a vector type for Numba, and what can be done with it.

Loops over these vectors become SIMD instructions as written (AVX on x86, pairs of NEON operations
on ARM); nothing depends on the compiler guessing. Only Numba's public extension interface is used.

Loads and stores do not check bounds: ``load(a, i)`` touches ``a[i]`` to ``a[i + 7]``. `a` is a
one-dimensional contiguous array, or a pointer to its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xpcnn.kernels.native import choice

WIDTH = 8

_TARGET = choice.chosen().target
WIDE = 8 if _TARGET is None else _TARGET.wide
"""Numbers in a register of this processor; the products and Winograd's transforms use all of it."""
_FULL = f"vec{WIDE}"
_HAS_AVX512 = _TARGET is not None and _TARGET.level == 4

if choice.chosen().compiles:
    from llvmlite import ir
    from numba.core import cgutils

    from xpcnn.kernels.native.instructions import writes

    _FLOAT = ir.FloatType()
    _BYTE = ir.IntType(8)
    _VECTOR = ir.VectorType(_FLOAT, WIDTH)
    _BYTES = ir.VectorType(_BYTE, WIDTH)
    _HALF = ir.VectorType(_FLOAT, WIDTH // 2)
    _LANES = ir.VectorType(ir.IntType(32), WIDTH)
    _WIDE = ir.VectorType(ir.DoubleType(), WIDTH)
    _REGISTER = ir.VectorType(_FLOAT, WIDE)


def operation(result: str, *kinds: str) -> Callable[[Callable[..., Any]], Any]:
    """Make a function for kernels of one that writes its instructions; a decorator.

    Parameters
    ----------
    result, *kinds : str
        The types of what it returns and of its arguments; see :mod:`.native.instructions`. For an
        "array", the decorated function gets the pointer to its numbers.
    """
    if choice.chosen().compiles:
        return writes(result, *kinds)
    return lambda write: write


def pointer_at(builder: Any, array: Any, index: Any, element: Any) -> Any:
    """Return a pointer to array[index], seen as `element`."""
    return builder.bitcast(builder.gep(array, [index]), element.as_pointer())


def to_all(builder: Any, number: Any, width: int = WIDTH) -> Any:
    """Put a number into all places of a vector."""
    undefined = ir.Constant(ir.VectorType(number.type, width), ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    return builder.shuffle_vector(first, undefined, places)


def nothing(kind: Any) -> Any:
    """Return a vector of zeros."""
    return ir.Constant(kind, [0.0] * kind.count)


def call(builder: Any, name: str, result: Any, *values: Any) -> Any:
    """Call one of LLVM's own functions."""
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def whole(number: int) -> Any:
    """Return a whole number that is known."""
    return ir.Constant(ir.IntType(64), number)


def lower_of(builder: Any, a: Any, b: Any) -> Any:
    """Return the lower of two whole numbers."""
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def load_number(builder: Any, array: Any, index: Any) -> Any:
    """Read one int64 number."""
    return builder.load(pointer_at(builder, array, index, ir.IntType(64)), align=8)


def register(builder: Any) -> Any:
    """Return a place for a vector of the full width, which will be a register."""
    return cgutils.alloca_once(builder, _REGISTER)


def load_limit(builder: Any, limits: Any, place: int, width: int) -> Any:
    """Read one of two limits into all places of a vector."""
    return to_all(builder, builder.load(pointer_at(builder, limits, whole(place), _FLOAT)), width)


def load_eight(builder: Any, array: Any, index: Any) -> Any:
    """Read a[i] to a[i + 7]."""
    return builder.load(pointer_at(builder, array, index, _VECTOR), align=4)


def side_by_side(builder: Any, eights: list[Any]) -> Any:
    """Put one vector of eight numbers, or two, into a register."""
    if len(eights) == 1:
        return eights[0]
    first, second = eights
    return _pick(builder, first, second, list(range(2 * WIDTH)))


@contextmanager
def loop(builder: Any, count: Any) -> Iterator[Any]:
    """Write a loop, of which the number of the round is given."""
    with cgutils.for_range(builder, count) as found:
        yield found.index


def select_within(builder: Any, value: Any, low: Any, high: Any) -> Any:
    """Put limits in the place of what is beyond them; NaN stays."""
    value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
    return builder.select(builder.fcmp_ordered(">", value, high), high, value)


# -- Memory ----------------------------------------------------------------------------------------


@operation("vec8", "array", "int")
def load(builder: Any, array: Any, index: Any) -> Any:
    """Read a[i] to a[i + 7]."""
    return load_eight(builder, array, index)


@operation("vec8", "array", "int")
def load_splat(builder: Any, array: Any, index: Any) -> Any:
    """Read a[i] into all eight places."""
    return to_all(builder, builder.load(pointer_at(builder, array, index, _FLOAT), align=4))


@operation("int", "array", "int")
def load_index(builder: Any, array: Any, index: Any) -> Any:
    """Read one int64 number, without Numba's provision for negative indices."""
    return load_number(builder, array, index)


@operation("int", "array", "int")
def load_whole(builder: Any, array: Any, index: Any) -> Any:
    """Read one int32 number, without Numba's provision for negative indices."""
    number = builder.load(pointer_at(builder, array, index, ir.IntType(32)), align=4)
    return builder.sext(number, ir.IntType(64))


@operation("vec8", "array", "int")
def load_bytes(builder: Any, array: Any, index: Any) -> Any:
    """Read eight uint8 numbers as float32."""
    return builder.uitofp(builder.load(pointer_at(builder, array, index, _BYTES), align=1), _VECTOR)


@operation("nothing", "array", "int", "vec8")
def store(builder: Any, array: Any, index: Any, value: Any) -> None:
    """Write a[i] to a[i + 7]."""
    builder.store(value, pointer_at(builder, array, index, _VECTOR), align=4)


@operation("nothing", "array", "int", "vec8")
def store_bytes(builder: Any, array: Any, index: Any, value: Any) -> None:
    """Write whole numbers from 0 to 255 as eight uint8."""
    numbers = builder.fptoui(value, _BYTES)
    builder.store(numbers, pointer_at(builder, array, index, _BYTES), align=1)


@operation("nothing", "array", "int", "vec8")
def store_whole(builder: Any, array: Any, index: Any, value: Any) -> None:
    """Write eight whole numbers below 2**24 as int32."""
    numbers = builder.fptosi(value, _LANES)
    builder.store(numbers, pointer_at(builder, array, index, _LANES), align=4)


@operation("nothing", "array", "int", "vec", "int")
def store_first(builder: Any, array: Any, index: Any, value: Any, count: Any) -> None:
    """Write the first `count` numbers of a vector (all, if it is more), which takes longer."""
    _store_masked(builder, value, pointer_at(builder, array, index, value.type), count)


def write_half(
    builder: Any, array: Any, index: Any, value: Any, floor: Any, count: Any
) -> None:  # fmt: skip
    """Write the first `count` of four numbers, or `floor` where they are below it; NaN stays."""
    limit = to_all(builder, floor, WIDTH // 2)
    value = builder.select(builder.fcmp_ordered("<", value, limit), limit, value)
    _store_masked(builder, value, pointer_at(builder, array, index, _HALF), count)


def _store_masked(builder: Any, value: Any, pointer: Any, count: Any) -> None:
    """Write the first `count` numbers of a vector."""
    width, alignment = value.type.count, ir.Constant(ir.IntType(32), 4)
    mask = _are_first(builder, count, width)
    name = f"llvm.masked.store.v{width}f32.p0"
    call(builder, name, ir.VoidType(), value, pointer, alignment, mask)


@operation("floats", "int")
def pointer_to(builder: Any, address: Any) -> Any:
    """Turn an address into a pointer to float32 numbers."""
    return builder.inttoptr(address, _FLOAT.as_pointer())


@operation("ints", "ints", "int")
def behind(builder: Any, pointer: Any, count: Any) -> Any:
    """Return the pointer to the number `count` places on."""
    return builder.gep(pointer, [count])


@operation("floats", "floats", "int")
def at_number(builder: Any, pointer: Any, count: Any) -> Any:
    """Return the pointer to the float32 number `count` places on."""
    return builder.gep(pointer, [count])


@operation("floats")
def room(builder: Any) -> Any:
    """Return a pointer to memory for 64 numbers, good until the function returns."""
    return cgutils.alloca_once(builder, _FLOAT, size=64)


@operation("nothing", "array", "int", "int", "array", "int", "int")
def copy_transposed(
    builder: Any, source: Any, at: Any, row: Any, target: Any, to: Any, target_row: Any
) -> None:
    """Write target[to + j * target_row + i] = source[at + i * row + j], for i and j from 0 to 7."""
    rows = []
    for i in range(WIDTH):
        place = builder.add(at, builder.mul(row, row.type(i)))
        rows.append(load_eight(builder, source, place))
    _write_transposed(builder, rows, target, to, target_row)


@operation("nothing", "array", "int", "int", "int", "array", "int", "int")
def copy_few_transposed(
    builder: Any, source: Any, at: Any, row: Any, count: Any, target: Any, to: Any, target_row: Any
) -> None:
    """Do what :func:`copy_transposed` does, with zeros in the place of rows from `count` on."""
    rows, last = [], builder.sub(count, whole(1))
    for i in range(WIDTH):
        place = builder.add(at, builder.mul(row, lower_of(builder, whole(i), last)))
        value = load_eight(builder, source, place)
        is_there = builder.icmp_signed("<", whole(i), count)
        rows.append(builder.select(is_there, value, nothing(value.type)))
    _write_transposed(builder, rows, target, to, target_row)


def _write_transposed(
    builder: Any, rows: list[Any], target: Any, to: Any, target_row: Any
) -> None:  # fmt: skip
    # Neighbours are merged by ones, by twos and by fours.
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    ones = [_pick(builder, rows[i], rows[i + 1], m) for i in (0, 2, 4, 6) for m in (low, high)]
    low, high = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    twos = [_pick(builder, ones[i], ones[i + 2], m) for i in (0, 1, 4, 5) for m in (low, high)]
    for half, lanes in enumerate(([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15])):
        for i in range(4):
            place = builder.add(to, builder.mul(target_row, target_row.type(4 * half + i)))
            pointer = pointer_at(builder, target, place, _VECTOR)
            builder.store(_pick(builder, twos[i], twos[i + 4], lanes), pointer, align=4)


def _pick(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    kind = ir.VectorType(ir.IntType(32), len(lanes))
    return builder.shuffle_vector(a, b, ir.Constant(kind, lanes))


# -- Arithmetic ------------------------------------------------------------------------------------


@operation("vec8", "float")
def splat(builder: Any, number: Any) -> Any:
    """Put one number into all eight places."""
    return to_all(builder, number)


@operation("vec8")
def zero(builder: Any) -> Any:
    """Return eight zeros."""
    return nothing(_VECTOR)


@operation("vec", "vec", "vec", "vec")
def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c; fused where the processor can, and never a library call."""
    return call(builder, f"llvm.fmuladd.v{a.type.count}f32", a.type, a, b, c)


@operation("vec", "vec", "vec")
def add(builder: Any, a: Any, b: Any) -> Any:
    """Return a + b."""
    return builder.fadd(a, b)


@operation("vec", "vec", "vec")
def multiply(builder: Any, a: Any, b: Any) -> Any:
    """Return a * b."""
    return builder.fmul(a, b)


@operation("vec", "vec", "vec")
def divide(builder: Any, a: Any, b: Any) -> Any:
    """Return a / b."""
    return builder.fdiv(a, b)


@operation("vec", "vec")
def square_root(builder: Any, a: Any) -> Any:
    """Return the square root of a."""
    return call(builder, f"llvm.sqrt.v{a.type.count}f32", a.type, a)


@operation("vec", "vec", "vec", "vec", "vec")
def beats(builder: Any, value: Any, best: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where `value` is larger than `best` or NaN, and `no` elsewhere."""
    larger = builder.fcmp_ordered(">", value, best)
    missing = builder.fcmp_unordered("uno", value, value)
    return builder.select(builder.or_(larger, missing), yes, no)


@operation("vec", "vec")
def relu(builder: Any, value: Any) -> Any:
    """Return 0 where `value` is negative, and `value` (NaN too) elsewhere."""
    none = nothing(value.type)
    return builder.select(builder.fcmp_ordered("<", value, none), none, value)


@operation("vec", "vec", "array")
def within(builder: Any, value: Any, limits: Any) -> Any:
    """Return `value` (NaN too), but not below the first of two limits and not above the second."""
    low, high = (load_limit(builder, limits, place, value.type.count) for place in (0, 1))
    return select_within(builder, value, low, high)


@operation("vec", "vec", "vec", "vec", "vec")
def where_equal(builder: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where a == b, and `no` elsewhere."""
    return builder.select(builder.fcmp_ordered("==", a, b), yes, no)


@operation("vec", "vec", "vec", "vec")
def where_open(builder: Any, a: Any, yes: Any, no: Any) -> Any:
    """Return `no` where a <= 0, and `yes` elsewhere: the gate of ReLU, which NaN opens."""
    return builder.select(builder.fcmp_ordered("<=", a, nothing(a.type)), no, yes)


def sums_of_eights(builder: Any, a: Any, b: Any, c: Any, d: Any) -> list[Any]:
    """Return four numbers for each eight lanes: their sum in each of the vectors."""
    width = a.type.count

    def merged(x: Any, y: Any, size: int) -> Any:
        """Add up neighbours of `size` lanes: of x, of y, of x, ..."""
        starts = [start for i in range(0, width, 2 * size) for start in (i, width + i)]
        even, odd = (
            _pick(builder, x, y, [start + shift + i for start in starts for i in range(size)])
            for shift in (0, size)
        )
        return builder.fadd(even, odd)

    both = merged(merged(a, b, 1), merged(c, d, 1), 2)
    return [
        builder.fadd(
            _pick(builder, both, both, list(range(start, start + 4))),
            _pick(builder, both, both, list(range(start + 4, start + 8))),
        )
        for start in range(0, width, WIDTH)
    ]


def add_half(builder: Any, four: Any, base: Any, index: Any) -> Any:
    """Add base[i] to base[i + 3] to four numbers."""
    return builder.fadd(four, builder.load(pointer_at(builder, base, index, _HALF), align=4))


# -- Full registers --------------------------------------------------------------------------------


@operation(_FULL, "array", "int")
def load_full(builder: Any, array: Any, index: Any) -> Any:
    """Read as many numbers from a[i] on as a register has, :data:`WIDE`."""
    return builder.load(pointer_at(builder, array, index, _REGISTER), align=4)


@operation("nothing", "array", "int", _FULL)
def store_full(builder: Any, array: Any, index: Any, value: Any) -> None:
    """Write a register."""
    builder.store(value, pointer_at(builder, array, index, _REGISTER), align=4)


@operation(_FULL, "float")
def splat_full(builder: Any, number: Any) -> Any:
    """Put one number into all places of a register."""
    return to_all(builder, number, WIDE)


@operation(_FULL)
def zero_full(builder: Any) -> Any:
    """Return a register of zeros."""
    return nothing(_REGISTER)


# -- Long sums -------------------------------------------------------------------------------------

RUN = 32
"""Terms that are added up in float32 before the result goes into a sum of float64: a longer run
loses digits, a shorter one time."""


@operation("wide8")
def wide_zero(builder: Any) -> Any:
    """Return eight zeros of float64."""
    return ir.Constant(_WIDE, [0.0] * WIDTH)


@operation("wide8", "wide8", "vec8")
def widen(builder: Any, total: Any, value: Any) -> Any:
    """Return a sum of float64 with eight float32 numbers added."""
    return builder.fadd(total, builder.fpext(value, _WIDE))


@operation("vec8", "wide8")
def narrow(builder: Any, total: Any) -> Any:
    """Round eight float64 numbers to float32."""
    return builder.fptrunc(total, _VECTOR)


@operation("wide8", "array", "int")
def load_wide(builder: Any, array: Any, index: Any) -> Any:
    """Read eight float64 numbers."""
    return builder.load(pointer_at(builder, array, index, _WIDE), align=8)


@operation("nothing", "array", "int", "wide8")
def store_wide(builder: Any, array: Any, index: Any, total: Any) -> None:
    """Write eight float64 numbers."""
    builder.store(total, pointer_at(builder, array, index, _WIDE), align=8)


# -- What elementary functions are made of ---------------------------------------------------------

_MANTISSA = 23
"""Bits of a float32 below its exponent."""
_BIAS = 127
"""What the exponent of 1 is stored as."""
_ROOT_HALF = 0x3F3504F3
"""The bits of the square root of 1/2."""
_ROUNDER = 12582912.0
"""1.5 * 2**23: a whole number that is added to it shows in its lowest bits."""


def _in_all(number: int, width: int) -> Any:
    """Return a whole number in all places."""
    return ir.Constant(ir.VectorType(ir.IntType(32), width), [number] * width)


@operation("vec", "vec", "vec")
def subtract(builder: Any, a: Any, b: Any) -> Any:
    """Return a - b."""
    return builder.fsub(a, b)


@operation("vec", "vec")
def negative(builder: Any, a: Any) -> Any:
    """Return -a."""
    return builder.fneg(a)


@operation("vec", "vec")
def absolute(builder: Any, a: Any) -> Any:
    """Return a without its sign."""
    return call(builder, f"llvm.fabs.v{a.type.count}f32", a.type, a)


@operation("vec", "vec", "vec")
def with_sign(builder: Any, a: Any, b: Any) -> Any:
    """Return a with the sign of b."""
    return call(builder, f"llvm.copysign.v{a.type.count}f32", a.type, a, b)


@operation("vec", "vec")
def nearest(builder: Any, a: Any) -> Any:
    """Round to the nearest whole number."""
    return call(builder, f"llvm.rint.v{a.type.count}f32", a.type, a)


@operation("vec", "vec", "vec")
def at_least(builder: Any, a: Any, limit: Any) -> Any:
    """Return the larger of a and a limit; NaN of a stays."""
    return builder.select(builder.fcmp_ordered("<", a, limit), limit, a)


@operation("vec", "vec", "vec")
def at_most(builder: Any, a: Any, limit: Any) -> Any:
    """Return the smaller of a and a limit; NaN of a stays."""
    return builder.select(builder.fcmp_ordered(">", a, limit), limit, a)


@operation("vec", "vec", "vec", "vec", "vec")
def where_less(builder: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where a < b, and `no` elsewhere, also where one of them is NaN."""
    return builder.select(builder.fcmp_ordered("<", a, b), yes, no)


@operation("vec", "vec", "vec", "vec", "vec")
def where_at_most(builder: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where a <= b, and `no` elsewhere, also where one of them is NaN."""
    return builder.select(builder.fcmp_ordered("<=", a, b), yes, no)


@operation("vec", "vec", "vec")
def times_power_of_two(builder: Any, a: Any, power: Any) -> Any:
    """Return a * 2**power for whole powers from -252 to 254, rounded once; NaN stays."""
    if _HAS_AVX512:
        return _scaled(builder, a, power)
    # The sum's lowest bits are the power. No conversion: of NaN its result would be undefined.
    width, lanes = a.type.count, _lanes(a)
    rounder = ir.Constant(a.type, [_ROUNDER] * width)
    shifted = builder.bitcast(builder.fadd(power, rounder), lanes)
    power = builder.sub(shifted, builder.bitcast(rounder, lanes))
    half = builder.ashr(power, _in_all(1, width))
    for part in (half, builder.sub(power, half)):
        bits = builder.shl(builder.add(part, _in_all(_BIAS, width)), _in_all(_MANTISSA, width))
        a = builder.fmul(a, builder.bitcast(bits, a.type))
    return a


@operation("vec", "vec")
def exponent(builder: Any, a: Any) -> Any:
    """Return n of a = m * 2**n, m as in :func:`mantissa`; a is positive, finite and not tiny."""
    return builder.sitofp(_exponent(builder, builder.bitcast(a, _lanes(a))), a.type)


@operation("vec", "vec")
def mantissa(builder: Any, a: Any) -> Any:
    """Return m of a = m * 2**n, from the root of 1/2 to that of 2."""
    bits = builder.bitcast(a, _lanes(a))
    power = builder.shl(_exponent(builder, bits), _in_all(_MANTISSA, a.type.count))
    return builder.bitcast(builder.sub(bits, power), a.type)


def _scaled(builder: Any, a: Any, power: Any) -> Any:
    """Return a * 2**power by the instruction that AVX-512 has for it."""
    width = a.type.count
    mask = ir.IntType(max(8, width))
    operands = [a, power, a, ir.Constant(mask, -1)]
    if width == 16:
        operands.append(ir.Constant(ir.IntType(32), 4))  # round as everything does
    return call(builder, f"llvm.x86.avx512.mask.scalef.ps.{32 * width}", a.type, *operands)


def _exponent(builder: Any, bits: Any) -> Any:
    width = bits.type.count
    return builder.ashr(builder.sub(bits, _in_all(_ROOT_HALF, width)), _in_all(_MANTISSA, width))


def _lanes(a: Any) -> Any:
    """Return the type of the bits of a vector."""
    return ir.VectorType(ir.IntType(32), a.type.count)


@operation("vec", "vec", "float")
def all_like(builder: Any, a: Any, number: Any) -> Any:
    """Return one number in all places of a vector that is as wide as a."""
    return to_all(builder, number, a.type.count)


@operation("vec", "vec", "array", "int")
def load_all_like(builder: Any, a: Any, array: Any, index: Any) -> Any:
    """Read array[i] into all places of a vector that is as wide as a."""
    number = builder.load(pointer_at(builder, array, index, _FLOAT), align=4)
    return to_all(builder, number, a.type.count)


@operation("vec", "vec", "int")
def keep_last(builder: Any, a: Any, count: Any) -> Any:
    """Return a with zeros in the place of all but the last `count` of its numbers."""
    first = builder.sub(count.type(WIDTH), count)
    firsts = to_all(builder, builder.trunc(first, ir.IntType(32)))
    places = ir.Constant(_LANES, list(range(WIDTH)))
    return builder.select(builder.icmp_signed(">=", places, firsts), a, nothing(_VECTOR))


@operation("float", "vec")
def largest(builder: Any, a: Any) -> Any:
    """Return the largest of the eight numbers; what comes of NaN is left open."""
    for width in (4, 2, 1):
        others = _pick(builder, a, a, [(lane + width) % WIDTH for lane in range(WIDTH)])
        a = builder.select(builder.fcmp_ordered(">", others, a), others, a)
    return builder.extract_element(a, ir.Constant(ir.IntType(32), 0))


@operation("double", "wide8")
def sum_of(builder: Any, total: Any) -> Any:
    """Return the sum of eight float64 numbers."""
    for width in (4, 2, 1):
        others = _pick(builder, total, total, [(lane + width) % WIDTH for lane in range(WIDTH)])
        total = builder.fadd(total, others)
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


@operation("uint", "uint", "uint")
def upper_product(builder: Any, a: Any, b: Any) -> Any:
    """Return the upper 64 of the 128 bits of a product of whole numbers."""
    twice = ir.IntType(128)
    product = builder.mul(builder.zext(a, twice), builder.zext(b, twice))
    return builder.trunc(builder.lshr(product, twice(64)), ir.IntType(64))


@operation("float", "vec")
def first_of(builder: Any, a: Any) -> Any:
    """Return the first of the eight numbers."""
    return builder.extract_element(a, ir.Constant(ir.IntType(32), 0))


# -- Sixteen numbers, whatever a register holds ----------------------------------------------------

SIXTEEN = 16
"""Sums in vectors of so many numbers have one order on every processor; where a register holds
eight, the compiler takes two."""


def _sixteen() -> Any:
    return ir.VectorType(_FLOAT, SIXTEEN)


def _are_first(builder: Any, count: Any, width: int) -> Any:
    """Return a mask of the first `count` places."""
    counts = to_all(builder, builder.trunc(count, ir.IntType(32)), width)
    return builder.icmp_signed("<", ir.Constant(counts.type, list(range(width))), counts)


@operation("vec16", "array", "int")
def load_sixteen(builder: Any, array: Any, index: Any) -> Any:
    """Read a[i] to a[i + 15]."""
    return builder.load(pointer_at(builder, array, index, _sixteen()), align=4)


@operation("vec16", "array", "int", "int", "float")
def load_first(builder: Any, array: Any, index: Any, count: Any, filler: Any) -> Any:
    """Read `count` numbers from a[i] on (sixteen, if it is more), and put a filler behind them."""
    kind = _sixteen()
    return call(
        builder, f"llvm.masked.load.v{SIXTEEN}f32.p0", kind,
        pointer_at(builder, array, index, kind), ir.Constant(ir.IntType(32), 4),
        _are_first(builder, count, SIXTEEN), to_all(builder, filler, SIXTEEN),
    )  # fmt: skip


@operation("nothing", "array", "int", "vec16")
def store_sixteen(builder: Any, array: Any, index: Any, value: Any) -> None:
    """Write a[i] to a[i + 15]."""
    builder.store(value, pointer_at(builder, array, index, _sixteen()), align=4)


@operation("vec16", "float")
def splat_sixteen(builder: Any, number: Any) -> Any:
    """Put one number into all sixteen places."""
    return to_all(builder, number, SIXTEEN)


@operation("vec", "vec", "int")
def keep_first(builder: Any, a: Any, count: Any) -> Any:
    """Return a with zeros in the place of all but the first `count` of its numbers."""
    return builder.select(_are_first(builder, count, a.type.count), a, nothing(a.type))


@operation("vec8", "vec16")
def lower_eight(builder: Any, a: Any) -> Any:
    """Return the first eight of sixteen numbers."""
    return _pick(builder, a, a, list(range(WIDTH)))


@operation("vec8", "vec16")
def upper_eight(builder: Any, a: Any) -> Any:
    """Return the last eight of sixteen numbers."""
    return _pick(builder, a, a, list(range(WIDTH, SIXTEEN)))


@operation("wide8", "wide8", "vec16")
def widen_both(builder: Any, total: Any, value: Any) -> Any:
    """Return a sum of float64 with both halves of sixteen float32 numbers added."""
    for half in (range(WIDTH), range(WIDTH, SIXTEEN)):
        part = _pick(builder, value, value, list(half))
        total = builder.fadd(total, builder.fpext(part, _WIDE))
    return total


@operation("vec16", "wide8", "wide8")
def narrow_both(builder: Any, lower: Any, upper: Any) -> Any:
    """Round twice eight float64 numbers to float32."""
    lower, upper = builder.fptrunc(lower, _VECTOR), builder.fptrunc(upper, _VECTOR)
    return _pick(builder, lower, upper, list(range(SIXTEEN)))


@operation("vec16", "vec16", "int")
def zero_at(builder: Any, a: Any, place: Any) -> Any:
    """Return a with a zero at one place; as it is if there is no such place."""
    places = to_all(builder, place, SIXTEEN)
    lanes = ir.Constant(places.type, list(range(SIXTEEN)))
    return builder.select(builder.icmp_signed("==", lanes, places), nothing(a.type), a)


@operation("wide8", "wide8", "vec16", "vec16")
def widen_products(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """Return a sum of float64 with the products of sixteen numbers added, none of them rounded."""
    for half in (range(WIDTH), range(WIDTH, SIXTEEN)):
        parts = [builder.fpext(_pick(builder, x, x, list(half)), _WIDE) for x in (a, b)]
        total = builder.fadd(total, builder.fmul(*parts))
    return total


@operation("double", "double")
def root(builder: Any, number: Any) -> Any:
    """Return the square root of a float64 number."""
    return call(builder, "llvm.sqrt.f64", number.type, number)


def hidden(builder: Any, number: Any) -> Any:
    """Return a whole number of which LLVM does not know where it comes from.

    It would follow each place of a tile by a pointer of its own, more than there are registers.
    """
    kind = ir.FunctionType(number.type, [number.type])
    return builder.asm(kind, "", "=r,0", [number], False)


@operation("nothing", "array", "int")
def expect(builder: Any, array: Any, index: Any) -> None:
    """Have the line of the cache fetched that a[i] lies in; nothing happens if it is no memory."""
    pointer = builder.bitcast(builder.gep(array, [index]), _BYTE.as_pointer())
    flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 3, 1)]
    call(builder, "llvm.prefetch.p0", ir.VoidType(), pointer, *flags)
